"""What is wrong with what a recipe names: backends, verifiers, mixtures, their options, and how they are asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from mixdistill import asking, gpu_needs, prompts, resolve
from mixdistill.errors import MixdistillError, did_you_mean, said
from mixdistill.findings import findings, shown
from mixdistill.mixing import mixtures
from mixdistill.recipe import BASE, Recipe
from mixdistill.sections import OpenSection, Student, Teacher, Verify
from mixdistill.types import Sampling


def check_reference(where: str, kind: str, name: str, section: OpenSection | None = None) -> list[str]:
    given = dict(section.options) if section else {}
    return check_object(where, kind, name, given, also=type(section).model_fields if section else ())


def check_object(where: str, kind: str, name: str, options: dict[str, Any], *, also: Iterable[str] = ()) -> list[str]:
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
    found = check_sampling(f"{where}.sampling", made.sampling)
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
    found += check_object(where, "backend", made.backend, made.options, also=also)
    return found + gpu_needs.findings(where, made.backend, made.options)


def check_chain(recipe: Recipe) -> list[str]:
    """Findings about the verifiers, their options and which reading of them counts."""
    verify, found = recipe.verify, []
    first, *later = verify.chain
    found += check_object("verify", "verifier", first.name, first.options, also=type(verify).model_fields)
    for link in later:
        where = f"verify.{link.name.rpartition(':')[2]}"
        if isinstance(link.options, dict):
            found += check_object(where, "verifier", link.name, link.options)
        else:
            found.append(f"{where}: must be the options of that verifier (got {shown(link.options)}); write {{...}}")
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


def check_own_verifier(where: str, verify: Verify) -> list[str]:
    """Findings about a benchmark's own verifier: one function, whose reading counts that the study says."""
    if len(verify.chain) > 1:
        return [f"{where}.verifier: a chain (got {verify.name}); name one here, or put the chain in the study's verify"]
    if verify.rule:
        return [f"{where}.rule: which reading counts is said once (got {verify.rule}); set verify.rule of the study"]
    if verify.audit != Verify.model_fields["audit"].default:  # which earlier versions wrote into run folders
        return [f"{where}.audit: a chain has one audit (got {verify.audit:g}); set verify.audit of the study"]
    (link,) = verify.chain
    found = check_object(where, "verifier", link.name, link.options, also=type(verify).model_fields)
    if not found and asking.asks(link.name):
        found.append(f"{where}.verifier: '{link.name}' asks a model; put it in the study's verify, behind another")
    return found


def check_serve(where: str, teacher: Teacher) -> list[str]:
    """A server that is started is talked to by one backend, at the address it gets."""
    if teacher.serve is None:
        return []
    if teacher.backend != "openai":
        return [f"{where}.serve: only backend openai talks to a server (got '{teacher.backend}'); leave one out"]
    clash = next((key for key in ("base_url", "api_key_env") if key in teacher.options), None)
    return [f"{where}.{clash}: is that of the server that serve starts; leave one of the two out"] if clash else []


def check_sampler(where: str, student: Student) -> list[str]:
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
    found += resolve.check_options(f"{where}.backend_options", backend, student.backend_options)
    return found + gpu_needs.findings(f"{where}.backend_options", student.backend, student.backend_options)


def check_served_as(recipe: Recipe, name: str) -> list[str]:
    """Names at an endpoint are those of models that there will be."""
    student, where = recipe.students[name], f"students.{name}.served_as"
    if student.served_as and student.backend != "openai":
        return [f"{where}: only backend openai asks for models by name (got '{student.backend}'); leave it out"]
    known = [BASE, *(f"{arm}/{seed}" for s, arm, seed in recipe.cells() if s == name)]
    return [f"{where}: '{k}' is no training{did_you_mean(k, known)}" for k in student.served_as if k not in known]


def check_samples(where: str, teacher: Teacher) -> list[str]:
    """Findings about how many traces of a problem a teacher is asked for."""
    most, right = teacher.max_samples, teacher.until_correct
    if right is None:
        return [] if most is None else [f"{where}.max_samples: only until_correct needs it; set that, or samples"]
    if most is None:
        return [f"{where}.max_samples: missing; until_correct needs it, or a hopeless problem would be asked for ever"]
    least, key = max((right, "until_correct"), (teacher.samples, "samples"))
    return [f"{where}.max_samples: must be at least {key}={least} (got {most})"] if most < least else []


def check_prompt(where: str, teacher: Teacher) -> list[str]:
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


def check_sampling(where: str, sampling: Sampling) -> list[str]:
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
