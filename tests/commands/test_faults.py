"""Everything that would stop a run is found before it, each fault in a line of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Notes, Watching
from mixdistill import pipeline, recipe
from mixdistill.commands.check import load
from mixdistill.commands.faults import find, of_models, of_verifiers
from mixdistill.errors import RecipeError
from mixdistill.recipe import build
from mixdistill.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths in the recipe are from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


def faults(raw: dict[str, Any], out: str = "run") -> list[str]:
    found = find(build(raw), Store(Path(out)))
    return found.of_recipe + found.of_folder


def recorded(prompts: list[str], **more: Any) -> dict[str, Any]:
    """A teacher of recorded traces with these prompts, written to traces.jsonl."""
    rows = [{"prompt": p, "completion": "A + +"} for p in prompts]
    Path("traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"backend": "recorded", "model": "traces.jsonl", "complete": True, **more}


def test_a_good_recipe_has_no_faults_and_leaves_nothing_behind(raw, here):
    assert faults(raw) == []
    assert list(here.iterdir()) == []


def test_one_broken_source_does_not_hide_the_others(raw):
    Path("broken.jsonl").write_text("not json\n" * 3)
    Path("one.jsonl").write_text('{"question": "a?", "answer": "1"}\n')
    raw["problems"]["train"] = {"source": "missing.csv"}
    raw["problems"]["eval"] |= {
        "columns": {"source": "one.jsonl", "prompt": "quest"},
        "env": {"source": "${NOT_SET}/x.jsonl"},
        "lab": {"source": "lab:sings"},
    }
    assert faults(raw) == [
        "problems.eval.env.source: environment variable NOT_SET is not set (got '${NOT_SET}/x.jsonl'); "
        "export NOT_SET=...",
        "problems.train: missing.csv: no such file; give a path from where mixdistill is run, or a hub id without an "
        "ending",
        "problems.eval.columns: one.jsonl: no column 'quest' (problems.eval.columns.prompt); did you mean 'question'?",
        "problems.eval.lab: no lab domain 'lab:sings'; did you mean 'lab:signs'?",
    ]


def test_a_fault_between_two_sources_is_said_of_the_section(raw):
    raw["problems"]["train"] = dict(raw["problems"]["eval"]["signs"])
    assert faults(raw) == [
        "problems.train: every one of 4 problems is also in an evaluation set; "
        "use others, or cut a file in two with part",
    ]


def test_an_unset_variable_is_said_once_with_the_number_of_keys(raw, monkeypatch):
    raw["teachers"]["long"] = {"backend": "recorded", "model": "m", "path": "${NOT_SET}/a.jsonl"}
    raw["teachers"]["short"] = {"backend": "recorded", "model": "${NOT_SET}"}
    line = "teachers.long.path: environment variable NOT_SET is not set (got '${NOT_SET}/a.jsonl'"
    assert faults(raw) == [f"{line}; 1 other key names it too); export NOT_SET=..."]
    raw["teachers"]["short"]["prompt_column"] = "${NOT_SET}"
    assert faults(raw) == [f"{line}; 2 other keys name it too); export NOT_SET=..."]


def test_teachers_that_cannot_be_made_are_named_each(raw):
    Path("own.py").write_text(
        "class Mine:\n"
        "    def __init__(self, model, *, port):\n        self.port = int(port)\n"
        "    def generate(self, requests):\n        yield from ()\n"
    )
    raw["teachers"] |= {
        "long": {"backend": "scripted", "model": "lng"},
        "big": {"backend": "openai", "model": "gpt"},
        "own": {"backend": "own.py:Mine", "model": "m", "port": "x"},
        "tiny": {"backend": "transformers", "model": "lab:teacher-tiny"},
    }
    assert faults(raw) == [
        "teachers.long: lab: no scripted teacher of that name (got 'lng'); did you mean 'long'?",
        "teachers.big: gpt: environment variable OPENAI_API_KEY is not set; export it, or give base_url",
        "teachers.own: 'own.py:Mine' cannot be used with these options (ValueError: invalid literal for int() with "
        "base 10: 'x'); mend them, or the backend",
        "teachers.tiny.model: lab: no model of that name (got 'teacher-tiny'); did you mean 'teacher-small'?",
    ]


def test_the_teachers_are_looked_at_where_the_problems_cannot_be(raw):
    raw["problems"]["train"] = {"source": "missing.csv"}
    raw["teachers"]["long"] = {"backend": "recorded", "model": "none.jsonl"}
    assert [line.partition(": no ")[0] for line in faults(raw)] == [
        "problems.train: missing.csv",
        "teachers.long: none.jsonl",
    ]


def test_recorded_traces_need_their_columns_and_the_problems_prompts(raw):
    raw["teachers"]["long"] = recorded(["Q 1 2 T 3 :", "what?"])
    first = find(build({**raw, "teachers": {**raw["teachers"], "long": raw["teachers"]["short"]}}), Store(Path("r")))
    prompt = first.problems["train"][0].prompt
    assert faults(raw) == [
        f"teachers.long: traces.jsonl: none of 12 prompts is in it; the first asked is {prompt!r}, its own first is "
        "'Q 1 2 T 3 :'; set prompt_column, and leave the teacher's prompt plain"
    ]
    raw["teachers"]["long"] = recorded([prompt], completion_column="completions")
    assert faults(raw) == ["teachers.long: traces.jsonl: no column 'completions'; did you mean 'completion'?"]
    raw["teachers"]["long"] = recorded([prompt])
    assert faults(raw) == []


def test_a_join_is_of_what_the_teacher_is_asked(raw):
    """A teacher prompt changes the text that is looked up."""
    first = find(build(raw), Store(Path("r"))).problems["train"][0].prompt
    Path("ask.txt").write_text("Please: {problem}")
    raw["teachers"]["long"] = recorded([f"Please: {first}"], prompt="ask.txt")
    found = find(build(raw), Store(Path("r")))
    assert found.of_recipe == []
    assert found.joins["long"]["matched"] == 1


def test_a_free_teacher_without_a_trace_says_why(raw):
    Path("mine.csv").write_text("prompt,answer\nwhat?,A + +\n")
    raw["problems"]["train"] = {"source": "mine.csv"}
    why = "the prompt is not a solvable signs problem such as 'Q 8 4 7 9 T 10 :'"
    advice = "check its columns and the problems"
    assert faults(raw) == [
        f"teachers.{name}: no trace for any of 1 problems ({why}); {advice}" for name in ("long", "short")
    ]


def test_models_that_cannot_be_students_are_named_each(raw, monkeypatch):
    Path("empty").mkdir()
    Path("config").mkdir()
    Path("config/config.json").write_text("{}")
    models = ["lab:ss", "./empty", "./config", "/no/where", "lab:s", "own/er"]
    raw["students"] = {f"s{i}": {"model": model} for i, model in enumerate(models)}
    raw["analyze"] = {"tokenizer": "./empty"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = "give the folder of a Hugging Face model"
    found = [
        "students.s0.model: lab: no model of that name (got 'ss'); did you mean 's'?",
        f"students.s1.model: no config.json in this folder (got './empty'); {folder}",
        f"students.s2.model: no weights in this folder (got './config'); {folder}",
        "students.s3.model: no such folder, and not a hub id (got '/no/where'); give a model folder or owner/name",
        "students.s5.model: not on this machine, and HF_HUB_OFFLINE is set (got 'own/er'); give a folder, or fetch it "
        "first",
        f"analyze.tokenizer: no config.json in this folder (got './empty'); {folder}",
    ]
    assert faults(raw) == found
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert faults(raw) == [line for line in found if "HF_HUB_OFFLINE" not in line], "it can still be fetched"


def test_a_student_without_a_chat_template_is_a_fault(raw):
    import tiny

    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = None
    raw["students"] = {"s": {"model": tiny.save_student(Path("bare"), tokenizer)}}
    assert faults(raw) == [
        "students.s.model: bare: its tokenizer has no chat template; give the student a model that has one"
    ]
    tokenizer.chat_template = "{% for m in %}"
    raw["students"] = {"s": {"model": tiny.save_student(Path("wrong"), tokenizer)}}
    (line,) = faults(raw)
    assert line.startswith(
        "students.s.model: wrong: its chat template cannot render user and assistant turns (TemplateSyntaxError: "
    )
    assert line.endswith("); mend it")


def test_a_folder_that_cannot_be_written_or_is_in_use_is_named(raw, here, monkeypatch):
    Path("file").touch()
    assert faults(raw, "file/run") == [f"file/run: cannot be written ({here}/file is a file); choose another --out"]
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert faults(raw, "new") == [f"new: cannot be written (no permission in {here}); choose another --out"]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    with Store(Path("used")).lock():
        before = Path("used/.lock").read_text()
        (line,) = faults(raw, "used")
        assert Path("used/.lock").read_text() == before
    assert faults(raw, "used") == []
    assert Path("used/.lock").read_text() == before, "what a killed run left there stays"
    assert line.startswith("used: in use by pid ")
    assert line.endswith("; wait for it or use --out")


def test_what_the_run_would_refuse_is_found_before(raw, notes: Notes, inline):
    pipeline.run(build(raw), Store(Path("run")), stages=("generate",), watcher=Watching())
    assert faults(raw) == []
    raw["teachers"]["long"]["sampling"] = {"temperature": 1.0}
    assert faults(raw) == [
        "run: generate/long was made otherwise: sampling.temperature was None, is now 1.0; "
        "use --out for a new run or --fresh to set the old aside"
    ]


def test_nothing_is_built_to_be_looked_at(raw, here, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(here / "cache"))
    Path("run/generate").mkdir(parents=True)
    raw["students"] = {"l": {"model": "lab:l"}}
    raw["teachers"]["large"] = {"backend": "transformers", "model": "lab:teacher-large"}
    assert faults(raw) == []
    assert not (here / "cache").exists()


def test_sources_are_tried_where_the_recipe_is_not_valid(raw):
    raw["seeds"] = "many"
    raw["problems"]["train"] = {"source": "missing.csv"}
    raw["problems"]["eval"]["env"] = {"source": "${NOT_SET}"}
    Path("r.yaml").write_text(json.dumps(raw))
    with pytest.raises(RecipeError) as e:
        load("r.yaml")
    assert e.value.findings == [
        "r.yaml: seeds: must be a whole number or a list of them (got 'many')",
        "r.yaml: problems.eval.env.source: environment variable NOT_SET is not set (got '${NOT_SET}'); "
        "export NOT_SET=...",
        "r.yaml: problems.train: missing.csv: no such file; give a path from where mixdistill is run, or a hub id "
        "without an ending",
    ]
    raw["problems"]["eval"]["env"]["sorce"] = "x"
    Path("r.yaml").write_text(json.dumps(raw))
    with pytest.raises(RecipeError) as e:
        load("r.yaml")
    assert [line.split(": ")[1] for line in e.value.findings] == ["problems.eval.env.sorce", "seeds"]


def test_a_valid_recipe_is_loaded_with_the_name_of_its_file():
    assert load("demo-quick", ["seeds=1"]) == (recipe.load("demo-quick", ["seeds=1"]), "demo-quick.yaml")


def test_a_run_finds_a_model_that_is_not_to_be_had_before_it_buys_a_trace(raw, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[str] = []

    def download(model: str, file: str, **more: Any) -> str:
        asked.append(model)
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    raw["students"] = {"s": {"model": "lab:s"}, "far": {"model": "own/er"}}
    assert [line.partition(" (got")[0] for line in of_models(build(raw))] == [
        "students.far.model: not on this machine, and not to be had from the hub"
    ]
    assert asked == ["own/er"], "what is here is not asked for"
    raw["students"] = {"s": {"model": "./no/where"}}
    (line,) = of_models(build(raw))
    assert line.startswith("students.s.model: no such folder, and not a hub id (got './no/where')")


FITTING = """
from mixdistill.types import Outcome, Verdict

