"""The README.md of a trained model and of an exported data set: what it is, how it was made, how it scored, its limits.

They say what was recorded and nothing else. A model's card is written after its training, and again once there are
scores. Neither its hash nor anything's identity depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixdistill import resolve
from mixdistill.arms import SELF
from mixdistill.export import FIELD, Cell, Exported
from mixdistill.files import write_atomically
from mixdistill.handover import serving
from mixdistill.handover.serving import Use
from mixdistill.recipe import Recipe
from mixdistill.store import Store
from mixdistill.tables import on_hub
from mixdistill.types import Interval, Row
from mixdistill.yaml_text import write_yaml

CARD = "README.md"
PROJECT = "mixdistill"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Rows below which a data set has a size category of the hub."""


class Scored(Row):
    """A trained student beside its untuned self, on the same problems at the same token cap."""

    benchmark: str
    max_tokens: int | None
    """Token cap; None: the generation's own limit."""
    problems: int
    base: float
    """Accuracy of the untuned student, 0..1."""
    accuracy: float
    """Of the trained one."""
    delta: Interval | None
    """95 % interval of the difference for these two checkpoints, problems resampled; None with one problem."""
    base_tokens: float
    """Mean tokens of an answer of the untuned student."""
    tokens: float
    base_finished: float
    """Share of its answers that ended by themselves."""
    finished: float


def write_model_card(
    recipe: Recipe, store: Store, cell: Cell, folder: Path, facts: Mapping[str, Any], scored: Sequence[Scored] = ()
) -> None:
    """Write the card of the model in `folder`, which `facts` (of the training's marker) tell of."""
    text = resolve.redacted(model_card(recipe, store, cell, facts, scored))
    write_atomically(folder / CARD, text.encode())


def model_card(
    recipe: Recipe,
    store: Store,
    cell: Cell,
    facts: Mapping[str, Any],
    scored: Sequence[Scored] = (),
    note: str = "",
    use: Use | None = None,
) -> str:
    """The card as text. `note`: a further paragraph on what the model is; `use`: how it was asked at a gate."""
    spec, sections = recipe.students[cell.student], []
    base = f"`{spec.model}`"
    what = f"{base}, trained on verified reasoning traces: the arm `{cell.arm}`, seed {cell.seed}, of the study "
    sections.append(f"# {cell.student}, trained on {cell.arm}\n\n{what}`{recipe.name}`.{_blend(facts)}")
    sections += [note] if note else []
    sections.append("## How it scored\n\n" + _scores(scored))
    sections.append("## How to use it\n\n" + _usage(recipe, cell, use))
    sections.append("## What it was trained on\n\n" + _data(recipe, store, cell, facts))
    sections.append("## How it was trained\n\n" + _training(recipe, cell, facts))
    sections.append("## Limits\n\n" + MODEL_LIMITS)
    return _front(_model_front(recipe, cell)) + "\n\n".join(sections) + "\n"


MODEL_LIMITS = """\
- The accuracies above, where there are any, are on those problems with that decoding and that token cap alone. Nothing
  else was measured: not safety, not other languages, not what the base model could do besides.
- It learnt from traces that a verifier accepted. A right final answer does not make every step before it right.
- Its license follows from those of the base model, the teachers and the problems, which are not known here."""


def _front(fields: Mapping[str, Any]) -> str:
    return f"---\n{write_yaml(dict(fields))}---\n\n"


