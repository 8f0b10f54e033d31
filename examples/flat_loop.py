"""One cell of the demo as a flat loop: no recipe, no run folder, no pipeline.

    python examples/flat_loop.py --student s --long 1.0 --seed 0

Teaches, verifies, mixes, trains and evaluates in one readable file with the package's own parts, and gives the number
that `mixdistill demo` gives for the same cell (s/long/0, uncapped), to the last problem.
"""

import argparse
import random
import tempfile
from pathlib import Path

from mixdistill.backends.transformers import Transformers
from mixdistill.collect import request_seed
from mixdistill.lab import domain, models
from mixdistill.lab.teachers import Scripted
from mixdistill.mixing.mixtures import blend
from mixdistill.mixing.pools import Candidate
from mixdistill.mixing.schedule import schedule
from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Completion, Example, Outcome, Problem, Request, Sampling, Trace

LEARNING_RATE = {"xs": 2.5e-3, "s": 1.5e-3, "sm": 1.25e-3, "m": 1.0e-3}


def teach(style: str, problems: list[Problem]) -> dict[str, Completion]:
    """Problem id -> a scripted teacher's trace of it, the wrong ones left out."""
    requests = [Request(prompt=p.prompt, seed=request_seed(0, p.id, 0)) for p in problems]
    completions = {problems[i].id: c for i, c in Scripted(style).generate(requests)}
    return {p.id: completions[p.id] for p in problems if grade(p, completions[p.id]) is Outcome.CORRECT}


def grade(problem: Problem, completion: Completion) -> Outcome:
    """The lab verifier's verdict on a completion."""
    trace = Trace(id="", problem_id=problem.id, author="", **dict(completion))
    return domain.verify(problem, trace).outcome


def mix(
    problems: list[Problem],
    traces: dict[str, dict[str, Completion]],
    weights: dict[str, float],
    template: Template,
    seed: int,
) -> list[Example]:
    """One example per problem that every teacher solved."""
    shared = [p for p in problems if all(p.id in solved for solved in traces.values())]
    used = {t: solved for t, solved in traces.items() if weights[t] > 0}
    pools = {
        t: {
            p.id: [Candidate(f"{t} {p.id}", template.count(solved[p.id].reasoning, solved[p.id].content))]
            for p in shared
        }
        for t, solved in used.items()
    }
    examples = []
    for problem, trace_id in zip(shared, blend(pools, weights, rng=random.Random(f"blend {seed}")), strict=True):
        teacher = trace_id.split()[0]
        trace = traces[teacher][problem.id]
        examples.append(
            Example(
                prompt=problem.prompt,
                reasoning=trace.reasoning,
                content=trace.content,
                problem_id=problem.id,
                trace_id=trace_id,
                teacher=teacher,
            )
        )
    return examples


def run(student: str, long: float, seed: int, train_problems: int, eval_problems: int, eval_skip: int) -> float:
    """Accuracy of one trained cell."""
    problems = domain.problems("train", count=train_problems)
    base = str(models.path(student))
    template = Template.load(base)
    traces = {style: teach(style, problems) for style in ("long", "short")}
    examples = mix(problems, traces, {"long": long, "short": 1 - long}, template, seed)

    updates = len(examples) * 2 // 16
    order = schedule([1] * len(examples), updates=updates, per_update=16, rng=random.Random(f"order {seed}")).updates
    settings = Train(
        learning_rate=LEARNING_RATE[student],
        num_train_epochs=2,
        max_length=512,
        adam_beta2=0.98,
        micro_batch_tokens=4096,
    )
    with tempfile.TemporaryDirectory() as folder:
        facts = fine_tune(base, examples, order, settings, seed=seed, out=Path(folder))
        print(f"trained {facts['updates']} updates on {facts['loss_tokens']:,} loss tokens, loss {facts['final_loss']}")
        held_out = domain.problems("eval", count=eval_skip + eval_problems)[eval_skip:]
        requests = [Request(prompt=p.prompt, sampling=Sampling(temperature=0, max_tokens=320)) for p in held_out]
        answers = Transformers(f"{folder}/model", batch_size=256).generate(requests)
        correct = sum(grade(held_out[i], completion) is Outcome.CORRECT for i, completion in answers)
    return correct / len(held_out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", default="s", choices=LEARNING_RATE)
    parser.add_argument("--long", type=float, default=1.0, help="share of long traces; 1 and 0 are the pure arms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--eval", type=int, default=500)
    parser.add_argument("--eval-skip", type=int, default=500)
    args = parser.parse_args()
    accuracy = run(args.student, args.long, args.seed, args.problems, args.eval, args.eval_skip)
    print(f"{args.student}, {args.long:.0%} long, seed {args.seed}: {accuracy:.3f}")
