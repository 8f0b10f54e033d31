"""Names in a recipe -> Python objects. Built-ins and the user's own enter by the same door.

A reference is a built-in's short name (`math`), `package.module:name`, or `path/to/file.py:name`. What it points to
is a plain function or class; its keyword-only parameters *are* the options a recipe may set.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixdistill.errors import DataError, RecipeError, did_you_mean
from mixdistill.files import file_hash
from mixdistill.types import content_hash

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
RECIPES = "MIXDISTILL_RECIPES"
"""The one variable that is always there: the folder of the shipped recipes, wherever the package is installed. So a
shipped recipe can name a file beside itself, and its copy in a run folder still leads there on another machine."""

BUILTIN: dict[str, dict[str, str]] = {
    "backend": {
        "transformers": "mixdistill.backends.transformers:Transformers",
        "vllm": "mixdistill.backends.vllm:VLLM",
        "openai": "mixdistill.backends.openai:OpenAI",
        "recorded": "mixdistill.backends.recorded:Recorded",
        "scripted": "mixdistill.lab.teachers:Scripted",
    },
    "verifier": {
        "math": "mixdistill.verifiers.math:verify",
        "choice": "mixdistill.verifiers.choice:verify",
        "numeric": "mixdistill.verifiers.numeric:verify",
        "exact": "mixdistill.verifiers.exact:verify",
        "json": "mixdistill.verifiers.json_fields:verify",
        "code": "mixdistill.verifiers.code:verify",
        "ifeval": "mixdistill.verifiers.ifeval:verify",
        "judge": "mixdistill.verifiers.judge:Judge",
        "signs": "mixdistill.lab.domain:verify",
    },
    "metric": {
        "steps": "mixdistill.analyze:steps",
        "attempts": "mixdistill.lab.domain:attempts",
    },
    "mixture": {
        "blend": "mixdistill.mixing.mixtures:blend",
        "curriculum": "mixdistill.mixing.mixtures:curriculum",
        "route": "mixdistill.mixing.mixtures:route",
        "repeat": "mixdistill.mixing.mixtures:repeat",
    },
}
"""kind -> short name -> reference."""
CALLED_WITH = {
    "backend": ("model",),
    "verifier": ("problem", "trace"),
    "metric": ("trace",),
    "mixture": ("pools", "weights"),
}
"""kind -> what an object of that kind is given by position. A mixture is also given `rng`, by name."""


def reference(kind: str, name: str) -> str:
    """The full reference behind a short name; a full reference is returned as it is."""
    if ":" in name:
        return name
    known = BUILTIN[kind]
    if name not in known:
        if name.endswith(".py"):
            raise RecipeError(f"'{name}' names a file and not the {kind} in it; write {name}:name")
        raise RecipeError(
            f"'{name}' is not a {kind}{did_you_mean(name, known)} (your own: package.module:name or path/file.py:name)"
        )
    return known[name]


def load(ref: str) -> Any:
    """The object a full reference points to.

    Raises RecipeError when the module, the file or the name in it does not exist.
    """
    place, _, name = ref.rpartition(":")
    if not place or not name or (place.startswith(".") and not place.endswith(".py")):
        raise RecipeError(f"'{ref}' names nothing; write it as package.module:name or path/file.py:name")
    module = _module_from_file(place) if place.endswith(".py") else _module(place)
    try:
        return getattr(module, name)
    except AttributeError:
        public = [n for n in vars(module) if not n.startswith("_")]
        raise RecipeError(f"{ref}: '{place}' has no '{name}'{did_you_mean(name, public)}") from None


def _module(place: str) -> Any:
    try:
        with _aside(place):
            return importlib.import_module(place)
    except ModuleNotFoundError as e:
        if e.name and (place == e.name or place.startswith(e.name + ".")):
            raise RecipeError(f"{place}: no such module; install it or check the spelling") from None
        raise


def _aside(known: str = "") -> contextlib.AbstractContextManager[object]:
    """While a module is imported, what it prints goes to stderr: stdout is for --json. Nothing where it is known."""
    return contextlib.nullcontext() if known in sys.modules else contextlib.redirect_stdout(sys.stderr)


def _module_from_file(place: str) -> Any:
    path = Path(os.path.realpath(os.path.expanduser(place)))
    if not os.path.isfile(path):
        raise RecipeError(f"{place}: no such file; give the path from the folder where mixdistill is run")
    name = f"mixdistill_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with _aside():
                spec.loader.exec_module(module)
        except SyntaxError as e:
            del sys.modules[name]
            raise RecipeError(f"{place}:{e.lineno}: not Python ({e.msg}); mend the file") from None
        except BaseException:
            del sys.modules[name]  # half a module must not be found next time
            raise
    return sys.modules[name]


def check_call(where: str, kind: str, obj: Any) -> list[str]:
    """Findings about an object that could not be called as its kind is; else every row of a run would fail."""
    params = inspect.signature(obj).parameters.values()
    taken = [p.name for p in params if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = CALLED_WITH[kind]
    found = []
    if kind == "verifier" and isinstance(obj, type):
        ours = all(hasattr(obj, name) for name in ("question", "verdict", "model_dump"))
        made = f"{where}: {obj.__name__} is a class; one that asks a model is made of verifiers.judge:Judge"
        return [] if ours else [f"{made}, every other verifier is a function"]
    if len(taken) != len(given) and not any(p.kind is p.VAR_POSITIONAL for p in params):
        found.append(
            f"{where}: {obj.__name__} takes ({', '.join(taken)}), and a {kind} is given ({', '.join(given)}); "
            "put its options behind a bare *"
        )
    if kind == "mixture" and not takes(obj, "rng") and not any(p.kind is p.VAR_KEYWORD for p in params):
        found.append(f"{where}: {obj.__name__} takes no rng, and a mixture is given one; add it behind a bare *")
    if kind == "backend" and not callable(getattr(obj, "generate", None)):
        found.append(f"{where}: {obj.__name__} has no generate; a backend is a class with generate(requests)")
    return found


def check_options(where: str, obj: Any, options: dict[str, Any], *, also: Iterable[str] = ()) -> list[str]:
    """Findings about options that `obj` does not take or misses; empty when it can be called.

    `also` names the other keys of the section, for suggestions.
    """
    params = inspect.signature(obj).parameters.values()
    takes = {p.name: p for p in params if p.kind is inspect.Parameter.KEYWORD_ONLY}
    findings = [
        f"{where}.{key}: not an option of {obj.__name__} (got {value!r}){did_you_mean(key, [*takes, *also])}"
        for key, value in options.items()
        if key not in takes and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in params)
    ]
    findings += [
        f"{where}.{p.name}: missing; {obj.__name__} needs it"
        for p in takes.values()
        if p.default is inspect.Parameter.empty and p.name not in options
    ]
    return findings


def takes(obj: Any, option: str) -> bool:
    """Whether `option` is one of the object's keyword-only parameters."""
    param = inspect.signature(obj).parameters.get(option)
    return param is not None and param.kind is inspect.Parameter.KEYWORD_ONLY