def _model_front(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    model, source = recipe.students[cell.student].model, recipe.problems.train.source
    return {
        **({"base_model": model} if _hub_id(model) else {}),
        **({"datasets": [source]} if on_hub(source) else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [PROJECT, "distillation", "reasoning", "sft"],
    }


def _hub_id(model: str) -> bool:
    """A name that the hub knows things by: neither a folder nor one of the lab's."""
    return not model.startswith(("lab:", ".", "/", "~")) and not Path(model).exists() and model.count("/") <= 1


def _blend(facts: Mapping[str, Any]) -> str:
    mix = facts.get("mix", {}).get("facts", {})
    if not mix.get("share_examples"):
        return ""
    parts = [
        f"{_share(mix, unit)} by {name}" for unit, name in (("examples", "examples"), ("loss_tokens", "loss tokens"))
    ]
    return f" Its rows: {parts[0]}; that is {parts[1]}."


def _share(mix: Mapping[str, Any], unit: str) -> str:
    shares = sorted(mix[f"share_{unit}"].items(), key=lambda s: -s[1])
    return ", ".join(f"{share:.0%} `{teacher}`" for teacher, share in shares)


def _scores(scored: Sequence[Scored]) -> str:
    if not scored:
        return "Not evaluated."
    head = "| benchmark | token cap | problems | base | this model | difference (95 %) | tokens an answer | finished |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for s in scored:
        rows.append(
            f"| {s.benchmark} | {s.max_tokens or 'none'} | {s.problems:,} | {s.base:.1%} | {s.accuracy:.1%} | "
            f"{difference(s)} | {s.base_tokens:,.0f} → {s.tokens:,.0f} | {s.base_finished:.0%} → {s.finished:.0%} |"
        )
    return "\n".join(rows) + "\n\n" + INTERVAL


INTERVAL = """\
`base` is the untuned student on the same problems. The interval is for these two checkpoints, over problems: it says
whether this model is better, not whether the data would help again."""


def difference(s: Scored) -> str:
    """`+4.2 points (+1.0 to +7.4)`."""
    delta = f"{100 * (s.accuracy - s.base):+.1f} points"
    return delta if s.delta is None else f"{delta} ({100 * s.delta.low:+.1f} to {100 * s.delta.high:+.1f})"


def _usage(recipe: Recipe, cell: Cell, gate: Use | None) -> str:
    use = gate or serving.of_recipe(recipe, cell.student, cell.arm)
    given = "".join(f", {k}={v!r}" for k, v in use.chat_template_kwargs.items())
    how = ", ".join(f"{k}={v!r}" for k, v in serving.generation(use).items())
    start = f"sh {serving.SCRIPT}" if gate else f"vllm serve . {serving.options(use)[0]}"
    parts = [
        f"The prompt is the problem {'in the text below' if use.ask else 'as it stands'}, in the chat template that "
        "lies in this folder; the answer follows `</think>` where the model thinks aloud.",
        *([f"{_AT_THE_GATE.format(name=use.name)}: {serving.words(use)}."] if gate else []),
        f"```python\n{_CODE.format(prompt=json.dumps(serving.prompt(use)), kwargs=given, how=how)}```",
        "With vLLM, in this folder:",
        f"```sh\n{start}\n{serving.request(use)}```",
    ]
    return "\n\n".join([*parts, *_tags(recipe, cell)])


_AT_THE_GATE = "It passed its gate as `{name}`, asked like this, and was not looked at in any other way"


_CODE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
messages = [{{"role": "user", "content": {prompt}}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{kwargs}
)
output = model.generate(**inputs, {how})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))
"""


def _tags(recipe: Recipe, cell: Cell) -> list[str]:
    tags = recipe.arm(cell.arm).tags
    if not tags:
        return []
    listed = ", ".join(f"`{tag}` for answers like those of `{teacher}`" for teacher, tag in tags.items())
    return [
        f"The last line of a prompt says which form is wanted: {listed}. It was trained and scored with such a line."
    ]


def _data(recipe: Recipe, store: Store, cell: Cell, facts: Mapping[str, Any]) -> str:
    mix = facts.get("mix", {})
    drawn, rows = (
        mix.get("facts", {}),
        ["| teacher | model | backend | verified traces at hand | share of rows |", "|---|---|---|---|---|"],
    )
    for name in recipe.weights(cell.arm, cell.student):
        teacher = recipe.teachers[name]
        share = drawn.get("share_examples", {}).get(name)
        accepted = _accepted(store, name)
        of = "the student itself" if name.startswith(f"{SELF}@") else f"`{teacher.model}`"
        rows.append(
            f"| `{name}` | {of} | {teacher.backend} | {'-' if accepted is None else f'{accepted:,}'} | "
            f"{'-' if share is None else f'{share:.1%}'} |"
        )
    lines = [f"Problems: `{recipe.problems.train.source}`. Verified: `{recipe.verify.name}` accepts the answer."]
    problems = drawn.get("distinct_problems")
    if problems is not None:
        lines.append(
            f"{facts.get('examples', drawn.get('examples', 0)):,} rows were seen, of {problems:,} distinct problems."
        )
    return "\n\n".join(["\n".join(rows), " ".join(lines), decontamination(recipe, store, mix.get("counts", {}))])


def _accepted(store: Store, teacher: str) -> int | None:
    """Traces that the verifier accepts, where they are judged."""
    marker = store.marker(store.folder("verify", teacher))
    return marker["counts"].get("correct") if marker else None


def decontamination(recipe: Recipe, store: Store, dropped: Mapping[str, int]) -> str:
    """What was taken out because it comes too close to a problem that something is measured on. `dropped`: traces of
    the mix by reason."""
    marker = store.marker(store.folder("problems")) or {}
    counted = marker.get("counts") or {}
    problems, traces = sum(counted.get(f"train: {why}", 0) for why in EVALUATED), dropped.get(EVALUATED[0], 0)
    rule = recipe.problems.decontaminate
    how = ["whose prompt, its spelling and system prompt aside, stands in an evaluation set"]
    how += [f"that share {rule.ngram} words in a row with such a prompt"] if rule.ngram else []
    how += ["that differ from one in their numbers alone"] if rule.numbers else []
    said = f"{problems:,} problems, and of the teachers' traces {traces:,}"
    return f"Decontamination: rows leave {'; or '.join(how)}. Removed: {said}."


EVALUATED = ("in_evaluation", "words_in_evaluation", "numbers_changed")
"""Reasons of problems that come too close to an evaluation set; of traces the first."""


SETTINGS = (
    "method", "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "adam_beta1", "adam_beta2",
    "max_grad_norm", "loss_type", "max_length", "overlong", "num_train_epochs", "lora", "keep",
)  # fmt: skip
"""Of the recipe's `train`, what a person who trains it again must know."""
HAPPENED = (
    "updates", "examples", "distinct_problems", "epochs", "loss_tokens", "positions", "truncated", "longest_row",
    "peak_learning_rate", "warmup_updates", "first_loss", "final_loss", "displacement", "packing",
    "attn_implementation", "gradient_checkpointing", "precision", "num_processes", "distributed", "device", "kept",
    "seconds_training",
)  # fmt: skip
"""Of a training's facts, what a card says."""


def _training(recipe: Recipe, cell: Cell, facts: Mapping[str, Any]) -> str:
    """What was set and what happened."""
    settings, budget = recipe.train_of(cell.student, cell.arm).model_dump(), recipe.budget_of(cell.arm)
    if "tuned" in facts:  # the trials of its arm chose it
        settings["learning_rate"] = facts.get("peak_learning_rate")
    if settings["method"] == "full":
        settings.pop("lora")
    per_update = f", {budget.per_update:,} an update" if not _other_unit(recipe, cell) else ""
    said = {
        "budget": f"{budget.unit.replace('_', ' ')}{per_update}",
        "problems": facts.get("drawn_from", budget.problems),
        "seed": cell.seed,
    }
    said |= {k: settings[k] for k in SETTINGS if k in settings}
    happened = {k: facts[k] for k in HAPPENED if facts.get(k) is not None}
    head = "Supervised fine-tuning with TRL's trainer; the loss is the mean over an update's completion tokens."
    return "\n\n".join([head, _table("setting", said), _table("what happened", happened)])


def _other_unit(recipe: Recipe, cell: Cell) -> bool:
    """Whether `per_update` is in another unit than this arm's budget and follows from the data."""
    return recipe.budget_of(cell.arm).unit != recipe.budget.unit and not recipe.arm(cell.arm).budget


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"| {head} | |", "|---|---|", *(f"| {k} | {_said(v)} |" for k, v in values.items())])


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# -- data sets --------------------------------------------------------------------------------------------------------


