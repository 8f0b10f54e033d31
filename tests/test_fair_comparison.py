"""What everything else rests on: no gap without a difference, no difference without a confound, honest intervals."""

import json

import numpy as np
import pytest

import tiny
from mixdistill import pipeline, train
from mixdistill.arms import of_variant
from mixdistill.errors import Diverged
from mixdistill.evidence import verdicts
from mixdistill.evidence.confounds import OTHERWISE
from mixdistill.evidence.gaps import Under, gaps
from mixdistill.evidence.gather import gather
from mixdistill.evidence.rows import Evidence
from mixdistill.evidence.undertraining import FIELD as UNDERTRAINED
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.types import Gap

STAGES = ("generate", "verify", "analyze", "mix", "train")
SAME = {"arms": {"a": {"short": 1}, "b": {"short": 1}}, "contrasts": {"no_gap": ["a", "b"]}}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _red(evidence: Evidence) -> list[str]:
    return [c.text for c in evidence.confounds if c.severity == "red"]


def _between(evidence: Evidence) -> list[str]:
    """What differed between arms, from what happened; without what differs from the recipe in force."""
    return [c.text for c in evidence.confounds if c.severity == "red" and c.field != OTHERWISE]


# -- 1. the same data under two names ---------------------------------------------------------------------------


def test_same_data_under_two_names_gives_the_same_students_and_no_gap(model, tmp_path):
    study, store, watcher = tiny.study(model, **SAME), Store(tmp_path), tiny.Silent()
    assert pipeline.run(study, store, watcher=watcher, workers=1) == []
    for seed in ("0", "1"):
        assert tiny.weights(store, "t", "a", seed) == tiny.weights(store, "t", "b", seed)
    assert tiny.weights(store, "t", "a", "0") != tiny.weights(store, "t", "a", "1"), "a seed redraws the order"
    evidence = gather(study, store)
    gaps = [g for g in evidence.gaps if g.name == "no_gap"]
    assert {g.max_tokens for g in gaps} == {None, 8}
    for gap in gaps:
        assert gap.delta == 0
        assert gap.seed_deltas == [0, 0] or gap.seeds < 2
        assert gap.verdict.startswith("can't tell")
    assert _red(evidence) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"method": "lora", "learning_rate": 1e-2}},
        {"budget": {"unit": "loss_tokens", "per_update": 300}},
        {"budget": {"also": ["loss_tokens", "each"]}},
    ],
    ids=["lora", "loss_tokens", "variants"],
)
def test_same_data_under_two_names_gives_the_same_students_by_every_method_and_budget(sections, model, tmp_path):
    study = tiny.study(model, **SAME, seeds=1, **sections)
    store, _ = tiny.run(study, tmp_path)
    for variant in study.variants:
        a, b = (tiny.weights(store, "t", of_variant(arm, variant), "0") for arm in ("a", "b"))
        assert a == b
    evidence = gather(study, store)
    assert _red(evidence) == []
    assert [row.state for table in evidence.confound_tables for row in table.rows if row.state != "same"] == []
    gaps = [g for g in (*evidence.gaps, *evidence.gaps_by_variant) if g.name == "no_gap"]
    assert {g.variant for g in gaps} == set(study.variants)
    assert {g.delta for g in gaps} == {0}


def test_students_do_not_depend_on_what_else_is_trained_beside_them(model, tmp_path):
    alone = tiny.study(model, arms={"x": {"short": 1}}, contrasts={}, seeds=[1])
    both = tiny.study(model, **SAME)
    stages = ("generate", "verify", "analyze", "mix", "train")
    one, _ = tiny.run(alone, tmp_path / "one", *stages)
    two, _ = tiny.run(both, tmp_path / "two", *stages)
    assert tiny.weights(one, "t", "x", "1") == tiny.weights(two, "t", "b", "1")


# -- 2. a planted difference of setting -------------------------------------------------------------------------


@pytest.mark.parametrize("generation_config", [True, False])
def test_study_without_a_plant_has_no_red_confound(generation_config, tmp_path):
    model = tiny.student(tmp_path / "model", generation_config=generation_config)
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.2, "short": 0.8}}
    study = tiny.study(model, arms=arms, contrasts={"gap": ["long", "short"], "mix_gain": ["mix", "each_pure"]})
    store, _ = tiny.run(study, tmp_path / "run")
    assert _red(gather(study, store)) == []
    assert "confound:" not in (tmp_path / "run" / "report" / "summary.txt").read_text()


