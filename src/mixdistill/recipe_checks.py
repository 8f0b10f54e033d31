"""What is wrong with a recipe, all of it at once, in the house form *key: what (got value); what to do*."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import ValidationError

from mixdistill import gpu_needs, paraphrases, prompts, resolve
from mixdistill.arms import SELF, called
from mixdistill.errors import MixdistillError, did_you_mean
from mixdistill.evidence import published
from mixdistill.findings import findings
from mixdistill.mixing import mixtures
from mixdistill.object_checks import (
    check_chain,
    check_own_verifier,
    check_prompt,
    check_reference,
    check_sampler,
    check_samples,
    check_sampling,
    check_serve,
    check_served_as,
)
from mixdistill.problems import key_of
from mixdistill.recipe import AVERAGE, BASE, EACH_PURE, OVER_BASE, Recipe, self_of
from mixdistill.sections import HELD_OUT, Arm, Budget, Train
from mixdistill.store import UNUSED

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
RESERVED = {BASE, EACH_PURE, "weights"}
OF_PROBLEMS = ["train", *HELD_OUT, UNUSED]
"""Tables beside the benchmarks'."""


def cross_check(recipe: Recipe) -> list[str]:
    """Findings about names, references and options that no single section can see."""
    found = _check_names(recipe)
    for arm, spec in recipe.arms.items():
        for teacher in spec.weights:
            if teacher == SELF and all(self_of(s) in recipe.teachers for s in recipe.students):
                continue
            if teacher not in recipe.teachers:
                found.append(f"arms.{arm}: '{teacher}' is not a teacher{did_you_mean(teacher, recipe.teachers)}")
        total = sum(spec.weights.values())
        if abs(total - 1) > 1e-6:
            found.append(f"arms.{arm}: weights must add up to 1 (got {total:g})")
        found += _check_tags(f"arms.{arm}.tags", spec)
        found += check_reference(f"arms.{arm}", "mixture", spec.mixture, spec) or _check_mixture(recipe, arm, spec)
        found += _check_own_settings(f"arms.{arm}", spec)
    found += _check_contrasts(recipe)
    for name, teacher in recipe.teachers.items():
        found += check_reference(f"teachers.{name}", "backend", teacher.backend, teacher)
        found += check_prompt(f"teachers.{name}", teacher)
        found += check_serve(f"teachers.{name}", teacher)
        found += gpu_needs.findings(f"teachers.{name}", teacher.backend, teacher.options)
        found += check_sampling(f"teachers.{name}.sampling", teacher.sampling)
        found += check_samples(f"teachers.{name}", teacher)
    found += check_sampling("evaluate.sampling", recipe.evaluate.sampling)
    found += _check_benchmarks(recipe)
    found += _check_limits(recipe)
    found += _check_dev(recipe)
    found += published.findings(recipe)
    found += check_chain(recipe)
    for metric in recipe.analyze.metrics:
        found += check_reference("analyze.metrics", "metric", metric)
    found += _check_columns_of_metrics(recipe.analyze.metrics)
    for name, student in recipe.students.items():
        found += check_sampler(f"students.{name}", student) + check_served_as(recipe, name)
        try:
            recipe.train_of(name)
        except ValidationError as e:
            found += [f"students.{name}.train.{line}" for line in findings(e, Train)]
        seeds = recipe.seeds_of(name)
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
            found.append(f"students.{name}.seeds: needs distinct seeds from 0 on (got {seeds})")
    return found


def _check_tags(where: str, arm: Arm) -> list[str]:
    """A tag says which of its teachers an arm is asked as, so each has one of its own."""
    if not arm.tags:
        return []
    used = [t for t, w in arm.weights.items() if w > 0]
    found = [
        f"{where}: '{t}' is no teacher of this arm{did_you_mean(t, used)}; leave its tag out, or give it a weight"
        for t in arm.tags
        if t not in used
    ]
    found += [f"{where}: none for '{t}'; give every teacher of the arm one" for t in used if t not in arm.tags]
    first: dict[str, str] = {}
    for teacher, tag in arm.tags.items():
        if not tag.strip():
            found.append(f"{where}.{teacher}: is empty (got {tag!r}); write a text that the prompt is to end in")
        elif (other := first.setdefault(tag.strip(), teacher)) != teacher:
            found.append(f"{where}: '{other}' and '{teacher}' have the same (got {tag!r}); give each one of its own")
    return found


def _check_own_settings(where: str, arm: Arm) -> list[str]:
    """Findings about what an arm alone overrides: known keys and values, as in the sections that they stand for."""
    found = []
    for name, model, given in (("train", Train, arm.train), ("budget", Budget, arm.budget)):
        try:
            model(**given)
        except ValidationError as e:
            found += [f"{where}.{name}.{line}" for line in findings(e, model)]
    if "also" in arm.budget:
        found.append(f"{where}.budget.also: says what every arm is trained under; set it in budget")
    return found