def write_dataset_card(recipe: Recipe, store: Store, done: Exported, trainers: Sequence[str]) -> None:
    """Write the card of an exported folder."""
    text = resolve.redacted(dataset_card(recipe, store, done, trainers))
    write_atomically(done.out / CARD, text.encode())


def dataset_card(recipe: Recipe, store: Store, done: Exported, trainers: Sequence[str]) -> str:
    """The card as text."""
    cell, model = done.cell, recipe.students[done.cell.student].model
    whose = f"the student `{cell.student}` (`{model}`), seed {cell.seed}, of the study `{recipe.name}`"
    head = (
        f"# {recipe.name}: {cell.arm}\n\nThe training set of the arm `{cell.arm}` for {whose}: {done.rows:,} verified "
        "reasoning traces, and the order in which "
        f"{done.updates:,} updates took {done.seen:,} rows of them."
    )
    sections = [head, "## Layouts\n\n" + _layouts(done)]
    sections.append("## Where the rows come from\n\n" + _sources(recipe, store, done))
    if trainers:
        sections.append("## Training on it again\n\n" + _trainers(trainers))
    sections.append("## Limits\n\n" + DATASET_LIMITS)
    return _front(_dataset_front(done)) + "\n\n".join(sections) + "\n"


DATASET_LIMITS = """\
- A row's answer was accepted by a verifier. That does not make every step before it right.
- The text is that of the teachers. Its license, and that of the problems, is not known here; look both up before use.
- `prompt_completion` and `tokens` are made for one student's tokenizer and chat template; for another student, start
  from `messages`."""


