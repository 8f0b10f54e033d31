"""A run folder becomes evidence: only what still matches the recipe counts, and what is missing is named."""

import shutil
import subprocess
from pathlib import Path

import pytest

import tiny
from mixdistill import pipeline
from mixdistill.evidence import gather as gathering
from mixdistill.evidence import verdicts
from mixdistill.evidence.confounds import OTHERWISE
from mixdistill.evidence.gather import gather
from mixdistill.evidence.rows import Evidence
from mixdistill.files import parameters
from mixdistill.page.headlines import headline
from mixdistill.store import Store
from mixdistill.types import Decision, Gap, Outcome, Problem

ARMS = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.2, "short": 0.8}}
CONTRASTS = {"long_cot_gap": ["long", "short"], "mix_gain": ["mix", "each_pure"]}
PROBLEMS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


def _study(model: str, **sections):
    sections = {"evaluate": {"caps": [8]}, "arms": ARMS, "contrasts": CONTRASTS, **sections}
    return tiny.study(model, problems=tiny.problem_sets(24, PROBLEMS), **sections)


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory) -> Path:
    stages = ("generate", "verify", "analyze", "mix", "train", "evaluate")
    return tiny.run(_study(model), tmp_path_factory.mktemp("run"), *stages)[0].root


@pytest.fixture
def store(finished, tmp_path) -> Store:
    """A finished run of its own, in which the first so many problems of each cell are correct."""
    store = Store(Path(shutil.copytree(finished, tmp_path / "run")))
    right = {"base": 1, "long/0": 16, "long/1": 14, "short/0": 5, "short/1": 7, "mix/0": 12, "mix/1": 12}
    for cell, n in right.items():
        tiny.plant(store, cell, n)
    return store


def _gap(evidence: Evidence, name: str, cap: int | None = None, group: str = "all") -> Gap:
    (found,) = [g for g in evidence.gaps if (g.name, g.max_tokens, g.group) == (name, cap, group)]
    return found


def test_missing_cell_is_named_and_the_rest_still_counts(model, store):
    (store.folder("evaluate", "t", "short", "1", "signs") / "done.json").unlink()
    evidence = gather(_study(model), store)
    assert evidence.missing == ["t/short/1: not evaluated on signs; run the recipe again"]
    assert evidence.cells_wanted == 6
    gap = _gap(evidence, "long_cot_gap")
    assert (gap.seeds, gap.data) == (1, None)
    assert (gap.verdict, gap.look, evidence.details.looks) == ("can't tell (unfinished)", None, []), "no look is spent"
    assert gap.accuracies == pytest.approx((16 / 20, 5 / 20)), "over the seed that both arms have"
    assert gap.accuracies[0] - gap.accuracies[1] == pytest.approx(gap.delta)


def test_cells_of_another_budget_are_arms_of_the_study_and_missing_in_words(model, store, monkeypatch):
    monkeypatch.setattr(verdicts, "FEWEST", 2)
    evidence = gather(_study(model, budget={"also": ["loss_tokens"]}), store)
    assert (evidence.variants, evidence.cells_wanted, len(evidence.missing)) == (["loss_tokens"], 12, 6)
    assert evidence.missing[0] == ("t/long@loss_tokens/0 (by loss tokens): not trained; run the recipe again")
    names = ["long", "short", "mix"]
    assert [a.name for a in evidence.arms] == ["base", *names, *(f"{name}@loss_tokens" for name in names)]
    assert evidence.gaps_by_variant == []
    gap = _gap(evidence, "long_cot_gap")
    assert (gap.seeds, gap.verdict) == (2, "can't tell (unfinished)"), "the other budget may turn its sign"


def test_a_training_that_is_not_there_is_missing_once_and_one_that_is_in_every_mode(model, store):
    tagged = {"mix": {"weights": {"long": 0.5, "short": 0.5}, "tags": {"long": "L", "short": "S"}}}
    study = _study(model, arms={**ARMS, **tagged})
    shutil.rmtree(store.folder("train", "t", "mix", "1"))
    mode = study.modes("mix")[1]
    lines = [line.split(":")[0] for line in gather(study, store).missing if "mix" in line]
    assert lines == ["t/mix/0", f"t/{mode}/0", "t/mix/1"]