def version(obj: Any) -> str:
    """The `VERSION` of the object's module, else a hash of the module's file: what a re-run compares.

    The whole file, since an object may call any helper that stands beside it.
    """
    module = sys.modules.get(obj.__module__)
    declared = getattr(module, "VERSION", None)
    if declared is not None:
        return str(declared)
    file = getattr(module, "__file__", None)
    text = Path(file).read_bytes() if file else inspect.getsource(obj).encode()
    return hashlib.sha256(text).hexdigest()[:12]


def from_environment(value: Any) -> Any:
    """A value with every `${NAME}` in its texts replaced by that environment variable (or `RECIPES`).

    Done where a value is used and never earlier, so that what stands in the environment is not written anywhere.
    Raises RecipeError when a variable is not set.
    """
    if isinstance(value, dict):
        return {k: from_environment(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_environment(v) for v in value]
    return _VARIABLE.sub(_variable, value) if isinstance(value, str) else value


def unset(value: Any) -> list[str]:
    """The environment variables that the texts of a value name and that are not set, each once."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return list(dict.fromkeys(name for part in parts for name in unset(part)))
    return (
        list(dict.fromkeys(m[1] for m in _VARIABLE.finditer(value) if not _is_set(m))) if isinstance(value, str) else []
    )


def _is_set(match: re.Match[str]) -> bool:
    try:
        _variable(match)
    except RecipeError:
        return False
    return True


def redacted(text: str) -> str:
    """A text with every value that came out of the environment written as `${NAME}` again: it may be a secret."""
    for name, value in sorted(_substituted.items(), key=lambda known: -len(known[1])):
        text = text.replace(value, f"${{{name}}}")
    return text


_substituted: dict[str, str] = {}
"""Variable -> its value, of those that this process has put in; too short ones would match everywhere."""
SHORTEST_SECRET = 6


def _variable(match: re.Match[str]) -> str:
    name = match[1]
    if name == RECIPES:
        return str(Path(__file__).parent / "recipes")
    if name not in os.environ:
        raise RecipeError(
            f"${{{name}}}: the recipe names this environment variable, and it is not set; export {name}=..."
        )
    if len(os.environ[name]) >= SHORTEST_SECRET:
        _substituted[name] = os.environ[name]
    return os.environ[name]


def by_content(options: dict[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """(options for an identity, those of them that look like a path or a model -> as given).

    A file, a local model or a lab model counts by its content, so that moving it changes nothing and editing it does;
    a text that only looks like one stays. A value out of the environment counts by a hash of what it is there, never
    in the open; other texts are their own business, and `${KEY}` in them may be a secret that is changed every month.
    """
    found, given = {}, {}
    for key, value in options.items():
        name = prefix + key
        found[name] = value
        if not isinstance(value, str) or not (key == "model" or _PATH.search(value)):
            continue
        given[name] = value
        there = from_environment(value)
        if os.path.isfile(os.path.expanduser(there)):
            found[name] = f"file:{file_hash(Path(there).expanduser())}"
        elif key == "model":
            local = there.startswith("lab:") or os.path.isfile(os.path.join(there, "config.json"))
            named = f"env:{content_hash(there)}" if there != value else value
            found[name] = model_fingerprint(there) if local else named
    return found, given


_PATH = re.compile(r"/|\.[A-Za-z]\w{0,7}\Z")
"""What looks like a path: a slash, or an ending such as .json."""


def model_path(model: str) -> str:
    """A loadable folder or hub id: `lab:<name>` becomes the lab model's folder, `${NAME}` the environment's."""
    model = from_environment(model)
    if model.startswith("lab:"):
        from mixdistill.lab import models

        return str(models.path(model.removeprefix("lab:")))
    return model


def model_fingerprint(model: str) -> str:
    """A model in an identity: a local folder by its content, anything else by its name; where that comes out of the
    environment, by a hash of it."""
    there = from_environment(model)
    path = Path(model_path(there))
    if not path.is_dir():
        return model if there == model else f"env:{content_hash(there)}"
    files = sorted(p for p in path.iterdir() if p.suffix in LOADED and not p.name.startswith(".") and p.is_file())
    stats = ((p, p.stat()) for p in files)
    return _files_fingerprint(tuple((str(p), s.st_size, s.st_mtime_ns, s.st_ino) for p, s in stats))


LOADED = (".json", ".safetensors", ".jinja", ".model", ".txt", ".tiktoken")
"""Endings of the files that a model and its tokenizer are loaded from; a README beside them changes nothing."""


@lru_cache(maxsize=64)
def _files_fingerprint(files: tuple[tuple[str, int, int, int], ...]) -> str:
    """Every plan asks for every cell's base; the files' times and sizes say whether to read them again."""
    named = [(Path(path).name, file_hash(Path(path))) for path, *_ in files]
    return f"folder:{content_hash(*(part for pair in named for part in pair))}"


def folder_of(model: str) -> Path | None:
    """The folder of a model as far as it is on this machine: a lab model's, a local one, or one in the hub's cache.

    Builds and fetches nothing; None where there is none. Raises DataError for a name that can be none of these.
    """
    model = from_environment(model)
    if model.startswith("lab:"):
        from mixdistill.lab import models

        known = models.describe(model.removeprefix("lab:"))
        return known.path if known.built else None
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "config.json")
    except ValueError:
        raise DataError(
            f"no such folder, and not a hub id (got '{model}'); give a model folder or owner/name"
        ) from None
    return Path(found).parent if isinstance(found, str) else None