def test_what_mix_counts_is_what_the_training_sees_of_any_text(tmp_path):
    """Emoji of several parts, combining accents, line ends of all kinds, blanks at the ends, no reasoning, and tags."""
    odd = " \t\U0001f1e9\U0001f1ea \U0001f469\u200d\U0001f467 e\u0301 \ufb01 \u00a0\u200b\r\n"
    asked = domain.problems("train", count=12)
    long = [{"prompt": p.prompt, "reasoning": odd * (1 + i % 2), "completion": p.answer} for i, p in enumerate(asked)]
    rows = {"long": long, "short": [{**row, "reasoning": ""} for row in long]}
    teachers = {}
    for name, given in rows.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in given))
        teachers[name] = {"backend": "recorded", "model": str(file), "complete": True}
    half = {"long": 0.5, "short": 0.5}
    arms = {"long": {"long": 1}, "short": {"short": 1}, "switch": {"weights": half, "mixture": "tagged"}}
    study = tiny.study(
        tiny.byte_student(tmp_path / "model"), teachers=teachers, arms=arms, seeds=1, problems=tiny.problem_sets(12),
        contrasts={"gain": ["switch", "each_pure"]}, budget={"per_update": 4, "also": ["loss_tokens"]},
        train={"max_length": 1024},
    )  # fmt: skip
    store, _ = tiny.run(study, tmp_path / "run", *STAGES)
    counted = ("updates", "examples", "loss_tokens", "distinct_problems")
    for arm in study.trained:
        drawn, seen = (store.marker(store.folder(stage, "t", arm, "0"))["facts"] for stage in ("mix", "train"))
        assert drawn["problems"] == 12
        assert {name: drawn[name] for name in counted} == {name: seen[name] for name in counted}
        shares = {t: n / seen["loss_tokens"] for t, n in seen["teacher_tokens"].items()}
        assert drawn["share_loss_tokens"] == pytest.approx(shares)
    assert _between(gather(study, store)) == []


def test_updates_that_end_with_a_whole_row_are_no_red_confound(model, tmp_path):
    study = tiny.study(model, budget={"unit": "loss_tokens", "per_update": 300}, problems=tiny.problem_sets(60))
    store, _ = tiny.run(study, tmp_path)
    evidence = gather(study, store)
    assert len({c.loss_tokens for c in evidence.cells}) > 1
    assert _red(evidence) == []


def test_model_whose_settings_name_other_special_tokens_has_no_red_confound(tmp_path):
    """The trainer writes the tokenizer's special tokens into a model; that must not reach how it is decoded."""
    model = tiny.student(tmp_path / "model")
    file = tmp_path / "model" / "generation_config.json"
    own = json.loads(file.read_text())
    file.write_text(json.dumps({**own, "eos_token_id": [7], "pad_token_id": 9}))
    study = tiny.study(model, seeds=1)
    store, _ = tiny.run(study, tmp_path / "run")
    assert _red(gather(study, store)) == []


def _planted(tmp_path, long: dict, short: dict, model: str, short_model: str | None = None) -> Evidence:
    """One run folder in which the arms were trained by two recipes that differ in a setting."""
    run = tmp_path / "run"
    one = {"seeds": 1, "contrasts": {}}
    tiny.run(tiny.study(model, arms={"long": {"long": 1}}, **one, **long), run)
    tiny.run(tiny.study(short_model or model, arms={"short": {"short": 1}}, **one, **short), run)
    whole = tiny.study(short_model or model, seeds=1, **short)
    store, ran = tiny.run(whole, run, "report")
    assert ran == ["report"]
    return gather(whole, store)


def _rows(evidence: Evidence, severity: str = "red") -> set[str]:
    """Rows of the confound tables that are red (or noted), without what differs from the recipe in force."""
    return {row.name for table in evidence.confound_tables for row in table.rows if row.state == severity}


def test_planted_learning_rate_is_a_red_confound(model, tmp_path):
    evidence = _planted(tmp_path, {"train": {"learning_rate": 1e-2}}, {"train": {"learning_rate": 2e-2}}, model)
    assert evidence.missing == []
    found = [c for c in evidence.confounds if c.severity == "red"]
    assert _between(evidence) == [
        "The arms were trained at different peak learning rates.",
        "The learning rates of all updates add up to different sums.",
    ]
    measured = next(c for c in found if c.field == "peak learning rate")
    assert measured.values == {"long": "0.01", "short": "0.02"}
    line = "train.learning_rate was 0.01, is now 0.02"
    assert [list(c.values) for c in found if c.field == OTHERWISE and line in c.text] == [["long"]]
    summary = (tmp_path / "run" / "report" / "summary.txt").read_text()
    assert "Not a fair comparison" in summary
    assert "confound: t: The arms were trained at different peak learning rates." in summary


