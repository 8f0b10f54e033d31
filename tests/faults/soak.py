"""Whole demo runs, with their worker processes, killed at random moments until they are through.

    python tests/faults/soak.py --kills 100 --seed 0

Each run is the quick demo in a folder of its own. It is killed (SIGKILL or SIGTERM, to the parent alone or to all its
processes), started again, killed again, until it ends by itself; then everything in the folder but measured columns
must equal a run that nobody disturbed. Stops with exit 1 where anything differs, a run fails, or a process outlives its
parent.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kills import differences, outcome

WAYS = [(signal.SIGKILL, "parent"), (signal.SIGKILL, "group"), (signal.SIGTERM, "parent"), (signal.SIGTERM, "group")]


def start(out: Path) -> subprocess.Popen[bytes]:
    """The quick demo in a process group of its own."""
    command = [sys.executable, "-m", "mixdistill", "demo", "--quick", "--out", str(out)]
    with open(told(out), "w") as file:  # no pipe: a process that outlives its parent would keep it open
        return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=file)


def told(out: Path) -> Path:
    """Where a run says what it does."""
    return out.with_suffix(".log")


def survivors(group: int) -> list[str]:
    """Processes of a group that are still there; workers get a moment to see that their parent is gone."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        ps = subprocess.run(["ps", "-o", "pid=,stat=,args=", "-g", str(group)], capture_output=True, text=True)
        alive = [line for line in ps.stdout.splitlines() if " Z" not in line and "resource_tracker" not in line]
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def kill(process: subprocess.Popen[bytes], how: tuple[signal.Signals, str]) -> None:
    """One of `WAYS`."""
    number, whom = how
    if whom == "parent":
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    process.wait()


def main() -> None:
    """Kill until there were enough kills; say what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, kills, runs, wrong = random.Random(args.seed), Counter[str](), 0, []
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        calm = start(Path(folder) / "calm")
        assert calm.wait() == 0, told(Path(folder) / "calm").read_text()
        length = time.monotonic() - began
        whole = outcome(Path(folder) / "calm")
        while kills.total() < args.kills and not wrong:
            runs += 1
            out = Path(folder) / f"run{runs}"
            while True:
                process, how = start(out), draw.choice(WAYS)
                enough = kills.total() >= args.kills
                try:
                    process.wait(timeout=None if enough else draw.uniform(0.2, length))
                except subprocess.TimeoutExpired:
                    kill(process, how)
                    kills[f"{how[0].name} to the {how[1]}"] += 1
                    wrong += [f"run {runs}: outlived its parent: {p}" for p in survivors(process.pid)]
                    continue
                if process.returncode != 0:
                    wrong.append(f"run {runs}: exit {process.returncode}: {told(out).read_text()}")
                break
            wrong += [f"run {runs}: {name} differs" for name in differences(outcome(out), whole)]
            print(f"run {runs}: {kills.total()} kills so far, {len(wrong)} faults", flush=True)
    print(f"{kills.total()} kills over {runs} runs ({dict(kills)}): {len(wrong)} faults")
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