def _check_mixture(recipe: Recipe, name: str, arm: Arm) -> list[str]:
    """Findings about what a mixture goes by."""
    teachers = sum(w > 0 for w in arm.weights.values())
    found = [f"arms.{name}.{line}" for line in mixtures.findings(arm.mixture, arm.options, teachers)]
    mixture = resolve.load(resolve.reference("mixture", arm.mixture))
    if resolve.takes(mixture, "pass_rate") and any(self_of(s) not in recipe.teachers for s in recipe.students):
        found.append(
            f"arms.{name}.mixture: '{arm.mixture}' goes by what the student solves itself, and it is not asked; "
            "add teachers.self"
        )
    return found


def _check_names(recipe: Recipe) -> list[str]:
    """Names become folder names, so only plain ones are allowed."""
    found = []
    sections = {
        "teachers": recipe.teachers, "students": recipe.students, "arms": recipe.arms,
        "problems.eval": recipe.problems.eval, "contrasts": recipe.contrasts,
    }  # fmt: skip
    for section, names in [*sections.items(), ("name", [recipe.name])]:
        for name in names:
            if section == "teachers" and name in map(self_of, recipe.students):
                continue
            if not NAME.match(name):
                shown = name if len(name) <= 80 else name[:77] + "..."
                found.append(
                    f"{section}: {shown!r} cannot be a name; use letters, digits, '.', '_' and '-', at most 64 of them"
                )
            elif name in RESERVED and section in ("arms", "teachers"):
                found.append(f"{section}: '{name}' is a reserved name; choose another")
    for section, taken in {"teachers": [], "students": [], "arms": [BASE], "problems.eval": OF_PROBLEMS}.items():
        found += _differ_in_case(section, [*taken, *(n for n in sections[section] if n not in taken)])
    for name in [*OF_PROBLEMS, AVERAGE]:
        if name in recipe.problems.eval:
            found.append(f"problems.eval: a benchmark cannot be called '{name}'; choose another name")
    return found


def _differ_in_case(section: str, names: list[str]) -> list[str]:
    """Such names are one folder or file on the disks of many laptops."""
    first: dict[str, str] = {}
    return [
        f"{section}: '{known}' and '{name}' differ in upper and lower case alone, and would share a folder on some "
        "disks; rename one"
        for name in names
        if (known := first.setdefault(name.casefold(), name)) != name
    ]


def _check_columns_of_metrics(metrics: list[str]) -> list[str]:
    """A metric is kept under its function's name, beside `tokens`."""
    names = Counter(metric.rpartition(":")[2] for metric in metrics)
    return [
        f"analyze.metrics: '{name}' is taken twice; give one of the functions another name"
        for name, n in names.items()
        if n + (name == "tokens") > 1
    ]


def _check_contrasts(recipe: Recipe) -> list[str]:
    found = []
    arms = [*recipe.arms, BASE]
    for name in recipe.contrasts:
        if name.endswith(OVER_BASE):
            found.append(f"contrasts: '{name}' is a reserved name ({OVER_BASE}); choose another")
    for name, (a, b) in recipe.contrasts.items():
        if a not in arms:
            found.append(f"contrasts.{name}: {_no_arm(a, arms)}")
        if b not in [*arms, EACH_PURE]:
            found.append(f"contrasts.{name}: {_no_arm(b, [*arms, EACH_PURE])}")
        if a == b:
            found.append(f"contrasts.{name}: compares '{a}' with itself; name two arms")
        if b == EACH_PURE and a in arms:
            found += _check_pure_arms(recipe, name, a)
    primary = recipe.primary
    if primary:
        if primary.contrast not in recipe.contrasts:
            hint = did_you_mean(primary.contrast, recipe.contrasts)
            found.append(f"primary.contrast: '{primary.contrast}' is not a contrast{hint}")
        over = [primary.benchmark]
        if primary.benchmark == AVERAGE:
            over = list(recipe.weights_of_benchmarks)
            if not recipe.weights_of_benchmarks:
                found.append("primary.benchmark: there is no average of fewer than two benchmarks; name the benchmark")
        elif primary.benchmark not in recipe.problems.eval:
            hint = did_you_mean(primary.benchmark, recipe.problems.eval)
            found.append(f"primary.benchmark: '{primary.benchmark}' is not a benchmark{hint}")
        if primary.benchmark in recipe.problems.guards:
            found.append(f"primary.benchmark: '{primary.benchmark}' is a guard, which decides nothing; name another")
        found += _check_cap(recipe, over)
    return found


def _check_cap(recipe: Recipe, over: list[str]) -> list[str]:
    """Whether the primary comparison is at a cap that every one of its benchmarks has."""
    primary = recipe.primary_or_first()
    if primary is None or primary.max_tokens is None:
        return []
    asked = {name: recipe.on(name).evaluate for name in over}
    where = f"primary.max_tokens: {primary.max_tokens}"
    if primary.max_tokens not in recipe.evaluate.caps:
        return [f"{where} is not among evaluate.caps; add it there"]
    beyond = [f"{name} ({e.sampling.max_tokens})" for name, e in asked.items() if primary.max_tokens not in e.caps]
    return [f"{where} is no cap below the limit of {', '.join(beyond)}; take a smaller one"] if beyond else []


