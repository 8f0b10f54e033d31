"""The gap over training: point by point, paired over problems and seeds; and whether a training was over."""

import pytest

import tiny
from mixdistill.evidence import stats
from mixdistill.evidence.curves import over_training
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.training.snapshots import points
from mixdistill.types import Decision, Outcome, Problem

DEV = {"source": "lab:signs", "split": "search", "limit": 40}
PROBLEMS = [tiny.problem(f"Q {i} T 5 :") for i in range(40)]


def study(**sections) -> Recipe:
    problems = tiny.problem_sets(24) | {"dev": DEV}
    return tiny.study("m", **{"problems": problems, "budget": {"per_update": 8, "also": []}, **sections})


@pytest.fixture
def store(tmp_path) -> Store:
    """A run folder with 40 dev problems and nothing trained."""
    store = Store(tmp_path)
    folder = store.folder("problems")
    store.mark(folder, {"tables": {"dev": store.seal(folder, Problem, PROBLEMS, "dev")}})
    return store


def train(store: Store, cell: str, right: dict[int, set[int]], *, updates: int = 100, asked: int = 40) -> None:
    """A finished training: update -> which of the problems were right then."""
    folder = store.folder("train", *cell.split("/"))
    for update, which in right.items():
        traces = [tiny.trace(p, author=f"student/{cell}/dev/{update}") for p in PROBLEMS[:asked]]
        outcomes = [Outcome.CORRECT if i in which else Outcome.INCORRECT for i in range(asked)]
        rows = [
            Decision(trace_id=t.id, outcome=o, strict=o, flexible=o, judge=o)
            for t, o in zip(traces, outcomes, strict=True)
        ]
        store.seal(folder / "dev" / str(update), tiny.Trace, traces, "traces")
        store.seal(folder / "dev" / str(update), Decision, rows, "decisions")
    dev = [{"update": u, "correct": len(w), "examples": asked} for u, w in right.items()]
    store.mark(folder, {"tables": {}, "facts": {"updates": updates, "dev": dev}})


def some(n: int, start: int = 0) -> set[int]:
    return set(range(start, start + n))


def test_gap_at_a_point_is_that_of_the_same_point_paired_over_problems_and_seeds(store):
    train(store, "t/long/0", {50: some(10), 100: some(12)})
    train(store, "t/long/1", {50: some(8), 100: some(14)})
    train(store, "t/short/0", {50: some(4), 100: some(20)})
    train(store, "t/short/1", {50: some(6), 100: some(24)})
    curves = over_training(study(), store)
    assert [(g.name, g.variant, g.student, g.arms, g.progress) for g in curves.gaps] == [
        ("long_cot_gap", "", "t", ("long", "short"), 0.5),
        ("long_cot_gap", "", "t", ("long", "short"), 1.0),
    ]
    assert [g.delta for g in curves.gaps] == pytest.approx([(6 + 2) / 80, -(8 + 10) / 80])

    def scores(*right: int) -> dict:
        return {s: {p.id: float(i < n) for i, p in enumerate(PROBLEMS)} for s, n in enumerate(right)}

    expected = stats.gap(stats.paired(scores(12, 14), scores(20, 24)))
    last = curves.gaps[1]
    assert (last.checkpoints, last.data, last.problems, last.seeds) == (
        expected.checkpoints, expected.data, 40, 2,
    )  # fmt: skip


def test_accuracy_of_an_arm_is_over_its_seeds(store):
    train(store, "t/long/0", {50: some(10), 100: some(12)})
    train(store, "t/long/1", {50: some(8), 100: some(14)})
    first, last = over_training(study(), store).points
    assert (first.arm, first.progress, first.seeds) == ("long", 0.5, {0: 0.25, 1: 0.2})
    assert first.mean == pytest.approx(0.225)
    assert (last.progress, last.mean, last.problems) == (1.0, pytest.approx(0.325), 40)
    assert first.data is not None
    assert first.data.low < 0.225 < first.data.high