def verify(problem, trace, *, size=1, other=None):
    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT)

def unfit(*, deadline, size=1):
    return [f"size: too large for {deadline:g} s (got {size})"] if size > deadline else []

def caveats():
    return ["verifier: accepts everything"]
"""


def test_a_verifier_says_itself_what_keeps_it_from_its_work_and_what_should_be_known(raw, here):
    (here / "own.py").write_text(FITTING)
    raw["verify"] = {"verifier": "own.py:verify", "size": 20, "other": 1}
    assert faults(raw) == []
    assert of_verifiers(build(raw), "caveats") == ["verify.verifier: accepts everything"]
    raw["verify"]["deadline"] = 5
    assert faults(raw) == of_verifiers(build(raw)) == ["verify.size: too large for 5 s (got 20)"]
    raw["verify"] = {"verifier": "signs"}
    assert of_verifiers(build(raw)) == of_verifiers(build(raw), "caveats") == []


# -- a student's tokenizer and template -------------------------------------------------------------------------------


def _asked(raw: dict[str, Any], model: str, system: str | None = None) -> list[str]:
    turns = [{"role": "system", "content": system}] if system else []
    row = {"prompt": [*turns, {"role": "user", "content": "Q 8 4 :"}], "answer": "A +"}
    Path("p.jsonl").write_text(json.dumps(row) + "\n")
    source = {"source": "p.jsonl", "prompt": "prompt", "answer": "answer"}
    raw["problems"] = {"train": source, "eval": {"e": {"source": "lab:signs", "split": "eval", "limit": 2}}}
    raw["teachers"] = {"long": {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}}
    raw["arms"], raw["contrasts"] = {"long": {"long": 1}}, {}
    raw["students"] = {"s": {"model": model}}
    return faults(raw)


def test_a_template_that_cannot_say_the_problems_system_prompt_is_a_fault(raw):
    import templates
    import tiny

    advice = (
        "and problems have one; give the student a model or template that takes one, or put it into the problems' own "
        "text"
    )
    for kind, said in {"loses the system prompt": "loses", "refuses the system prompt": "refuses"}.items():
        model = tiny.save_student(Path(said), templates.of(kind).tokenizer)
        assert _asked(raw, model) == []
        assert _asked(raw, model, "Be brief.") == [
            f"students.s.model: system_role: the chat template {said} a system prompt, {advice}"
        ]


def test_a_tokenizer_larger_than_the_model_is_a_fault(raw):
    import templates
    import tiny

    tokenizer = templates.of("qwen2.5").tokenizer
    model = tiny.save_student(Path("student"), tokenizer)
    tokenizer.add_tokens(["one", "two"])
    tokenizer.save_pretrained(model)
    (line,) = _asked(raw, model)
    size = len(tokenizer)
    assert line == (
        f"students.s.model: vocabulary_fits: its tokenizer has token {size - 1} ('two') and the model's embedding "
        f"{size - 2} rows; give both from one model, or resize the embedding"
    )


def test_a_tokenizer_without_a_pad_token_is_no_fault(raw):
    import templates
    import tiny

    assert _asked(raw, tiny.save_student(Path("student"), templates.of("no pad").tokenizer)) == []


def test_an_adapter_is_no_student(raw):
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": "own/er"}))
    line = (
        "students.s.model: a LoRA adapter and no whole model (got 'adapter'); merge it into 'own/er' "
        "(merge_and_unload of PEFT) and give that folder"
    )
    assert _asked(raw, "adapter") == [line]
    assert of_models(build(raw)) == [line]


def test_a_student_may_be_named_by_the_environment(raw, monkeypatch):
    import tiny

    model = tiny.student(Path("student"))
    monkeypatch.setenv("STUDENT", model)
    raw["students"] = {"s": {"model": "${STUDENT}"}}
    assert faults(raw) == []
    assert of_models(build(raw)) == []
    monkeypatch.delenv("STUDENT")
    assert faults(raw) == [
        "students.s.model: environment variable STUDENT is not set (got '${STUDENT}'); export STUDENT=..."
    ]
