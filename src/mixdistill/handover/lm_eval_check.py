"""What lm-evaluation-harness sampled and graded, against our own: completion by completion, and why not the same.

Every difference gets the first reason of `REASONS` that holds. What has none is `unexplained`: a bug, here or there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mixdistill.backends.transformers import IGNORED_SETTINGS
from mixdistill.errors import DataError
from mixdistill.handover.lm_eval import READINGS, Evaluated, samples
from mixdistill.types import Row, Trace

REASONS = {
    "same": "the same text",
    "special tokens": "the same but for special tokens, which the harness leaves out of the text",
    "white space": "the same but for white space, which the tokenizer tidies there",
    "prompt": "another prompt text",
    "prompt tokens": "the tokenizer adds special tokens to the prompt there: without add_bos_token=False",
    "settings": "the model's own generation settings are applied there, and not here",
    "stop string": "the same up to a stop string, which ended it there alone",
    "their limit": "the same as far as its limit on tokens lets it go",
    "our limit": "the same as far as our limit on tokens let it go",
    "near tie": "the two tokens at which they part are as likely but for rounding",
    "unexplained": "other tokens, and no reason was found",
}
"""How a completion stands to ours -> in words. From `prompt` on, they differ."""
Reason = Literal[
    "same", "special tokens", "white space", "prompt", "prompt tokens", "settings", "stop string", "their limit",
    "our limit", "near tie", "unexplained",
]  # fmt: skip
ALIKE = ("same", "special tokens", "white space")
GRADED_ALIKE = (*ALIKE, "our limit")
"""Of these verdicts must agree: the task's own grading lets no completion go beyond our limit."""
TIES = {"float32": 1e-3, "bfloat16": 0.25}
"""Difference of two logits, in nats, up to which rounding in another batch can turn their order."""
SHOWN = 60
"""Characters of a text that are kept where it parts from the other one."""


class CompletionCheck(Row):
    """One completion of theirs that is not the same text as ours."""

    doc_id: int
    problem_id: str
    reason: Reason
    detail: str
    """Where they part, and what was found there."""
    ours: str
    """Our text from there on."""
    theirs: str


class VerdictCheck(Row):
    """How often the verdicts agree under one reading, of completions that are alike up to our limit on tokens."""

    reading: str
    """`strict` or `flexible`."""
    compared: int
    agree: int
    correct: tuple[int, int]
    """Of these, correct here and there."""
    differing: list[str]
    """Ids of the problems on which they do not agree."""


class CrossCheck(Row):
    """One evaluation against the harness's."""

    student: str
    arm: str
    seed: int | None
    benchmark: str
    compared: int
    """Problems that both have a completion of."""
    ours_alone: int
    theirs_alone: int
    reasons: dict[str, int]
    """Reason -> completions; `same` first."""
    differences: list[CompletionCheck]
    verdicts: list[VerdictCheck]
    notes: list[str]

    @property
    def passed(self) -> bool:
        """Whether every completion has a counterpart that is the same or explained, and its verdict is the same too."""
        return self.explained and not self.ours_alone and not self.theirs_alone

    @property
    def explained(self) -> bool:
        """The same, of what is in both."""
        return not self.reasons.get("unexplained") and all(v.compared == v.agree for v in self.verdicts)


class Theirs(NamedTuple):
    """One row of a samples file."""

    doc_id: int
    problem_id: str
    prompt: str
    generation: dict[str, Any]
    text: str
    correct: dict[str, bool]
    """Reading -> whether they call it so."""


def check(evaluated: Evaluated, file: Path) -> CrossCheck:
    """Their samples against ours. Raises DataError where the file is none, of other problems, or ours."""
    theirs, problems = read(file), {p.id: p for p in evaluated.problems}
    common = [p for p in problems if p in theirs and p in evaluated.traces]
    if not common:
        raise DataError(f"{file}: holds no problem of {evaluated.key.benchmark}; give the samples of that task")
    arguments, margins = _arguments(file), _Margins(evaluated)
    if arguments is None and _is_ours(evaluated, file):
        raise DataError(
            f"{file}: is our own export, row for row, with no results_*.json of lm_eval beside it; give the "
            "samples_*.jsonl that lm_eval wrote, in the folder where it did"
        )
    found = {p: _checked(evaluated, theirs[p], evaluated.traces[p], arguments, margins) for p in common}
    reasons: Counter[str] = Counter(f.reason for f in found.values())
    alike = [p for p in common if found[p].reason in GRADED_ALIKE]
    key = evaluated.key
    return CrossCheck(
        student=key.student,
        arm=key.arm,
        seed=key.seed,
        benchmark=key.benchmark,
        compared=len(common),
        ours_alone=len(evaluated.traces.keys() - theirs.keys()),
        theirs_alone=len(theirs.keys() - evaluated.traces.keys()),
        reasons={name: reasons[name] for name in REASONS if reasons[name]},
        differences=[f for f in found.values() if f.reason != "same"],
        verdicts=[v for reading in READINGS if (v := _verdicts(evaluated, theirs, alike, reading))],
        notes=list(_notes(evaluated, arguments)),
    )


