"""Stage 5: the same trials on every arm, where the recipe asks for any (`tune`).

A trial is a training of an arm on the rows of its first seed, with one of the values, that is asked the dev problems
once it is over and then thrown away. Its training and its answers are drawn with a seed of their own, so that no
student of the study is one of the models that the choice was made by. Which value an arm gets is `dev.chosen`.
"""

from __future__ import annotations

import shutil

from mixdistill import dev, train
from mixdistill.errors import Diverged
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.train import Untuned
from mixdistill.training.checkpoints import remove_checkpoint
from mixdistill.training.snapshots import MODEL
from mixdistill.types import content_hash
from mixdistill.units import Done, Unit

VERSION = "1"


def units(recipe: Recipe, store: Store) -> list[Unit]:
    """One per student, arm and value; none without `tune`."""
    found = []
    rates = recipe.tune.learning_rate if recipe.tune else []
    for student, spec in recipe.students.items() if rates else ():
        untuned, first = Untuned.of(spec.model), recipe.seeds_of(student)[0]
        for arm in recipe.trained:
            asked, given = dev.options(recipe, student, arm)
            settings = train.identity(recipe.train_of(student, arm))
            for value in rates:
                options = {
                    "tune": VERSION,
                    "train": {**settings, "learning_rate": value},
                    "seed": seed_of(first),
                    **asked,
                }
                inputs = {"dev problems": dev.content(store)}
                key, cell = (student, arm, repr(value)), (student, arm, first)
                found.append(train.described(recipe, store, "tune", key, cell, untuned, options, inputs, given))
    return found


def run(unit: Unit, recipe: Recipe, store: Store) -> Done:
    """Train, ask, forget the model. A training that diverges is a trial all the same: nothing is right in it."""
    student, arm, value = unit.key
    folder, first = store.folder("tune", *unit.key), recipe.seeds_of(student)[0]
    settings = recipe.train_of(student, arm).model_copy(update={"learning_rate": float(value)})
    try:
        facts = train.training(unit, recipe, store, (student, arm, first), settings, seed=seed_of(first), points=1)
        (found,) = facts["dev"]
        trial = {"correct": found["correct"], "examples": found["examples"]}
    except Diverged as e:
        facts, trial = {"diverged": str(e)}, {"correct": 0, "examples": len(store.problem_ids(dev.DEV))}
        for checkpoint in folder.glob("checkpoint-*"):
            remove_checkpoint(checkpoint)
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    return Done(counts={"diverged": 1} if "diverged" in facts else {"updates": facts["updates"]}, facts=facts | trial)


def seed_of(first: int) -> int:
    """The seed of an arm's trials, from the student's first; the same in every arm and for every value."""
    return int(content_hash("tune", str(first)), 16) % 2**31
