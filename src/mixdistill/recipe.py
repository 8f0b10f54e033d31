"""The recipe: one YAML file that says everything about a study. Typed; unknown keys are refused with a suggestion.

`load` reads a file, applies `--set a.b=value`, fills in what the teachers' names imply, checks every cross-reference
and raises one RecipeError with *all* findings. Nothing here imports torch or touches the network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from mixdistill.arms import BASE, SELF, called, of_variant
from mixdistill.errors import RecipeError, did_you_mean
from mixdistill.evidence.verdicts import FEWEST
from mixdistill.fragments import expanded, known_rows, listed
from mixdistill.sections import (
    Analyze,
    Arm,
    Budget,
    Evaluate,
    Primary,
    Problems,
    Published,
    Section,
    Spend,
    Student,
    Teacher,
    Train,
    Tune,
    Verify,
)
from mixdistill.yaml_text import parse_yaml, write_yaml

AVERAGE = "average"
"""The benchmark that stands for all of them."""
EACH_PURE = "each_pure"
OVER_BASE = "_over_base"
"""How the contrasts end that every arm has with the untuned student by itself."""
TAGGED = "tagged"
"""A mixture's name that stands for a blend with tags."""
SHELVES = ("", "paper")
"""Folders of shipped recipes; as commands/complete.py has them."""
EXTENDS = "extends"
"""Key of the recipe that another one takes what it does not say itself from."""


def _arm(value: Any) -> Any:
    if isinstance(value, dict) and "weights" not in value:
        return {"weights": value}
    if isinstance(value, dict) and value.get("mixture") == TAGGED and isinstance(value["weights"], dict):
        tags = {t: f"/{t}" for t, w in value["weights"].items() if w}
        return {**value, "mixture": "blend", "tags": value.get("tags") or tags}
    return value


