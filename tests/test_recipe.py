"""The recipe: what is read, overridden, implied and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixdistill import recipe as recipes
from mixdistill.errors import RecipeError
from mixdistill.recipe import Recipe, build, load, parse_yaml, render


@pytest.fixture
def file(tmp_path: Path, raw: dict[str, Any]) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as e:
        parse_yaml(text, "a.yaml")
    return str(e.value)


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1.0e-5", "+1e-5", ".1e-4", "10e-6", "0.00001"])
def test_numbers_with_an_exponent_arrive_as_numbers(text: str):
    assert parse_yaml(f"x: {text}", "a.yaml") == {"x": pytest.approx(1e-5)}


@pytest.mark.parametrize("text", ["e5", "1e", "1e-5b", "s@1e3", "1.2.3e4", "'1e-5'"])
def test_texts_that_only_look_like_numbers_stay_texts(text: str):
    assert isinstance(parse_yaml(f"x: {text}", "a.yaml")["x"], str)


def test_a_learning_rate_of_1e_5_in_a_file_is_a_float(file: Path):
    file.write_text(file.read_text() + "train: {learning_rate: 1e-5, adam_beta2: 98e-2}\n")
    loaded = load(file)
    assert loaded.train.learning_rate == 1e-5
    assert loaded.train.adam_beta2 == 0.98


def test_a_key_given_twice_is_refused_with_its_line():
    assert refusal("a: 1\nb:\n  c: 1\n  c: 2\n") == "a.yaml:4: not YAML: the key 'c' stands twice"


def test_a_key_that_is_a_list_is_refused_with_its_line():
    assert refusal("a: 1\n[b, c]: 2\n") == "a.yaml:2: not YAML: a key must be a single word"


def test_text_that_is_not_yaml_is_refused_with_its_line():
    assert refusal("a: 1\nb: [1, 2\nc: 3\n").startswith("a.yaml:3: not YAML: ")


def test_yaml_merge_keys_work():
    assert parse_yaml("a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}\n", "a.yaml")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(("text", "got"), [("", "NoneType"), ("- a\n", "list"), ("demo\n", "str")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, got: str):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecipeError, match=rf"a.yaml: a recipe is a mapping of sections \(got {got}\)"):
        load(tmp_path / "a.yaml")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"not UTF-8 text \(byte 9\); save it as UTF-8"):
        load(tmp_path / "a.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_no_obstacle(file: Path):
    plain = load(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load(file) == plain


def test_a_missing_file_suggests_a_shipped_recipe():
    with pytest.raises(RecipeError, match=r"demoo: no such recipe file; did you mean 'demo'\?"):
        load("demoo")


def test_a_folder_called_demo_does_not_hide_the_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("demo").name == "demo"


# -- overrides --------------------------------------------------------------------------------------------------------


def test_set_overrides_adds_and_parses_values(file: Path):
    loaded = load(file, ["seeds=[3, 5]", "train.learning_rate=1e-3", "teachers.long.sampling.max_tokens=64"])
    assert loaded.seeds_of("s") == [3, 5]
    assert loaded.train.learning_rate == 1e-3
    assert loaded.teachers["long"].sampling.max_tokens == 64


def test_set_reaches_names_with_dots_in_them(file: Path):
    file.write_text(file.read_text().replace("  s:\n", "  qwen-1.5b:\n"))
    assert load(file, ["students.qwen-1.5b.seeds=[7]"]).seeds_of("qwen-1.5b") == [7]


def test_set_changes_one_of_two_sections_that_share_an_alias(tmp_path: Path, raw: dict[str, Any]):
    raw["teachers"]["short"] = raw["teachers"]["long"]  # PyYAML writes this as &id001 and *id001
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    assert "*id001" in path.read_text()
    loaded = load(path, ["teachers.long.samples=4"])
    assert (loaded.teachers["long"].samples, loaded.teachers["short"].samples) == (4, 1)


@pytest.mark.parametrize("override", ["seeds", "=3", ""])
def test_set_without_key_or_value_is_refused(file: Path, override: str):
    with pytest.raises(RecipeError, match=r"write it as key\.subkey=value"):
        load(file, [override])


def test_set_below_a_value_is_refused(file: Path):
    with pytest.raises(RecipeError, match=r"--set name\.x=1: 'name' is not a section \(got 'tiny'\)"):
        load(file, ["name.x=1"])


def test_set_of_an_unknown_key_is_refused_like_one_in_the_file(file: Path):
    with pytest.raises(RecipeError, match=r"tiny\.yaml: train\.learning_rat: unknown key; did you mean 'learning_rate"):
        load(file, ["train.learning_rat=1"])


# -- what is implied --------------------------------------------------------------------------------------------------


def implied(raw: dict[str, Any], *teachers: str) -> Recipe:
    del raw["arms"], raw["contrasts"]
    raw["teachers"] = {t: {"backend": "scripted", "model": "long"} for t in teachers}
    return build(raw)


def test_long_and_short_imply_arms_and_contrasts(raw: dict[str, Any]):
    recipe = implied(raw, "long", "short")
    assert {a: spec.weights for a, spec in recipe.arms.items()} == {
        "long": {"long": 1},
        "short": {"short": 1},
        "mix-long": {"long": 0.2, "short": 0.8},
        "mix-long-50": {"long": 0.5, "short": 0.5},
    }
    assert recipe.contrasts == {
        "long_cot_gap": ("long", "short"),
        "mix_gain": ("mix-long", "each_pure"),
        "mix_gain_mix-long-50": ("mix-long-50", "each_pure"),
    }
    primary = recipe.primary_or_first()
    assert primary and (primary.contrast, primary.benchmark, primary.max_tokens) == ("long_cot_gap", "signs", None)


def test_large_and_small_imply_theirs(raw: dict[str, Any]):
    recipe = implied(raw, "large", "small")
    assert list(recipe.arms) == ["large", "small", "mix-large", "mix-large-50"]
    assert recipe.contrasts["large_teacher_gap"] == ("large", "small")


def test_other_teachers_imply_their_pure_arms_alone(raw: dict[str, Any]):
    recipe = implied(raw, "mine", "yours")
    assert list(recipe.arms) == ["mine", "yours"]
    assert recipe.contrasts == {}
    assert recipe.primary_or_first() is None


def test_arms_that_are_given_are_not_added_to(raw: dict[str, Any]):
    del raw["contrasts"]
    raw["arms"] = {"blend": {"long": 0.3, "short": 0.7}, "short": {"short": 1}, "l": {"weights": {"long": 1}}}
    recipe = build(raw)
    assert list(recipe.arms) == ["blend", "short", "l"]
    assert recipe.contrasts == {"mix_gain": ("blend", "each_pure")}


def test_no_comparison_is_implied_that_lacks_an_arm(raw: dict[str, Any]):
    del raw["contrasts"]
    raw["arms"] = {"blend": {"long": 0.3, "short": 0.7}, "short": {"short": 1}}
    assert build(raw).contrasts == {}


# -- what follows from it ---------------------------------------------------------------------------------------------


@pytest.fixture
def four(raw: dict[str, Any]) -> Recipe:
    """long, short, a blend and two arms nobody compares with them."""
    raw["teachers"] |= {"other": {"backend": "scripted", "model": "long"}}
    raw["arms"] |= {"mix": {"long": 0.2, "short": 0.8, "other": 0}, "other": {"other": 1}, "lone": {"other": 1}}
    raw["contrasts"] = {"mix_gain": ["mix", "each_pure"], "gain": ["other", "base"]}
    return build(raw)


def test_pure_arms_are_those_of_the_teachers_that_a_blend_uses(four: Recipe):
    assert four.pure_arms("mix") == ["long", "short"]
    assert four.pure_arms("long") == []
    assert four.pure_arms("other") == ["lone"]


def test_each_pure_stands_for_one_pair_per_pure_arm(four: Recipe):
    assert four.pairs("mix_gain") == [("mix", "long"), ("mix", "short")]
    assert four.pairs("gain") == [("other", "base")]


def test_a_group_holds_all_arms_linked_by_contrasts_in_the_recipes_order(four: Recipe):
    for arm in ("long", "short", "mix"):
        assert four.group_of(arm) == ["long", "short", "mix"]
    assert four.group_of("other") == ["other"]
    assert four.group_of("lone") == ["lone"]


def test_a_teacher_of_weight_zero_is_not_used(four: Recipe):
    assert four.teachers_of(["mix"], next(iter(four.students))) == ["long", "short"]


def test_students_override_training_and_seeds_for_all_their_arms(raw: dict[str, Any]):
    raw["train"] = {"learning_rate": 1e-4}
    raw["students"]["t"] = {"model": "lab:s", "train": {"learning_rate": 1e-3}, "seeds": 2}
    recipe = build(raw)
    assert [recipe.train_of(s).learning_rate for s in ("s", "t")] == [1e-4, 1e-3]
    assert [recipe.seeds_of(s) for s in ("s", "t")] == [[0], [0, 1]]
    assert recipe.cells() == [
        ("s", "long", 0), ("s", "short", 0),
        ("t", "long", 0), ("t", "short", 0), ("t", "long", 1), ("t", "short", 1),
    ]  # fmt: skip


# -- written and read again -------------------------------------------------------------------------------------------


def reread(recipe: Recipe, tmp_path: Path) -> Recipe:
    path = tmp_path / "again.yaml"
    path.write_text(render(recipe), encoding="utf-8")
    return load(path)


def test_a_recipe_with_everything_implied_reads_back_the_same(raw: dict[str, Any], tmp_path: Path):
    recipe = implied(raw, "long", "short")
    assert reread(recipe, tmp_path) == recipe


printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
texts = printable | st.sampled_from(["1e5", "1e-5", "yes", "null", "~", "0x1F", "2020-01-01", "a: b", "- a", "#"])


@given(description=texts, model=texts.filter(bool), rate=st.floats(1e-9, 1e9))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_printable_text_and_any_number_read_back_the_same(raw, tmp_path, description: str, model: str, rate: float):
    raw |= {"description": description, "train": {"learning_rate": rate}, "students": {"1e5": {"model": model}}}
    recipe = build(raw)
    assert reread(recipe, tmp_path) == recipe


def test_options_of_a_backend_survive(raw: dict[str, Any], tmp_path: Path):
    raw["teachers"]["long"] = {"backend": "recorded", "model": "s1", "path": "a.jsonl", "complete": "answered"}
    recipe = reread(build(raw), tmp_path)
    assert recipe.teachers["long"].options == {"path": "a.jsonl", "complete": "answered"}


def test_shipped_recipes_are_known_by_name():
    assert recipes.shipped()["demo"].name == "demo.yaml"


def _eval(raw: dict[str, Any], **benchmarks: dict[str, Any]) -> dict[str, Any]:
    lists = {name: {"source": "lab:signs", "split": "eval", **own} for name, own in benchmarks.items()}
    return raw | {"problems": raw["problems"] | {"eval": lists}, "primary": None}


def test_a_benchmark_without_weight_or_with_too_few_problems_decides_nothing_that_another_can(raw):
    small, two = {"source": "math-ai/aime24", "split": "test"}, {"source": "openai/gsm8k", "split": "test", "weight": 2}
    only = build(_eval(raw, a={"weight": 0}, b={}))
    assert (only.primary_or_first().benchmark, only.deciding_benchmark) == ("b", "b")
    several = build(_eval(raw, z={"weight": 0}, aime=small, few={"limit": 99}, a={}, b={}, c=two))
    assert (several.primary_or_first().benchmark, several.deciding_benchmark) == ("average", "c")
    assert build(_eval(raw, aime=small, a={}, b={})).deciding_benchmark == "a", "the first of equal ones"
    assert build(_eval(raw, g={"guard": True}, few={"limit": 99}, aime=small)).deciding_benchmark == "few"


def test_a_primary_cap_of_the_average_is_one_that_all_of_it_has(raw):
    sampling = {"sampling": {"max_tokens": 24}, "caps": [8, 16]}
    declared = {"contrast": "long_cot_gap", "benchmark": "average"}

    def primary(cap: int, **own: Any) -> Any:
        study = _eval(raw, a={}, b=own) | {"evaluate": sampling, "primary": {**declared, "max_tokens": cap}}
        return build(study).primary_or_first()

    assert primary(24).max_tokens is None, "the generation's own limit"
    assert primary(8).max_tokens == 8
    with pytest.raises(RecipeError) as e:
        primary(16, sampling={"max_tokens": 12})
    assert "primary.max_tokens: 16 is no cap below the limit of b (12); take a smaller one" in str(e.value)


def test_a_primary_cap_equal_to_the_generation_limit_means_the_whole_generation():
    recipe = load("demo-quick", ["primary.max_tokens=160"])
    assert recipe.primary is not None and recipe.primary.max_tokens == 160
    chosen = recipe.primary_or_first()
    assert chosen is not None and chosen.max_tokens is None


# -- extends ----------------------------------------------------------------------------------------------------------


def _write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_a_recipe_takes_what_it_does_not_say_from_the_one_it_extends(file: Path):
    child = _write(
        file.parent / "child.yaml", f"extends: {file.name}\nname: child\ntrain: {{max_length: 99}}\nseeds: 7\n"
    )
    parent, made = recipes.load(file), recipes.load(child)
    assert (made.name, made.seeds, made.train.max_length) == ("child", 7, 99)
    assert made.train.learning_rate == parent.train.learning_rate
    assert made.model_copy(update={"name": parent.name, "seeds": parent.seeds, "train": parent.train}) == parent


def test_null_takes_a_key_away_and_set_comes_last(file: Path):
    text = (
        f"extends: {file.name}\nname: child\narms: {{mix: null, other: {{long: 0.5, short: 0.5}}}}\ncontrasts: null\n"
    )
    child = _write(file.parent / "child.yaml", text)
    made = recipes.load(child, ["arms.other={long: 0.4, short: 0.6}"])
    assert made.arms["other"].weights == {"long": 0.4, "short": 0.6}
    assert "mix" not in made.arms and "mix_gain" in made.contrasts, "contrasts follow from the names again"


def test_a_shipped_recipe_is_extended_by_name_and_extensions_add_up(tmp_path: Path):
    _write(tmp_path / "a.yaml", "extends: demo\nname: a\nseeds: 2\n")
    made = recipes.load(_write(tmp_path / "b.yaml", "extends: a.yaml\nname: b\ndescription: Mine.\n"))
    demo = recipes.load("demo")
    assert made == demo.model_copy(update={"name": "b", "description": "Mine.", "seeds": 2})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: nothing\nname: c\n", "extends: nothing: no such recipe file"),
        ("extends: 3\nname: c\n", "extends: must name a recipe (got 3)"),
        ("extends: demo\n", "name: missing; under that of 'demo' it would go on in its run folder"),
        ("extends: c.yaml\nname: c\n", "extends: 'c.yaml' extends this recipe; leave one of the two out"),
    ],
)
def test_what_cannot_be_extended_is_one_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(RecipeError) as e:
        recipes.load(_write(tmp_path / "c.yaml", text))
    assert str(e.value).startswith(f"c.yaml: {said}") and len(e.value.findings) == 1


def test_two_recipes_that_extend_each_other_are_refused(tmp_path: Path):
    _write(tmp_path / "a.yaml", "extends: b.yaml\nname: a\n")
    with pytest.raises(
        RecipeError, match=r"^a\.yaml: extends: 'b\.yaml' extends this recipe; leave one of the two out$"
    ):
        recipes.load(_write(tmp_path / "b.yaml", "extends: a.yaml\nname: b\n"))