def test_gaps_are_gathered_under_every_reading_that_differs(model, store):
    same = gather(_study(model), store)
    assert (same.rule, same.gaps_by_rule, same.alike) == ("flexible", [], {"strict": "flexible", "judge": "flexible"})
    for cell, right in {"long/0": 3, "long/1": 2, "short/0": 11, "short/1": 10}.items():
        tiny.plant(store, cell, right, rule="strict")
    evidence = gather(_study(model), store)
    assert evidence.alike == {"judge": "flexible"}
    assert {g.rule for g in evidence.gaps} == {"flexible"}
    assert [g.delta for g in evidence.gaps] == [g.delta for g in same.gaps]
    assert [(g.name, g.max_tokens, g.group) for g in evidence.gaps_by_rule] == [
        (g.name, g.max_tokens, g.group) for g in evidence.gaps
    ]
    assert {g.rule for g in evidence.gaps_by_rule} == {"strict"}
    (strict,) = [g for g in evidence.gaps_by_rule if g.primary]
    assert strict.seed_deltas == pytest.approx([-8 / 20, -8 / 20])
    facts = {(f.arm, f.max_tokens): f.correct for f in evidence.readings}
    assert facts["long", None] == {"strict": 5, "flexible": 30, "judge": 30}
    assert facts["base", 8] == {"strict": 1, "flexible": 1, "judge": 1}


def test_missing_base_loses_its_gaps_only(model, store):
    (store.folder("evaluate", "t", "base", "signs") / "done.json").unlink()
    evidence = gather(_study(model), store)
    assert evidence.missing == ["t/base: not evaluated on signs; run the recipe again"]
    assert not [g for g in evidence.gaps if g.name.endswith("_over_base")]
    assert _gap(evidence, "long_cot_gap").seeds == 2


def test_arm_without_any_cell_has_no_gap(model, store):
    for seed in "01":
        (store.folder("evaluate", "t", "long", seed, "signs") / "done.json").unlink()
    evidence = gather(_study(model), store)
    assert {g.name for g in evidence.gaps} == {"short_over_base", "mix_over_base"}
    assert "long" not in {a.arm for a in evidence.accuracies}
    assert len(evidence.missing) == 2


def test_evaluation_made_with_other_settings_does_not_count(model, store):
    sampling = {"temperature": 0.7, "max_tokens": 24}
    evidence = gather(_study(model, evaluate={"caps": [8], "sampling": sampling}), store)
    assert (evidence.gaps, evidence.scores, evidence.accuracies) == ([], [], [])
    assert len(evidence.missing) == evidence.cells_wanted + 1 == 7, "the untuned student too"


def test_evaluation_of_other_weights_does_not_count(model, store):
    folder = store.folder("train", "t", "long", "0")
    marker = store.marker(folder)
    assert marker is not None
    marker["tables"]["model"]["columns"]["weights"] = "other weights"
    store.mark(folder, marker)
    assert gather(_study(model), store).missing == ["t/long/0: not evaluated on signs; run the recipe again"]


def test_trace_without_a_verdict_is_not_correct(model, store):
    folder = store.folder("evaluate", "t", "long", "0", "signs")
    decisions = store.read(folder, Decision, "decisions")
    lost = {d.trace_id for d in decisions if d.outcome is Outcome.CORRECT and d.max_tokens is None}
    one = min(lost)
    tiny.reseal(store, folder, [d for d in decisions if d.trace_id != one], "decisions")
    assert _gap(gather(_study(model), store), "long_cot_gap").seed_deltas[0] == pytest.approx(10 / 20)


def test_samples_that_are_no_longer_wanted_do_not_count(model, tmp_path):
    """Traces are kept when `k` or the number of problems falls; accuracy is over those that the recipe asks for."""
    sampling = {"temperature": 1.0, "max_tokens": 6}
    one = {"arms": {"short": {"short": 1}}, "contrasts": {}, "seeds": 2}
    tiny.run(_study(model, **one, evaluate={"k": 3, "caps": [4], "sampling": sampling}), tmp_path)
    fewer = _study(model, **one, evaluate={"k": 1, "caps": [4], "sampling": sampling})
    store, _ = tiny.run(fewer, tmp_path)
    for cell in ("base", "short/0", "short/1"):
        tiny.plant(store, cell, 20)
    gap = _gap(gather(fewer, store), "short_over_base")
    assert gap.accuracies == (1, 1)


