"""The primary benchmark asked in other words: how much of a result is the wording.

A wording is a template around the problem, in the place of the benchmark's own `ask`. Every model is asked once under
each, in its own way; the untuned student is then held against the arms in the best of all its prompts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mixdistill import prompts, resolve
from mixdistill.arms import BASE, called
from mixdistill.errors import RecipeError, StageError

if TYPE_CHECKING:
    from mixdistill.recipe import Recipe
    from mixdistill.students import Asked
    from mixdistill.tokens import Template

FOLDER = Path(__file__).parent / "wordings"
"""Below it, of each shipped way of asking, the same in other words."""


def shipped(ask: str) -> dict[str, Path]:
    """Name -> file of the wordings of a shipped way of asking; of `plain`, the problem alone, texts around it."""
    return {p.stem: p for p in sorted((FOLDER / ask).glob("*.txt"))} if ask.isalnum() else {}


def wordings(recipe: Recipe) -> dict[str, str]:
    """Name -> template, by name or file. Raises RecipeError where there are no such wordings."""
    wanted = recipe.evaluate.paraphrases
    if isinstance(wanted, list):
        return {_name(file): file for file in wanted}
    source = recipe.problems.eval[recipe.deciding_benchmark]
    ask = source.ask or prompts.PLAIN
    if wanted and source.source.startswith("lab:"):
        raise RecipeError(
            f"evaluate.paraphrases: the problems of {source.source} have no other words (got {wanted}); leave it out"
        )
    known = shipped(ask)
    if wanted > len(known):
        raise RecipeError(
            f"evaluate.paraphrases: {len(known)} are shipped of what '{ask}' asks (got {wanted}); name files of your "
            "own"
        )
    return {name: str(file) for name, file in list(known.items())[:wanted]}


def _name(file: str) -> str:
    """What a file of the user's is called in names of arms, which are folders."""
    stem = Path(file).name.partition(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)


def findings(recipe: Recipe) -> list[str]:
    """What is wrong with the wordings that a recipe asks for."""
    wanted = recipe.evaluate.paraphrases
    try:
        found = wordings(recipe)
        for file in found.values():
            prompts.template(file, prompts.STUDENT)
    except RecipeError as e:
        text = str(e)
        return [text if text.startswith("evaluate.paraphrases") else f"evaluate.paraphrases: {text}"]
    if isinstance(wanted, list) and len(found) < len(wanted):
        twice = next(_name(f) for f in wanted if sum(_name(g) == _name(f) for g in wanted) > 1)
        return [f"evaluate.paraphrases: two files are called '{twice}'; rename one"]
    return []


def cells(recipe: Recipe) -> list[tuple[str, ...]]:
    """(student, untuned one in a wording) or (student, arm in a wording, seed) of everything that is asked so."""
    names = list(wordings(recipe)) if recipe.evaluate.paraphrases else []
    untuned = [(s, BASE) for s in recipe.students]
    trained = [(s, arm, str(seed)) for s, arm, seed in recipe.cells() if not called(arm).variant]
    return [(s, in_words(arm, name), *seed) for name in names for s, arm, *seed in [*untuned, *trained]]


def in_words(arm: str, wording: str) -> str:
    """An arm's name when it is asked in a wording; "" is the study's own."""
    return str(called(arm)._replace(wording=wording))


def ask(recipe: Recipe, arm: str, benchmark: str) -> str | None:
    """The template around the problems of a benchmark when this arm is asked."""
    wording = called(arm).wording
    return wordings(recipe)[wording] if wording else recipe.problems.eval[benchmark].ask


def refuse_unknown(asked: Asked, template: Template) -> None:
    """Raises StageError where the student's tokenizer does not know a wording's words: it would not read them."""
    text = resolve.from_environment(asked.ask or "")
    if asked.problems and (unknown := template.unknown_in(template.prompt_text(asked.prompt(asked.problems[0])))):
        raise StageError(
            f"{asked.label}: its tokenizer does not know '{unknown}' in {os.path.basename(text)}; leave "
            "evaluate.paraphrases out, or name wordings of its own vocabulary"
        )