def _dataset_front(done: Exported) -> dict[str, Any]:
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train.parquet"}]}
        | ({"default": True} if name == "messages" else {})
        for name in ("messages", "prompt_completion", "tokens", "updates")
    ]
    size = next((name for most, name in SIZES if done.rows < most), "n>1M")
    tags = [PROJECT, "distillation", "reasoning", "sft"]
    return {"task_categories": ["text-generation"], "tags": tags, "size_categories": [size], "configs": configs}


def _layouts(done: Exported) -> str:
    where = f"in the message's `{FIELD}`" if done.in_field else "in the message's content, within think tags"
    rows = [
        "| name | one row is | columns |",
        "|---|---|---|",
        f"| `messages` | an example as a conversation; reasoning stands {where} | `messages`, origin |",
        "| `prompt_completion` | an example as the text of the training | `prompt`, `completion`, origin |",
        "| `tokens` | a row that the trainer saw, in its order | `update`, `example`, `input_ids`, `labels` |",
        "| `updates` | a row that an update took | `update`, `example` |",
    ]
    origin = "Origin: `example` (the row's number), `problem_id`, `trace_id`, `teacher`. Labels of -100 carry no loss."
    of = f"of {done.rows:,} rows"
    alike = [
        f"The student's chat template makes the training's text of the `messages` of {done.rendered_alike:,} {of}.",
        f"`prompt` and `completion`, tokenised as one text, give its tokens in {done.tokenised_alike:,} {of}.",
    ]
    if done.rendered_alike < done.rows:
        alike.append("The chat template drops or changes the rest: train on `prompt_completion` or `tokens`.")
    return "\n".join(rows) + f"\n\n{origin}\n\n" + " ".join(alike)


def _sources(recipe: Recipe, store: Store, done: Exported) -> str:
    rows = ["| teacher | model | rows | share |", "|---|---|---|---|"]
    for name, n in sorted(done.by_teacher.items(), key=lambda t: -t[1]):
        rows.append(f"| `{name}` | `{_model(recipe, name)}` | {n:,} | {n / done.seen:.1%} |")
    problems = f"Problems: `{recipe.problems.train.source}`. Answers were judged by `{recipe.verify.name}`."
    marker = store.marker(store.folder("mix", *done.cell.key)) or {}
    return "\n\n".join(["\n".join(rows), problems, decontamination(recipe, store, marker.get("counts", {}))])


def _model(recipe: Recipe, teacher: str) -> str:
    return recipe.teachers[teacher].model if teacher in recipe.teachers else "unknown"


STARTS = {
    "trl": "`python trl/train.py --out student`: TRL, with the same tokens, labels, order and updates",
    "llamafactory": "`cd llamafactory && llamafactory-cli train train.yaml`",
    "ms-swift": "`sh ms-swift/train.sh`",
    "axolotl": "`cd axolotl && axolotl train train.yaml`",
}


def _trainers(trainers: Sequence[str]) -> str:
    lines = [f"- {STARTS[name]}" for name in trainers]
    return "\n".join([*lines, "", "What a trainer cannot do as it was done stands at the top of its file."])
