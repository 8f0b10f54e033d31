"""Matched training sets: arms differ in data alone, and everything random is drawn the same way in every arm."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny
from mixdistill import mix
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.tokens import Template
from mixdistill.types import Drop, Example, Origin, Problem, Trace, Update

ARMS = {
    "long": {"long": 1},
    "short": {"short": 1},
    "mix-20": {"long": 0.2, "short": 0.8},
    "mix-50": {"long": 0.5, "short": 0.5},
}
CONTRASTS = {"gap": ["long", "short"], "g20": ["mix-20", "each_pure"], "g50": ["mix-50", "each_pure"]}
STAGES = ("generate", "verify", "analyze", "mix")
SAMPLED = {name: {"backend": "scripted", "model": name, "samples": 3} for name in ("long", "short")}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _study(model: str, **sections):
    known = {"arms": ARMS, "contrasts": CONTRASTS, "problems": tiny.problem_sets(60, 5), "teachers": SAMPLED}
    return tiny.study(model, **{**known, "seeds": 2, **sections})


def _drawn(store: Store, arm: str, seed: int = 0, student: str = "t") -> SimpleNamespace:
    folder = store.folder("mix", student, arm, str(seed))
    updates: dict[int, list[int]] = {}
    for row in store.read(folder, Update, mix.UPDATES):
        updates.setdefault(row.update, []).append(row.example)
    marker = store.marker(folder)
    assert marker is not None and list(updates) == list(range(len(updates)))
    return SimpleNamespace(
        examples=store.read(folder, Example, mix.EXAMPLES),
        updates=list(updates.values()),
        drops=store.read(folder, Drop, mix.DROPPED),
        origins=store.read(folder, Origin, mix.MANIFEST),
        facts=marker["facts"],
    )


def _texts(drawn: SimpleNamespace) -> list[tuple[str, str, str]]:
    return [(e.problem_id, e.reasoning, e.content) for e in drawn.examples]


@pytest.fixture(scope="module")
def by_examples(model, tmp_path_factory) -> Store:
    """One study in `examples`: 60 problems, 3 samples of each teacher."""
    return tiny.run(_study(model), tmp_path_factory.mktemp("examples"), *STAGES)[0]


@pytest.fixture(scope="module")
def by_tokens(model, tmp_path_factory) -> Store:
    """The same in `loss_tokens`, one sample each and more problems."""
    budget = {"unit": "loss_tokens", "per_update": 400}
    study = _study(
        model, budget=budget, problems=tiny.problem_sets(400, 5), teachers=tiny.study(model).model_dump()["teachers"]
    )
    return tiny.run(study, tmp_path_factory.mktemp("tokens"), *STAGES)[0]


def test_arms_of_a_group_have_the_same_problems_in_the_same_order_for_a_seed(by_examples):
    for seed in (0, 1):
        drawn = [_drawn(by_examples, arm, seed) for arm in ARMS]
        assert len({tuple(e.problem_id for e in d.examples) for d in drawn}) == 1
        assert len({str(d.updates) for d in drawn}) == 1
    assert _drawn(by_examples, "long", 0).updates != _drawn(by_examples, "long", 1).updates


def test_one_row_per_problem_is_drawn(by_examples):
    for arm in ARMS:
        assert set(Counter(e.problem_id for e in _drawn(by_examples, arm).examples).values()) == {1}


def test_weights_by_examples_are_met_exactly(by_examples):
    for arm, share in (("mix-20", 0.2), ("mix-50", 0.5), ("long", 1.0), ("short", 0.0)):
        for seed in (0, 1):
            teachers = Counter(e.teacher for e in _drawn(by_examples, arm, seed).examples)
            assert teachers["long"] == round(share * 60)
            assert teachers.total() == 60


def test_blends_of_a_seed_are_nested(by_examples):
    for seed in (0, 1):
        some = {e.problem_id for e in _drawn(by_examples, "mix-20", seed).examples if e.teacher == "long"}
        more = {e.problem_id for e in _drawn(by_examples, "mix-50", seed).examples if e.teacher == "long"}
        assert some < more
    other = {e.problem_id for e in _drawn(by_examples, "mix-20", 1).examples if e.teacher == "long"}
    assert other != {e.problem_id for e in _drawn(by_examples, "mix-20", 0).examples if e.teacher == "long"}


def test_choice_among_samples_is_the_same_in_every_arm(by_examples):
    pure = {t: {e.problem_id: e.trace_id for e in _drawn(by_examples, t).examples} for t in ("long", "short")}
    for arm in ("mix-20", "mix-50"):
        for e in _drawn(by_examples, arm).examples:
            assert e.trace_id == pure[e.teacher][e.problem_id]
    other = {e.problem_id: e.trace_id for e in _drawn(by_examples, "long", 1).examples}
    assert other != pure["long"], "a seed redraws which sample is taken"


def test_every_arm_takes_the_same_number_of_updates(by_examples, by_tokens):
    for store, updates in ((by_examples, 2 * 60 // 8), (by_tokens, None)):
        counts = {len(_drawn(store, arm, seed).updates) for arm in ARMS for seed in (0, 1)}
        assert len(counts) == 1
        assert updates is None or counts == {updates}


def test_weights_by_tokens_give_the_share_of_loss_tokens(by_tokens):
    for arm, share in (("mix-20", 0.2), ("mix-50", 0.5)):
        for seed in (0, 1):
            facts = _drawn(by_tokens, arm, seed).facts
            assert facts["share_loss_tokens"]["long"] == pytest.approx(share, abs=0.06)
            assert facts["share_examples"]["long"] < share / 1.5


def test_updates_hold_the_token_budget_to_within_a_row(by_tokens, model):
    template = Template.load(model)
    for arm in ARMS:
        drawn = _drawn(by_tokens, arm)
        sizes = [template.count(e.reasoning, e.content) for e in drawn.examples]
        total = 0
        for n, rows in enumerate(drawn.updates, 1):
            total += sum(sizes[i] for i in rows)
            assert 0 <= total - 400 * n < max(sizes)
        assert drawn.facts["loss_tokens"] == total


@pytest.mark.parametrize("unit", ["examples", "loss_tokens"])
def test_variant_in_the_other_unit_takes_as_many_updates_as_the_declared_budget(model, tmp_path, unit):
    budget = {"unit": unit, "per_update": 400 if unit == "loss_tokens" else 20}
    other = "examples" if unit == "loss_tokens" else "loss_tokens"
    study = _study(model, budget={**budget, "also": [other]}, problems=tiny.problem_sets(120, 5), seeds=2)
    store, _ = tiny.run(study, tmp_path, *STAGES)
    facts = {(a, s): _drawn(store, a, s).facts for a in study.trained for s in (0, 1)}
    assert len({f["updates"] for f in facts.values()}) == 1
    assert {f["per_update"] for (a, _), f in facts.items() if "@" not in a} == {budget["per_update"]}
    (per_update,) = {f["per_update"] for (a, _), f in facts.items() if "@" in a}
    for (arm, _), f in facts.items():
        assert f["variant"] == ("" if "@" not in arm else other)
        assert f["unit"] == (unit if "@" not in arm else other)
        assert f.get("updates_declared") == (None if "@" not in arm else f["updates"])
    amount = {a: facts[(f"{a}@{other}", 0)][other] for a in ARMS}
    rows = [e for s in (0, 1) for e in _drawn(store, f"long@{other}", s).examples]
    slack = 1 if other == "examples" else max(_completions(model, rows))
    held = per_update * facts[("long", 0)]["updates"]
    assert all(0 <= n - held < slack for n in amount.values()), "every arm holds the same"
    assert facts[(f"mix-20@{other}", 0)][f"share_{other}"]["long"] == pytest.approx(0.2, abs=0.05)


def test_a_token_variant_holds_at_least_the_longest_row_and_says_that_it_took_fewer_updates(model, tmp_path):
    study = _study(model, budget={"per_update": 1, "also": ["loss_tokens"]}, arms={"long": {"long": 1}}, contrasts={})
    store, _ = tiny.run(study, tmp_path, *STAGES)
    drawn = _drawn(store, "long@loss_tokens")
    longest = max(o.loss_tokens for s in (0, 1) for o in _drawn(store, "long@loss_tokens", s).origins)
    assert drawn.facts["per_update"] >= longest
    assert drawn.facts["updates_declared"] == 120 > drawn.facts["updates"] == len(drawn.updates)


def test_variants_do_not_depend_on_names(model, tmp_path):
    arms = {"b": {"short": 1}, "a": {"short": 1}}
    budget = {"per_update": 8, "also": ["loss_tokens", "each", "reweighted"]}
    study = _study(model, arms=arms, contrasts={"gap": ["a", "b"]}, budget=budget, seeds=1)
    store, _ = tiny.run(study, tmp_path, *STAGES)
    for variant in study.variants:
        one, other = (_drawn(store, f"{a}@{variant}".rstrip("@")) for a in "ab")
        assert _texts(one) == _texts(other)
        assert one.updates == other.updates
    identities = {unit.key[1]: unit.identity for unit in mix.units(study, store)}
    assert len(identities) == 8 and len(set(identities.values())) == 4


@pytest.mark.parametrize("choose", ["shortest", "longest"])
def test_choice_by_length_takes_the_same_extreme_in_every_seed(model, tmp_path, choose):
    arms = {"long": {"weights": {"long": 1}, "choose": choose}}
    store, _ = tiny.run(_study(model, arms=arms, contrasts={}), tmp_path, *STAGES)
    best = min if choose == "shortest" else max
    traces = store.read(store.folder("generate", "long"), Trace, "traces")
    lengths: dict[str, list[int]] = {}
    template = Template.load(model)
    for t in traces:
        lengths.setdefault(t.problem_id, []).append(template.count(t.reasoning, t.content))
    for seed in (0, 1):
        drawn = _drawn(store, "long", seed)
        assert [o.loss_tokens for o in drawn.origins] == [best(lengths[o.problem_id]) for o in drawn.origins]
    assert _drawn(store, "long", 0).updates != _drawn(store, "long", 1).updates


def test_longest_against_shortest_of_one_teacher_have_the_same_problems_and_updates(model, tmp_path):
    arms = {c: {"weights": {"long": 1}, "choose": c} for c in ("shortest", "longest")}
    study = _study(
        model, arms=arms, contrasts={"length": ["longest", "shortest"]}, seeds=1,
        budget={"unit": "loss_tokens", "per_update": 300},
    )  # fmt: skip
    store, _ = tiny.run(study, tmp_path, *STAGES)
    short, long = (_drawn(store, arm) for arm in arms)
    assert [e.problem_id for e in short.examples] == [e.problem_id for e in long.examples]
    fewest = sum(o.loss_tokens for o in short.origins)
    assert {len(short.updates), len(long.updates)} == {2 * fewest // 300}, "two passes of the leaner arm"


def test_manifest_says_where_every_row_comes_from(by_examples, model):
    template = Template.load(model)
    traces = {
        t.id: t for who in ("long", "short") for t in by_examples.read(
            by_examples.folder("generate", who), Trace, "traces"
        )
    }  # fmt: skip
    drawn = _drawn(by_examples, "mix-20")
    takes = Counter(i for update in drawn.updates for i in update)
    assert len(drawn.origins) == len(drawn.examples) == 60
    for n, (origin, example) in enumerate(zip(drawn.origins, drawn.examples, strict=True)):
        trace = traces[origin.trace_id]
        assert (origin.example, origin.problem_id, origin.teacher) == (n, example.problem_id, example.teacher)
        assert (example.reasoning, example.content) == (trace.reasoning, trace.content)
        assert (origin.trace_id, origin.sample) == (example.trace_id, trace.sample)
        assert origin.loss_tokens == template.count(trace.reasoning, trace.content)
        assert origin.prompt_tokens == len(template.prompt_ids(example.prompt))
        assert (origin.tag, origin.stage, origin.updates) == ("", 0, takes[n])


def test_facts_count_the_rows_that_updates_take(by_examples):
    drawn = _drawn(by_examples, "mix-20")
    rows = [drawn.examples[i] for update in drawn.updates for i in update]
    assert drawn.facts["examples"] == len(rows) == 8 * len(drawn.updates)
    assert drawn.facts["distinct_problems"] == len({e.problem_id for e in rows})
    assert drawn.facts["epochs"] == pytest.approx(2)
    assert drawn.facts["share_examples"]["long"] == sum(e.teacher == "long" for e in rows) / len(rows)


def test_renaming_teachers_and_arms_changes_nothing_but_names(by_examples, model, tmp_path):
    teachers = {"zeta": SAMPLED["long"], "alpha": SAMPLED["short"]}
    arms = {"b": {"alpha": 1}, "x": {"zeta": 0.2, "alpha": 0.8}, "a": {"zeta": 1}}
    study = _study(model, teachers=teachers, arms=arms, contrasts={"gap": ["a", "b"], "g": ["x", "each_pure"]})
    store, _ = tiny.run(study, tmp_path, *STAGES)
    for new, old in (("a", "long"), ("b", "short"), ("x", "mix-20")):
        for seed in (0, 1):
            one, other = _drawn(store, new, seed), _drawn(by_examples, old, seed)
            assert _texts(one) == _texts(other)
            assert one.updates == other.updates


def test_more_seeds_do_not_change_the_mixes_of_old_seeds(model, tmp_path):
    store, _ = tiny.run(_study(model, seeds=1), tmp_path, *STAGES)
    before = {arm: (_texts(_drawn(store, arm)), _drawn(store, arm).updates) for arm in ARMS}
    store, ran = tiny.run(_study(model, seeds=3), tmp_path, *STAGES)
    assert sorted(ran) == sorted(f"mix/t/{arm}/{seed}" for arm in ARMS for seed in (1, 2))
    assert before == {arm: (_texts(_drawn(store, arm)), _drawn(store, arm).updates) for arm in ARMS}


def test_overlong_refuse_says_how_many_and_what_to_do(model, tmp_path):
    study = tiny.study(model, train={"max_length": 80})
    (first, *rest) = tiny.failures(study, tmp_path, *STAGES)
    long = [c for c in _lengths(Store(tmp_path), "long") if c > 80]
    assert long
    assert len(rest) == 3, "every arm of the group is refused, also those whose own rows fit"
    assert f"{len(long)} of 48 accepted traces exceed max_length=80" in first
    assert "raise train.max_length or set train.overlong: drop" in first


def _lengths(store: Store, teacher: str) -> list[int]:
    """Prompt and completion of every trace in words, as the word-level student counts them."""
    prompts = {p.id: len(str(p.prompt).split()) for p in store.read(store.folder("problems"), Problem, "train")}
    traces = store.read(store.folder("generate", teacher), Trace, "traces")
    return [prompts[t.problem_id] + len(f"{t.reasoning} {t.content}".split()) + 3 for t in traces]


def test_problem_whose_only_long_trace_is_overlong_leaves_every_arm_and_is_listed(model, tmp_path):
    study = tiny.study(model, train={"max_length": 80, "overlong": "drop"})
    store, _ = tiny.run(study, tmp_path, *STAGES)
    problems = [p.id for p in store.read(store.folder("problems"), Problem, "train")]
    lost = {p for p, n in zip(problems, _lengths(store, "long"), strict=True) if n > 80}
    assert 0 < len(lost) < len(problems)
    for arm in ("long", "short"):
        drawn = _drawn(store, arm)
        assert [e.problem_id for e in drawn.examples] == [p for p in problems if p not in lost]
        assert {d.problem_id for d in drawn.drops if d.trace_id and d.reason == "overlong"} == lost
        assert {(d.problem_id, d.teacher) for d in drawn.drops if d.trace_id is None} == {(p, "long") for p in lost}
    counts = (store.marker(store.folder("mix", "t", "short", "0")) or {})["counts"]
    assert counts["overlong"] == len(lost)


def test_trace_with_a_special_token_is_dropped_with_that_reason(model, tmp_path):
    problems = domain.problems("train", count=6)
    rows = [_row(p, reasoning="ok <eos> ok" if i == 0 else None) for i, p in enumerate(problems)]
    teachers = {"long": _recorded(tmp_path / "long.jsonl", rows), "short": {"backend": "scripted", "model": "short"}}
    study = tiny.study(model, teachers=teachers, problems=tiny.problem_sets(6, 5))
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    drawn = _drawn(store, "short")
    assert [e.problem_id for e in drawn.examples] == [p.id for p in problems[1:]]
    assert [d.reason for d in drawn.drops if d.trace_id] == ["special_token"]


def _row(problem: Problem, reasoning: str | None = None) -> dict[str, str]:
    chain = domain.parse(problem.prompt)
    assert chain is not None
    thought, content = domain.short_trace(chain, 0)
    return {"prompt": str(problem.prompt), "completion": content, "reasoning": reasoning or thought}


def _recorded(path: Path, rows: list[dict[str, str]]) -> dict[str, object]:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    known = {"backend": "recorded", "reasoning_column": "reasoning", "complete": True}
    return {**known, "model": path.name, "path": str(path)}


def _partial(tmp_path: Path, long: slice, short: slice) -> dict[str, object]:
    """Teachers that solved different problems."""
    problems = domain.problems("train", count=20)
    return {
        "long": _recorded(tmp_path / "long.jsonl", [_row(p) for p in problems[long]]),
        "short": _recorded(tmp_path / "short.jsonl", [_row(p) for p in problems[short]]),
    }


def test_shared_problems_are_those_that_every_teacher_solved(model, tmp_path):
    teachers = _partial(tmp_path, slice(0, 12), slice(4, 20))
    study = tiny.study(model, teachers=teachers, problems=tiny.problem_sets(20, 5))
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    wanted = [p.id for p in domain.problems("train", count=20)[4:12]]
    for arm in ("long", "short"):
        assert [e.problem_id for e in _drawn(store, arm).examples] == wanted
    lacking = Counter(d.teacher for d in _drawn(store, "long").drops if d.trace_id is None)
    assert lacking == {"long": 8, "short": 4}


def test_each_lets_every_arm_keep_its_own_problems_and_the_same_updates(model, tmp_path):
    teachers = _partial(tmp_path, slice(0, 12), slice(4, 20))
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}
    study = tiny.study(
        model, teachers=teachers, arms=arms, contrasts={"gap": ["long", "short"], "g": ["mix", "each_pure"]},
        problems=tiny.problem_sets(20, 5), budget={"problems": "each", "per_update": 4},
    )  # fmt: skip
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    assert {arm: len(_drawn(store, arm).examples) for arm in arms} == {"long": 12, "short": 16, "mix": 8}
    assert {len(_drawn(store, arm).updates) for arm in arms} == {4}, "two passes of the arm with the fewest problems"


def test_arms_that_are_not_compared_do_not_share_problems(model, tmp_path):
    teachers = _partial(tmp_path, slice(0, 12), slice(4, 20))
    study = tiny.study(model, teachers=teachers, contrasts={"c": ["long", "base"]}, problems=tiny.problem_sets(20, 5))
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    assert {arm: len(_drawn(store, arm).examples) for arm in ("long", "short")} == {"long": 12, "short": 16}


def test_each_by_tokens_gives_every_arm_the_same_updates(model, tmp_path):
    """Also where what a teacher alone solved is of another length than what both did."""
    rows = [_row(p, reasoning="x" if i < 4 else None) for i, p in enumerate(domain.problems("train", count=20))]
    teachers = {
        "long": _recorded(tmp_path / "long.jsonl", rows[:12]),
        "short": _recorded(tmp_path / "short.jsonl", rows[4:]),
    }
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}
    study = tiny.study(
        model, teachers=teachers, arms=arms, contrasts={"gap": ["long", "short"], "g": ["mix", "each_pure"]},
        problems=tiny.problem_sets(20, 5), budget={"problems": "each", "unit": "loss_tokens", "per_update": 40},
    )  # fmt: skip
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    passes = {arm: sum(_completions(model, _drawn(store, arm).examples)) for arm in ("long", "short")}
    assert {arm: len(_drawn(store, arm).examples) for arm in arms} == {"long": 12, "short": 16, "mix": 8}
    (updates,) = {len(_drawn(store, arm).updates) for arm in arms}
    assert 0 < updates < int(2 * min(passes.values()) / 40), "the blend has fewer problems than either"


def _completions(model: str, examples: list[Example]) -> list[int]:
    template = Template.load(model)
    return [template.count(e.reasoning, e.content) for e in examples]


def test_token_budget_that_a_row_exceeds_is_refused_in_every_arm_with_both_numbers(model, tmp_path):
    study = tiny.study(model, budget={"unit": "loss_tokens", "per_update": 16}, seeds=1)
    failures = tiny.failures(study, tmp_path / "run", *STAGES)
    traces = Store(tmp_path / "run").read(tmp_path / "run" / "generate" / "long", Trace, "traces")
    longest = max(Template.load(model).count(t.reasoning, t.content) for t in traces)
    assert failures == [
        f"mix/t/{arm}/0: a row has more loss tokens than an update (got {longest}, budget.per_update=16); "
        "raise budget.per_update"
        for arm in ("long", "short")
    ]
    tiny.run(
        tiny.study(model, budget={"unit": "loss_tokens", "per_update": longest}, seeds=1), tmp_path / "run", *STAGES
    )


def test_nothing_shared_is_a_clear_error(model, tmp_path):
    teachers = _partial(tmp_path, slice(0, 10), slice(10, 20))
    study = tiny.study(model, teachers=teachers, problems=tiny.problem_sets(20, 5))
    first, *_ = tiny.failures(study, tmp_path / "run", *STAGES)
    assert "mix/t/long/0: no problem is left with an accepted trace of every teacher" in first
    assert "problems with one: long 10, short 10; without: long no_trace 10, short no_trace 10" in first
    assert "budget.problems: each" in first


def test_only_traces_that_ended_by_themselves_are_trained_on(model, tmp_path):
    problems = domain.problems("train", count=8)
    rows = [{**_row(p), "finish_reason": "length" if i < 3 else "stop"} for i, p in enumerate(problems)]
    teacher = {**_recorded(tmp_path / "long.jsonl", rows), "finish_reason_column": "finish_reason", "complete": False}
    teachers = {"long": teacher, "short": {"backend": "scripted", "model": "short"}}
    study = tiny.study(model, teachers=teachers, problems=tiny.problem_sets(8, 5))
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    drawn = _drawn(store, "short")
    assert [e.problem_id for e in drawn.examples] == [p.id for p in problems[3:]]
    assert [(d.problem_id, d.teacher, d.reason) for d in drawn.drops if d.trace_id] == [
        (p.id, "long", "unfinished") for p in problems[:3]
    ], "none of them vanishes without a reason"


def test_a_problem_that_left_says_why_its_teacher_lacks_a_trace(model, tmp_path):
    problems = domain.problems("train", count=7)
    rows = [
        _row(problems[0]),
        {**_row(problems[1]), "finish_reason": "length"},
        {**_row(problems[2]), "completion": "ok ok"},
        _row(problems[3], reasoning="ok <eos> ok"),
        _row(problems[4], reasoning="ok </think> ok"),
        _row(problems[5], reasoning="ok " * 600),
    ]
    rows = [{"finish_reason": "stop", **r} for r in rows]
    teacher = {**_recorded(tmp_path / "long.jsonl", rows), "finish_reason_column": "finish_reason", "complete": False}
    study = tiny.study(
        model, teachers={"long": teacher, "short": {"backend": "scripted", "model": "short"}},
        problems=tiny.problem_sets(7, 5), train={"overlong": "drop"}, budget={"per_update": 1},
    )  # fmt: skip
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    died = ["unfinished", "special_token", "think_tag", "overlong"]
    for arm in ("long", "short"):
        drops = _drawn(store, arm).drops
        assert [(d.problem_id, d.reason) for d in drops if d.trace_id is None] == [
            (p.id, reason)
            for p, reason in zip(problems[1:], ["unfinished", "no_correct", *died[1:], "no_trace"], strict=True)
        ]
        assert {d.teacher for d in drops} == {"long"}
        assert [d.reason for d in drops if d.trace_id] == died
        counts = (store.marker(store.folder("mix", "t", arm, "0")) or {})["counts"]
        problem_level = [f"problems_{reason}" for reason in (*died, "no_correct", "no_trace")]
        assert counts == dict.fromkeys(["problems_left", *died, *problem_level], 1)


def test_a_trace_that_did_not_end_leaves_the_problem_to_its_other_samples(model, tmp_path):
    study = tiny.study(model, teachers=SAMPLED)
    store, _ = tiny.run(study, tmp_path, "generate")
    folder = store.folder("generate", "long")
    traces = store.read(folder, Trace, "traces")
    cut = [t.model_copy(update={"finish_reason": "length"}) if t.sample == 0 else t for t in traces]
    marker = store.marker(folder) or {}
    store.mark(folder, {**marker, "tables": {"traces": store.seal(folder, Trace, cut, "traces")}})
    store, _ = tiny.run(study, tmp_path, "verify", "analyze", "mix")
    drops = [d for d in _drawn(store, "long").drops if d.reason != "duplicate"]
    assert Counter((d.reason, d.trace_id is None) for d in drops) == {("unfinished", False): 24}
    assert not {e.trace_id for e in _drawn(store, "long").examples} & {t.id for t in traces if t.sample == 0}


def test_an_edited_mixture_draws_again(model, tmp_path):
    study = _with_own_mixture(model, tmp_path, "yield pools['long'][next(iter(pools['long']))][0].trace_id")
    (unit,) = mix.units(study, Store(tmp_path / "run"))
    file = tmp_path / "own.py"
    file.write_text(f"{file.read_text()}\nHELPER = 1\n")
    (edited,) = mix.units(study, Store(tmp_path / "run"))
    assert edited.identity != unit.identity


def _with_own_mixture(model: str, folder: Path, body: str):
    (folder / "own.py").write_text(f"def mixture(pools, weights, *, rng):\n    {body}\n")
    arms = {"own": {"weights": {"long": 1}, "mixture": f"{folder / 'own.py'}:mixture"}}
    return tiny.study(model, teachers=SAMPLED, arms=arms, contrasts={}, seeds=1)


def test_own_mixture_may_take_several_traces_of_a_problem(model, tmp_path):
    body = "yield from (c.trace_id for cs in pools['long'].values() for c in cs)"
    store, _ = tiny.run(_with_own_mixture(model, tmp_path, body), tmp_path / "run", *STAGES)
    drawn = _drawn(store, "own")
    twice = sum(d.reason == "duplicate" for d in drawn.drops)
    assert len(drawn.examples) == 3 * 24 - twice > 24
    seen = {drawn.examples[i].problem_id for update in drawn.updates for i in update}
    assert drawn.facts["distinct_problems"] == len(seen) <= 24


@pytest.mark.parametrize(
    ("body", "got"), [("yield from ()", "got nothing"), ("yield 'abc'", "got 'abc', which is in no pool")]
)
def test_own_mixture_that_gives_no_rows_is_an_error(model, tmp_path, body, got):
    (failure,) = tiny.failures(_with_own_mixture(model, tmp_path, body), tmp_path / "run", *STAGES)
    assert failure.startswith("mix/t/own/0: the mixture ")
    assert got in failure
