"""What pydantic finds wrong with a section, in the house form *key: what (got value); what to do*."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic import BaseModel, ValidationError

from mixdistill.errors import did_you_mean, one_line

EITHER = {
    frozenset(("int", "list[int]")): "must be a whole number or a list of them",
    frozenset(("str", "list[str]")): "must be a text or a list of them",
    frozenset(("constrained-int", "list[str]")): "must be 0 to 3, or a list of templates",  # evaluate.paraphrases
}
"""What pydantic calls the two kinds that a key may be -> what it must be."""
KINDS = frozenset().union(*EITHER)


def findings(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Pydantic's errors in the house form: key, what is wrong, what was got, what to do."""
    errors = [(e, *_place(e)) for e in error.errors()]
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, place, kind in errors:
        kinds[place] |= {kind} if kind else set()
    lines: list[str] = []
    told: set[str] = set()
    for e, place, _ in errors:
        if words := EITHER.get(frozenset(kinds[place])):  # one finding, not one for each of the two kinds
            lines += [f"{place}: {words} (got {shown(e['input'])})"] if place not in told else []
            told.add(place)
            continue
        if e["type"] == "extra_forbidden":
            lines.append(f"{place}: unknown key{did_you_mean(str(e['loc'][-1]), _known_keys(root, e['loc'][:-1]))}")
        elif e["type"] == "missing":
            lines.append(f"{place}: missing; it is required")
        else:
            lines.append(f"{place}: {e['msg'][0].lower()}{e['msg'][1:]} (got {shown(e['input'])})")
    return list(dict.fromkeys(map(one_line, lines)))


def _place(e: Any) -> tuple[str, str | None]:
    """(key, which of the kinds that it may be this is about; None where it may be one thing only)."""
    loc = [str(part) for part in e["loc"] if not str(part).startswith("function-")]
    if e["type"] not in ("extra_forbidden", "missing"):  # these are about a key of whatever name
        for i, part in enumerate(loc):
            if part in KINDS and (part.startswith("list[") or i == len(loc) - 1):
                return ".".join(loc[:i]), part
    return ".".join(loc), None


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _known_keys(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at a location in the recipe, found by walking the models."""
    model: Any = root
    for part in loc:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a name inside dict[str, Section]
        model = _section_in(fields[part].annotation) or model
    return list(getattr(model, "model_fields", {}))


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found:
            return found
    return None
