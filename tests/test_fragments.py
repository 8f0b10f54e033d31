"""The shipped benchmarks: every one loads, binds its verifier, and goes from rows of its data set to a verdict.

The rows are made up, in the columns of each data set on the hub.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mixdistill
from mixdistill import chain, fragments, problems, prompts, recipe, resolve
from mixdistill.errors import RecipeError
from mixdistill.recipe import Recipe
from mixdistill.types import Outcome, Problem, Trace
from mixdistill.yaml_text import parse_yaml

FOLDER = Path(mixdistill.__file__).parent / "benchmarks"
NAMES = [
    "aime24", "aime25", "amc23", "gpqa-diamond", "gsm8k", "ifeval", "math", "math500", "mmlu-pro", "olympiadbench",
]  # fmt: skip
"""Add a benchmark here and its rows below, after reading what the tests say of it."""
ASKED = {"prompt": "Praise {thing}, without a comma.", "key": 7, "instruction_id_list": ["punctuation:no_comma"]}
Row = dict[str, Any]
Said = dict[str, str]


def _gpqa(n: int) -> Row:
    wrong = {f"Incorrect Answer {i}": f"{n + i} J\n" for i in (1, 2, 3)}
    return {"Question": f"Energy {n}?", "Correct Answer": f"{n} J", **wrong, "High-level domain": "Physics",
            "Subdomain": "Physics (general)"}  # fmt: skip


def _letter(problem: Problem, text: str) -> str:
    return next(line[0] for line in str(problem.prompt).splitlines() if line[1:] == f") {text}")


ROWS: dict[str, list[Row]] = {
    "aime24": [
        {"id": 60, "problem": "Find $m+n$.", "solution": "It is 25.", "answer": "025", "url": "u", "year": "2024"},
        {"id": 61, "problem": "Find $k$.", "solution": "It is 7.", "answer": "7", "url": "u", "year": "2024"},
    ],
    "aime25": [
        {"problem": "Find $m+n$.", "answer": "070", "id": "0"},
        {"problem": "Find $k$.", "answer": "588", "id": "1"},
    ],
    "amc23": [
        {"id": 0, "question": "How many miles?", "answer": "27.0", "url": "u"},
        {"id": 1, "question": "How many ways?", "answer": 3159.0, "url": "u"},
    ],
    "gpqa-diamond": [_gpqa(10), _gpqa(20)],
    "gsm8k": [
        {"question": "Ann has 2 and 3. How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
        {"question": "Bo has 1,000 and 200. How many?", "answer": "1,000 + 200 = 1,200\n#### 1,200"},
    ],
    "ifeval": [
        {**ASKED, "prompt": "Praise tea, without a comma.", "kwargs": [{"num_words": None, "relation": None}]},
        {**ASKED, "prompt": "Praise rain, without a comma.", "kwargs": [{"num_words": None, "relation": None}]},
    ],
    "math": [
        {"problem": "Halve 1.", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{\frac{1}{2}}$."},
        {"problem": "Roots of $x^2=4$?", "level": "Level 3", "type": "Geometry", "solution": r"So $\boxed{-2, 2}$."},
    ],
    "math500": [
        {"problem": "Halve 1.", "solution": "Half.", "answer": r"\frac{1}{2}", "subject": "Algebra", "level": 1,
         "unique_id": "test/algebra/1.json"},
        {"problem": "The point?", "solution": "There.", "answer": r"\left( 3, \frac{\pi}{2} \right)",
         "subject": "Precalculus", "level": 2, "unique_id": "test/precalculus/2.json"},
    ],
    "mmlu-pro": [
        {"question_id": 1, "question": "Which is even?", "answer_index": 2,
         "options": ["1", "3", "4", "5", "7", "9", "11", "13", "15", "17"],
         "answer": "C", "cot_content": "", "category": "math", "src": "made up"},
        {"question_id": 2, "question": "Which is red?", "options": ["grass", "blood", "sky"], "answer": "B",
         "answer_index": 1, "cot_content": "", "category": "biology", "src": "made up"},
    ],
    "olympiadbench": [
        {"id": 1, "question": "Find $k$.", "solution": ["..."], "final_answer": ["$\\frac{2}{3}$"], "context": None,
         "difficulty": "Competition", "is_multiple_answer": False, "unit": None, "answer_type": "Numerical",
         "error": None, "question_type": "Open-ended", "subfield": "Algebra", "subject": "Math", "language": "English"},
        {"id": 2, "question": "Find all $n$.", "solution": ["..."], "final_answer": ["1,3"], "context": None,
         "difficulty": "Competition", "is_multiple_answer": True, "unit": None, "answer_type": "Numerical",
         "error": None, "question_type": "Open-ended", "subfield": "Geometry", "subject": "Math"},
    ],
}  # fmt: skip
"""Benchmark -> two rows of its data set."""
RIGHT: dict[str, list[str]] = {
    "aime24": [r"So \boxed{25}.", "The final answer is 007."],
    "aime25": [r"So \boxed{70}.", r"\boxed{588}"],
    "amc23": [r"So \boxed{27}.", r"\boxed{3,159}"],
    "gpqa-diamond": ["10 J", "20 J"],
    "gsm8k": [r"So \boxed{5}.", r"\boxed{1200}"],
    "ifeval": ["Tea is warm and good.", "Rain is a gift."],
    "math": [r"\boxed{0.5}", r"\boxed{2, -2}"],
    "math500": [r"\boxed{1/2}", r"\boxed{(3, \pi/2)}"],
    "mmlu-pro": [r"\boxed{C}", "The answer is (B)."],
    "olympiadbench": [r"\boxed{\frac23}", r"\boxed{3, 1}"],
}
WRONG = {name: [r"\boxed{26}", r"\boxed{8}"] for name in NAMES} | {
    "gpqa-diamond": ["11 J", "23 J"],
    "mmlu-pro": [r"\boxed{D}", "The answer is (C)."],
    "ifeval": ["Tea, warm and good.", "Rain, a gift."],
}


def study(**entries: Any) -> Recipe:
    """A study that is asked these benchmarks."""
    return recipe.build(raw(entries))


def raw(benchmarks: Any, **sections: Any) -> Row:
    return {
        "name": "s",
        "problems": {"train": {"source": "t.jsonl"}, "eval": benchmarks},
        "teachers": {"long": {"backend": "recorded", "model": "l"}, "short": {"backend": "recorded", "model": "s"}},
        "verify": {"verifier": "math"},
        "students": {"q": {"model": "owner/q"}},
        **sections,
    }


def written(folder: Path, name: str) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    return str(path)


def judge(of: Recipe, name: str, answers: list[tuple[Problem, str]]) -> list[Outcome]:
    traces = [
        Trace(id=f"t{n}", problem_id=p.id, author="a", content=text, finish_reason="stop")
        for n, (p, text) in enumerate(answers)
    ]
    verdicts = chain.grade(of.on(name), [(p, t) for (p, _), t in zip(answers, traces, strict=True)])
    return [v.outcome for v in verdicts]


def test_none_is_forgotten():
    assert sorted(fragments.shipped()) == NAMES == sorted(ROWS)
    assert {p.suffix for p in FOLDER.iterdir()} == {".yaml"}


@pytest.mark.parametrize("name", NAMES)
def test_a_fragment_says_what_it_is_and_is_a_whole_benchmark(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "Licence" in text or "MAA" in text
    assert "Reported as" in text
    benchmark = study(**{name: {"benchmark": name}, "also": {"source": "x.jsonl"}}).problems.eval[name]
    assert benchmark.verify is not None
    assert resolve.load(resolve.reference("verifier", benchmark.verify.name))
    assert benchmark.sampling.max_tokens
    assert prompts.asking(benchmark.ask)("1 + 1?")
    assert benchmark.guard is (name == "ifeval")


@pytest.mark.parametrize("name", NAMES)
def test_rows_as_the_data_set_has_them_go_all_the_way_to_a_verdict(name, tmp_path):
    source = written(tmp_path, name)
    of = study(**{name: {"benchmark": name, "source": source}, "also": {"source": "x.jsonl"}})
    loaded = problems.load(of.problems.eval[name], split=name)
    found = [p for _, p in loaded.problems]
    assert len(found) == 2, loaded.bad
    ask = prompts.asking(of.problems.eval[name].ask)
    assert all(len(str(ask(p.prompt))) >= len(str(p.prompt)) for p in found)
    right, wrong = RIGHT[name], WRONG[name]
    if name == "gpqa-diamond":
        right, wrong = ([f"\\boxed{{{_letter(p, t)}}}" for p, t in zip(found, a, strict=True)] for a in (right, wrong))
    assert judge(of, name, list(zip(found, right, strict=True))) == [Outcome.CORRECT] * 2
    assert judge(of, name, list(zip(found, wrong, strict=True))) == [Outcome.INCORRECT] * 2


def test_levels_and_subjects_are_found(tmp_path):
    of = study(**{n: {"benchmark": n, "source": written(tmp_path, n)} for n in ("math500", "math", "mmlu-pro")})

    def groups(name):
        return [(p.level, p.subject) for _, p in problems.load(of.problems.eval[name], split=name).problems]

    assert groups("math500") == [("1", "Algebra"), ("2", "Precalculus")]
    assert groups("math") == [("Level 1", "Algebra"), ("Level 3", "Geometry")]
    assert groups("mmlu-pro") == [(None, "math"), (None, "biology")]


def test_options_stand_below_the_question_and_the_right_one_is_not_always_the_same(tmp_path):
    rows = [_gpqa(100 * n) for n in range(40)]
    path = tmp_path / "gpqa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    of = study(**{"gpqa-diamond": {"benchmark": "gpqa-diamond", "source": str(path)}, "also": {"source": "x.jsonl"}})
    found = [p for _, p in problems.load(of.problems.eval["gpqa-diamond"], split="g").problems]
    assert {p.answer for p in found} == set("ABCD")
    assert all(_letter(p, f"{100 * n} J") == p.answer for n, p in enumerate(found))
    assert str(found[0].prompt).startswith("Energy 0?\n\nA) ")
    again = [p for _, p in problems.load(of.problems.eval["gpqa-diamond"], split="g").problems]
    assert found == again


def test_a_list_of_names_is_short_for_them():
    of = study_of(["gsm8k", "math500"])
    assert list(of.problems.eval) == ["gsm8k", "math500"]
    gsm8k = of.problems.eval["gsm8k"]
    assert (gsm8k.source, gsm8k.subset, gsm8k.split, gsm8k.ask) == ("openai/gsm8k", "main", "test", "boxed")


def study_of(benchmarks: Any, **sections: Any) -> Recipe:
    return recipe.build(raw(benchmarks, **sections))


def test_a_local_file_takes_the_place_of_the_data_set_and_its_split():
    entry = study_of({"mine": {"benchmark": "gsm8k", "source": "mine.jsonl"}}).problems.eval["mine"]
    assert (entry.source, entry.subset, entry.split) == ("mine.jsonl", None, "train")
    assert (entry.ask, entry.verify and entry.verify.name) == ("boxed", "math")


def test_an_entry_wins_over_evaluate_and_that_over_the_fragment():
    def decoding(entry, evaluate):
        found = study_of({"a": {"benchmark": "aime24", **entry}}, evaluate=evaluate).on("a").evaluate
        return found.k, found.sampling.temperature, found.sampling.max_tokens

    assert decoding({}, {}) == (16, 0.6, 32768)
    assert decoding({}, {"k": 2, "sampling": {"temperature": 0}}) == (2, 0, 32768)
    assert decoding({"k": 3, "sampling": {"max_tokens": 9}}, {"k": 2, "sampling": {"temperature": 0}}) == (3, 0, 9)


def test_greedy_requests_ask_a_problem_once():
    def asked(entry, evaluate):
        found = study_of({"a": {"benchmark": "aime24", **entry}}, evaluate=evaluate).on("a").evaluate
        return found.k, found.sampling.temperature, found.sampling.top_p

    greedy = {"sampling": {"temperature": 0}}
    assert asked({}, greedy) == asked(greedy, {}) == (None, 0, None)
    assert asked({"sampling": {"temperature": 0.8}}, greedy) == (16, 0.8, 0.95)
    assert asked({"k": 3}, greedy) == (3, 0, None)


CHAIN = {"verifier": ["math", "judge"], "timeout": 7, "deadline": 60, "judge": {"model": "owner/m"}}


def test_a_study_s_chain_judges_every_benchmark_that_its_first_verifier_does():
    of = study_of(["gsm8k", "olympiadbench", "gpqa-diamond"], verify=CHAIN)
    for name, options in {"gsm8k": {}, "olympiadbench": {"lists": True}}.items():
        verify = of.on(name).verify
        assert (verify.name, verify.deadline, verify.counts) == ("math+judge", 60, "judge")
        assert verify.chain[0].options == {"timeout": 7, **options}
        assert verify.chain[1] == of.verify.chain[1]
    assert of.on("gpqa-diamond").verify.name == "choice"
    own = study_of(own_of("math", timeout=3, deadline=9), verify=CHAIN).on("a").verify
    assert (own.name, own.deadline, own.chain[0].options) == ("math+judge", 9, {"timeout": 3})
    said = study_of(own_of("math", deadline=20), verify=CHAIN)
    assert said.on("a").verify.deadline == 20, "the default, and said all the same"
    for study in (said, study_of(own_of("math"), verify=CHAIN)):  # as it stands in the run folder
        assert recipe.build(parse_yaml(recipe.render(study), "")).on("a").verify == study.on("a").verify
    again = recipe.build(recipe.parse_yaml(recipe.render(of), "again"))
    assert again.on("olympiadbench") == of.on("olympiadbench")


def own_of(verifier: str, **options: Any) -> Row:
    return own(verify={"verifier": verifier, **options})


def test_caps_beyond_a_benchmarks_own_limit_are_not_its():
    of = study_of(["gsm8k", "aime24"], evaluate={"caps": [1024, 8192]})
    assert (of.on("gsm8k").evaluate.caps, of.on("aime24").evaluate.caps) == ([1024], [1024, 8192])


def test_the_whole_form_reads_back():
    of = study_of(["gsm8k", "gpqa-diamond", "ifeval"], evaluate={"sampling": {"temperature": 0}})
    again = recipe.build(recipe.parse_yaml(recipe.render(of), "again"))
    assert again == of


def test_an_override_finds_an_entry_of_a_list(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(raw(["gsm8k"])))
    of = recipe.load(path, ["problems.eval.gsm8k.limit=5"])
    assert (of.problems.eval["gsm8k"].limit, of.problems.eval["gsm8k"].ask) == (5, "boxed")


def own(**keys: Any) -> Row:
    return {"a": {"source": "a", **keys}}


FINDINGS: list[tuple[Any, Row, str]] = [
    (
        {"mine": "ifeval"},
        {},
        "problems.eval.mine: must be a section; of a shipped benchmark write {benchmark: ifeval} (got 'ifeval')",
    ),
    (
        ["gsm8k", {"a": 1}],
        {},
        "problems.eval: must be a section of benchmarks by name, or a list of the names of shipped ones, as [gsm8k, "
        "math500] (got ['gsm8k', {'a': 1}])",
    ),
    (
        ["gsm8k"],
        {"evaluate": {"paraphrases": 4}},
        "evaluate.paraphrases: must be 0 to 3, or a list of templates (got 4)",
    ),
    (
        ["gsm8k"],
        {"evaluate": {"paraphrases": [str(FOLDER / "gsm8k.yaml")]}},
        f"evaluate.paraphrases: {FOLDER / 'gsm8k.yaml'}: what a student is asked must contain {{problem}} (got "
        f"{(FOLDER / 'gsm8k.yaml').read_text()[:40]!r}); add it",
    ),
    (
        ["gsm8q"],
        {},
        "problems.eval.gsm8q: no benchmark 'gsm8q' is shipped; did you mean 'gsm8k'? (got {'benchmark': 'gsm8q'})",
    ),
    (
        ["ifeval"],
        {"contrasts": {}},
        "problems.eval: all of them are guards, and nothing is left to decide on; add a benchmark",
    ),
    (own(weight=0), {}, "problems.eval: every weight is 0, and an average needs one; give one benchmark a weight"),
    (own(ask="boxd"), {}, "problems.eval.a.ask: no prompt 'boxd'; did you mean 'boxed'?"),
    (
        own(verify={"verifier": "mat"}),
        {},
        "problems.eval.a.verify: 'mat' is not a verifier; did you mean 'math'? (your own: package.module:name or "
        "path/file.py:name)",
    ),
    (
        own(verify={"verifier": "math", "timeot": 1}),
        {},
        "problems.eval.a.verify.timeot: not an option of verify (got 1); did you mean 'timeout'?",
    ),
    (
        own(verify={"verifier": ["math", "exact"]}),
        {},
        "problems.eval.a.verify.verifier: a chain (got math+exact); name one here, or put the chain in the study's "
        "verify",
    ),
    (
        own(verify={"verifier": "math", "rule": "strict"}),
        {},
        "problems.eval.a.verify.rule: which reading counts is said once (got strict); set verify.rule of the study",
    ),
    (
        own(verify={"verifier": "math", "audit": 0.5}),
        {},
        "problems.eval.a.verify.audit: a chain has one audit (got 0.5); set verify.audit of the study",
    ),
    (
        own(verify={"verifier": "judge", "model": "owner/m"}),
        {},
        "problems.eval.a.verify.verifier: 'judge' asks a model; put it in the study's verify, behind another",
    ),
    (own(sampling={"top_p": 2}), {}, "problems.eval.a.sampling.top_p: must be above 0, at most 1 (got 2)"),
    (
        ["gsm8k", "ifeval"],
        {"primary": {"contrast": "long_cot_gap", "benchmark": "ifeval"}},
        "primary.benchmark: 'ifeval' is a guard, which decides nothing; name another",
    ),
]


@pytest.mark.parametrize(("benchmarks", "sections", "line"), FINDINGS)
def test_what_is_wrong_is_said_before_anything_runs(benchmarks, sections, line):
    with pytest.raises(RecipeError) as e:
        study_of(benchmarks, **sections)
    assert e.value.findings == [f"recipe: {line}"]


def test_no_answer_is_asked_for_early_on_a_guard():
    of = study_of(["gsm8k", "ifeval"], evaluate={"caps": [64], "forced": True, "thinking": [0.5]})
    assert (of.on("gsm8k").evaluate.forced, of.on("gsm8k").evaluate.thinking) == (True, [0.5])
    assert (of.on("ifeval").evaluate.forced, of.on("ifeval").evaluate.thinking) == (False, [])
