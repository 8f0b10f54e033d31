"""lm-evaluation-harness on the problems that a student was asked: a task for it, and our samples as it writes them.

What is written is a folder that can be moved: the problems as its documents, the task, a few lines by which it grades
with the study's verifier (lm_eval_grading.py), our samples, and the command. Nothing here needs the harness.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mixdistill import evaluate, paraphrases, prompts, resolve
from mixdistill.arms import BASE, called
from mixdistill.asking import asks
from mixdistill.backends.transformers import IGNORED_SETTINGS
from mixdistill.errors import DataError, StageError
from mixdistill.files import write_atomically
from mixdistill.recipe import Recipe
from mixdistill.sections import Link
from mixdistill.store import Store
from mixdistill.students import backend_options
from mixdistill.tokens import WAYS, Template, switched
from mixdistill.training.snapshots import MODEL
from mixdistill.types import Decision, Outcome, Problem, Trace
from mixdistill.verify import DECISIONS

GRADING, PROBLEMS, SCRIPT = "grading.json", "problems.jsonl", "run.sh"
GRADE = '''\
"""How lm-evaluation-harness reads and grades this task: with the study's own verifier. Written by mixdistill."""

from pathlib import Path

from mixdistill.handover import lm_eval_grading

FOLDER = Path(__file__).parent


def problems(**_):
    """The documents."""
    return lm_eval_grading.problems(FOLDER)


def process_results(doc, results):
    """Whether a completion is correct under either reading."""
    return lm_eval_grading.grade(FOLDER, doc, results[0])
