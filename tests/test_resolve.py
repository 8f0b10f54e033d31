"""References, options and versions: the user's own functions enter by the same door as the built-ins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from mixdistill import resolve
from mixdistill.errors import DataError, RecipeError

OWN = """
from mixdistill.types import Verdict

THRESHOLD = 3


def verify(problem, trace, *, strict=False, needed):
    return Verdict(trace_id=trace.id, outcome="correct")


def anything(problem, trace, **options): ...
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def refusal(ref: str) -> str:
    with pytest.raises(RecipeError) as e:
        resolve.load(ref)
    return str(e.value)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in resolve.BUILTIN.items() for n in names])
def test_every_built_in_is_there_and_can_be_called(kind: str, name: str):
    obj = resolve.load(resolve.reference(kind, name))
    assert callable(obj)
    assert resolve.version(obj)


@pytest.mark.parametrize(("kind", "got", "meant"), [("verifier", "mth", "math"), ("backend", "opnai", "openai")])
def test_a_misspelt_built_in_is_suggested(kind: str, got: str, meant: str):
    with pytest.raises(RecipeError, match=f"'{got}' is not a {kind}; did you mean '{meant}'"):
        resolve.reference(kind, got)


def test_a_name_like_nothing_lists_what_is_known():
    with pytest.raises(
        RecipeError,
        match=r"; known: choice, code, exact, ifeval, json, judge, math, numeric, signs \(your own: ",
    ):
        resolve.reference("verifier", "zzzzz")


def test_a_module_and_a_name_lead_to_the_object():
    assert resolve.load("json:loads") is __import__("json").loads


def test_a_file_and_a_name_lead_to_the_object(own: Path, monkeypatch: pytest.MonkeyPatch):
    by_path = resolve.load(f"{own}:verify")
    assert by_path.__name__ == "verify"
    monkeypatch.chdir(own.parent)
    assert resolve.load("own.py:verify") is by_path
    assert resolve.load("./own.py:verify") is by_path


def test_what_leads_nowhere_says_what_to_do(own: Path):
    assert refusal(f"{own}:verfy") == f"{own}:verfy: '{own}' has no 'verfy'; did you mean 'verify'?"
    assert refusal("nowhere.py:x").startswith("nowhere.py: no such file; give the path from the folder where")
    assert refusal("no_such_module:x") == "no_such_module: no such module; install it or check the spelling"
    assert refusal("json.nothing:x") == "json.nothing: no such module; install it or check the spelling"
    assert refusal("json:lods") == "json:lods: 'json' has no 'lods'; did you mean 'loads'?"


@pytest.mark.parametrize("ref", [":x", "json:", ":", ".relative:x"])
def test_half_a_reference_names_nothing(ref: str):
    assert refusal(ref) == f"'{ref}' names nothing; write it as package.module:name or path/file.py:name"


def test_a_file_that_is_not_python_is_named_with_its_line(own: Path):
    own.write_text("x = 1\ndef verify(:\n")
    assert refusal(f"{own}:verify").startswith(f"{own}:2: not Python (")


def test_a_file_that_fails_once_can_be_loaded_once_it_is_mended(own: Path):
    own.write_text("raise RuntimeError('not yet')\n")
    with pytest.raises(RuntimeError, match="not yet"):
        resolve.load(f"{own}:verify")
    own.write_text(OWN)
    assert resolve.load(f"{own}:verify").__name__ == "verify"


def test_a_module_that_misses_a_library_of_its_own_does_not_look_absent(tmp_path: Path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_library_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        resolve.load("needs_more:x")


def test_options_are_the_keyword_only_parameters(own: Path):
    verify = resolve.load(f"{own}:verify")
    assert resolve.check_options("verify", verify, {"needed": 1, "strict": True}) == []
    assert resolve.check_options("verify", verify, {"needed": 1, "strct": True, "trace": 0}) == [
        "verify.strct: not an option of verify (got True); did you mean 'strict'?",
        "verify.trace: not an option of verify (got 0); known: needed, strict",
    ]
    assert resolve.check_options("verify", verify, {}) == ["verify.needed: missing; verify needs it"]


@pytest.mark.parametrize(
    ("kind", "code", "finding"),
    [
        (
            "verifier",
            "def own(problem, trace, tolerance=0.1): ...",
            "verify: own takes (problem, trace, tolerance), and a verifier is given (problem, trace); "
            "put its options behind a bare *",
        ),
        (
            "metric",
            "def own(problem, trace): ...",
            "verify: own takes (problem, trace), and a metric is given (trace); put its options behind a bare *",
        ),
        (
            "mixture",
            "def own(pools, weights, *, unit): ...",
            "verify: own takes no rng, and a mixture is given one; add it behind a bare *",
        ),
        (
            "backend",
            "def own(model): ...",
            "verify: own has no generate; a backend is a class with generate(requests)",
        ),
    ],
)
def test_what_could_not_be_called_is_found_before_anything_runs(kind: str, code: str, finding: str, tmp_path: Path):
    (tmp_path / "wrong.py").write_text(code)
    assert resolve.check_call("verify", kind, resolve.load(f"{tmp_path}/wrong.py:own")) == [finding]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in resolve.BUILTIN.items() for n in names])