def test_accuracies_agree_with_the_scores(model, finished):
    evidence = gather(_study(model), Store(finished))
    for a in evidence.accuracies:
        mine = [s for s in evidence.scores if (s.arm, s.max_tokens, s.group) == (a.arm, a.max_tokens, a.group)]
        assert a.mean == pytest.approx(sum(s.accuracy for s in mine) / len(mine))
        assert a.problems == mine[0].examples
        assert set(a.seeds) == ({0, 1} if a.arm != "base" else set())


def test_cell_facts_are_what_training_and_mix_left(model, store):
    evidence = gather(_study(model), store)
    assert {(c.arm, c.seed) for c in evidence.cells} == {(a, s) for a in ARMS for s in (0, 1)}
    for c in evidence.cells:
        train = store.marker(store.folder("train", "t", c.arm, str(c.seed)))
        assert train is not None
        assert (c.updates, c.loss_tokens, c.examples) == tuple(
            train["facts"][k] for k in ("updates", "loss_tokens", "examples")
        )
        assert sum(c.share_examples.values()) == pytest.approx(1)
        assert c.distinct_problems == 24


def test_cell_shows_the_mix_it_was_trained_on_not_one_drawn_since(model, store):
    folder = store.folder("mix", "t", "mix", "0")
    marker = store.marker(folder)
    assert marker is not None
    drawn = {"share_examples": {"long": 1.0}, "share_loss_tokens": {"long": 1.0}, "distinct_problems": 3, "epochs": 9.0}
    store.mark(folder, {**marker, "facts": {**marker["facts"], **drawn}, "counts": {"overlong": 7}})
    for redrawn in (True, False):
        (cell,) = [c for c in gather(_study(model), store).cells if (c.arm, c.seed) == ("mix", 0)]
        assert cell.share_examples == pytest.approx({"long": 0.2, "short": 0.8}, abs=0.02)
        assert (cell.distinct_problems, cell.epochs, cell.dropped) == (24, 2.0, {})
        if redrawn:
            (folder / "done.json").unlink()


def test_training_without_a_copy_of_its_mix_is_shown_with_the_mix_that_is_there(model, store):
    before = gather(_study(model), store).cells
    for folder in store.folder("train").glob("*/*/*"):
        marker = store.marker(folder)
        assert marker is not None
        del marker["facts"]["mix"]
        store.mark(folder, marker)
    assert gather(_study(model), store).cells == before


def test_training_that_no_longer_matches_the_recipe_is_shown_and_said_to_be_a_confound(model, store):
    assert not [c for c in gather(_study(model), store).confounds if c.field == OTHERWISE]
    evidence = gather(_study(model, train={"learning_rate": 5e-2}), store)
    (found,) = [c for c in evidence.confounds if c.field == OTHERWISE]
    assert (found.severity, set(found.values)) == ("red", set(ARMS))
    assert found.text.endswith(": train.learning_rate was 0.01, is now 0.05.")
    assert evidence.cells_wanted == len(evidence.cells) == 6
    assert "arms were trained otherwise" in headline(evidence)


def test_training_whose_mix_the_recipe_now_draws_otherwise_is_a_confound_too(model, store):
    evidence = gather(_study(model, train={"num_train_epochs": 3}), store)
    (found,) = [c for c in evidence.confounds if c.field == OTHERWISE]
    assert found.text.endswith(": train.num_train_epochs was 2.0, is now 3.0.")


def test_request_that_fails_for_good_is_an_error_and_the_cell_still_counts(tmp_path):
    """Prompts of the longest problems do not fit the student's context."""
    model = tiny.student(tmp_path / "model", max_position_embeddings=9)
    study = _study(model, seeds=1, error_rate=0.9)
    store, _ = tiny.run(study, tmp_path / "run")
    problems = store.read(store.folder("problems"), Problem, "signs")
    lost = sum(p.level == "k=5" for p in problems)
    assert 0 < lost < PROBLEMS
    evidence = gather(study, store)
    assert evidence.missing == []
    assert {s.error for s in evidence.scores if s.group == "all"} == {lost}
    for a in (a for a in evidence.accuracies if a.group == "all"):
        assert a.bounds is not None
        assert a.bounds.high - a.bounds.low == pytest.approx(lost / PROBLEMS)
    (note,) = [n for n in evidence.notes if "failed" in n]
    assert note.startswith(f"{4 * lost} requests of the evaluation failed (t/base/signs {lost}, ")