def test_planted_number_of_updates_is_a_red_confound(model, tmp_path):
    evidence = _planted(tmp_path, {"train": {"num_train_epochs": 1}}, {"train": {"num_train_epochs": 3}}, model)
    found = {c.field: c.values for c in evidence.confounds if c.severity == "red"}
    assert OTHERWISE in found, "the mix of the long arm was drawn for fewer passes than the recipe now says"
    assert found["updates"] == {"long": "3", "short": "9"}
    assert _rows(evidence) == {"updates", "examples", "learning-rate integral"}


@pytest.mark.parametrize(
    ("train", "rows"),
    [
        ({"lr_scheduler_type": "constant"}, {"train.lr_scheduler_type", "learning-rate integral"}),
        ({"warmup_ratio": 0.5}, {"warm-up updates", "learning-rate integral"}),
        ({"weight_decay": 0.1}, {"train.weight_decay"}),
        ({"loss_type": "dft"}, {"loss"}),
        ({"max_length": 500}, {"length limit"}),
        ({"packing": True}, {"packing"}),
        ({"attn_implementation": "eager"}, {"attention"}),
        ({"gradient_checkpointing": True}, {"gradient checkpointing"}),
    ],
    ids=lambda value: min(value),
)
def test_planted_setting_is_red_by_its_own_name_and_nothing_else_is(train, rows, model, tmp_path):
    evidence = _planted(tmp_path, {}, {"train": train}, model)
    assert _rows(evidence) == rows
    tables = evidence.confound_tables
    assert [table.arms for table in tables] == [["long", "short"]]


@pytest.fixture(scope="module")
def published(model, tmp_path_factory) -> Evidence:
    """The paper's arms as its configurations train them, at a smaller scale: the mixed arm in 20 updates, with a length
    limit of its own and its rows cut there, the pure arms in 200; cosine at 1e-5 without warm-up."""
    own = {"train": {"max_length": 96, "overlong": "truncate", "packing": True}, "budget": {"per_update": 80}}
    study = tiny.study(
        model,
        problems=tiny.problem_sets(800),
        arms={"long": {"long": 1}, "short": {"short": 1}, "mix": {"weights": {"long": 0.2, "short": 0.8}, **own}},
        contrasts={"mix_gain": ["mix", "each_pure"]},
        train={"learning_rate": 1e-5, "warmup_ratio": 0.0},
        seeds=1,
    )
    store, _ = tiny.run(study, tmp_path_factory.mktemp("published"), *STAGES)
    return gather(study, store)


def test_published_mix_settings_turn_every_planted_difference_red(published):
    (table,) = published.confound_tables
    values = {row.name: row.values for row in table.rows if row.state == "red"}
    assert list(values) == [
        "updates", "truncated rows", "learning-rate integral", "length limit", "treatment of long rows",
        "packing", "settings of one arm",
    ]  # fmt: skip
    assert values["updates"] == {"long": "200", "short": "200", "mix": "20"}
    assert values["treatment of long rows"] == {"long": "refuse", "short": "refuse", "mix": "truncate"}
    assert [values["truncated rows"][arm] for arm in ("long", "short")] == ["0", "0"]
    assert int(values["truncated rows"]["mix"]) > 0
    assert {row.name for row in table.rows if row.state == "note"} == {
        "loss tokens", "positions", "share of long", "share of short",
    }  # fmt: skip


def test_published_mix_settings_raise_the_red_alarm_of_the_mixed_arm_alone(published):
    (alarm,) = [c for c in published.confounds if c.field == UNDERTRAINED]
    assert (alarm.severity, list(alarm.values)) == ("red", ["mix"])
    signs = alarm.values["mix"].split(", ")
    assert (signs[0], signs[-1]) == ("20 updates", "no warm-up")
    assert signs[1].startswith("the weights moved by 0.0")


