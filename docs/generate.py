"""Writes the reference pages from the code: docs/recipe.md, docs/data-formats.md and docs/cli.md.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 where a page is not what the code says
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mixdistill import projection, recipe, resolve, sections, types
from mixdistill.commands import plans
from mixdistill.evidence import rows as evidence
from mixdistill.evidence.shown import ReportedTrace
from mixdistill.handover import gate
from mixdistill.mixing import mixtures

HERE = Path(__file__).parent
HEAD = "<!-- Written by docs/generate.py from the code; `make docs` writes it again. -->\n\n"


def main() -> None:
    """Write or compare every page."""
    pages = {"recipe.md": recipe_page(), "data-formats.md": data_page(), "cli.md": cli_page()}
    stale = [name for name, text in pages.items() if not _is(HERE / name, text)]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/{name}: not what the code says; run: make docs")
        sys.exit(1 if stale else 0)
    for name in stale:
        (HERE / name).write_text(pages[name], encoding="utf-8")
        print(f"wrote docs/{name}")


def recipe_page() -> str:
    """Every section of the recipe with its keys, and what names may be used in it."""
    models = {
        "recipe": recipe.Recipe, "problems": sections.Problems,
        "problems.train, .dev, .gate, problems.eval.<name>": sections.Source,
        "problems.eval.<name>, besides": sections.Benchmark,
        "teachers.<name>": sections.Teacher,
        "teachers.<name>.sampling, evaluate.sampling": types.Sampling,
        "teachers.<name>.price": sections.Price, "teachers.<name>.spend, spend": sections.Spend,
        "teachers.<name>.serve, students.<name>.serve": sections.Serve,
        "verify": sections.Verify, "analyze": sections.Analyze, "students.<name>": sections.Student,
        "arms.<name>": sections.Arm, "primary": sections.Primary, "budget": sections.Budget,
        "train": sections.Train, "tune": sections.Tune, "evaluate": sections.Evaluate, "published": sections.Published,
    }  # fmt: skip
    parts = [
        HEAD,
        "# The recipe\n\nOne YAML file. Unknown keys are refused; `--set a.b=value` overrides a key for one run. ",
        "`${NAME}` in a text is read from the environment when it is used and never written to disk; ",
        f"`${{{resolve.RECIPES}}}` is always there: the folder of the shipped recipes.\n\n",
        "`extends: OTHER` takes what a recipe does not say itself from another: a shipped one by name, or a file ",
        "beside it. Sections are joined key by key, lists are replaced, and `null` takes a key away.\n",
    ]  # fmt: skip
    parts.append(IMPLIED.format(**_implied()))
    for name, model in models.items():
        parts.append(f"\n## `{name}`\n\n{_doc(model)}\n\n{_fields(model)}")
    parts.append("\n## Built-in names\n\n| kind | name | where |\n|---|---|---|\n")
    parts += [f"| {k} | `{n}` | `{r}` |\n" for k, names in resolve.BUILTIN.items() for n, r in names.items()]
    parts.append("\nYour own stands beside them: `package.module:name` or `path/to/file.py:name`.\n")
    parts.append("\n## Options of the built-ins\n\nFurther keys of the section that names them.\n")
    parts += [_options(kind, name, ref) for kind, names in resolve.BUILTIN.items() for name, ref in names.items()]
    parts.append("\n## Shipped recipes\n\n")
    parts += [f"- `{name}`: {recipe.load(name).description}\n" for name in recipe.shipped()]
    return "".join(parts)


def _implied() -> dict[str, str]:
    """What follows from the example in `IMPLIED`, as the code has it."""
    example = IMPLIED.partition("```yaml\n")[2].partition("```")[0]
    study = recipe.build(recipe.parse_yaml(example.replace("{{", "{").replace("}}", "}"), "example"))
    arms = [f"`{name}`: {{{', '.join(f'{t}: {w:g}' for t, w in a.weights.items())}}}" for name, a in study.arms.items()]
    contrasts = [f"`{name}`: [{a}, {b}]" for name, (a, b) in study.contrasts.items()]
    return {"arms": ", ".join(arms), "contrasts": ", ".join(contrasts)}


def _options(kind: str, name: str, ref: str) -> str:
    """The keyword-only parameters of a built-in, which are its options, and what its docstring says of them."""
    obj = resolve.load(ref)
    if isinstance(obj, type) and issubclass(obj, BaseModel):
        return f"\n### {kind} `{name}`\n\n{_doc(obj)}\n\n{_fields(obj)}"
    rows = [
        f"| `{p.name}` | {'required' if p.default is p.empty else f'`{p.default!r}`'} |\n"
        for p in inspect.signature(obj).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in mixtures.SUPPLIED
    ]
    if not rows:
        return ""
    said = inspect.getdoc(obj.__init__ if inspect.isclass(obj) else obj) or ""
    about = inspect.getdoc(obj) or ""
    text = f"{about}\n\n{said}" if inspect.isclass(obj) else said
    return f"\n### {kind} `{name}`\n\n{text}\n\n| option | default |\n|---|---|\n{''.join(rows)}"


IMPLIED = """
## An example, and what it implies

