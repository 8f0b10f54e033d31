"""The questions of a verifier that asks a model, asked as teachers are: each answer is a trace of its own.

Distinct questions are asked once, whichever traces they are about. All answers ever bought stay in the unit's folder,
in a folder named after the verifier; a question is known by its text and by everything of the model that its answer
follows from, so that what is changed and changed back is not bought twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import resolve
from mixdistill.backends import engines
from mixdistill.collect import TABLE, Buying, collect
from mixdistill.generate import FREE, make_backend
from mixdistill.recipe import Recipe
from mixdistill.sections import Link, Spend
from mixdistill.spending import SPENT, Amount, Purse
from mixdistill.store import Store
from mixdistill.types import Problem, Trace, Verdict, content_hash
from mixdistill.wanted import fixed

PREFIX, MAX_TOKENS = "verify.", "sampling.max_tokens"


def asks(verifier: str) -> bool:
    """Whether a verifier, by its name in the recipe, asks a model: it is a class then. Raises RecipeError."""
    return isinstance(resolve.load(resolve.reference("verifier", verifier)), type)


def made(link: Link) -> Any:
    """The verifier with its options."""
    return resolve.load(resolve.reference("verifier", link.name))(**link.options)


def key_of(recipe: Recipe, link: Link) -> str:
    """Where a verifier's options stand in the recipe."""
    return "verify" if link == recipe.verify.chain[0] else f"verify.{folder_name(link)}"


def folder_name(link: Link) -> str:
    """Below the unit's folder."""
    return link.name.rpartition(":")[2]


def options(link: Link) -> tuple[dict[str, Any], dict[str, str]]:
    """(what changes the verdicts of a verifier that asks a model, files and models by content; these as given)."""
    judge = made(link)
    backend = resolve.load(resolve.reference("backend", judge.backend))
    left_out: set[str] = {"price", "spend", "prompt", *getattr(backend, "NOT_IDENTITY", frozenset())}
    plain = judge.model_dump(mode="json", exclude_none=True, exclude=left_out)
    max_tokens = plain["sampling"].pop("max_tokens", None)
    found, given = resolve.by_content(plain, PREFIX)
    if judge.backend.rpartition(":")[0].endswith(".py"):
        found[PREFIX + "backend"] = Path(judge.backend).name  # the version tells files of one name apart
    prompt = content_hash(*map(str, judge.template))
    found |= {PREFIX + "prompt": prompt, PREFIX + MAX_TOKENS: max_tokens}
    return found | {"backend_version": resolve.version(backend)}, given


class _Open(NamedTuple):
    """A verdict that waits for answers."""

    trace: Trace
    """Without its text."""
    answer: str | None
    question: str
    """Its id."""


@dataclass
class Questions:
    """One verifier's questions about the traces of one unit."""

    recipe: Recipe
    link: Link
    store: Store
    unit: Path
    """The unit's folder."""
    label: str
    ready: dict[str, Verdict] = field(default_factory=dict)
    """Fingerprint -> a verdict that needs no question."""
    waiting: dict[str, _Open] = field(default_factory=dict)
    """Fingerprint -> what waits for answers."""
    texts: dict[str, str] = field(default_factory=dict)
    """Question -> its text."""
    counts: dict[str, Any] = field(default_factory=dict)
    """Answers that are there by how they ended, tokens, cost, once it has asked."""

    def __post_init__(self) -> None:
        self.judge = made(self.link)
        self.folder = self.unit / folder_name(self.link)
        # Neither changes a single answer: more of them, or longer ones, leave what was bought.
        apart = (PREFIX + MAX_TOKENS, PREFIX + "votes")
        said = {k: v for k, v in options(self.link)[0].items() if k not in apart}
        self._stamp = json.dumps(said, sort_keys=True, default=str)

    def of(self, problem: Problem, trace: Trace, answer: str | None) -> str | Verdict:
        """What is to be asked about a trace, or the verdict where nothing is."""
        return self.judge.question(problem, trace, answer)

    def put(self, judged: str, trace: Trace, answer: str | None, question: str | Verdict) -> None:
        """Want a verdict, known by its fingerprint `judged`."""
        if isinstance(question, Verdict):
            self.ready[judged] = question
            return
        number = content_hash(self._stamp, question)
        self.texts[number] = question
        bare = trace.model_copy(update={"reasoning": "", "content": "", "token_ids": None})
        self.waiting[judged] = _Open(bare, answer, number)

    def verdicts(self) -> Iterator[tuple[str, Verdict]]:
        """(fingerprint, verdict) of all that was wanted; asks what nobody has asked yet. Raises as `collect` does."""
        yield from self.ready.items()
        there = (self.folder / f"{TABLE}.parquet").exists()
        votes = self._votes() if self.texts or there else {}
        for judged, (trace, answer, number) in self.waiting.items():
            yield judged, self.judge.verdict(trace, answer, votes[number])

    def _votes(self) -> dict[str, list[Trace]]:
        judge = self.judge
        buying = Buying(
            author=folder_name(self.link),
            model=judge.model,
            problems=[Problem(id=number, prompt=text, answer="") for number, text in self.texts.items()],
            rule=fixed(judge.votes),
            label=self.label,
            error_rate=1.0,  # of its verdicts: `Judged.check_errors`
            sampling=judge.sampling,
            price=judge.price,
            purse=self._purse(),
        )
        # Without questions nobody is asked, and what is there is counted.
        if self.texts and judge.backend not in ("openai", *FREE):
            engines.end()  # it may load a model of its own
        backend = make_backend(judge.backend, judge.model, judge.options) if self.texts else None
        self.counts = collect(self.store, self.folder, backend, buying).counts
        found: dict[str, list[Trace]] = defaultdict(list)
        for trace in self.store.rows(self.folder, Trace, TABLE):
            if trace.problem_id in self.texts and trace.sample < judge.votes:
                found[trace.problem_id].append(trace.model_copy(update={"reasoning": "", "token_ids": None}))
        return found

    def _purse(self) -> Purse:
        tokens, price = self.judge.sampling.max_tokens, self.judge.price
        at_most = None
        if tokens is not None:
            at_most = Amount(cost=tokens * price.completion / 1e6 if price else 0.0, tokens=tokens)
        return Purse(
            Spend(), self.judge.spend, self.folder, at_most,
            free=self.judge.backend in FREE, others=self._others, whose=f" by {self.link.name}",
        )  # fmt: skip

    def _others(self) -> Iterator[Path]:
        """This verifier's folders of other units."""
        for place in (f"verify/*/{self.folder.name}/{SPENT}", f"evaluate/**/{self.folder.name}/{SPENT}"):
            yield from (p.parent for p in self.store.root.glob(place) if p.parent != self.folder)