def _check_benchmarks(recipe: Recipe) -> list[str]:
    """Findings about what lists of problems and benchmarks have of their own."""
    found = []
    for name, source in recipe.problems.lists.items():
        try:
            if source.ask is not None and not resolve.unset(source.ask):
                prompts.template(source.ask, prompts.STUDENT)
        except MixdistillError as e:
            found.append(f"{key_of(name)}.ask: {e}")
    for name, benchmark in recipe.problems.eval.items():
        found += check_sampling(f"problems.eval.{name}.sampling", benchmark.sampling)
        if benchmark.verify:
            found += check_own_verifier(f"problems.eval.{name}.verify", benchmark.verify)
    deciding = [b for n, b in recipe.problems.eval.items() if n not in recipe.problems.guards]
    if not deciding:
        found.append("problems.eval: all of them are guards, and nothing is left to decide on; add a benchmark")
    elif not any(b.weight for b in deciding):
        found.append("problems.eval: every weight is 0, and an average needs one; give one benchmark a weight")
    return found


def _no_arm(name: str, arms: list[str]) -> str:
    """That there is no such arm. A variant or a mode is reported by itself, and no side of a contrast."""
    arm = called(name).arm
    if arm == name or arm not in arms:
        return f"'{name}' is not an arm{did_you_mean(name, arms)}"
    return f"'{name}' is not an arm of the recipe; name '{arm}', whose other budgets and tags are reported beside it"


def _check_pure_arms(recipe: Recipe, contrast: str, arm: str) -> list[str]:
    """A blend that is better than some of its teachers' arms is not better than all of them."""
    pure = [] if arm == BASE else recipe.pure_arms(arm)
    if not pure:
        return [f"contrasts.{contrast}: no pure arm to compare '{arm}' with; add an arm for each of its teachers"]
    taught = {t for a in pure for t, w in recipe.arm(a).weights.items() if w > 0}
    lacking = [t for t, w in recipe.arm(arm).weights.items() if w > 0 and t not in taught]
    names = " and ".join(f"'{t}'" for t in lacking)
    return [f"contrasts.{contrast}: no pure arm of {names} to compare '{arm}' with; add one"] if lacking else []


def _check_limits(recipe: Recipe) -> list[str]:
    """Findings about amounts that only make sense beside another."""
    found = []
    budget, limit = recipe.budget, recipe.evaluate.sampling.max_tokens
    if budget.unit == "loss_tokens" and "per_update" not in budget.model_fields_set:
        found.append("budget.per_update: missing; loss_tokens needs it, at least the tokens of the longest trace")
    found += [
        f"budget.also: '{same}' is what the budget is already; leave it out"
        for same in dict.fromkeys(budget.also or ())
        if same in (budget.unit, budget.problems)
    ]
    for cap in recipe.evaluate.caps:
        if limit is not None and cap >= limit:
            found.append(
                f"evaluate.caps: must be below evaluate.sampling.max_tokens={limit} (got {cap}); "
                "leave it out, or raise max_tokens"
            )
    found += paraphrases.findings(recipe) if recipe.evaluate.paraphrases else []
    if recipe.evaluate.forced and not recipe.evaluate.caps:
        found.append("evaluate.forced: needs evaluate.caps, at which answers are asked for; name some")
    return found


def _check_dev(recipe: Recipe) -> list[str]:
    """What is chosen by accuracy on `problems.dev` needs such problems, and points at which they are asked."""
    found = []
    if recipe.tune:
        rates = recipe.tune.learning_rate
        if not recipe.problems.dev:
            found.append("tune: needs problems.dev, which the choice is made on; add such problems, or leave tune out")
        if twice := next((r for r in rates if rates.count(r) > 1), None):
            found.append(f"tune.learning_rate: holds {twice:g} twice; leave one out")
        found += [
            f"arms.{name}.train.learning_rate: tune chooses it; leave one of the two out"
            for name, arm in recipe.arms.items()
            if "learning_rate" in arm.train
        ]
    where = {"train": recipe.train.model_dump()}
    where |= {f"students.{s}.train": student.train for s, student in recipe.students.items()}
    where |= {f"arms.{a}.train": arm.train for a, arm in recipe.arms.items()}
    for key, settings in where.items():
        if settings.get("keep") != "best":
            continue
        if not recipe.problems.dev:
            found.append(f"{key}.keep: best needs problems.dev, which the choice is made on; add such problems")
        elif settings.get("dev_checkpoints", recipe.train.dev_checkpoints) == 0:
            found.append(f"{key}.keep: best needs points to choose from (got dev_checkpoints 0); set 1 or more")
    return found
