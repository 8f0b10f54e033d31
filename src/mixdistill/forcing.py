"""Answers that a student is asked for early: after so many tokens, or after a share of its own reasoning.

What it had written up to there begins the assistant's turn; where that is reasoning, the template's end of reasoning
follows, then a text that asks for the answer, and the student goes on from it. An answer that had ended before the cut
stands as it is. A generation is cut, never sampled again: a further cut asks for no more than its own answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mixdistill import chain
from mixdistill.chain import Judged, Seen
from mixdistill.collect import TABLE as TRACES
from mixdistill.collect import Buying, Collected, collect
from mixdistill.sections import Evaluate
from mixdistill.tokens import CLOSE, OPEN, Template
from mixdistill.types import Forced, Outcome, Problem, Trace, content_hash, trace_id
from mixdistill.wanted import fixed

if TYPE_CHECKING:
    from mixdistill.recipe import Recipe
    from mixdistill.store import Store
    from mixdistill.students import Asked

TABLE = "forced"
FOLDER = "forced"
"""In the folder of an evaluation: what was sampled after the cuts, and the verdicts on it."""
TEXTS = {"math": "\n\nFinal Answer:", "numeric": "\n\nFinal Answer:", "choice": "\n\nFinal Answer:", "signs": " A"}
"""Verifier -> what asks for the answer. For the others it is the end of the reasoning alone."""


class Point(NamedTuple):
    """Where answers are asked for."""

    kind: Literal["forced", "thinking"]
    at: float
    """Tokens, or the share of the reasoning."""


class Cut(NamedTuple):
    """A trace cut at one point."""

    point: Point
    trace: Trace
    prefix: list[int] | None
    """Tokens the assistant's turn begins with; None: it had ended before, and stands, or its request failed."""
    kept: int
    """Tokens of the trace that are left."""

    @property
    def key(self) -> str:
        """What is asked: cuts that leave the same beginning of the same sample share an answer. No names in it."""
        return content_hash(self.trace.problem_id, str(self.trace.sample), str(self.prefix))


def points(evaluate: Evaluate) -> tuple[Point, ...]:
    """Every point a recipe names."""
    forced = [Point("forced", cap) for cap in evaluate.caps] if evaluate.forced else []
    return (*forced, *(Point("thinking", share) for share in evaluate.thinking))


def text_of(recipe: Recipe) -> str:
    """What asks for the answer."""
    own = recipe.evaluate.force_text
    return TEXTS.get(recipe.verify.chain[0].name, "") if own is None else own


def options(recipe: Recipe) -> dict[str, Any]:
    """What changes the answers asked for early; nothing where there are none."""
    wanted = points(recipe.evaluate)
    if not wanted:
        return {}
    return {
        "forced": {"at": [list(p) for p in wanted], "text": text_of(recipe), "tokens": recipe.evaluate.force_tokens}
    }


def written(trace: Trace, template: Template) -> list[int]:
    """The tokens of a trace, its stop token included where it is known."""
    if trace.token_ids is not None:
        return trace.token_ids
    return template.encode(template.completion_text(trace.reasoning, trace.content))


def cut_at(trace: Trace, point: Point, template: Template, text: str, room: int | None = None) -> Cut:
    """A trace cut at a point. `room`: most tokens before the text that asks for the answer."""
    if trace.error is not None:
        return Cut(point, trace, None, 0)
    ids = written(trace, template)
    ended = trace.finish_reason == "stop"
    if point.kind == "forced":
        if ended and len(ids) <= point.at:
            return Cut(point, trace, None, len(ids))
        kept, tags = int(point.at), None
    else:
        if ended and point.at == 1:
            return Cut(point, trace, None, len(ids))
        kept, tags = _share(ids, point.at, template)
    kept = min(kept, len(ids), len(ids) if room is None else max(room, 0))
    kept -= bool(kept and ids[kept - 1] in template.stop_ids)
    return Cut(point, trace, _begun(ids[:kept], template, text, tags), kept)


def _share(ids: list[int], share: float, template: Template) -> tuple[int, bool]:
    """(tokens left of a share of the reasoning, whether it stands in tags). Without tags all text is reasoning."""
    whole = template.decode(ids)
    tags = template.opens_thinking or whole.lstrip().startswith(OPEN.strip())
    if not tags:
        return round(share * len(ids)), False
    start = 0 if template.opens_thinking else _tokens(ids, whole.find(OPEN.strip()) + len(OPEN.strip()), template)
    close = whole.find(CLOSE.strip())
    end = len(ids) if close < 0 else max(start, _tokens(ids, close + 1, template) - 1)
    return start + round(share * (end - start)), True