def test_one_seed_gives_the_interval_for_these_checkpoints_alone(store):
    train(store, "t/long/0", {100: some(10)})
    train(store, "t/short/0", {100: some(4)})
    (gap,) = over_training(study(), store).gaps
    assert gap.data is None
    assert gap.checkpoints is not None


def test_points_that_one_arm_lacks_are_not_compared(store):
    train(store, "t/long/0", {25: some(2), 50: some(3), 75: some(3), 100: some(10)})
    train(store, "t/short/0", {17: some(2), 34: some(2), 50: some(2), 67: some(2), 84: some(2), 100: some(4)})
    assert [g.progress for g in over_training(study(), store).gaps] == [0.5, 1.0]


def test_points_are_shares_of_the_updates_whatever_their_number(store):
    train(store, "t/long/0", {50: some(2), 100: some(10)})
    train(store, "t/short/0", {10: some(2), 20: some(4)}, updates=20)
    assert [g.progress for g in over_training(study(), store).gaps] == [0.5, 1.0]


def test_points_of_trainings_of_unequal_length_match_by_their_place_and_are_followed_to_the_end(store):
    """A quarter of 21 updates is over after 6, of 1,334 after 334."""
    long, short = points(21, 4), points(1334, 4)
    assert (long, short) == ([6, 11, 16, 21], [334, 667, 1001, 1334])
    train(store, "t/long/0", {u: some(4 + 2 * i) for i, u in enumerate(long)}, updates=21)
    train(store, "t/short/0", {u: some(2 + i) for i, u in enumerate(short)}, updates=1334)
    curves = over_training(study(), store)
    assert [(g.progress, round(40 * g.delta)) for g in curves.gaps] == [(0.25, 2), (0.5, 3), (0.75, 4), (1.0, 5)]
    (end,) = curves.undertrained
    assert (end.since, end.delta) == (0.75, pytest.approx(1 / 40))


def test_arms_without_a_common_seed_are_not_compared(store):
    train(store, "t/long/0", {100: some(10)})
    train(store, "t/short/1", {100: some(4)})
    curves = over_training(study(), store)
    assert (curves.gaps, len(curves.points)) == ([], 2)


def test_blend_is_held_against_the_pure_arm_that_decides_at_each_point(store):
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}
    train(store, "t/long/0", {50: some(10), 100: some(2)})
    train(store, "t/short/0", {50: some(4), 100: some(9)})
    train(store, "t/mix/0", {50: some(12), 100: some(12)})
    gaps = over_training(study(arms=arms, contrasts={"gain": ["mix", "each_pure"]}), store).gaps
    assert [(g.arms, round(40 * g.delta)) for g in gaps] == [(("mix", "long"), 2), (("mix", "short"), 3)]


def test_every_budget_is_compared_with_itself(store):
    for arm, n in {"long": 10, "short": 4, "long@loss_tokens": 5, "short@loss_tokens": 6}.items():
        train(store, f"t/{arm}/0", {100: some(n)})
    gaps = over_training(study(budget={"per_update": 8, "also": ["loss_tokens"]}), store).gaps
    assert [(g.variant, g.arms, round(40 * g.delta)) for g in gaps] == [
        ("", ("long", "short"), 6),
        ("loss_tokens", ("long@loss_tokens", "short@loss_tokens"), -1),
    ]


def test_accuracy_that_changed_beyond_noise_between_the_last_two_points_moves_still(store):
    for seed in (0, 1):
        train(store, f"t/long/{seed}", {34: some(1), 67: some(10 + seed), 100: some(30 + seed)})
        train(store, f"t/short/{seed}", {34: some(1), 67: some(20 + seed), 100: some(20, start=1 + seed)})
    long, short = over_training(study(), store).moving
    assert (long.arm, long.since, long.moving) == ("long", 0.667, True)
    assert long.delta == pytest.approx(0.5)
    assert long.interval is not None
    assert long.interval.low > 0
    assert (short.arm, short.moving) == ("short", False)


