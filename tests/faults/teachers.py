"""Traces bought from a server at its worst, by a client that is killed in between.

    python tests/faults/teachers.py --requests 20000 --kills 3 --seed 0

The fake provider answers with faults of every kind; `mixdistill generate` asks it over HTTP, is killed (SIGKILL) at
random moments and started again. Then: every (problem, sample) stands exactly once in the sealed table, with the text
that the provider gave for it; no answer that was delivered whole was asked for again, but for at most `--concurrency`
that were in flight at a kill; and the client needed no more memory late than early. Exit 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak import survivors

from mixdistill import prompts
from mixdistill.collect import request_seed
from mixdistill.errors import MixdistillError
from mixdistill.fake import faults
from mixdistill.fake.answers import Known, Manner, answer, identity
from mixdistill.fake.server import WHOLE, Pace, Provider, serving
from mixdistill.sections import Source, Teacher
from mixdistill.store import Store
from mixdistill.types import Problem, Trace

MODEL = "fake/long"
PROMPT = "boxed"
SAMPLES = 4
TIMEOUT = 5.0
"""Seconds after which the client gives a try up."""
MAX_TOKENS = 1024
MARGIN_MB = 32
"""How much more memory than in the first third of the requests the client may need in the others."""
SETTLED = 0.02
"""Share of the requests that a session answers before its memory counts: until then it imports and reads."""


@dataclass
class Soak:
    """One run of the soak, and what was seen."""

    folder: Path
    requests: int
    concurrency: int
    provider: Provider
    kills_at: list[int]
    """Whole answers at which the client is killed."""
    draw: random.Random
    killed: list[float] = field(default_factory=list)
    """When it was dead."""
    memory: list[tuple[int, float]] = field(default_factory=list)
    """(whole answers so far, MB of the client's worker), while it asks."""
    sealing: float = 0.0
    """MB at most, once everything was answered."""

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    @property
    def answered(self) -> int:
        """Answers delivered whole."""
        return self.provider.ended[WHOLE]

    def client(self) -> subprocess.Popen[bytes]:
        """`mixdistill generate`, in a process group of its own."""
        command = [sys.executable, "-m", "mixdistill", "generate", str(self.folder / "soak.yaml"), "--out"]
        with open(self.folder / "client.log", "a") as log:
            return subprocess.Popen([*command, str(self.run)], start_new_session=True, stdout=log, stderr=log)

    def carry_out(self) -> int:
        """Start, kill, start again until the client ends by itself; its exit code."""
        while True:
            process, began = self.client(), self.answered
            while process.poll() is None:
                time.sleep(0.05)
                self._weigh(process.pid, began)
                if self.kills_at and self.answered >= self.kills_at[0]:
                    self.kills_at.pop(0)
                    self._kill(process)
            if process.returncode != -signal.SIGKILL:
                return process.returncode

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if self.draw.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if outlived := survivors(process.pid):
            sys.exit(f"outlived its parent: {outlived}")
        time.sleep(0.2)  # what the provider had written when the client died is known to it as written
        self.killed.append(time.time())

    def _weigh(self, pid: int, began: int) -> None:
        if self.answered >= self.requests:
            self.sealing = max(self.sealing, resident(pid))
        elif self.answered - began > SETTLED * self.requests:
            self.memory.append((self.answered, resident(pid)))


def resident(client: int) -> float:
    """MB in memory of the largest worker of a client: the one that asks. What the client itself imports depends on
    what it finds in the run folder."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(after[1]) == client:
            found = max(found, int(after[21]))
    return found * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_study(folder: Path, url: str, problems: int, concurrency: int) -> None:
    """Problems and a recipe that has them solved over HTTP."""
    rows = [{"question": f"Problem {i}: what is {i} and {3 * i + 1} together?", "answer": f"{4 * i + 1}"}
            for i in range(problems)]  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval.jsonl").write_text(json.dumps({"question": "What is nothing?", "answer": "0"}) + "\n")
    teacher = {
        "backend": "openai", "model": MODEL, "base_url": url, "samples": SAMPLES, "concurrency": concurrency,
        "timeout": TIMEOUT, "max_retries": 8, "prompt": PROMPT, "sampling": {"max_tokens": MAX_TOKENS},
    }  # fmt: skip
    study = {
        "name": "soak",
        "problems": {
            "train": {"source": str(folder / "train.jsonl")},
            "eval": {"none": {"source": str(folder / "eval.jsonl")}},
        },
        "teachers": {"t": teacher},
        "verify": {"verifier": "math"},
        "students": {"s": {"model": "lab:s"}},
        "error_rate": 0.0,
    }
    (folder / "soak.yaml").write_text(json.dumps(study))


def known(folder: Path) -> tuple[list[Problem], Known]:
    """The problems, as the client and the provider read them."""
    from mixdistill.problems import load

    found = [p for _, p in load(Source(source=str(folder / "train.jsonl")), split="train").problems]
    return found, Known(found, lambda p: f"\\boxed{{{p.answer}}}", working=True)


def prompt_messages(prompt: prompts.Prompt) -> list[dict[str, str]]:
    """A prompt as a request has it."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [m.model_dump() for m in prompt]


def table_faults(soak: Soak, problems: list[Problem], manner: Manner) -> list[str]:
    """What is wrong with the sealed table: rows that lack, stand twice, failed, or say what was said to another."""
    ask = prompts.of(Teacher(backend="openai", model=MODEL, prompt=PROMPT))
    store = Store(soak.run)
    traces = list(store.rows(store.folder("generate", "t"), Trace, "traces"))
    there = Counter((t.problem_id, t.sample) for t in traces)
    wanted = {(p.id, n): p for p in problems for n in range(SAMPLES)}
    wrong = [f"{len(wanted.keys() - there.keys())} rows lacking"] if wanted.keys() - there.keys() else []
    wrong += [f"{len(there.keys() - wanted.keys())} rows of nobody"] if there.keys() - wanted.keys() else []
    wrong += [f"{n} times: {key}" for key, n in there.items() if n > 1][:5]
    for trace in traces:
        problem = wanted[trace.problem_id, trace.sample]
        seed = request_seed(0, problem.id, trace.sample)
        turns = prompt_messages(ask(problem.prompt))
        body = {"model": MODEL, "seed": seed, "max_tokens": MAX_TOKENS, "messages": turns}
        right = answer(soak.provider.known, manner, body, str(problem.prompt))
        said = (trace.reasoning, trace.content, trace.finish_reason, trace.usage.completion_tokens)
        if trace.error or said != tuple(right):
            wrong.append(f"{identity(body)}: {trace.error or 'another text than the provider gave'}")
    return wrong[:10]


def journal_faults(soak: Soak, path: Path) -> tuple[list[str], list[int]]:
    """(what was paid for twice without need, answers that every kill lost)."""
    whole: dict[str, float] = {}
    wrong: list[str] = []
    lost = [0] * len(soak.killed)
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == WHOLE:
            whole[event["key"]] = event["at"]
        elif event["event"] == "asked" and (paid := whole.pop(event["key"], None)) is not None:
            between = [n for n, at in enumerate(soak.killed) if paid <= at <= event["at"]]
            if between:
                lost[between[-1]] += 1
            else:
                wrong.append(f"{event['key']}: asked again after a whole answer, without a kill")
    wrong += [f"kill {n}: {k} whole answers lost, more than were in flight" for n, k in enumerate(lost, 1)
              if k > soak.concurrency]  # fmt: skip
    return wrong[:10], lost


def memory_thirds(soak: Soak) -> list[float]:
    """The most memory in each third of the requests; 0 where a third was too short to see."""
    third = soak.requests / 3
    return [max((mb for n, mb in soak.memory if third * i <= n < third * (i + 1)), default=0.0) for i in range(3)]


def memory_faults(thirds: list[float]) -> list[str]:
    """Whether a later third needed more than the first."""
    if not thirds[0]:
        return ["memory was not seen in the first third"]
    return [f"{most:.0f} MB in third {n}, {thirds[0]:.0f} in the first" for n, most in enumerate(thirds[1:], 2)
            if most > thirds[0] + MARGIN_MB]  # fmt: skip


def main() -> None:
    """Buy, kill, go on, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", default="0.05", help="as of mixdistill fake")
    parser.add_argument("--concurrency", type=int, default=64)
    args = parser.parse_args()
    draw, manner = random.Random(args.seed), Manner()
    problems = args.requests // SAMPLES
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_study(folder, "http://127.0.0.1:1/v1", problems, args.concurrency)
        read, table = known(folder)
        pace = Pace(drip=1.6 * TIMEOUT)
        provider = Provider(table, {MODEL: manner}, pace, faults.parse(args.faults), args.seed, folder / "journal")
        at = sorted(draw.randrange(args.requests // 20, args.requests * 19 // 20) for _ in range(args.kills))
        soak = Soak(folder, problems * SAMPLES, args.concurrency, provider, at, draw)
        began = time.monotonic()
        with serving(provider) as url:
            write_study(folder, url, problems, args.concurrency)
            code = soak.carry_out()
        wrong, facts = judged(soak, code, read, manner, time.monotonic() - began)
    print("\n".join([*facts, f"{len(wrong)} faults", *wrong]))
    sys.exit(1 if wrong else 0)


def judged(
    soak: Soak, code: int, problems: list[Problem], manner: Manner, seconds: float
) -> tuple[list[str], list[str]]:
    """(what is wrong, what was seen)."""
    if code:
        return [f"exit {code}: {(soak.folder / 'client.log').read_text()[-2000:]}"], []
    twice, lost = journal_faults(soak, soak.folder / "journal")
    thirds = memory_thirds(soak)
    ended: dict[str, Any] = dict(sorted(soak.provider.ended.items()))
    facts = [
        f"{soak.requests:,} requests in {seconds:.0f} s, {soak.requests / seconds:.0f}/s with {len(soak.killed)} kills",
        f"how tries ended: {ended}",
        f"whole answers lost at each kill (at most {soak.concurrency} in flight): {lost}",
        f"memory, MB at most in each third: {[round(mb) for mb in thirds]}; while sealing {soak.sealing:.0f}",
    ]
    try:
        wrong = table_faults(soak, problems, manner)
    except MixdistillError as e:
        wrong = [str(e)]
    return [*wrong, *twice, *memory_faults(thirds)], facts


if __name__ == "__main__":
    main()
