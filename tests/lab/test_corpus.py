"""The corpus of the base students, as it is really drawn."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from mixdistill.lab import corpus, domain, pretrain
from mixdistill.lab.models import TOKENS

LINES = list(islice(corpus.lines(0), 20_000))


def kind(line: str) -> str:
    if line.startswith("Q"):
        return "attempt"
    return "comparison" if "T" in line else "signs" if "A" in line else "sums"


def numbers_of(line: str) -> tuple[int, ...]:
    """The numbers of the chain that a line is about."""
    body = line.partition("<think> ")[2] or line
    words = body.partition(" T ")[0].partition(" A ")[0].split()
    return tuple(int(word) for word in [words[0], *words[2::3]])


def test_no_problem_of_another_split_is_in_what_students_were_pretrained_on():
    """Over every document of the full-length corpus, and by numbers, so that no other order or target leaks either."""
    words = {i: word for word, i in pretrain.tokenizer().get_vocab().items()}
    rows = pretrain.corpus_rows(0, TOKENS)
    assert sum(len(ids) for ids, _ in rows) >= TOKENS
    seen: Counter[str] = Counter()
    for ids, silent in rows:
        line = " ".join(words[i] for i in ids[:-1])
        if kind(line) != "comparison":
            seen[domain.split_of_numbers(numbers_of(line))] += 1
        if kind(line) == "attempt":
            assert domain.split_of(line.partition(" <think>")[0]) == "corpus"
        assert words[ids[-1]] == pretrain.STOP and silent == 0
    assert set(seen) == {"corpus"}
    asked = {p.prompt for split in ("train", "search", "eval") for p in domain.problems(split, count=1000)}
    assert not asked & {line.partition(" <think>")[0] for line in LINES}


def test_no_lesson_of_a_teacher_is_of_another_split():
    words = {i: word for word, i in pretrain.tokenizer().get_vocab().items()}
    rows = pretrain.lesson_rows(300, seed=0)
    assert len(rows) == 600
    for ids, silent in rows:
        assert domain.split_of(" ".join(words[i] for i in ids[:silent])) == "corpus"


def test_every_document_is_seen_once_and_whole_but_at_the_borders_of_stretches():
    rows = pretrain.corpus_rows(0, 40_000)
    updates = list(pretrain.course(rows))
    stretches = updates[pretrain.STRETCH_EVERY - 1 :: pretrain.STRETCH_EVERY]
    single = [row for i, update in enumerate(updates, 1) if i % pretrain.STRETCH_EVERY for row in update]
    assert len(stretches) > 2
    assert all(len(ids) == pretrain.STRETCH for update in stretches[:-1] for ids, _ in update)
    assert all(len(update) <= pretrain.BATCH for update in updates)
    kept, drawn = Counter(map(str, single)), Counter(map(str, rows))
    assert not kept - drawn
    seen = sum(len(ids) for update in updates for ids, _ in update)
    assert 0 <= 40_000 + 28 - seen < 30 * (len(stretches) + 1)


def test_the_corpus_has_no_search_and_no_answer_to_a_problem():
    for line in LINES:
        words = line.split()
        assert "</think>" not in words and not {"A", "Q"} <= set(words)
        assert sum(word in ("ok", "x") for word in words) == (kind(line) in ("comparison", "attempt"))


def test_everything_the_corpus_says_is_true():
    for line in LINES:
        body = line.partition("<think> ")[2] or line
        head, has_verdict, tail = body.partition(" T ")
        head, has_signs, signs = head.partition(" A ")
        words = head.split()
        assert not has_signs or signs.split() == words[1::3], line
        total = int(words[0])
        for sign, n, said in zip(words[1::3], words[2::3], words[3::3], strict=True):
            total += int(n) if sign == "+" else -int(n)
            assert total == int(said), line
        if has_verdict:
            target, verdict = tail.split()
            assert verdict == ("ok" if total == int(target) else "x"), line


def test_attempts_are_about_the_problem_before_them():
    for line in LINES:
        if kind(line) == "attempt":
            chain = domain.parse(line.partition(" <think>")[0])
            assert chain is not None and chain.numbers == numbers_of(line)
            assert f" T {chain.target} " in line.partition("<think>")[2]


def test_kinds_have_their_shares_and_half_of_the_verdicts_are_right():
    for name, share in corpus.SHARES.items():
        these = [line for line in LINES if kind(line) == name]
        assert abs(len(these) / len(LINES) - share / 10) < 0.02
        if name in ("comparison", "attempt"):
            assert abs(sum(line.endswith("ok") for line in these) / len(these) - 0.5) < 0.03


def test_a_seed_gives_the_same_lines_and_another_seed_others():
    assert list(islice(corpus.lines(0), 100)) == LINES[:100]
    assert list(islice(corpus.lines(1), 100)) != LINES[:100]
