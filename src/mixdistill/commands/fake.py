"""`fake`, and `--rehearse`: the bought teachers of a recipe played by the fake provider, for nothing.

What is played is called so: the model of every such trace is `fake/` and the recipe's, and the run's name ends in
`-rehearsal`. So a rehearsal can never be taken for what was bought, nor go on in its folder.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixdistill import asking, resolve, verify
from mixdistill.commands import faults as problems_of
from mixdistill.commands import gold
from mixdistill.commands.run import carry_out as carry_out_recipe
from mixdistill.errors import RecipeError
from mixdistill.fake.answers import Known, Manner
from mixdistill.fake.server import HOST, Provider, serving
from mixdistill.problems import load as load_problems
from mixdistill.recipe import Recipe, load
from mixdistill.sections import Link, Teacher, Verify
from mixdistill.store import MARKER, Store
from mixdistill.types import Outcome, Problem, Trace

BOUGHT = ("openai", "vllm")
"""Backends whose traces cost money or a GPU."""
FAKE, FAKE_JUDGE = "fake/", "fake/judge/"
"""Before the name of every model that is played."""
ENDING = "-rehearsal"
LONGEST_NAME = 64
URL, KEY = "MIXDISTILL_FAKE_URL", "MIXDISTILL_FAKE_KEY"
"""Environment variables that a rehearsed recipe names, so that it is the same whatever the port."""
DATA = ("generate", "verify", "analyze")
"""Stages that need no student."""
COUNTED = "lab:s"
"""Its tokens are words, as the fake provider's; it stands in for a tokenizer that cannot be had."""


def played(recipe: Recipe) -> list[str]:
    """Teachers that the fake provider plays. Raises RecipeError where there is nobody to play."""
    names = [n for n, t in recipe.teachers.items() if t.backend in BOUGHT or t.serve]
    if not names and not judges(recipe):
        backends = ", ".join(f"{n}: {t.backend}" for n, t in recipe.teachers.items())
        raise RecipeError(f"{recipe.name}: no teacher is bought (got {backends}); run it as it is")
    return names


def judges(recipe: Recipe) -> list[Link]:
    """Verifiers that the fake provider plays."""
    return [link for link in recipe.verify.chain if asking.asks(link.name) and asking.made(link).backend in BOUGHT]


def provider(recipe: Recipe, *, manner: Manner | None = None, **how: Any) -> Provider:
    """A provider that knows the recipe's training problems and serves its bought teachers; `how` as of `Provider`."""
    found = [p for _, p in load_problems(recipe.problems.train, split="train").problems]
    right = _phrasing(recipe)
    known = Known(found, right, working=_working_may_stand_before(recipe, found[0], right(found[0])))
    models = {_fake_model(recipe.teachers[name]): manner or Manner() for name in played(recipe)}
    models |= {resolve.from_environment(_fake_judge(link)): Manner(judges=True) for link in judges(recipe)}
    return Provider(known, models, **how)


def _fake_model(teacher: Teacher) -> str:
    return FAKE + resolve.from_environment(teacher.model)


def _fake_judge(link: Link) -> str:
    """Another name than that of a teacher of the same model."""
    model = asking.made(link).model
    return model if model.startswith(FAKE_JUDGE) else FAKE_JUDGE + model


def _phrasing(recipe: Recipe) -> Callable[[Problem], str]:
    """A right answer's text: as the verifier puts it, else the bare reference."""
    phrase = gold.phrasing(recipe)

    def right(problem: Problem) -> str:
        try:
            put = phrase(problem)
        except Exception:  # a reference that the verifier cannot put; `check --gold` says so
            put = None
        return problem.answer if put is None else put

    return right


def _working_may_stand_before(recipe: Recipe, problem: Problem, right: str) -> bool:
    """Whether the verifier still accepts a right answer with other text before it: it says so itself. A model is not
    asked."""
    if asking.asks(recipe.verify.chain[0].name):
        return True
    content = f"Let me do this step by step.\n\n{right}"
    trace = Trace(id="t", problem_id=problem.id, author="fake", content=content, finish_reason="stop")
    (verdict,) = verify.grade(recipe, [(problem, trace)])
    return verdict.outcome is Outcome.CORRECT