def test_trainings_that_diverged_are_red_since_gaps_leave_out_their_seeds(model, tmp_path, monkeypatch):
    fine_tune = train.fine_tune

    def diverging(*args, **more):
        if more["seed"] == 1 and more["out"].parts[-2] == "long":
            raise Diverged("train: the loss of update 2 is nan; the training diverged; lower train.learning_rate")
        return fine_tune(*args, **more)

    monkeypatch.setattr(train, "fine_tune", diverging)
    study = tiny.study(model, seeds=3)
    tiny.failures(study, tmp_path)
    evidence = gather(study, Store(tmp_path))
    assert next(g for g in evidence.gaps if g.name == "long_cot_gap").seeds == 2
    assert _red(evidence) == [
        "Trainings diverged. Gaps leave out the seeds at which they did, so these arms look better than they are."
    ]
    assert evidence.missing == [
        "t/long/1: train: the loss of update 2 is nan; the training diverged; lower train.learning_rate"
    ]
    assert evidence.diverged == ["t/long/1"]


def test_planted_problems_are_a_red_confound(model, tmp_path):
    """As many, but others."""
    first, later = tiny.problem_sets(24), tiny.problem_sets(24)
    later["train"]["skip"] = 24
    evidence = _planted(tmp_path, {"problems": first}, {"problems": later}, model)
    assert _between(evidence) == ["The arms were not trained with the same problems."]


def test_planted_template_is_a_red_confound(tmp_path):
    template = tiny.PLAIN_TEMPLATE + "{% if hint is defined %}{{ hint }}{% endif %}"
    model = tiny.save_student(tmp_path / "model", tiny.word_tokenizer(template))
    hinted = {"students": {"t": {"model": model, "chat_template_kwargs": {"hint": "A"}}}}
    run, one = tmp_path / "run", {"seeds": 1, "contrasts": {}}
    tiny.run(tiny.study(model, arms={"long": {"long": 1}}, **one, **hinted), run)
    tiny.run(tiny.study(model, arms={"short": {"short": 1}}, **one), run)
    whole = tiny.study(model, seeds=1)
    store, _ = tiny.run(whole, run, "report")
    evidence = gather(whole, store)
    assert "The arms were not trained with the same template." in _red(evidence)
    assert any(line.startswith("t/long/0") for line in evidence.missing), "its evaluation used the other template"