class Recipe(Section):
    """A study."""

    name: str
    """Names the run folder."""
    description: str = ""
    """One sentence for the report."""
    problems: Problems
    teachers: dict[str, Teacher] = Field(min_length=1)
    verify: Verify
    analyze: Analyze = Analyze()
    students: dict[str, Student] = Field(min_length=1)
    arms: dict[str, Annotated[Arm, BeforeValidator(_arm)]] = {}
    """Implied by the teachers' names when left out."""
    contrasts: dict[str, tuple[str, str]] = {}
    """Name -> [a, b]: the gap is P(a) - P(b). `each_pure` as b: against every pure arm of the blend."""
    primary: Primary | None = None
    """When left out, the first contrast, uncapped, on the benchmark, or on the `average` where there are several."""
    smallest_gap: float = Field(default=0.03, gt=0, lt=1)
    """Smallest difference of accuracy that would be worth knowing of (0.03 is 3 points). A gap whose interval lies
    within it on both sides is `no difference`; where it cannot be told, what would find so large a one is said."""
    looks: Literal["open", "once"] = "open"
    """Whether the study may be looked at again with more seeds or problems. `open`: it may, each look for a price, the
    first p x 1.25. `once`: it will not: nothing is paid, and a later look gives no verdict on the primary contrast."""
    budget: Budget = Budget()
    train: Train = Train()
    tune: Tune | None = None
    evaluate: Evaluate = Evaluate()
    seeds: int | list[int] = 3
    """How many trainings of each student and arm (0, 1, ...), or their seeds."""
    spend: Spend = Spend()
    """Limits for all teachers together."""
    error_rate: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of rows that may go wrong before a stage fails: problems that cannot be read, requests that fail,
    verdicts that are errors. What went wrong is listed either way."""
    published: list[Published] = []
    """Numbers of a publication that this study repeats; the page has them beside the measured ones."""
    smoke: bool = False
    """Written by `run --smoke`, which makes models, data and traces up: the page says so, and gives no verdict."""

    def train_of(self, student: str, arm: str = BASE) -> Train:
        """Training settings of a student: the study's, with the student's own on top, and the arm's where it has any.
        What nobody set follows from the method that is trained with in the end."""
        given = {**self.train.model_dump(exclude_unset=True), **self.students[student].train}
        return Train(**given) if arm == BASE else Train(**{**given, **self.arm(arm).train})

    def on(self, benchmark: str) -> Recipe:
        """This study as one of its benchmarks has it: that one's verifiers, decoding and samples in the place of the
        study's own, and no answer asked for early on a guard. Which reading of the answers counts is the same
        everywhere."""
        own = self.problems.eval.get(benchmark)
        if own is None:  # all of them together
            return self
        early = {"forced": False, "thinking": []} if own.guard else {}
        if own.verify is None and own.k is None and not own.own and not early:
            return self
        sampling = self.evaluate.sampling.model_copy(update=own.own)
        limit = sampling.max_tokens
        caps = [cap for cap in self.evaluate.caps if limit is None or cap < limit]
        changed: dict[str, Any] = {"sampling": sampling, "caps": caps, **early, **({"k": own.k} if own.k else {})}
        verify = _verified(self.verify, own.verify).model_copy(update={"rule": self.verify.counts})
        return self.model_copy(update={"evaluate": self.evaluate.model_copy(update=changed), "verify": verify})

    def verifier_on(self, *benchmarks: str) -> str:
        """Names of the verifiers, or chains, of one benchmark or of several."""
        return ", ".join(dict.fromkeys(self.on(name).verify.name for name in benchmarks))

    def seeds_of(self, student: str) -> list[int]:
        """Seeds of a student."""
        own = self.students[student].seeds
        seeds = self.seeds if own is None else own
        return list(range(seeds)) if isinstance(seeds, int) else list(seeds)

    def arm(self, name: str) -> Arm:
        """What an arm is made of, under whatever variant or mode it is called."""
        return self.arms[called(name).arm]

    @property
    def variants(self) -> list[str]:
        """The budgets that every arm is trained under: "" is the one that was declared."""
        return ["", *self.budget.variants]

    @property
    def trained(self) -> list[str]:
        """Every arm under every budget, the declared one first."""
        return [of_variant(arm, v) for v in self.variants for arm in self.arms]

    def budget_of(self, arm: str) -> Budget:
        """The budget that an arm is trained under. Of a variant in the other unit, `per_update` is the declared unit's:
        what it comes to in the other follows from the data."""
        budget, variant = self.budget, called(arm).variant
        if variant:
            key = "unit" if variant in ("examples", "loss_tokens") else "problems"
            budget = budget.model_copy(update={key: variant})
        return Budget(**{**budget.model_dump(exclude={"also"}), **self.arm(arm).budget})

    def modes(self, arm: str) -> list[str]:
        """Names under which an arm is scored: its own, in which it is asked with the tag of its heaviest teacher, and
        one for each other teacher that has a tag."""
        spec = self.arm(arm)
        ranked = sorted(spec.tags, key=lambda t: -spec.weights.get(t, 0.0))
        return [arm, *(str(called(arm)._replace(mode=t)) for t in ranked[1:])]

    def tag_of(self, arm: str) -> str:
        """What the prompts carry on a last line when an arm is asked under this name; "" for nothing."""
        mode = called(arm).mode
        if called(arm).arm == BASE or not self.arm(arm).tags:
            return ""
        spec = self.arm(arm)
        return spec.tags[mode or max(spec.tags, key=lambda t: spec.weights.get(t, 0.0))]

    def cells(self) -> list[tuple[str, str, int]]:
        """Every training: (student, arm, seed)."""
        return [(s, a, seed) for s in self.students for seed in self.seeds_of(s) for a in self.trained]

    def pure_arms(self, arm: str) -> list[str]:
        """The pure arms of the teachers that `arm` blends, of the same variant."""
        name, variant, *_ = called(arm)
        teachers = {t for t, w in self.arms[name].weights.items() if w > 0}
        return [of_variant(a, variant) for a, spec in self.arms.items() if a != name and _pure(spec) in teachers]

    def pairs(self, contrast: str, variant: str = "") -> list[tuple[str, str]]:
        """The (a, b) pairs of a contrast; more than one for `each_pure`."""
        a, b = self.contrasts[contrast]
        a = of_variant(a, variant)
        return [(a, pure) for pure in self.pure_arms(a)] if b == EACH_PURE else [(a, of_variant(b, variant))]

    def group_of(self, arm: str) -> list[str]:
        """Arms that are compared with `arm`, directly or through others: they share problems and update counts. All are
        of one variant."""
        variant = called(arm).variant
        there = [of_variant(a, variant) for a in self.arms]
        edges = [tuple(called(x).trained for x in pair) for c in self.contrasts for pair in self.pairs(c, variant)]
        group, todo = {called(arm).trained}, [called(arm).trained]
        while todo:
            here = todo.pop()
            for edge in edges:
                if here in edge:
                    new = (set(edge) - group) & set(there)
                    group |= new
                    todo += new
        return [a for a in there if a in group]

    def weights(self, arm: str, student: str) -> dict[str, float]:
        """Teacher -> share, in the budget's unit, of those that an arm draws on; `self` is the student's own."""
        used = {t: w for t, w in self.arm(arm).weights.items() if w > 0}
        return {self_of(student) if t == SELF else t: w for t, w in used.items()}

    def teachers_of(self, arms: list[str], student: str) -> list[str]:
        """Teachers that the arms draw on for a student, in the recipe's order."""
        used = {t for a in arms for t in self.weights(a, student)}
        return [t for t in self.teachers if t in used]

    def primary_or_first(self) -> Primary | None:
        """The declared primary comparison, or the first there is."""
        if self.primary:
            over = self.weights_of_benchmarks if self.primary.benchmark == AVERAGE else [self.primary.benchmark]
            limits = {self.on(name).evaluate.sampling.max_tokens for name in over}
            if limits == {self.primary.max_tokens}:  # the generation's own limit, said in numbers
                return self.primary.model_copy(update={"max_tokens": None})
        if self.primary or not self.contrasts:
            return self.primary
        benchmark = AVERAGE if self.weights_of_benchmarks else self._weighty[0]
        return Primary(contrast=next(iter(self.contrasts)), benchmark=benchmark)

    @property
    def deciding_benchmark(self) -> str:
        """The primary comparison's benchmark; of an average the one with the largest weight, of those with enough
        problems to decide anything as far as that is known, the first of equal ones. What is measured on one list of
        problems alone is measured on this one."""
        primary = self.primary_or_first()
        if primary and primary.benchmark in self.problems.eval:
            return primary.benchmark
        rows = {name: known_rows(self.problems.eval[name]) for name in self._weighty}
        enough = [name for name, n in rows.items() if n is None or n >= FEWEST]
        return max(enough or rows, key=lambda name: self.problems.eval[name].weight)

    @property
    def _weighty(self) -> list[str]:
        """Benchmarks that may decide something; all of them where none may."""
        found = [name for name, b in self.problems.eval.items() if not b.guard and b.weight > 0]
        return found or list(self.problems.eval)

    @property
    def weights_of_benchmarks(self) -> dict[str, float]:
        """Benchmark -> its weight in the average over them; empty where there are not two that decide anything."""
        weights = {name: b.weight for name, b in self.problems.eval.items() if not b.guard and b.weight > 0}
        return weights if len(weights) > 1 else {}