# -- mixdistill fake --------------------------------------------------------------------------------------------------


def serve(
    recipe: Path, overrides: list[str] | None, *, port: int, say: Callable[[str], None], **how: Any
) -> dict[str, int]:
    """Serve until Ctrl-C; how many requests ended how. `how` as of `provider`."""
    import threading

    loaded = load(recipe, overrides)
    made = provider(loaded, **how)
    with serving(made, port) as url:
        say(_how_to_use(loaded, recipe, overrides or [], made, url))
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return dict(made.ended)
    raise AssertionError("waiting ends by an interrupt alone")


def _how_to_use(recipe: Recipe, file: Path, overrides: list[str], made: Provider, url: str) -> str:
    """The address, and the command by which the recipe asks there, in a run folder of its own."""
    sets = list(overrides)
    for name in played(recipe):
        teacher = recipe.teachers[name]
        keys = {"backend": "openai", "base_url": url, "model": _fake_model(teacher)}
        sets += [f"teachers.{name}.{k}={v}" for k, v in keys.items() if k != "backend" or teacher.backend != v]
    for link in judges(recipe):
        key, known = asking.key_of(recipe, link), asking.made(link).backend == "openai"
        keys = {"base_url": url, "model": _fake_judge(link)} | ({} if known else {"backend": "openai"})
        sets += [f"{key}.{k}={v}" for k, v in keys.items()]
    ask = [f"mixdistill generate {file} --out runs/{recipe.name}-fake", *(f"--set {shlex.quote(s)}" for s in sets)]
    command = " \\\n    ".join(ask)
    return (
        f"Fake provider on {url}: {len(made.known):,} problems, models {', '.join(made.models)}. Ctrl-C ends it.\n\n"
        f"  {command}\n\nWithout this server: mixdistill generate {file} --rehearse"
    )


# -- --rehearse -------------------------------------------------------------------------------------------------------


def rehearsed(recipe: Recipe, *, models_there: bool) -> Recipe:
    """The recipe with its bought teachers played, under a name of its own. Everything else is as it was, but for the
    students where they are not to be had: another model's tokenizer then counts for all of them."""
    teachers = dict(recipe.teachers)
    for name in played(recipe):
        teachers[name] = _played(teachers[name])
    note = "A rehearsal: the fake provider made the traces up, and no number here says anything about a model."
    return recipe.model_copy(
        update={
            "name": recipe.name.removesuffix(ENDING)[: LONGEST_NAME - len(ENDING)] + ENDING,
            "description": f"{note} {recipe.description.removeprefix(note)}".strip(),
            "teachers": teachers,
            "verify": _played_verify(recipe),
            **({} if models_there else _counted_as_words(recipe)),
        }
    )


def _counted_as_words(recipe: Recipe) -> dict[str, Any]:
    """The sections that name a tokenizer."""
    students = {name: s.model_copy(update={"model": COUNTED}) for name, s in recipe.students.items()}
    return {"students": students, "analyze": recipe.analyze.model_copy(update={"tokenizer": COUNTED})}


def _played(teacher: Teacher) -> Teacher:
    """A teacher asked over HTTP on this machine, with those of its options that the backend `openai` has too."""
    backend = resolve.load(resolve.reference("backend", "openai"))
    options = {k: v for k, v in teacher.options.items() if resolve.takes(backend, k)}
    options |= {"base_url": f"${{{URL}}}", "api_key_env": KEY}
    fields = teacher.model_dump(exclude={*teacher.options, "serve"}, exclude_unset=True)
    model = teacher.model if teacher.model.startswith(FAKE) else FAKE + teacher.model
    return Teacher.model_validate({**fields, **options, "backend": "openai", "model": model})


