"""What is wrong with a recipe, all of it at once, in the house form *key: what (got value); what to do*."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from mixdistill import asking, paraphrases, prompts, resolve
from mixdistill.arms import SELF, called
from mixdistill.errors import MixdistillError, did_you_mean, one_line, said
from mixdistill.evidence import published
from mixdistill.mixing import mixtures
from mixdistill.problems import key_of
from mixdistill.recipe import AVERAGE, BASE, EACH_PURE, OVER_BASE, Recipe, self_of
from mixdistill.sections import HELD_OUT, Arm, Budget, OpenSection, Student, Teacher, Train, Verify
from mixdistill.store import UNUSED
from mixdistill.types import Sampling

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
RESERVED = {BASE, EACH_PURE, "weights"}
OF_PROBLEMS = ["train", *HELD_OUT, UNUSED]
"""Tables beside the benchmarks'."""


def findings(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Pydantic's errors in the house form: key, what is wrong, what was got, what to do."""
    lines = []
    seeds: set[str] = set()
    for e in error.errors():
        place = ".".join(str(p) for p in e["loc"] if not str(p).startswith("function-"))
        if e["loc"][-1] == "int" or "list[int]" in e["loc"]:  # the two kinds that `seeds` may be: one finding, not two
            place = place.partition(".int")[0].partition(".list[int]")[0]
            if place not in seeds:
                lines.append(f"{place}: must be a whole number or a list of them (got {_shown(e['input'])})")
            seeds.add(place)
            continue
        if {"constrained-int", "list[str]"} & set(e["loc"]):  # those that `evaluate.paraphrases` may be, likewise
            place = place.partition(".constrained-int")[0].partition(".list[str]")[0]
            if place not in seeds:
                lines.append(f"{place}: must be 0 to 3, or a list of templates (got {_shown(e['input'])})")
            seeds.add(place)
            continue
        if e["type"] == "extra_forbidden":
            lines.append(f"{place}: unknown key{did_you_mean(str(e['loc'][-1]), _known_keys(root, e['loc'][:-1]))}")
        elif e["type"] == "missing":
            lines.append(f"{place}: missing; it is required")
        else:
            lines.append(f"{place}: {e['msg'][0].lower()}{e['msg'][1:]} (got {_shown(e['input'])})")
    return list(dict.fromkeys(map(one_line, lines)))


def _shown(value: Any) -> str:
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
        found += _check_reference(f"arms.{arm}", "mixture", spec.mixture, spec) or _check_mixture(recipe, arm, spec)
        found += _check_own_settings(f"arms.{arm}", spec)
    found += _check_contrasts(recipe)
    for name, teacher in recipe.teachers.items():
        found += _check_reference(f"teachers.{name}", "backend", teacher.backend, teacher)
        found += _check_prompt(f"teachers.{name}", teacher)
        found += _check_serve(f"teachers.{name}", teacher)
        found += _check_sampling(f"teachers.{name}.sampling", teacher.sampling)
        found += _check_samples(f"teachers.{name}", teacher)
    found += _check_sampling("evaluate.sampling", recipe.evaluate.sampling)
    found += _check_benchmarks(recipe)
    found += _check_limits(recipe)
    found += _check_dev(recipe)
    found += published.findings(recipe)
    found += _check_chain(recipe)
    for metric in recipe.analyze.metrics:
        found += _check_reference("analyze.metrics", "metric", metric)
    found += _check_columns_of_metrics(recipe.analyze.metrics)
    for name, student in recipe.students.items():
        found += _check_sampler(f"students.{name}", student) + _check_served_as(recipe, name)
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
        study = recipe
        if primary.benchmark == AVERAGE:
            if not recipe.weights_of_benchmarks:
                found.append("primary.benchmark: there is no average of fewer than two benchmarks; name the benchmark")
        elif primary.benchmark not in recipe.problems.eval:
            hint = did_you_mean(primary.benchmark, recipe.problems.eval)
            found.append(f"primary.benchmark: '{primary.benchmark}' is not a benchmark{hint}")
        else:
            study = recipe.on(primary.benchmark)
        if primary.benchmark in recipe.problems.guards:
            found.append(f"primary.benchmark: '{primary.benchmark}' is a guard, which decides nothing; name another")
        known = (None, study.evaluate.sampling.max_tokens, *study.evaluate.caps)
        if primary.max_tokens not in known:
            found.append(f"primary.max_tokens: {primary.max_tokens} is not among evaluate.caps; add it there")
    return found


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
        found += _check_sampling(f"problems.eval.{name}.sampling", benchmark.sampling)
        if benchmark.verify:
            found += _check_own_verifier(f"problems.eval.{name}.verify", benchmark.verify)
    deciding = [b for n, b in recipe.problems.eval.items() if n not in recipe.problems.guards]
    if not deciding:
        found.append("problems.eval: all of them are guards, and nothing is left to decide on; add a benchmark")
    elif not any(b.weight for b in deciding):
        found.append("problems.eval: every weight is 0, and an average needs one; give one benchmark a weight")
    return found


def _check_own_verifier(where: str, verify: Verify) -> list[str]:
    """Findings about a benchmark's own verifier: one function, whose reading counts that the study says."""
    if len(verify.chain) > 1:
        return [f"{where}.verifier: a chain (got {verify.name}); name one here, or put the chain in the study's verify"]
    if verify.rule:
        return [f"{where}.rule: which reading counts is said once (got {verify.rule}); set verify.rule of the study"]
    (link,) = verify.chain
    found = _check_object(where, "verifier", link.name, link.options, also=type(verify).model_fields)
    if not found and asking.asks(link.name):
        found.append(f"{where}.verifier: '{link.name}' asks a model; put it in the study's verify, behind another")
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


def _check_reference(where: str, kind: str, name: str, section: OpenSection | None = None) -> list[str]:
    given = dict(section.options) if section else {}
    return _check_object(where, kind, name, given, also=type(section).model_fields if section else ())


def _check_object(where: str, kind: str, name: str, options: dict[str, Any], *, also: Iterable[str] = ()) -> list[str]:
    try:
        obj = resolve.load(resolve.reference(kind, name))
    except MixdistillError as e:
        return [f"{where}: {e}"]
    except Exception as e:  # a user's module may raise anything when it is imported
        return [f"{where}: '{name}' cannot be imported ({said(e, 160)}); mend it"]
    if not callable(obj):
        return [f"{where}: '{name}' is not a {kind} (got {type(obj).__name__}); name a function or class"]
    found = resolve.check_call(where, kind, obj)
    given = dict(options)
    if kind == "mixture":
        given |= {k: None for k in mixtures.SUPPLIED if resolve.takes(obj, k)}
    found = found or resolve.check_options(where, obj, given, also=also)
    return found or (_check_asking(where, obj, given) if kind == "verifier" and isinstance(obj, type) else [])


def _check_asking(where: str, judge: Any, options: dict[str, Any]) -> list[str]:
    """Findings about a verifier that asks a model: what its fields refuse, its prompt, and its backend's options."""
    try:
        made = judge(**options)
    except ValidationError as e:
        return [f"{where}.{line}".replace(".:", ":") for line in findings(e, judge)]
    found = _check_sampling(f"{where}.sampling", made.sampling)
    if made.votes > 1 and made.sampling.temperature == 0:
        found.append(
            f"{where}.votes: at temperature 0 they are all the same (got {made.votes}); set sampling.temperature, or "
            "leave votes out"
        )
    try:
        if not resolve.unset(made.prompt):
            made.template  # noqa: B018 -- read
    except MixdistillError as e:
        found.append(f"{where}.prompt: {e}")
    # The section's own name, so that a wrong key is told from the backend's options.
    also = type(made).model_fields
    return found + _check_object(where, "backend", made.backend, made.options, also=also)


def _check_chain(recipe: Recipe) -> list[str]:
    """Findings about the verifiers, their options and which reading of them counts."""
    verify, found = recipe.verify, []
    first, *later = verify.chain
    found += _check_object("verify", "verifier", first.name, first.options, also=type(verify).model_fields)
    for link in later:
        where = f"verify.{link.name.rpartition(':')[2]}"
        if isinstance(link.options, dict):
            found += _check_object(where, "verifier", link.name, link.options)
        else:
            found.append(f"{where}: must be the options of that verifier (got {_shown(link.options)}); write {{...}}")
    for name, n in Counter(link.name for link in verify.chain).items():
        if n > 1:
            found.append(f"verify.verifier: names '{name}' {n} times; a chain holds each verifier once")
    if not found and asking.asks(first.name):
        found += [
            f"teachers.{name}.until_correct: '{first.name}' asks a model about every trace; put a verifier that does "
            f"not before it, or set samples"
            for name, teacher in recipe.teachers.items()
            if teacher.until_correct is not None
        ]
    elif verify.rule == "judge" and not later:
        found.append(
            f"verify.rule: judge counts a whole chain, and there is '{first.name}' alone; name another verifier behind "
            "it, or leave the rule out"
        )
    return found


def _check_serve(where: str, teacher: Teacher) -> list[str]:
    """A server that is started is talked to by one backend, at the address it gets."""
    if teacher.serve is None:
        return []
    if teacher.backend != "openai":
        return [f"{where}.serve: only backend openai talks to a server (got '{teacher.backend}'); leave one out"]
    clash = next((key for key in ("base_url", "api_key_env") if key in teacher.options), None)
    return [f"{where}.{clash}: is that of the server that serve starts; leave one of the two out"] if clash else []


def _check_sampler(where: str, student: Student) -> list[str]:
    """What samples a student: one backend or server, with options that it takes."""
    if not student.adapters and (student.serve or student.backend != "vllm"):
        return [f"{where}.adapters: false changes nothing where no `backend: vllm` samples them; leave it out"]
    if student.serve is not None:
        given = {"backend": student.backend != "transformers", "backend_options": student.backend_options}
        clash = next((key for key, there in given.items() if there), None)
        return [f"{where}.{clash}: serve samples this student; leave one of the two out"] if clash else []
    backend = resolve.load(resolve.reference("backend", student.backend))
    ours = [key for key in ("dtype", "chat_template_kwargs") if key in student.backend_options]
    found = [f"{where}.backend_options.{key}: follows from the student; leave it out" for key in ours]
    return found + resolve.check_options(f"{where}.backend_options", backend, student.backend_options)


def _check_served_as(recipe: Recipe, name: str) -> list[str]:
    """Names at an endpoint are those of models that there will be."""
    student, where = recipe.students[name], f"students.{name}.served_as"
    if student.served_as and student.backend != "openai":
        return [f"{where}: only backend openai asks for models by name (got '{student.backend}'); leave it out"]
    known = [BASE, *(f"{arm}/{seed}" for s, arm, seed in recipe.cells() if s == name)]
    return [f"{where}: '{k}' is no training{did_you_mean(k, known)}" for k in student.served_as if k not in known]


def _check_samples(where: str, teacher: Teacher) -> list[str]:
    """Findings about how many traces of a problem a teacher is asked for."""
    most, right = teacher.max_samples, teacher.until_correct
    if right is None:
        return [] if most is None else [f"{where}.max_samples: only until_correct needs it; set that, or samples"]
    if most is None:
        return [f"{where}.max_samples: missing; until_correct needs it, or a hopeless problem would be asked for ever"]
    least, key = max((right, "until_correct"), (teacher.samples, "samples"))
    return [f"{where}.max_samples: must be at least {key}={least} (got {most})"] if most < least else []


def _check_prompt(where: str, teacher: Teacher) -> list[str]:
    """Findings about the files behind a teacher's prompt, and about what a file of traces cannot be asked."""
    found = []
    for key, look in {"prompt": prompts.template, "examples": prompts.examples}.items():
        given = getattr(teacher, key)
        if given is None or resolve.unset(given):  # a variable that is not set is `check`'s to find
            continue
        try:
            look(given)
        except MixdistillError as e:
            found.append(f"{where}.{key}: {e}")
    if teacher.backend == "recorded":
        found += [
            f"{where}.{key}: recorded traces were asked before; leave it out"
            for key in ("system", "examples")
            if getattr(teacher, key) is not None
        ]
    return found


def _check_sampling(where: str, sampling: Sampling) -> list[str]:
    ranges = {
        "temperature": (sampling.temperature, 0.0, math.inf, "0 (greedy) or more"),
        "top_p": (sampling.top_p, 1e-9, 1.0, "above 0, at most 1"),
        "top_k": (sampling.top_k, 0, math.inf, "0 (all) or more"),
        "max_tokens": (sampling.max_tokens, 1, math.inf, "1 or more"),
    }
    return [
        f"{where}.{key}: must be {words} (got {value:g})"
        for key, (value, low, high, words) in ranges.items()
        if value is not None and not (low <= value <= high and math.isfinite(value))
    ]