def read(file: Path) -> dict[str, Theirs]:
    """Problem id -> its sample, out of a `samples_<task>_<date>.jsonl`.

    Raises DataError where the file is not one of a task that mixdistill wrote.
    """
    found: dict[str, Theirs] = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            arguments = row["arguments"]["gen_args_0"]
            correct = {reading: bool(row[reading]) for reading in READINGS if reading in row}
            problem = row["doc"]["id"]
            found[problem] = Theirs(
                row["doc_id"], problem, arguments["arg_0"], arguments["arg_1"], row["resps"][0][0], correct
            )
    except OSError as e:
        raise DataError(f"{file}: cannot be read ({e.strerror}); give the samples_*.jsonl that lm_eval wrote") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise DataError(f"{file}: no samples of a task that mixdistill wrote; give its samples_*.jsonl") from None
    return found


def _is_ours(evaluated: Evaluated, file: Path) -> bool:
    """Whether every row is one that we write ourselves. The harness can come to the same rows: then its results lie
    beside them."""
    ours = {row["doc"]["id"]: row for row in samples(evaluated)}
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return all(row == ours.get(row["doc"]["id"]) for row in rows)


def _arguments(file: Path) -> dict[str, Any] | None:
    """What the model was loaded with, by the results that lie beside the samples; None where there are none."""
    for path in file.parent.glob("results_*.json"):
        if path.stem.removeprefix("results_") in file.stem:
            said = json.loads(path.read_text(encoding="utf-8")).get("config", {}).get("model_args")
            return said if isinstance(said, dict) else dict(part.partition("=")[::2] for part in str(said).split(","))
    return None


# -- one completion ---------------------------------------------------------------------------------------------------


def _checked(
    evaluated: Evaluated, theirs: Theirs, trace: Trace, arguments: dict[str, Any] | None, margins: _Margins
) -> CompletionCheck:
    plain = evaluated.text(trace, special=False)
    reason, detail = _reason(evaluated, theirs, trace, plain, arguments, margins)
    at = _parting(plain, theirs.text)
    return CompletionCheck(
        doc_id=theirs.doc_id,
        problem_id=theirs.problem_id,
        reason=reason,
        detail=detail,
        ours=plain[at : at + SHOWN],
        theirs=theirs.text[at : at + SHOWN],
    )


def _reason(
    evaluated: Evaluated,
    theirs: Theirs,
    trace: Trace,
    plain: str,
    arguments: dict[str, Any] | None,
    margins: _Margins,
) -> tuple[Reason, str]:
    """(the first reason that holds, what was found)."""
    prompt = evaluated.prompt(theirs.problem_id)
    if theirs.text == evaluated.text(trace):
        return "same", ""
    if theirs.text == plain:
        return "special tokens", ""
    if theirs.text.split() == plain.split():
        return "white space", ""
    if theirs.prompt != prompt:
        at = _parting(prompt, theirs.prompt)
        return "prompt", f"{prompt[at : at + SHOWN]!r} here, {theirs.prompt[at : at + SHOWN]!r} there"
    if arguments and _adds_tokens(evaluated, prompt) and str(arguments.get("add_bos_token")) != "False":
        return "prompt tokens", f"{_adds_tokens(evaluated, prompt)} of them"
    settings = {n: v for n, v in evaluated.facts.get("ignored", {}).items()
                if theirs.generation.get(n) != IGNORED_SETTINGS[n]}  # fmt: skip
    if settings:
        return "settings", ", ".join(f"{n} {v}" for n, v in settings.items())
    return _cut(evaluated, theirs, trace, plain) or _parted(evaluated, theirs, trace, margins)