def _verified(study: Verify, own: Verify | None) -> Verify:
    """How a benchmark is judged. Where its own verifier is the study's first, it is the study's chain, with the
    benchmark's options and deadline on top: a judge behind `math` sees every benchmark that `math` judges."""
    if own is None or own.verifier != study.chain[0].name:
        return own or study
    said = own.model_dump(include=own.model_fields_set & {"deadline"})
    return Verify.model_validate({**study.model_dump(), **own.options, **said})


def self_of(student: str) -> str:
    """The teacher that is this student itself."""
    return f"{SELF}@{student}"


def _pure(arm: Arm) -> str | None:
    used = [t for t, w in arm.weights.items() if w > 0]
    return used[0] if len(used) == 1 else None


def shipped() -> dict[str, Path]:
    """Recipes that come with the package: name -> file."""
    folder = Path(__file__).parent / "recipes"
    found = [p for part in SHELVES for p in sorted((folder / part).glob("*.yaml"))]
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in found}


def load(path: str | Path, overrides: list[str] | None = None, *, resolved: bool = True) -> Recipe:
    """The recipe in a file (or a shipped one by name), with `a.b=value` overrides; every finding in one RecipeError.

    With `resolved=False`, what it refers to need not be on this machine.
    """
    raw, where = read(path, overrides)
    return build(raw, where=where, resolved=resolved)