def test_every_built_in_is_called_as_its_kind_is(kind: str, name: str):
    assert resolve.check_call("here", kind, resolve.load(resolve.reference(kind, name))) == []


def test_a_function_that_takes_any_option_is_given_any(own: Path):
    assert resolve.check_options("verify", resolve.load(f"{own}:anything"), {"a": 1, "b": 2}) == []


def test_takes_asks_for_keyword_only_parameters(own: Path):
    verify = resolve.load(f"{own}:verify")
    assert resolve.takes(verify, "strict")
    assert not resolve.takes(verify, "trace")
    assert not resolve.takes(verify, "other")


def load_again(own: Path, text: str) -> Any:
    own.write_text(text)
    for name in [n for n in sys.modules if n.startswith("mixdistill_user_")]:
        del sys.modules[name]
    __import__("linecache").clearcache()
    return resolve.load(f"{own}:verify")


def test_the_version_is_the_constant_where_there_is_one(own: Path):
    assert resolve.version(load_again(own, OWN + "\nVERSION = 7\n")) == "7"


def test_the_version_follows_the_whole_file_where_there_is_none(own: Path):
    first = resolve.version(load_again(own, OWN))
    assert resolve.version(load_again(own, OWN)) == first
    assert resolve.version(load_again(own, OWN.replace("THRESHOLD = 3", "THRESHOLD = 4"))) != first
    assert resolve.version(load_again(own, OWN.replace("correct", "incorrect"))) != first


def test_the_folder_of_the_shipped_recipes_is_known_without_being_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MIXDISTILL_RECIPES", "/elsewhere")
    folder = Path(resolve.__file__).parent / "recipes"
    assert resolve.from_environment({"a": ["${MIXDISTILL_RECIPES}/demo.yaml"]}) == {"a": [f"{folder}/demo.yaml"]}


def test_models_that_are_not_the_labs_are_left_alone():
    assert resolve.model_path("Qwen/Qwen2.5-1.5B-Instruct") == "Qwen/Qwen2.5-1.5B-Instruct"


def test_a_lab_model_becomes_its_folder():
    assert (Path(resolve.model_path("lab:s")) / "config.json").is_file()


def test_base_is_read_once_for_all_plans_and_again_when_a_file_changes(tmp_path, monkeypatch):
    hashed: list[Path] = []
    real = resolve.file_hash
    monkeypatch.setattr(resolve, "file_hash", lambda path: hashed.append(path) or real(path))
    model = tiny.student(tmp_path / "model")
    first = resolve.model_fingerprint(model)
    once = len(hashed)
    assert once > 3
    assert [resolve.model_fingerprint(model) for _ in range(3)] == [first] * 3
    assert len(hashed) == once
    (tmp_path / "model" / "config.json").write_text("{}")
    assert resolve.model_fingerprint(model) != first
    assert resolve.model_fingerprint("some/model") == "some/model"


def test_what_a_model_is_not_loaded_from_is_no_part_of_it(tmp_path):
    model = tiny.student(tmp_path / "model")
    first = resolve.model_fingerprint(model)
    (tmp_path / "model" / ".DS_Store").write_text("x")
    (tmp_path / "model" / "README.md").write_text("x")
    (tmp_path / "model" / ".cache").mkdir()
    assert resolve.model_fingerprint(model) == first


def test_variables_that_are_not_set_are_named_each_once(monkeypatch):
    monkeypatch.setenv("SET", "x")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.delenv("OTHER", raising=False)
    value = {"a": ["${UNSET}/${SET}", "${OTHER}"], "b": {"c": "${UNSET}"}, "d": 3}
    assert resolve.unset(value) == ["UNSET", "OTHER"]
    assert resolve.unset("plain") == []


def test_the_folder_of_a_model_is_found_without_building_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "cache"))
    assert resolve.folder_of("lab:l") is None
    assert (resolve.folder_of("lab:s") or tmp_path).name == "s"
    assert resolve.folder_of(str(tmp_path)) == tmp_path
    assert resolve.folder_of("own/er") is None
    with pytest.raises(DataError) as e:
        resolve.folder_of("./no/where")
    assert str(e.value) == "no such folder, and not a hub id (got './no/where'); give a model folder or owner/name"
    assert not (tmp_path / "cache").exists()


def test_a_model_out_of_the_environment_is_that_model(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDENT", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert resolve.model_path("${STUDENT}") == str(tmp_path)
    assert resolve.folder_of("${STUDENT}") == tmp_path
    assert resolve.model_fingerprint("${STUDENT}") == resolve.model_fingerprint(str(tmp_path))
    monkeypatch.setenv("STUDENT", "owner/one")
    one = resolve.model_fingerprint("${STUDENT}")
    monkeypatch.setenv("STUDENT", "owner/two")
    assert one.startswith("env:") and "owner" not in one
    assert resolve.model_fingerprint("${STUDENT}") != one
    monkeypatch.setenv("STUDENT", "lab:s")
    assert Path(resolve.model_path("${STUDENT}")).name == "s"
