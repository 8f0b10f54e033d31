"""Every token that a student wrote has its rank under the untuned student; nothing is sampled or graded for it."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from mixdistill import chain, ranks
from mixdistill.backends.transformers import load
from mixdistill.errors import StageError, StoreError
from mixdistill.ranks import Row, rank
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.students import Answered, Asked
from mixdistill.tokens import Template
from mixdistill.types import Ranked, Verdict

ARMS = {"arms": {"short": {"short": 1}}, "contrasts": {"over": ["short", "base"]}}


class Table:
    """A model whose next token depends on the last one alone: logits, by hand."""

    device = torch.device("cpu")
    config = SimpleNamespace(get_text_config=lambda decoder: SimpleNamespace(vocab_size=4))

    def __init__(self, *logits: list[float]):
        self.logits, self.seen = torch.tensor(logits), []

    def forward(self, input_ids: Any, *, use_cache: bool, cache: int | None) -> Any:
        self.seen.append((tuple(input_ids.shape), cache))
        return Output(logits=self.logits[input_ids], cache=(cache or 0) + 1)

    __call__ = forward


class Output(dict):
    """What a model gives: by name, and as an attribute."""

    __getattr__ = dict.__getitem__


def by_hand() -> Any:
    return Table([0.0, 3, 2, 1], [5, 0, 1, 2], [1, 1, 0, 1], [0, 0, 0, 9])


def all_ranks(model: Any, *rows: Row, tokens: int = 1000) -> list[list[int]]:
    found = dict(rank(model, rows, tokens=tokens, pad_id=0))
    return [found[i] for i in range(len(rows))]


def test_ranks_are_those_counted_by_hand():
    """After 0: 1, 2, 3, 0. After 1: 0, 3, 2, 1. After 2: 0, 1 and 3 are equal, then 2. After 3: 3, then the others."""
    assert all_ranks(by_hand(), Row([0], [1, 0, 3, 2, 2, 1, 1]), Row([2, 1], [2, 3, 0])) == [
        [1, 1, 3, 2, 4, 1, 4], [3, 1, 2],
    ]  # fmt: skip


def test_rows_are_read_together_as_long_as_there_is_room_the_longest_first():
    model = by_hand()
    rows = [Row([0], [1]), Row([0, 1], [2, 3, 0, 0]), Row([0], [1, 2])]
    order = [i for i, _ in rank(model, rows, tokens=9, pad_id=0)]
    assert order == [1, 2, 0]
    assert [shape for shape, _ in model.seen] == [(1, 5), (2, 2)]


def test_row_that_is_longer_than_the_room_is_read_alone():
    assert all_ranks(by_hand(), Row([0], [1, 0]), Row([0], [1]), tokens=1) == [[1, 1], [1]]


def test_long_rows_are_read_in_parts_that_go_on_from_each_other(monkeypatch):
    monkeypatch.setattr(ranks, "LOGITS", 2 * 4 * 2)  # two rows, four tokens, two places
    model = by_hand()
    assert all_ranks(model, Row([0], [1, 0, 3, 2]), Row([2, 1], [2, 3])) == [[1, 1, 3, 2], [3, 1]]
    assert model.seen == [((2, 2), None), ((2, 2), 1)]


def test_logits_that_are_no_numbers_rank_nothing():
    with pytest.raises(StageError, match="numbers that are not numbers"):
        all_ranks(Table([0.0, float("nan"), 0, 0]), Row([0], [1]))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.mark.parametrize("places", [3, 10_000])
def test_ranks_of_a_model_are_those_of_its_logits_one_prefix_at_a_time(model, monkeypatch, places):
    loaded = load(model, "float32")
    vocabulary = loaded.config.vocab_size
    monkeypatch.setattr(ranks, "LOGITS", 3 * vocabulary * places)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(3, vocabulary, (n,), generator=generator).tolist() for n in (14, 9, 11)]
    rows = [Row(ids[:4], ids[4:]) for ids in drawn]

    def expected(ids: list[int], at: int) -> int:
        with torch.inference_mode():
            logits = loaded(torch.tensor([ids[:at]])).logits[0, -1]
        return torch.argsort(logits, descending=True).tolist().index(ids[at]) + 1

    assert all_ranks(loaded, *rows) == [[expected(ids, at) for at in range(4, len(ids))] for ids in drawn]


def study(model: str, **sections: Any) -> Recipe:
    evaluate = {"caps": [], "style": 6, **sections.pop("evaluate", {})}
    return tiny.study(model, **{**ARMS, "seeds": 2, **sections}, evaluate=evaluate)


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory) -> Path:
    """A finished run in which nothing was ranked."""
    stages = ("generate", "verify", "analyze", "mix", "train", "evaluate")
    return tiny.run(study(model, evaluate={"style": 0}), tmp_path_factory.mktemp("run"), *stages)[0].root


@pytest.fixture
def root(whole, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(whole, tmp_path / "run"))


def ranked(store: Store, cell: str) -> list[Ranked]:
    return store.read(store.folder("evaluate", "t", *cell.split("/"), "signs"), Ranked, ranks.TABLE)


def test_the_first_seed_and_the_untuned_student_are_ranked_on_the_same_problems(model, root):
    store, ran = tiny.run(study(model), root, "evaluate")
    assert sorted(ran) == ["evaluate/t/base/signs", "evaluate/t/short/0/signs"]
    base, short = ranked(store, "base"), ranked(store, "short/0")
    assert len(base) == len(short) == 6
    assert [r.problem_id for r in base] == [r.problem_id for r in short]
    assert ranked(store, "short/1") == []
    traces = {t.id: t for t in store.read(store.folder("evaluate", "t", "short", "0", "signs"), tiny.Trace, "traces")}
    for row in short:
        ids = traces[row.trace_id].token_ids
        assert ids is not None
        assert len(row.ranks) == len(row.tokens) == len(ids)
        assert "".join(row.tokens) == Template.load(model).decode(ids)


def test_what_the_untuned_student_writes_greedily_is_its_own_first_choice_everywhere(model, root):
    store, _ = tiny.run(study(model), root, "evaluate")
    assert {rank for row in ranked(store, "base") for rank in row.ranks} == {1}
    assert {rank for row in ranked(store, "short/0") for rank in row.ranks} != {1}


def test_one_sample_of_a_problem_is_ranked_however_many_there_are(model, root):
    store, _ = tiny.run(study(model, evaluate={"k": 2, "style": 6}), root, "evaluate")
    rows = ranked(store, "short/0")
    assert len({r.problem_id for r in rows}) == len(rows) == 6


def test_switching_it_on_and_off_samples_and_grades_nothing(model, root, monkeypatch):
    calls, grade, graded = tiny.Calls(monkeypatch), chain.grade, list[int]()

    def counting(recipe: Recipe, items: Any, link: int = 0) -> list[Verdict]:
        graded.append(len(items))
        return grade(recipe, items, link)

    monkeypatch.setattr(chain, "grade", counting)
    before = Store(root).read(root / "evaluate" / "t" / "short" / "0" / "signs", Verdict, "verdicts")
    store, _ = tiny.run(study(model), root, "evaluate")
    assert len(ranked(store, "short/0")) == 6
    assert store.read(root / "evaluate" / "t" / "short" / "0" / "signs", Verdict, "verdicts") == before
    tiny.run(study(model, evaluate={"style": 0}), root, "evaluate")
    assert (calls.take(), sum(graded)) == (0, 0)


def counted(monkeypatch) -> list[int]:
    """How many rows are ranked, call by call."""
    found: list[int] = []

    def counting(model: Any, rows: Any, **options: Any) -> Any:
        found.append(len(rows))
        return rank(model, rows, **options)

    monkeypatch.setattr(ranks, "rank", counting)
    return found


def test_what_is_ranked_already_is_not_ranked_again(model, root, monkeypatch):
    tiny.run(study(model), root, "evaluate")
    asked = counted(monkeypatch)
    store, _ = tiny.run(study(model, evaluate={"style": 9}), root, "evaluate")
    assert asked == [3, 3]
    assert len(ranked(store, "short/0")) == 9
    store, _ = tiny.run(study(model, evaluate={"style": 4}), root, "evaluate")
    assert (asked, len(ranked(store, "short/0"))) == ([3, 3], 4)


def test_a_killed_ranking_goes_on_where_it_was(model, root, monkeypatch):
    def broken(loaded: Any, rows: Any, **options: Any) -> Any:
        for n, found in enumerate(rank(loaded, rows, **options)):
            if n == 4:
                raise tiny.Killed
            yield found

    with monkeypatch.context() as patched:
        patched.setattr(ranks, "rank", broken)
        assert len(tiny.failures(study(model), root, "evaluate")) == 2
    asked = counted(monkeypatch)
    store, _ = tiny.run(study(model), root, "evaluate")
    assert asked == [2, 2]
    assert [len(ranked(store, cell)) for cell in ("base", "short/0")] == [6, 6]


def test_other_answers_are_ranked_anew(model, root, monkeypatch):
    tiny.run(study(model), root, "evaluate")
    asked = counted(monkeypatch)
    store, _ = tiny.run(study(model, evaluate={"sampling": {"temperature": 0, "max_tokens": 5}}), root, "evaluate")
    assert asked == [6, 6]
    assert {len(r.ranks) for r in ranked(store, "base")} == {5}


def test_other_benchmarks_seeds_and_budgets_have_no_such_option(model):
    eval_ = {name: {"source": "lab:signs", "split": "eval", "limit": 4, "skip": 4 * i} for i, name in enumerate("ab")}
    problems = {**tiny.problem_sets(24), "eval": eval_}
    recipe = study(model, problems=problems, primary={"contrast": "over", "benchmark": "b"}, seeds=[3, 5])

    def on(*cell: str, benchmark: str = "b") -> bool:
        return ranks.options(recipe, cell, benchmark) == {"style": 6}

    assert on("t", "base")
    assert on("t", "short", "3")
    assert not on("t", "short", "5")
    assert not on("t", "base", benchmark="a")
    assert not on("t", "base+thinking")
    assert not on("t", "short@loss_tokens", "3")
    assert not on("t", "short+long", "3")
    assert ranks.options(study(model, evaluate={"style": 0}), ("t", "base"), "signs") == {}


def test_answers_of_a_server_that_gives_no_tokens_are_ranked_as_the_template_writes_them(model, tmp_path):
    problem, template = tiny.problem("Q 8 4 T 4 :"), Template.load(model)
    asked = Asked(
        student="t", model=model, author="student/t/short/0", folder=tmp_path, label="evaluate/x", problems=[problem],
        k=1, caps=(), seed=0, stamp=None, chat_template_kwargs={}, tag="/short",
    )  # fmt: skip
    trace = tiny.trace(problem, author=asked.author, content="A + -")
    cut = trace.model_copy(update={"finish_reason": "length"})

    def tokens(trace: tiny.Trace) -> list[str]:
        answered: Any = Answered(traces=[trace], judged=None, template=template, tables={})
        ranks.tables(study(model), Store(tmp_path), asked, answered, 4)
        (row,) = Store(tmp_path).read(tmp_path, Ranked, ranks.TABLE)
        return row.tokens

    assert tokens(trace) == ["A", " +", " -", " <eos>"]
    first = Store(tmp_path).read(tmp_path, Ranked, ranks.TABLE)
    assert tokens(cut) == ["A", " +", " -"]
    loaded = load(model, "float32")
    row = Row(template.prompt_ids("Q 8 4 T 4 :\n/short"), template.encode("A + - <eos>"))
    assert first[0].ranks == all_ranks(loaded, row)[0], "with the tag that the arm is asked with"
    failed = dataclasses.replace(asked, folder=tmp_path / "failed")
    nothing: Any = Answered(
        traces=[trace.model_copy(update={"error": "lost"})],
        judged=None,
        template=template,
        tables={},
    )
    assert ranks.tables(study(model), Store(tmp_path), failed, nothing, 4)[ranks.TABLE]["rows"] == 0


def test_an_evaluation_is_not_lost_to_a_ranking_that_fails(model, root, monkeypatch):
    tiny.run(study(model), root, "evaluate")

    def no_memory(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def no_weights(*_: Any) -> Any:
        raise OSError("no weights")

    with monkeypatch.context() as patched:
        patched.setattr(ranks, "rank", no_memory)
        store, _ = tiny.run(study(model, evaluate={"style": 9}), root, "evaluate")
    folder = store.folder("evaluate", "t", "short", "0", "signs")
    marker = store.marker(folder)
    assert marker is not None
    assert marker["facts"]["style"] == (
        "evaluate/t/short/0/signs: out of memory while its tokens are ranked under the untuned student; lower "
        "train.micro_batch_tokens, or set evaluate.style to 0"
    )
    assert ("scores" in marker["tables"], ranks.TABLE in marker["tables"]) == (True, False)
    assert ranked(store, "short/0") == []
    with monkeypatch.context() as patched:
        patched.setattr(ranks, "load", no_weights)
        store, _ = tiny.run(study(model, evaluate={"style": 8}), root, "evaluate")
    assert (store.marker(folder) or {})["facts"]["style"] == "OSError: no weights"
    store, _ = tiny.run(study(model), root, "evaluate")
    assert len(ranked(store, "short/0")) == 6
    assert "style" not in (store.marker(folder) or {})["facts"]


@pytest.mark.parametrize("lost", [StoreError("ranks: no space left"), OSError(errno.ENOSPC, "No space left on device")])
def test_where_there_is_no_room_the_unit_fails_and_goes_on_next_time(model, root, monkeypatch, lost):
    """Another failure would be what the evaluation says for ever."""
    store, _ = tiny.run(study(model, evaluate={"style": 0}), root, "evaluate")

    def full(*_: Any, **__: Any) -> Any:
        raise lost

    with monkeypatch.context() as patched:
        patched.setattr(ranks, "_ranked", full)
        failed = tiny.failures(study(model), root, "evaluate")
    assert failed
    assert all("no space left" in line.lower() for line in failed)
    tiny.run(study(model), root, "evaluate")
    assert len(ranked(store, "short/0")) == 6