```yaml
name: short-or-long
problems:
  train: {{source: mine.jsonl, part: [0, 0.9]}}
  eval: {{mine: {{source: mine.jsonl, part: [0.9, 1]}}}}
teachers:
  long: {{backend: recorded, model: long.jsonl, complete: answered}}
  short: {{backend: recorded, model: short.jsonl, complete: true}}
verify: {{verifier: math}}
students:
  qwen: {{model: Qwen/Qwen2.5-1.5B-Instruct}}
```

Without `arms` and `contrasts`, every teacher is an arm of its own, and the names `long` and `short` (or `large` and
`small`) imply the blends and the gaps. Here the arms are {arms}, the contrasts {contrasts}; the first contrast on the
first benchmark is the primary one. `each_pure` is every pure arm of the blend's teachers. An arm may be written short,
as its weights alone. The untuned student, `base`, is always measured. Of several students, the primary contrast's
verdicts are adjusted by Holm, so that an interval without zero may still be "can't tell" ([method.md](method.md)).
"""


def data_page() -> str:
    """Every row type: the columns of the tables in a run folder."""
    rows = [
        types.Problem, types.Unused, types.Trace, types.Verdict, types.Decision, types.Forced, types.Looped,
        types.Complexity, types.Example, types.Update,
        types.Drop, types.Score, types.Gap, ReportedTrace, types.Usage, types.Sampling, types.Message, types.Request,
        types.Completion, types.Interval,
    ]  # fmt: skip
    parts = [HEAD, "# Data formats\n\nRows of the tables in a run folder; nested values are JSON text in Parquet.\n"]
    parts += [f"\n## {row.__name__}\n\n{_doc(row)}\n\n{_fields(row)}" for row in rows]
    parts.append("\n## Outcomes\n\n" + "".join(f"- `{o.value}`\n" for o in types.Outcome))
    for title, module in {
        "report.json": evidence,
        "check --json": plans,
        "run --pilot --json": projection,
        "ship --json": gate,
    }.items():
        facts = [m for m in vars(module).values() if isinstance(m, type) and m.__module__ == module.__name__]
        parts.append(f"\n# {title}\n")
        parts += [f"\n## {row.__name__}\n\n{_doc(row)}\n\n{_fields(row)}" for row in facts]
    return "".join(parts)


def cli_page() -> str:
    """Every verb with its help."""
    import click
    import typer.main

    from mixdistill.cli import app

    group: Any = typer.main.get_command(app)
    parts = [HEAD, "# Commands\n"]

    def walk(command: Any, path: str) -> None:
        context = click.Context(command, info_name=path)
        if hasattr(command, "commands"):
            for name in command.list_commands(context):
                walk(command.commands[name], f"{path} {name}")
            return
        parts.append(f"\n## `{path}`\n\n{(command.help or '').strip()}\n\n")
        for param in command.params:
            names = ", ".join(f"`{o}`" for o in param.opts) if param.param_type_name == "option" else f"`{param.name}`"
            parts.append(f"- {names}: {getattr(param, 'help', None) or ''}\n")

    walk(group, "mixdistill")
    return "".join(parts)


def _fields(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | |\n|---|---|---|---|\n"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{_default(field)}`"
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {_type(field.annotation)} | {default} | {text} |\n")
    return "".join(lines)


def _default(field: Any) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "{}"
    return "-" if value in (None, "") else value


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(args[0])
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in args if a is not NoneType)
    if origin is not None:
        return f"{origin.__name__} of {', '.join(_type(a) for a in args)}"
    return getattr(annotation, "__name__", str(annotation))


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