def test_evaluation_that_never_asked_for_some_problems_does_not_count(model, store):
    study = tiny.study(
        model, problems=tiny.problem_sets(24, PROBLEMS + 4), arms=ARMS, contrasts=CONTRASTS, evaluate={"caps": [8]}
    )
    tiny.run(study, store.root, "analyze")
    assert len(gather(study, store).missing) == 7


def test_what_every_teacher_solved_is_gathered_with_the_problems_that_requiring_them_loses(model, store):
    folder = store.folder("verify", "short")
    decisions = store.read(folder, Decision, "decisions")
    wrong = [d.model_copy(update={"outcome": Outcome.INCORRECT}) for d in decisions[:6]]
    tiny.reseal(store, folder, [*wrong, *decisions[6:]], "decisions")
    evidence = gather(_study(model), store)
    assert [(s.teachers, s.problems) for s in evidence.solved] == [
        ([], 24), (["long"], 24), (["long", "short"], 18)
    ]  # fmt: skip
    assert {t.name: (t.pass_rate, t.accepted) for t in evidence.teachers} == {"long": (1.0, 24), "short": (0.75, 18)}
    levels = evidence.solved[0].levels
    assert len(levels) > 1 and sum(levels.values()) == pytest.approx(1)
    tokens = {t.name: t.tokens_mean for t in evidence.teachers}
    assert evidence.solved[0].tokens["long"] == pytest.approx(tokens["long"])


def test_teacher_whose_traces_are_gone_is_left_out(model, store):
    (store.folder("generate", "long") / "traces.parquet").unlink()
    assert [t.name for t in gather(_study(model), store).teachers] == ["short"]


def test_a_level_called_all_is_kept_apart_from_all_problems(store):
    folder = store.folder("problems")
    problems = [
        p.model_copy(update={"level": "all" if n < 5 else "hard"})
        for n, p in enumerate(store.read(folder, Problem, "signs"))
    ]
    store.seal(folder, Problem, problems, "signs")
    groups = {group: len(ids) for group, ids in gathering._levels(store, "signs").items()}
    assert groups == {"all": PROBLEMS, "hard": PROBLEMS - 5, "level all": 5}


def test_benchmarks_that_share_problems_are_noted(model, store):
    folder = store.folder("problems")
    marker = store.marker(folder)
    assert marker is not None
    assert marker["shared"] == {}
    store.mark(folder, {**marker, "shared": {"b: also in a": {"problems": 2, "example": "What\nis it?"}}})
    assert (
        "Benchmarks: b: also in a: 2 problems, such as 'What is it?'; kept in both, so the two are not independent."
        in gather(_study(model), store).notes
    )