def _cut(evaluated: Evaluated, theirs: Theirs, trace: Trace, plain: str) -> tuple[Reason, str] | None:
    """Where one is the beginning of the other: what ended it."""
    until = [s for s in theirs.generation.get("until", []) if s]
    if plain.startswith(theirs.text):
        rest = evaluated.text(trace)[len(theirs.text) :].lstrip()
        if stop := next((s for s in until if rest.startswith(s)), None):
            return "stop string", repr(stop)
        limit = theirs.generation.get("max_gen_toks")
        if limit is not None and len(evaluated.template.encode(theirs.text)) >= limit - 1:
            return "their limit", f"{limit} tokens"
    if theirs.text.startswith(plain) and trace.finish_reason == "length":
        return "our limit", f"{trace.usage.completion_tokens} tokens"
    return None


def _parted(evaluated: Evaluated, theirs: Theirs, trace: Trace, margins: _Margins) -> tuple[Reason, str]:
    """Where two go apart: how much likelier the model finds our token than theirs."""
    ours = [*evaluated.ids(trace), *((trace.token_ids or [])[-1:] if trace.finish_reason == "stop" else [])]
    other = evaluated.template.encode(theirs.text)
    at = next((n for n, (a, b) in enumerate(zip(ours, other, strict=False)) if a != b), min(len(ours), len(other)))
    stop = evaluated.facts["decoding"]["stop_tokens"][0]
    if at >= len(ours):
        return "unexplained", f"ours ends after {at} tokens and theirs goes on"
    token = other[at] if at < len(other) else stop
    margin = margins.of(theirs.problem_id, ours[:at], ours[at], token)
    said = f"at token {at}, {margin:.2g} nats apart"
    return ("near tie" if abs(margin) <= TIES.get(evaluated.dtype, 0.0) else "unexplained"), said


class _Margins:
    """How much likelier a model finds one token than another; it is loaded when it is first asked."""

    def __init__(self, evaluated: Evaluated):
        self.evaluated = evaluated
        self._model: Any = None

    def of(self, problem_id: str, before: list[int], one: int, other: int) -> float:
        """Difference of their logits after a prompt and these tokens, in nats."""
        import torch

        if self._model is None:
            from transformers import AutoModelForCausalLM

            self._model = AutoModelForCausalLM.from_pretrained(self.evaluated.model, dtype=self.evaluated.dtype).eval()
        ids = self.evaluated.template.encode(self.evaluated.prompt(problem_id)) + before
        with torch.no_grad():
            logits = self._model(torch.tensor([ids])).logits[0, -1].float()
        return float(logits[one] - logits[other])


def _adds_tokens(evaluated: Evaluated, prompt: str) -> int:
    """How many tokens the tokenizer puts around a prompt by itself. It puts none where the prompt begins with one."""
    bos = evaluated.template.tokenizer.bos_token
    if bos and prompt.startswith(str(bos)):
        return 0
    return len(evaluated.template.tokenizer(prompt)["input_ids"]) - len(evaluated.template.encode(prompt))


def _parting(a: str, b: str) -> int:
    """The first place at which two texts differ."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _verdicts(evaluated: Evaluated, theirs: dict[str, Theirs], alike: list[str], reading: str) -> VerdictCheck | None:
    """Of completions that are alike and have a verdict in both; None without any."""
    both = [p for p in alike if reading in theirs[p].correct and p in evaluated.correct]
    if not both:
        return None
    here, there = (
        [x[reading] for x in of] for of in ([evaluated.correct[p] for p in both], [theirs[p].correct for p in both])
    )
    differing = [p for p, a, b in zip(both, here, there, strict=True) if a != b]
    return VerdictCheck(
        reading=reading,
        compared=len(both),
        agree=len(both) - len(differing),
        correct=(sum(here), sum(there)),
        differing=differing,
    )


def _notes(evaluated: Evaluated, arguments: dict[str, Any] | None) -> Iterator[str]:
    """What else was not the same."""
    if arguments is None:
        yield (
            "No results_*.json lies beside the samples, so how the model was loaded is not known and explains nothing."
        )
        return
    if Path(str(arguments.get("pretrained"))).name != Path(evaluated.model).name:
        yield f"It was given another model: {arguments.get('pretrained')}, ours is {evaluated.model}."
    if str(arguments.get("dtype", "auto")) != evaluated.dtype:
        yield f"It was given another precision: {arguments.get('dtype', 'auto')}, ours is {evaluated.dtype}."