def read(path: str | Path, overrides: list[str] | None = None) -> tuple[dict[str, Any], str]:
    """(a recipe's plain objects with the overrides applied, the name of its file). Raises RecipeError."""
    raw, name = _extended(*_read(path), ())
    for override in overrides or []:
        _override(raw, override)
    return raw, name


def _extended(raw: dict[str, Any], file: Path, below: tuple[Path, ...]) -> tuple[dict[str, Any], str]:
    """(plain objects with those of the recipe that `extends` names under them, the name of the file). Sections are
    joined key by key; null takes a key away. `below`: the recipes that extend this one."""
    if EXTENDS not in raw:
        return raw, file.name
    other, own = raw[EXTENDS], {k: v for k, v in raw.items() if k != EXTENDS}
    if not isinstance(other, str) or not other:
        raise RecipeError(f"{file.name}: extends: must name a recipe (got {other!r})")
    if "name" not in own:
        raise RecipeError(f"{file.name}: name: missing; under that of '{other}' it would go on in its run folder")
    beside = file.parent / other
    try:
        above, there = _read(beside if os.path.isfile(beside) else other)
    except RecipeError as e:
        raise RecipeError(f"{file.name}: extends: {e}") from None
    if there.resolve() in {f.resolve() for f in (file, *below)}:
        raise RecipeError(f"{file.name}: extends: '{other}' extends this recipe; leave one of the two out")
    return _joined(_extended(above, there, (file, *below))[0], own), file.name