def test_commit_is_told_only_where_this_package_is_tracked(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    package = tmp_path / "lib" / "gather.py"
    package.parent.mkdir()
    package.write_text("")
    (tmp_path / "other").write_text("")
    for words in (["init", "-q"], ["add", "other"], ["commit", "-q", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(gathering, "__file__", str(package))
    assert gathering._commit() == {}
    for words in (["add", "."], ["commit", "-q", "-m", "ours"]):
        subprocess.run([*git, *words], check=True)
    assert set(gathering._commit()) == {"git commit"}


def test_tokens_counted_by_mix_are_those_that_training_saw(model, store):
    for arm in ARMS:
        mix, train = (store.marker(store.folder(stage, "t", arm, "0")) for stage in ("mix", "train"))
        assert mix is not None and train is not None
        for fact in ("updates", "examples", "loss_tokens"):
            assert mix["facts"][fact] == train["facts"][fact]


def test_teacher_outcomes_add_up_to_its_traces(model, store):
    for t in gather(_study(model), store).teachers:
        assert t.correct + t.incorrect + t.no_answer + t.truncated + t.error_verdicts == t.traces == 24
        assert (t.accepted, t.errors, t.finished, t.problems) == (24, 0, 24, 24)
        assert t.tokens_median is not None and t.tokens_mean is not None and t.tokens_p90 is not None
        assert t.tokens_median <= t.tokens_p90


def test_what_is_said_of_a_teacher_lies_inside_of_its_interval(model, store):
    for teacher in gather(_study(model), store).teachers:
        assert set(teacher.intervals) == {"pass_rate", "tokens_mean", "tokens_median", "tokens_p90", "steps_mean"}
        for name, interval in teacher.intervals.items():
            assert interval.low <= getattr(teacher, name) <= interval.high


def test_every_answer_ends_in_one_way_and_the_next_step_follows_from_everything(model, store):
    details = gather(_study(model), store).details
    assert {(e.arm, e.max_tokens) for e in details.ended} == {(a, c) for a in ("base", *ARMS) for c in (None, 8)}
    assert details.next_steps


def test_teacher_counts_only_problems_that_are_still_asked(model, finished, tmp_path):
    root = Path(shutil.copytree(finished, tmp_path / "run"))
    study = tiny.study(model, problems=tiny.problem_sets(10, PROBLEMS))
    store, _ = tiny.run(study, root, "generate", "verify", "analyze")
    for t in gather(study, store).teachers:
        assert t.correct == t.traces == t.problems == t.finished == 10


def test_teacher_counts_no_verdict_of_an_earlier_larger_study(model, store):
    """The problems were drawn anew and no more, so the verdicts on all 24 are still there."""
    study = tiny.study(model, problems=tiny.problem_sets(10, PROBLEMS))
    pipeline.prepare(study, store)
    for t in gather(study, store).teachers:
        assert t.correct == t.accepted == t.traces == t.problems == 10


def test_size_of_a_student_is_what_its_trainings_noted_though_its_models_are_gone(model, store):
    weights = parameters(Path(model))
    for saved in store.folder("train", "t").glob("*/*/model"):
        shutil.rmtree(saved)
    assert [s.parameters for s in gather(_study(model), store).students] == [weights]


def test_size_of_a_student_whose_trainings_noted_none_is_that_of_a_model_that_is_there(model, store):
    cells = sorted(store.folder("train", "t").glob("*/*"))
    for cell in cells:
        marker = store.marker(cell)
        assert marker is not None
        store.mark(cell, {**marker, "facts": {k: v for k, v in marker["facts"].items() if k != "parameters"}})
    shutil.rmtree(cells[0] / "model")
    assert [s.parameters for s in gather(_study(model), store).students] == [parameters(Path(model))]
    for cell in cells[1:]:
        shutil.rmtree(cell / "model")
    assert [s.parameters for s in gather(_study(model), store).students] == [None]


def test_shared_problems_and_what_sharing_cost_are_listed(model, tmp_path):
    study = tiny.study(model, train={"max_length": 80, "overlong": "drop"}, seeds=1)
    store, _ = tiny.run(study, tmp_path)
    (shared,) = gather(study, store).shared
    assert shared.arms == ["long", "short"]
    assert shared.problems + shared.lost["no usable trace of long"] == 24
    assert gather(study, store).cells[0].dropped == {"overlong": shared.lost["no usable trace of long"]}


def test_errors_give_bounds_on_accuracy(model, tmp_path):
    (tmp_path / "own.py").write_text(
        "from mixdistill.types import Outcome, Verdict\nVERSION = '1'\n"
        "def verify(problem, trace):\n"
        "    if trace.author.startswith('student/') and problem.level == 'k=3':\n        raise ValueError('broken')\n"
        "    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT)\n"
    )
    study = tiny.study(model, verify={"verifier": f"{tmp_path / 'own.py'}:verify"}, seeds=1, error_rate=0.9)
    store, _ = tiny.run(study, tmp_path / "run")
    problems = store.read(store.folder("problems"), Problem, "signs")
    share = sum(p.level == "k=3" for p in problems) / len(problems)
    assert 0 < share < 1
    for a in gather(study, store).accuracies:
        if a.group == "all":
            assert a.mean == pytest.approx(1 - share)
            assert a.bounds is not None
            assert (a.bounds.low, a.bounds.high) == pytest.approx((1 - share, 1))
        elif a.group != "k=3":
            assert a.bounds is None
