"""What is wrong with a recipe is said line by line, all at once, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from mixdistill import sections
from mixdistill.errors import RecipeError
from mixdistill.recipe import build


def findings(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as e:
        build(raw, where="mix.yaml")
    return e.value.findings


def change(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split("/")
    here = raw
    for part in parents:
        here = here.setdefault(part, {})
    here[last] = value
    return raw


# fmt: off
CASES = [
    ("teachers/long/until_correct", 2,
     "teachers.long.max_samples: missing; until_correct needs it, or a hopeless problem would be asked for ever"),
    ("teachers/long/max_samples", 2, "teachers.long.max_samples: only until_correct needs it; set that, or samples"),
    ("teachers/long", {"backend": "scripted", "model": "long", "samples": 3, "until_correct": 2, "max_samples": 2},
     "teachers.long.max_samples: must be at least samples=3 (got 2)"),
    ("teachers/long", {"backend": "scripted", "model": "long", "until_correct": 4, "max_samples": 2},
     "teachers.long.max_samples: must be at least until_correct=4 (got 2)"),
    ("teachers/long/price", {"prompt": 1},
     "teachers.long.price.completion: missing; it is required"),
    ("spend/cost", 0, "spend.cost: input should be greater than 0 (got 0)"),
    ("train/learning_rat", 1, "train.learning_rat: unknown key; did you mean 'learning_rate'?"),
    ("teachers/long/sampling", {"temprature": 1},
     "teachers.long.sampling.temprature: unknown key; did you mean 'temperature'?"),
    ("students/s/seed", 1, "students.s.seed: unknown key; did you mean 'seeds'?"),
    ("problems/eval/signs/sorce", "x", "problems.eval.signs.sorce: unknown key; did you mean 'source'?"),
    ("techers", {}, "techers: unknown key; did you mean 'teachers'?"),
    ("train/learning_rate", "fast",
     "train.learning_rate: input should be a valid number, unable to parse string as a number (got 'fast')"),
    ("train/learning_rate", 0, "train.learning_rate: input should be greater than 0 (got 0)"),
    ("train/learning_rate", float("inf"), "train.learning_rate: input should be a finite number (got inf)"),
    ("train/overlong", "cut", "train.overlong: input should be 'refuse', 'drop' or 'truncate' (got 'cut')"),
    ("students", {}, "students: dictionary should have at least 1 item after validation, not 0 (got {})"),
    ("arms/mix", {"long": 0.2, "shrt": 0.8}, "arms.mix: 'shrt' is not a teacher; did you mean 'short'?"),
    ("arms/mix", {"long": 0.2, "short": 0.7}, "arms.mix: weights must add up to 1 (got 0.9)"),
    ("arms/mix", {"long": -0.2, "short": 1.2},
     "arms.mix.weights.long: input should be greater than or equal to 0 (got -0.2)"),
    ("arms/mix", {"weights": {"long": 1}, "mixture": "blnd"},
     "arms.mix: 'blnd' is not a mixture; did you mean 'blend'? (your own: package.module:name or path/file.py:name)"),
    ("arms/mix", {"weights": {"long": 1}, "tags": {"long": "/l", "short": "/s"}},
     "arms.mix.tags: 'short' is no teacher of this arm; known: long; leave its tag out, or give it a weight"),
    ("arms/mix", {"weights": {"long": 0.8, "short": 0.2}, "tags": {"short": "/s"}},
     "arms.mix.tags: none for 'long'; give every teacher of the arm one"),
    ("arms/mix", {"weights": {"long": 0.8, "short": 0.2}, "mixture": "tagged", "tags": {"long": "/s", "short": "/s"}},
     "arms.mix.tags: 'long' and 'short' have the same (got '/s'); give each one of its own"),
    ("arms/mix", {"weights": {"long": 0.8, "short": 0.2}, "tags": {"long": "/l", "short": " "}},
     "arms.mix.tags.short: is empty (got ' '); write a text that the prompt is to end in"),
    ("contrasts/gap", ["long@loss_tokens", "short"],
     "contrasts.gap: 'long@loss_tokens' is not an arm of the recipe; name 'long', whose other budgets and tags are "
     "reported beside it"),
    ("arms/base", {"long": 1}, "arms: 'base' is a reserved name; choose another"),
    ("arms/Base", {"long": 1}, "arms: 'base' and 'Base' differ in upper and lower case alone, and would share a "
     "folder on some disks; rename one"),
    ("teachers/LONG", {"backend": "scripted", "model": "long"},
     "teachers: 'long' and 'LONG' differ in upper and lower case alone, and would share a folder on some disks; "
     "rename one"),
    ("students/S", {"model": "lab:s"}, "students: 's' and 'S' differ in upper and lower case alone, and would share "
     "a folder on some disks; rename one"),
    ("problems/eval/Train", {"source": "lab:signs"}, "problems.eval: 'train' and 'Train' differ in upper and lower "
     "case alone, and would share a folder on some disks; rename one"),
    ("teachers/long/backend", "scriptd",
     "teachers.long: 'scriptd' is not a backend; did you mean 'scripted'? "
     "(your own: package.module:name or path/file.py:name)"),
    ("teachers/long/smaples", 4,
     "teachers.long.smaples: not an option of Scripted (got 4); did you mean 'samples'?"),
    ("teachers/long", {"backend": "recorded", "model": "x", "promt": "q"},
     "teachers.long.promt: not an option of Recorded (got 'q'); did you mean 'prompt'?"),
    ("teachers/long/prompt", "boxd", "teachers.long.prompt: no prompt 'boxd'; did you mean 'boxed'?"),
    ("teachers/long/sytem", "Be brief.",
     "teachers.long.sytem: not an option of Scripted (got 'Be brief.'); did you mean 'system'?"),
    ("teachers/long/system", "", "teachers.long.system: string should have at least 1 character (got '')"),
    ("teachers/long/examples", "gone.jsonl", "teachers.long.examples: gone.jsonl: no such file; give a path from where "
     "mixdistill is run, or a hub id without an ending"),
    ("teachers/long", {"backend": "recorded", "model": "x", "system": "Be brief."},
     "teachers.long.system: recorded traces were asked before; leave it out"),
    ("teachers/long/sampling", {"temperature": -1},
     "teachers.long.sampling.temperature: must be 0 (greedy) or more (got -1)"),
    ("evaluate/sampling", {"top_p": 1.5}, "evaluate.sampling.top_p: must be above 0, at most 1 (got 1.5)"),
    ("evaluate/sampling", {"max_tokens": 0}, "evaluate.sampling.max_tokens: must be 1 or more (got 0)"),
    ("verify/deadlin", 5, "verify.deadlin: not an option of verify (got 5); did you mean 'deadline'?"),
    ("contrasts/gap", ["long", "shrt"], "contrasts.gap: 'shrt' is not an arm; did you mean 'short'?"),
    ("contrasts/gap", ["long", "long"], "contrasts.gap: compares 'long' with itself; name two arms"),
    ("contrasts/gap", ["long", "each_pure"],
     "contrasts.gap: no pure arm to compare 'long' with; add an arm for each of its teachers"),
    ("contrasts/gap", ["base", "each_pure"],
     "contrasts.gap: no pure arm to compare 'base' with; add an arm for each of its teachers"),
    ("train/lr_scheduler_type", "cosin",
     "train.lr_scheduler_type: input should be 'linear', 'cosine', 'cosine_with_restarts', 'polynomial', 'constant', "
     "'constant_with_warmup' or 'inverse_sqrt' (got 'cosin')"),
    ("budget", {"unit": "loss_tokens"},
     "budget.per_update: missing; loss_tokens needs it, at least the tokens of the longest trace"),
    ("evaluate", {"sampling": {"max_tokens": 64}, "caps": [16, 64]},
     "evaluate.caps: must be below evaluate.sampling.max_tokens=64 (got 64); leave it out, or raise max_tokens"),
    ("primary", {"contrast": "long_gap", "benchmark": "signs"},
     "primary.contrast: 'long_gap' is not a contrast; did you mean 'long_cot_gap'?"),
    ("primary", {"contrast": "long_cot_gap", "benchmark": "sings"},
     "primary.benchmark: 'sings' is not a benchmark; did you mean 'signs'?"),
    ("primary", {"contrast": "long_cot_gap", "benchmark": "signs", "max_tokens": 64},
     "primary.max_tokens: 64 is not among evaluate.caps; add it there"),
    ("problems/eval/train", {"source": "lab:signs"},
     "problems.eval: a benchmark cannot be called 'train'; choose another name"),
    ("problems/eval/dev", {"source": "lab:signs"},
     "problems.eval: a benchmark cannot be called 'dev'; choose another name"),
    ("problems/eval/gate", {"source": "lab:signs"},
     "problems.eval: a benchmark cannot be called 'gate'; choose another name"),
    ("problems/eval/average", {"source": "lab:signs"},
     "problems.eval: a benchmark cannot be called 'average'; choose another name"),
    ("primary", {"contrast": "long_cot_gap", "benchmark": "average"},
     "primary.benchmark: there is no average of fewer than two benchmarks; name the benchmark"),
    ("smallest_gap", 0, "smallest_gap: input should be greater than 0 (got 0)"),
    ("students/s/train", {"learning_rte": 1},
     "students.s.train.learning_rte: unknown key; did you mean 'learning_rate'?"),
    ("arms/long", {"weights": {"long": 1}, "train": {"learning_rte": 1}},
     "arms.long.train.learning_rte: unknown key; did you mean 'learning_rate'?"),
    ("arms/long", {"weights": {"long": 1}, "train": {"keep": "best"}},
     "arms.long.train.keep: best needs problems.dev, which the choice is made on; add such problems"),
    ("arms/long", {"weights": {"long": 1}, "budget": {"per_updat": 3}},
     "arms.long.budget.per_updat: unknown key; did you mean 'per_update'?"),
    ("arms/long", {"weights": {"long": 1}, "budget": {"also": ["each"]}},
     "arms.long.budget.also: says what every arm is trained under; set it in budget"),
    ("budget", {"unit": "examples", "also": ["examples"]},
     "budget.also: 'examples' is what the budget is already; leave it out"),
    ("budget", {"also": ["shared"]}, "budget.also: 'shared' is what the budget is already; leave it out"),
    ("students/s/seeds", [1, 1], "students.s.seeds: needs distinct seeds from 0 on (got [1, 1])"),
    ("seeds", 0, "students.s.seeds: needs distinct seeds from 0 on (got [])"),
]
# fmt: on


def test_a_blend_that_is_to_beat_each_pure_arm_needs_one_of_each_of_its_teachers(raw: dict[str, Any]):
    raw["teachers"]["idle"] = raw["teachers"]["long"]
    raw["arms"] = {"mix": {"long": 0.2, "short": 0.8, "idle": 0}, "short": {"short": 1}}
    raw["contrasts"] = {"gain": ["mix", "each_pure"]}
    assert findings(raw) == ["mix.yaml: contrasts.gain: no pure arm of 'long' to compare 'mix' with; add one"]
    raw["arms"]["long"] = {"long": 1}
    assert build(raw).pairs("gain") == [("mix", "short"), ("mix", "long")]


def test_a_students_own_schedule_is_checked_too(raw: dict[str, Any]):
    raw["students"]["s"]["train"] = {"lr_scheduler_type": "cosin"}
    (line,) = findings(raw)
    assert line.startswith("mix.yaml: students.s.train.lr_scheduler_type: input should be 'linear', 'cosine', ")


def test_every_schedule_there_is_can_be_made_without_settings_of_its_own():
    import torch
    from transformers import get_scheduler

    for name in get_args(sections.Schedule):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
        assert get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=4)


@pytest.mark.parametrize(("path", "value", "line"), CASES, ids=[f"{p}={v}"[:60] for p, v, _ in CASES])
def test_the_finding_says_where_what_and_what_to_do(raw: dict[str, Any], path: str, value: Any, line: str):
    assert findings(change(raw, path, value)) == [f"mix.yaml: {line}"]


def test_a_missing_section_is_named(raw: dict[str, Any]):
    del raw["verify"], raw["problems"]["train"]
    assert findings(raw) == [
        "mix.yaml: problems.train: missing; it is required",
        "mix.yaml: verify: missing; it is required",
    ]


@pytest.mark.parametrize("seeds", ["three", 2.5, [0, "x"], {"a": 1}])
@pytest.mark.parametrize("section", ["", "students.s."])
def test_seeds_of_the_wrong_type_are_one_finding(raw: dict[str, Any], section: str, seeds: Any):
    (raw["students"]["s"] if section else raw)["seeds"] = seeds
    assert findings(raw) == [f"mix.yaml: {section}seeds: must be a whole number or a list of them (got {seeds!r})"]


def test_all_findings_of_the_structure_come_at_once(raw: dict[str, Any]):
    raw["train"] = {"learning_rat": 1, "weight_decay": -1}
    raw["seed"] = 3
    assert {f.split(": ")[1] for f in findings(raw)} == {"train.learning_rat", "train.weight_decay", "seed"}


def test_all_findings_of_the_references_come_at_once(raw: dict[str, Any]):
    raw["arms"]["mix"] = {"long": 0.3, "shrt": 0.8}
    raw["teachers"]["long"]["backend"] = "opnai"
    raw["verify"]["verifier"] = "sings"
    raw["analyze"] = {"metrics": ["steps", "stps"]}
    raw["primary"] = {"contrast": "gap", "benchmark": "b"}
    places = [f.split(": ")[1] for f in findings(raw)]
    assert places == [
        "arms.mix", "arms.mix", "primary.contrast", "primary.benchmark", "teachers.long", "verify", "analyze.metrics",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b", "a\\b", ".hidden", "", "x" * 65, "two words", "nul\0", "a\n"])
@pytest.mark.parametrize("section", ["students", "arms", "teachers", "contrasts", "eval", "name"])
def test_names_that_could_leave_the_run_folder_are_refused(raw: dict[str, Any], section: str, name: str):
    if section == "name":
        raw["name"] = name
    else:
        names = raw["problems"]["eval"] if section == "eval" else raw[section]
        names[name] = next(iter(names.values()))
    found = findings(raw)
    assert len(found) == 1
    assert "cannot be a name; use letters, digits" in found[0]
    assert "\n" not in found[0] and "\0" not in found[0]


def test_a_mixture_need_not_take_the_unit(raw: dict[str, Any], tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def mine(pools, weights, *, rng, share=0.5):\n    yield from ()\n")
    raw["arms"]["mine"] = {"weights": {"long": 1}, "mixture": f"{own}:mine", "share": 0.1}
    assert build(raw).arms["mine"].options == {"share": 0.1}


def test_an_option_without_a_default_must_be_given(raw: dict[str, Any], notes):
    del raw["teachers"]["short"]["notes"]
    assert findings(raw) == ["mix.yaml: teachers.short.notes: missing; Counting needs it"]


def test_a_reference_to_something_that_is_no_function_is_refused(raw: dict[str, Any]):
    raw["verify"]["verifier"] = "mixdistill.lab.domain:VERSION"
    assert findings(raw) == [
        "mix.yaml: verify: 'mixdistill.lab.domain:VERSION' is not a verifier (got str); name a function or class"
    ]


JUNK = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "a:b",
    [],
    ["x"],
    [[]],
    {},
    {"x": 1},
    {"x": None},
    {1: 2},
    float("nan"),
    [0, 0],
]


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a recipe."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from spots(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    changed = value.copy()
    changed[path[0]] = replaced(value[path[0]], path[1:], junk)
    return changed


def test_whatever_stands_in_its_place_is_a_finding_or_a_recipe_and_never_a_crash(raw: dict[str, Any]):
    raw |= {
        "primary": {"contrast": "gain", "benchmark": "signs", "max_tokens": 8},
        "arms": {
            "mix": {"weights": {"long": 0.5, "short": 0.5}, "mixture": "blend"},
            "short": {"short": 1},
            "long": {"long": 1},
        },
        "contrasts": {"gain": ["mix", "each_pure"]},
        "train": {"learning_rate": 1e-3},
        "evaluate": {"caps": [8], "sampling": {"max_tokens": 9}},
        "analyze": {"metrics": ["steps"]},
        "seeds": [0, 1],
    }
    raw["students"]["s"] |= {"train": {"learning_rate": 1e-3}, "seeds": 1}
    build(raw)
    places = [p for p in spots(raw) if p]
    assert len(places) > 50
    for place in places:
        for junk in JUNK:
            try:
                recipe = build(replaced(raw, place, junk))
            except RecipeError as e:
                assert e.findings and all(f and "\n" not in f for f in e.findings), (place, junk)
            else:
                recipe.cells()
                assert [recipe.group_of(a) for a in recipe.arms]
                assert all(recipe.pairs(c) for c in recipe.contrasts)


def test_a_module_that_cannot_be_imported_is_a_finding_beside_the_others(raw, tmp_path):
    (tmp_path / "own.py").write_text("import json\njson.nothing\n")
    raw["verify"] = {"verifier": f"{tmp_path}/own.py:verify"}
    raw["contrasts"] = {"x": ["long", "lng"]}
    with pytest.raises(RecipeError) as e:
        build(raw)
    assert e.value.findings == [
        "recipe: contrasts.x: 'lng' is not an arm; did you mean 'long'?",
        f"recipe: verify: '{tmp_path}/own.py:verify' cannot be imported "
        "(AttributeError: module 'json' has no attribute 'nothing'); mend it",
    ]