def _played_verify(recipe: Recipe) -> Verify:
    """The verifiers, those that ask a bought model asking over HTTP on this machine."""
    raw = recipe.verify.model_dump(exclude_unset=True)
    backend = resolve.load(resolve.reference("backend", "openai"))
    for link in judges(recipe):
        fields = type(asking.made(link)).model_fields
        kept = {k: v for k, v in link.options.items() if k in fields or resolve.takes(backend, k)}
        kept |= {"backend": "openai", "base_url": f"${{{URL}}}", "api_key_env": KEY, "model": _fake_judge(link)}
        if link == recipe.verify.chain[0]:
            raw = {k: v for k, v in raw.items() if k not in link.options} | kept
        else:
            raw[asking.folder_name(link)] = kept
    return Verify.model_validate(raw)


def carry_out(
    recipe: Path, overrides: list[str] | None, out: Path | None, stages: Sequence[str], *,
    say: Callable[[str], None], **how: Any,
) -> int:  # fmt: skip
    """Carry out stages of a recipe with its bought teachers played; the exit code."""
    loaded = load(recipe, overrides)
    lost = problems_of.of_models(rehearsed(loaded, models_there=True))
    if lost and not set(stages) & set(DATA):
        raise RecipeError(lost)
    study = rehearsed(loaded, models_there=not lost)
    store = Store(out or Path("runs") / study.name)
    with _environment({KEY: "rehearsal"}), serving(provider(loaded)) as url, _environment({URL: url}):
        say(f"mixdistill: rehearsal in {store.root}: {_who(loaded)}; nothing is bought")
        if lost:
            stages = [s for s in stages if s in DATA]
            say(f"mixdistill: rehearsal as far as analyze, tokens counted as words: {lost[0]}")
        code = carry_out_recipe(study, None, store.root, stages, say=say, models_looked_at=True, **how)
    say(f"mixdistill: rehearsal: {_price(study, store, played(loaded))}")
    return code


@contextmanager
def judges_played(recipe: Recipe) -> Generator[Recipe]:
    """The recipe with its bought judges played, and the provider that plays them."""
    with _environment({KEY: "rehearsal"}), serving(provider(recipe)) as url, _environment({URL: url}):
        yield recipe.model_copy(update={"verify": _played_verify(recipe)})


def _who(recipe: Recipe) -> str:
    """Who is played and who is not."""
    names = played(recipe)
    others = [f"{n} ({t.backend})" for n, t in recipe.teachers.items() if n not in names]
    told = f"the fake provider plays {', '.join([*names, *(link.name for link in judges(recipe))])}"
    return told + (f"; as in the recipe: {', '.join(others)}" if others else "")


def _price(recipe: Recipe, store: Store, names: list[str]) -> str:
    """What these traces would have cost, by the markers of the finished teachers."""
    markers = [store.marker(store.folder("generate", name)) for name in names]
    counts = [m["counts"] for m in markers if m]
    traces, tokens = (sum(c.get(key, 0) for c in counts) for key in ("traces", "completion_tokens"))
    told = f"{traces:,} traces with {tokens:,} sampled tokens (words)"
    asked = [a for link in judges(recipe) for a in _answers(store, link)]
    told += f" and {sum(a['traces'] for a in asked):,} answers of judges" if asked else ""
    priced = [c["cost"] for c in [*counts, *asked] if "cost" in c]
    unpriced = [n for n in names if recipe.teachers[n].price is None]
    unpriced += [link.name for link in judges(recipe) if asking.made(link).price is None]
    if priced:
        told += f" would have cost ${sum(priced):,.2f}"
    return told + (f"; no price in the recipe for {', '.join(unpriced)}" if unpriced else "")


def _answers(store: Store, link: Link) -> list[dict[str, Any]]:
    """What a judge answered, by the markers of the units that asked it."""
    folders = [p.parent for stage in ("verify", "evaluate") for p in sorted(store.folder(stage).rglob(MARKER))]
    asked = [(store.marker(folder) or {}).get("facts", {}).get("asked", {}) for folder in folders]
    return [a[link.name] for a in asked if link.name in a]


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Set variables for this process and its workers; a proxy has no way to this machine's loopback."""
    values = {**values, **{name: _with_host(os.environ.get(name, "")) for name in ("no_proxy", "NO_PROXY")}}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _with_host(hosts: str) -> str:
    return ",".join(dict.fromkeys([*filter(None, hosts.split(",")), HOST]))