def test_seeds_that_do_not_agree_do_not_move(store):
    train(store, "t/long/0", {50: some(10), 100: some(30)})
    train(store, "t/long/1", {50: some(10), 100: some(10)})
    (long,) = over_training(study(), store).moving
    assert (long.delta, long.moving) == (pytest.approx(0.25), False)


def test_falling_accuracy_moves_too(store):
    train(store, "t/long/0", {50: some(30), 100: some(5)})
    (long,) = over_training(study(), store).moving
    assert long.moving
    assert long.delta == pytest.approx(-25 / 40)


def test_one_point_says_nothing_of_movement(store):
    train(store, "t/long/0", {100: some(30)})
    assert over_training(study(), store).moving == []


def test_training_that_was_asked_other_problems_is_left_out_and_named(store):
    train(store, "t/long/0", {100: some(10)})
    train(store, "t/long/1", {100: some(10)}, asked=39)
    train(store, "t/short/0", {})
    curves = over_training(study(), store)
    assert curves.points[0].seeds == {0: 0.25}
    assert curves.left_out == ["t/short/0", "t/long/1"]
    assert over_training(study(train={"dev_checkpoints": 0}), store).left_out == []


def test_gap_that_moved_over_the_end_is_that_at_the_last_point_minus_that_before_it(store):
    train(store, "t/long/0", {34: some(2), 67: some(4), 100: some(20)})
    train(store, "t/long/1", {34: some(2), 67: some(6), 100: some(16)})
    train(store, "t/short/0", {34: some(7), 67: some(8), 100: some(10)})
    train(store, "t/short/1", {34: some(9), 67: some(8), 100: some(8)})
    (found,) = over_training(study(), store).undertrained
    assert (found.name, found.student, found.arms, found.since) == ("long_cot_gap", "t", ("long", "short"), 0.667)
    assert found.delta == pytest.approx(((20 - 4 + 16 - 6) - (10 - 8 + 8 - 8)) / 80)

    def change(before: tuple[int, int], last: tuple[int, int]) -> dict:
        return {s: {p.id: float(i < last[s]) - float(i < before[s]) for i, p in enumerate(PROBLEMS)} for s in (0, 1)}

    expected = stats.gap(stats.paired(change((4, 6), (20, 16)), change((8, 8), (10, 8))))
    assert (found.checkpoints, found.data, found.seeds, found.problems) == (
        expected.checkpoints, expected.data, 2, 40,
    )  # fmt: skip


def test_gap_at_one_point_alone_says_nothing_of_more_training(store):
    train(store, "t/long/0", {100: some(12)})
    train(store, "t/short/0", {50: some(12), 100: some(12)})
    assert over_training(study(), store).undertrained == []


def test_seeds_that_one_arm_was_asked_in_are_left_out_of_how_the_gap_moved(store):
    train(store, "t/long/0", {50: some(2), 100: some(12)})
    train(store, "t/long/1", {100: some(12)})
    train(store, "t/short/0", {50: some(2), 100: some(4)})
    train(store, "t/short/1", {50: some(2), 100: some(4)})
    (found,) = over_training(study(), store).undertrained
    assert (found.delta, found.seeds, found.data) == (pytest.approx(8 / 40), 1, None)


def test_blend_is_followed_against_the_pure_arm_that_decides_at_the_end(store):
    arms = {"long": {"long": 1}, "short": {"short": 1}, "mix": {"long": 0.5, "short": 0.5}}
    train(store, "t/mix/0", {50: some(10), 100: some(20)})
    train(store, "t/long/0", {50: some(19), 100: some(10)})
    train(store, "t/short/0", {50: some(2), 100: some(18)})
    (found,) = over_training(study(arms=arms, contrasts={"mix_gain": ["mix", "each_pure"]}), store).undertrained
    assert (found.arms, found.delta) == (("mix", "short"), pytest.approx((10 - 16) / 40))


def test_without_dev_problems_there_is_nothing(store):
    train(store, "t/long/0", {100: some(10)})
    assert over_training(study(problems=tiny.problem_sets(24)), store) == ([], [], [], [], [])