'''
TASK = """\
# The problems of {benchmark} as {who} was asked them by mixdistill, decoded greedily. Written by mixdistill.
task: {task}
custom_dataset: !function grade.problems
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: answer
process_results: !function grade.process_results
generation_kwargs: {generation}
repeats: 1
num_fewshot: 0
metric_list:
  - {{metric: strict, aggregation: mean, higher_is_better: true}}
  - {{metric: flexible, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
READINGS = ("strict", "flexible")
"""Metrics of the task: how the first verifier of the chain reads answers."""


class Key(NamedTuple):
    """One evaluation."""

    student: str
    arm: str
    seed: int | None
    """None of an untuned student."""
    benchmark: str

    @property
    def folder(self) -> tuple[str, ...]:
        """Its folder below `evaluate`."""
        seed = [] if self.seed is None else [str(self.seed)]
        return (self.student, self.arm, *seed, self.benchmark)

    @property
    def name(self) -> str:
        """`xs/long/0`."""
        return "/".join(self.folder[:-1])


@dataclass(frozen=True)
class Evaluated:
    """One greedy evaluation, and everything that it takes to do it again elsewhere."""

    key: Key
    model: str
    """Folder or hub id."""
    template: Template
    problems: list[Problem]
    asked: dict[str, prompts.Prompt]
    """Problem id -> what the student was asked about it."""
    traces: dict[str, Trace]
    """Problem id -> our completion."""
    correct: dict[str, dict[str, bool]]
    """Problem id -> reading -> whether our completion is."""
    verifier: Link
    deadline: float
    facts: dict[str, Any]
    """Of its marker."""
    dtype: str

    @property
    def task(self) -> str:
        """What the harness calls it."""
        return f"mixdistill_{self.key.benchmark}"

    @property
    def templated(self) -> bool:
        """Whether the harness can apply the chat template itself: to one user turn, given nothing besides."""
        return not self.template.chat_template_kwargs and all(isinstance(p, str) for p in self.asked.values())

    def prompt(self, problem: str) -> str:
        """A problem's prompt as the student saw it."""
        return self.template.prompt_text(self.asked[problem])

    def document(self, problem: Problem) -> dict[str, str]:
        """A problem as the harness has it: the user's turn, or where that is not all, the whole prompt as text."""
        asked = self.asked[problem.id]
        prompt = asked if self.templated and isinstance(asked, str) else self.prompt(problem.id)
        return {"id": problem.id, "prompt": prompt, "answer": problem.answer}

    @property
    def max_tokens(self) -> int:
        """Our limit, or what the longest prompt leaves of it or of the context: the harness would cut that prompt's
        beginning off."""
        decoding = self.facts["decoding"]
        longest = max(len(self.template.encode(self.prompt(p.id))) for p in self.problems)
        limits = [decoding[name] - longest for name in ("context", "max_length") if decoding.get(name)]
        return min([*limits, *([decoding["max_tokens"]] if decoding.get("max_tokens") else [])])

    @property
    def generation(self) -> dict[str, Any]:
        """Its `generation_kwargs`: greedy, up to our limit and stop tokens, without what the model's own settings would
        add there and do not here."""
        neutral = {name: IGNORED_SETTINGS[name] for name in self.facts.get("ignored", {})}
        until = [self.template.decode([token]) for token in self.facts["decoding"]["stop_tokens"]]
        return {"do_sample": False, "max_gen_toks": self.max_tokens, "until": until, **neutral}

    def text(self, trace: Trace, *, special: bool = True) -> str:
        """Our completion without its stop token, as one text; `special`: with the special tokens in it."""
        ids = self.ids(trace)
        return str(
            self.template.tokenizer.decode(ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        )

    def ids(self, trace: Trace) -> list[int]:
        """Its tokens, without the stop token."""
        ids = trace.token_ids
        if ids is None:
            ids = self.template.encode(self.template.completion_text(trace.reasoning, trace.content))
        stops = self.facts["decoding"]["stop_tokens"]
        return ids[:-1] if ids and ids[-1] in stops else ids


def read(recipe: Recipe, store: Store, key: Key) -> Evaluated:
    """An evaluation out of its folder. Raises StageError where it is not there, DataError where it was not greedy."""
    ask, recipe = paraphrases.ask(recipe, key.arm, key.benchmark), recipe.on(key.benchmark)
    folder = store.folder("evaluate", *key.folder)
    facts = _greedy(recipe, store, key)
    student, asked, tag = recipe.students[key.student], prompts.asking(ask), recipe.tag_of(key.arm)
    model = resolve.model_path(student.model) if key.seed is None else str(_trained(store, key))
    template = Template.load(model, chat_template_kwargs=_kwargs(student.chat_template_kwargs, key.arm))
    problems = store.read(store.folder("problems"), Problem, key.benchmark)
    ids, rows = {p.id for p in problems}, store.rows(folder, Trace, evaluate.TRACES)
    traces = {t.problem_id: t for t in rows if t.problem_id in ids and t.sample == 0 and t.error is None}
    return Evaluated(
        key=key,
        model=model,
        template=template,
        problems=problems,
        asked={p.id: prompts.tagged(asked(p.prompt), tag) for p in problems},
        traces=traces,
        correct=_correct(store, folder, traces),
        verifier=recipe.verify.chain[0],
        deadline=recipe.verify.deadline,
        facts=facts,
        dtype=backend_options(recipe, key.student)["dtype"],
    )


def _greedy(recipe: Recipe, store: Store, key: Key) -> dict[str, Any]:
    """The facts of an evaluation, if another program can do it again; else raises."""
    folder = store.folder("evaluate", *key.folder)
    marker = store.marker(folder)
    if marker is None:
        raise StageError(f"{folder}: not evaluated yet; run the recipe first: mixdistill run {store.root}/recipe.yaml")
    temperature, k = marker["facts"]["decoding"].get("temperature"), marker["options"]["k"]
    if temperature != 0 or k != 1:
        raise DataError(
            f"{store.root}: {key.name} was sampled (temperature {temperature}, k {k}), and no other program can draw "
            "the same; evaluate a run with evaluate: {k: 1, sampling: {temperature: 0}}"
        )
    if asks(recipe.verify.chain[0].name):
        raise DataError(
            f"{store.root}: its first verifier asks a model, and the harness cannot; give it one that does not"
        )
    return marker["facts"]


def _trained(store: Store, key: Key) -> Path:
    folder = store.folder("train", key.student, called(key.arm).trained, str(key.seed), MODEL)
    if not folder.is_dir():
        raise StageError(f"{folder}: the model is gone, and the harness needs it; train it again")
    return folder.resolve()


def _kwargs(own: dict[str, Any], arm: str) -> dict[str, Any]:
    """What the chat template is given, as in evaluation."""
    mode = called(arm).mode
    return switched(own, mode) if called(arm).arm == BASE and mode in WAYS else own


def _correct(store: Store, folder: Path, traces: dict[str, Trace]) -> dict[str, dict[str, bool]]:
    problem = {t.id: p for p, t in traces.items()}
    decisions = [d for d in store.rows(folder, Decision, DECISIONS) if d.max_tokens is None and d.trace_id in problem]
    return {problem[d.trace_id]: {r: getattr(d, r) is Outcome.CORRECT for r in READINGS} for d in decisions}


# -- writing it -------------------------------------------------------------------------------------------------------


def write(evaluated: Evaluated, out: Path) -> dict[str, Any]:
    """Everything into a folder. Returns what was written, for who looks on."""
    files = {
        f"{evaluated.task}.yaml": TASK.format(
            benchmark=evaluated.key.benchmark,
            who=evaluated.key.name,
            task=evaluated.task,
            generation=json.dumps(evaluated.generation, ensure_ascii=False),
        ),
        PROBLEMS: _lines(map(evaluated.document, evaluated.problems)),
        "grade.py": GRADE,
        GRADING: json.dumps(_grading(evaluated), indent=2, ensure_ascii=False) + "\n",
        f"samples_{evaluated.task}.jsonl": _lines(samples(evaluated)),
        SCRIPT: f'#!/bin/sh\nset -e\ncd "$(dirname "$0")"\n{command(evaluated)}\n',
    }
    for name, text in files.items():
        write_atomically(out / name, text.encode())
    return {"out": str(out), "task": evaluated.task, "problems": len(evaluated.problems), "files": list(files),
            "start": f"sh {shlex.quote(str(out / SCRIPT))}"}  # fmt: skip


def command(evaluated: Evaluated) -> str:
    """What runs the harness in that folder, with the same weights, precision and prompt tokens."""
    arguments = f"pretrained={evaluated.model},dtype={evaluated.dtype},add_bos_token=False"
    words = ["lm_eval", "run", "--model", "hf", "--model_args", arguments, "--tasks", evaluated.task]
    words += ["--include_path", ".", "--batch_size", "16", "--log_samples", "--output_path", "results"]
    return shlex.join([*words, *(["--apply_chat_template"] if evaluated.templated else [])])


def samples(evaluated: Evaluated) -> Iterator[dict[str, Any]]:
    """Our completions and verdicts as rows of its `samples_<task>_<date>.jsonl`; failed requests are none."""
    generation = evaluated.generation
    for n, problem in enumerate(evaluated.problems):
        document = evaluated.document(problem)
        trace, correct = evaluated.traces.get(problem.id), evaluated.correct.get(problem.id)
        if trace is None or correct is None:
            continue
        prompt, text = evaluated.prompt(problem.id), evaluated.text(trace)
        yield {
            "doc_id": n,
            "doc": document,
            "target": problem.answer,
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": generation}},
            "resps": [[text]],
            "filtered_resps": [text],
            "filter": "none",
            "metrics": list(READINGS),
            "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(prompt),
            "target_hash": _hash(problem.answer),
            **{reading: int(correct[reading]) for reading in READINGS},
        }


def _grading(evaluated: Evaluated) -> dict[str, Any]:
    name, options = evaluated.verifier
    return {
        "verifier": name,
        "options": options,
        "deadline": evaluated.deadline,
        "model": evaluated.model,
        "chat_template_kwargs": evaluated.template.chat_template_kwargs,
        "max_tokens": evaluated.max_tokens,
        "problems": {p.id: p.model_dump(mode="json") for p in evaluated.problems},
    }


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