def _with_settings(study, store: Store, **settings) -> Evidence:
    """The arm `long` evaluated again with other generation settings in its model's folder."""
    file = store.folder("train", "t", "long", "0", "model", "generation_config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    (store.folder("evaluate", "t", "long", "0", "signs") / "done.json").unlink()
    tiny.run(study, store.root, "evaluate", "report")
    return gather(study, store)


def test_planted_decoding_is_a_red_confound(model, tmp_path):
    study = tiny.study(model, seeds=1, evaluate={"sampling": {"max_tokens": 24}})
    store, _ = tiny.run(study, tmp_path)
    evidence = _with_settings(study, store, do_sample=True, top_k=3)
    assert _red(evidence) == ["The arms were not evaluated with the same decoding."]


def test_planted_setting_that_nothing_applies_is_a_note_and_no_difference_of_decoding(model, tmp_path):
    study = tiny.study(model, seeds=1)
    store, _ = tiny.run(study, tmp_path)
    evidence = _with_settings(study, store, repetition_penalty=1.5)
    assert _red(evidence) == []
    (note,) = [c for c in evidence.confounds if "not applied" in c.text]
    assert (note.severity, note.values) == ("note", {"long": "repetition_penalty 1.5"})


def test_base_saved_in_bfloat16_is_decoded_as_precisely_as_its_trained_selves(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    model = tiny.student(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    for name, bf16, dtype in (("whole", False, "float32"), ("half", True, "bfloat16")):
        study = tiny.study(model, seeds=1, train={"bf16": bf16})
        store, _ = tiny.run(study, tmp_path / name)
        for cell in (("base",), ("long", "0"), ("short", "0")):
            marker = store.marker(store.folder("evaluate", "t", *cell, "signs"))
            assert marker is not None
            assert [s["dtype"] for s in marker["facts"]["sampled"]] == [dtype]
        assert _red(gather(study, store)) == []


# -- 3. the interval covers a planted truth ---------------------------------------------------------------------


def _scores(rng: np.random.Generator, shift: float, seeds: int, problems: int, spread: float):
    """Two arms' scores [seeds, problems] whose expected difference is `shift`: problems and seeds are both random."""
    hard = rng.uniform(0.25, 0.75, problems)
    chance = np.stack([hard + sign * shift / 2 + rng.normal(0, spread, (seeds, 1)) for sign in (1, -1)])
    return rng.random((2, seeds, problems)) < chance


def _gaps(study, scores: dict[tuple[str, str, int | None], np.ndarray]) -> list[Gap]:
    """The study's gaps where these were the scores: (student, arm, seed) -> [problems]."""
    ids = [f"p{i:04}" for i in range(len(next(iter(scores.values()))))]
    cells = {
        (student, arm, seed, "signs"): {None: dict(zip(ids, map(float, row), strict=True))}
        for (student, arm, seed), row in scores.items()
    }
    return gaps(study, {"flexible": cells}, {"signs": {"all": set(ids)}})[Under("flexible")]


@pytest.mark.parametrize(("seeds", "shift", "spread"), [(3, 0.1, 0.08), (5, 0.0, 0.08), (4, 0.2, 0.0)])
def test_interval_covers_a_planted_gap_in_about_95_of_100_studies(model, seeds, shift, spread, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 60)
    monkeypatch.setattr(verdicts, "needed", lambda *_: "")  # not what is tested, and slow 300 times over
    rng, studies = np.random.default_rng(seeds), 300
    study = tiny.study(model, seeds=seeds, evaluate={"caps": []})
    covered, deltas, false = 0, [], 0
    for _ in range(studies):
        long, short = _scores(rng, shift, seeds, 60, spread)
        arms = {("t", arm, s): rows[s] for arm, rows in (("long", long), ("short", short)) for s in range(seeds)}
        gap = next(g for g in _gaps(study, arms) if g.name == "long_cot_gap")
        assert gap.data is not None and gap.primary
        assert gap.delta == pytest.approx(long.mean() - short.mean())
        assert (gap.data.low > 0) is (gap.verdict == "long helps")
        covered += gap.data.low <= shift <= gap.data.high
        false += gap.verdict == "short helps" or (shift == 0 and gap.verdict == "long helps")
        deltas.append(gap.delta)
    assert np.mean(deltas) == pytest.approx(shift, abs=4 * np.std(deltas) / studies**0.5)
    assert covered / studies >= 0.92
    assert false / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


def test_holm_family_is_the_primary_contrast_over_students(model):
    rng, seeds = np.random.default_rng(0), 3
    students = {name: {"model": model} for name in ("t", "u", "v")}
    study = tiny.study(model, students=students, seeds=seeds, evaluate={"caps": []})
    scores = {}
    for student, shift in (("t", 0.0), ("u", 0.12), ("v", 0.4)):
        pair = _scores(rng, shift, seeds, 200, 0.02)
        scores |= {(student, arm, s): pair[i][s] for i, arm in enumerate(("long", "short")) for s in range(seeds)}
        scores |= {(student, "base", None): pair[1][0]}
    found = _gaps(study, scores)
    family = [g for g in found if g.primary]
    assert [(g.name, g.student) for g in family] == [("long_cot_gap", s) for s in students]
    assert all(g.p_holm is None for g in found if not g.primary)
    ps = sorted(g.p for g in family)
    expected = {ps[0]: 3 * ps[0], ps[1]: max(3 * ps[0], 2 * ps[1]), ps[2]: max(3 * ps[0], 2 * ps[1], ps[2])}
    for g in family:
        assert g.p_holm == pytest.approx(min(1.0, expected[g.p]))
        assert (g.verdict == "long helps") is (g.p_holm < 0.05)


def test_planted_verdict_tables_give_the_gap_that_was_planted(model, tmp_path):
    """The same through real tables: verdicts written into the evaluate folders of a finished run."""
    study = tiny.study(model, evaluate={"caps": []}, problems=tiny.problem_sets(24, 20))
    store, _ = tiny.run(study, tmp_path)
    right = {"base": 2, "long/0": 16, "long/1": 14, "short/0": 5, "short/1": 7}
    for cell, n in right.items():
        tiny.plant(store, cell, n)
    found = {g.name: g for g in gather(study, store).gaps if g.group == "all"}
    assert found["long_cot_gap"].delta == pytest.approx((16 + 14 - 5 - 7) / 40)
    assert found["long_cot_gap"].seed_deltas == pytest.approx([11 / 20, 7 / 20])
    assert found["long_cot_gap"].accuracies == pytest.approx((15 / 20, 6 / 20))
    assert found["short_over_base"].delta == pytest.approx(4 / 20)
    assert found["short_over_base"].seeds == 2