def _joined(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    both = {**under, **{k: _joined(under.get(k), v) for k, v in over.items()}}
    return {k: v for k, v in both.items() if v is not None}


def _read(path: str | Path) -> tuple[dict[str, Any], Path]:
    """(plain objects of one file, the file)."""
    file = Path(path)
    if not os.path.isfile(file) and str(path) in shipped():
        file = shipped()[str(path)]
    if not os.path.isfile(file):
        hint = did_you_mean(str(path), shipped())
        raise RecipeError(f"{path}: no such recipe file{hint}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise RecipeError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    except OSError as e:
        raise RecipeError(f"{path}: cannot be read ({e.strerror}); check its permissions") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections (got {type(raw).__name__})")
    if isinstance(raw.get("problems"), dict) and "eval" in raw["problems"]:
        raw["problems"]["eval"] = listed(raw["problems"]["eval"])  # so that an override finds an entry by its name
    return raw, file


def build(raw: dict[str, Any], *, where: str = "recipe", resolved: bool = True) -> Recipe:
    """A Recipe from plain objects: validate, fill in what is implied, check the cross-references."""
    from mixdistill import recipe_checks
    from mixdistill.findings import findings

    try:
        recipe = Recipe.model_validate(_implied(raw))
    except ValidationError as e:
        raise RecipeError([f"{where}: {line}" for line in findings(e, Recipe)]) from None
    wrong = recipe_checks.cross_check(recipe) if resolved else []
    if wrong:
        raise RecipeError([f"{where}: {line}" for line in wrong])
    return recipe


def render(recipe: Recipe) -> str:
    """The whole recipe as YAML, implied parts included."""
    plain = recipe.model_dump(mode="json", exclude_none=True)
    if "learning_rate" not in recipe.train.model_fields_set:
        del plain["train"]["learning_rate"]  # it follows from the method
    for name, own in ((n, b.verify) for n, b in recipe.problems.eval.items() if b.verify):
        said = own.model_dump(mode="json", exclude_none=True, exclude_unset=True)  # what it leaves out is the study's
        plain["problems"]["eval"][name]["verify"] = said
    return write_yaml(plain)


def _override(raw: dict[str, Any], override: str) -> None:
    key, eq, value = override.partition("=")
    if not eq or not key:
        raise RecipeError(f"--set {override}: write it as key.subkey=value")
    here = raw
    part, rest = _first_key(here, key)
    while rest:
        section = here.get(part, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {override}: '{part}' is not a section (got {section!r})")
        here[part] = dict(section)  # a copy: YAML aliases make one object of two sections
        here = here[part]
        part, rest = _first_key(here, rest)
    here[part] = parse_yaml(value, f"--set {override}")


def _first_key(section: dict[str, Any], path: str) -> tuple[str, str]:
    """A dotted path's first key and what follows it. A name with dots in it (`qwen-1.5b`) wins when it is there."""
    parts = path.split(".")
    for n in range(len(parts), 1, -1):
        if ".".join(parts[:n]) in section:
            return ".".join(parts[:n]), ".".join(parts[n:])
    return parts[0], ".".join(parts[1:])


def _implied(raw: dict[str, Any]) -> dict[str, Any]:
    """What shipped benchmarks stand for, and arms and contrasts that follow from teachers named long and short, or
    large and small."""
    raw = dict(raw)
    if isinstance(raw.get("problems"), dict) and "eval" in raw["problems"]:
        raw["problems"] = {**raw["problems"], "eval": expanded(raw["problems"]["eval"], raw.get("evaluate"))}
    teachers = raw.get("teachers") if isinstance(raw.get("teachers"), dict) else {}
    assert isinstance(teachers, dict)
    students = raw.get("students")
    if SELF in teachers and isinstance(students, dict):
        raw["teachers"] = _themselves(teachers, students, _asked(raw.get("problems")))
    pairs = [(a, b) for a, b in (("long", "short"), ("large", "small")) if a in teachers and b in teachers]
    if not raw.get("arms"):
        arms: dict[str, Any] = {t: {t: 1} for t in teachers}
        for a, b in pairs:
            arms[f"mix-{a}"] = {a: 0.2, b: 0.8}
            arms[f"mix-{a}-50"] = {a: 0.5, b: 0.5}
        raw["arms"] = arms
    arms = raw["arms"]
    if raw.get("contrasts") is None and isinstance(arms, dict):  # an empty section asks for none
        contrasts: dict[str, Any] = {}
        pure = {t for arm in arms.values() if len(_used(arm)) == 1 for t in _used(arm)}
        for a, b in pairs:
            if a in arms and b in arms:
                contrasts["long_cot_gap" if a == "long" else "large_teacher_gap"] = [a, b]
        for name, arm in arms.items():
            used = _used(arm)
            if len(used) > 1 and used <= pure:
                taken = any(c.startswith("mix_gain") for c in contrasts)
                contrasts[f"mix_gain_{name}" if taken else "mix_gain"] = [name, EACH_PURE]
        raw["contrasts"] = contrasts
    return raw


def _asked(problems: Any) -> dict[str, Any]:
    """How a student is asked the training problems, as a teacher's own entry says it."""
    train = problems.get("train") if isinstance(problems, dict) else None
    return {"prompt": train["ask"]} if isinstance(train, dict) and train.get("ask") else {}


def _themselves(teachers: dict[Any, Any], students: dict[Any, Any], asked: dict[str, Any]) -> dict[Any, Any]:
    """The teachers, with one for each student in the place of `self`, sampled as that student is evaluated."""
    found: dict[Any, Any] = {}
    for name, teacher in teachers.items():
        if name != SELF:
            found[name] = teacher
            continue
        own = teacher if isinstance(teacher, dict) else {}
        for student, spec in students.items():
            if isinstance(spec, dict):
                found[self_of(student)] = {**_sampled_as(spec), **asked, **own}
    return found


def _sampled_as(student: dict[str, Any]) -> dict[str, Any]:
    """A student's own entry, as far as it says how the student is sampled."""
    shared = {k: student[k] for k in ("model", "chat_template_kwargs", "serve") if k in student}
    backend = "openai" if "serve" in student else student.get("backend", "transformers")
    return {"backend": backend, "samples": 4, **shared, **(student.get("backend_options") or {})}


def _used(arm: Any) -> set[Any]:
    """Teachers that an arm draws on, as it stands in the file."""
    weights = _arm(arm).get("weights") if isinstance(arm, dict) else None
    return {t for t, w in weights.items() if w} if isinstance(weights, dict) else set()