def _tokens(ids: list[int], characters: int, template: Template) -> int:
    """Fewest first tokens whose text has so many characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(template.decode(ids[:middle])) >= characters else (middle + 1, high)
    return low


def _begun(ids: list[int], template: Template, text: str, tags: bool | None) -> list[int]:
    """What is left of a trace, its reasoning ended, and the text that asks for the answer. `tags` None: as it shows."""
    so_far = template.decode(ids).lstrip()
    if tags is None:
        tags = template.opens_thinking or so_far.startswith(OPEN.strip())
    if not tags or CLOSE.strip() in so_far:
        return [*ids, *template.encode(text)]
    opened = [] if template.opens_thinking or so_far.startswith(OPEN.strip()) else template.encode(OPEN)
    return [*opened, *ids, *template.encode(CLOSE + text.lstrip())]


def ask(
    recipe: Recipe,
    store: Store,
    asked: Asked,
    backend: Any,
    traces: Sequence[Trace],
    template: Template,
    context: int | None,
) -> tuple[list[Cut], Collected]:
    """Every cut of every trace that there is, and the answers after them, in a folder of their own. Raises as `collect`
    does. `context`: most tokens of prompt and completion together."""
    text, most = text_of(recipe), recipe.evaluate.force_tokens
    prompts = {p.id: asked.prompt(p) for p in asked.problems}
    spared = most + len(template.encode(OPEN + CLOSE + text))
    rooms = {p: None if context is None else context - spared - len(template.prompt_ids(q)) for p, q in prompts.items()}
    cuts = [cut_at(t, point, template, text, rooms[t.problem_id]) for t in traces for point in asked.points]
    begun = {cut.key: cut for cut in cuts if cut.prefix is not None}
    buying = Buying(
        author=f"{asked.author}/{FOLDER}",
        model=recipe.students[asked.student].model,
        problems=[Problem(id=key, prompt=prompts[c.trace.problem_id], answer="") for key, c in begun.items()],
        rule=fixed(1),
        label=asked.label,
        error_rate=recipe.error_rate,
        sampling=recipe.evaluate.sampling.model_copy(update={"max_tokens": most}),
        seed=asked.seed,
        begun={key: (template.decode(c.prefix or []), c.prefix or []) for key, c in begun.items()},
    )
    return cuts, collect(store, asked.folder / FOLDER, backend, buying)


def grade(
    recipe: Recipe, store: Store, asked: Asked, template: Template, cuts: list[Cut], outcomes: dict[str, Outcome]
) -> tuple[dict[str, Any], Judged]:
    """(the table `forced`, sealed in the folder of the evaluation; the verdicts). `outcomes`: of the whole traces."""
    folder = asked.folder / FOLDER
    known = {p.id: p for p in asked.problems}
    begun = {cut.key: cut for cut in cuts if cut.prefix is not None}

    def seen() -> Iterator[Seen]:
        for key, answer in _answers(store, folder, begun):
            if answer.error is None:
                yield Seen(known[begun[key].trace.problem_id], joined(begun[key], answer, template))

    judged = chain.judge(recipe, store, folder, asked.label, seen)
    judged.check_errors(asked.label)
    after, tokens = (
        judged.outcomes(),
        {key: t.usage.completion_tokens or 0 for key, t in _answers(store, folder, begun)},
    )

    def row(cut: Cut) -> Forced:
        stands = cut.prefix is None
        answer = "" if stands else trace_id(f"{asked.author}/{FOLDER}", cut.key, 0)
        return Forced(
            trace_id=cut.trace.id,
            problem_id=cut.trace.problem_id,
            sample=cut.trace.sample,
            kind=cut.point.kind,
            at=cut.point.at,
            answer_id=answer or None,
            tokens=cut.kept + (0 if stands else tokens.get(cut.key, 0)),
            outcome=outcomes.get(cut.trace.id, Outcome.ERROR) if stands else after.get(answer, Outcome.ERROR),
        )

    return store.seal(asked.folder, Forced, map(row, cuts), TABLE), judged


def _answers(store: Store, folder: Path, begun: dict[str, Cut]) -> Iterator[tuple[str, Trace]]:
    """What was sampled after the cuts that are wanted now."""
    return ((t.problem_id, t) for t in store.rows(folder, Trace, TRACES) if t.problem_id in begun)


def joined(cut: Cut, answer: Trace, template: Template) -> Trace:
    """What was left of a trace and the answer after it, as one trace."""
    ids = template.encode(answer.content) if answer.token_ids is None else answer.token_ids
    reasoning, content = template.split([*(cut.prefix or []), *ids])
    return answer.model_copy(update={"reasoning": reasoning, "content": content, "token_ids": None})
