"""The trace browser: a section of the page with as many problems as fit, packed, and the script that shows them.

What models wrote goes into the page as base64 of gzip of JSON, so that nothing in it can be markup, and reaches the
screen as text alone. The page's policy lets this one script run, by its hash, and forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mixdistill.arms import spoken

if TYPE_CHECKING:
    from mixdistill.evidence.shown import Shown

SCRIPT = Path(__file__).parent / "browser.js"
PAGE_BYTES = 4_000_000 - 50_000
"""Most that a page may weigh, with a margin: over it, mail and code hosts refuse to show it."""
FAILURES = 20
"""Problems in a row that are too large for what room is left; then it counts as full."""
GZIP = 31
"""zlib's word for a gzip header."""


class Packed(NamedTuple):
    """Problems in the form that the page holds them in."""

    text: str
    """Base64 of gzip of lines of JSON: what all problems share, then a problem a line."""
    problems: int


@cache
def script() -> str:
    """The script, ours and the same in every page."""
    return SCRIPT.read_text("utf-8")


def policy() -> str:
    """What the page's content security policy says of scripts: this one alone, and no markup made from text."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"script-src 'sha256-{digest}'; require-trusted-types-for 'script'; "


def pack(shown: Shown, room: int) -> Packed:
    """As many whole problems, in their order, as `room` bytes hold; one that is too large makes way for later ones."""
    head = {name: getattr(shown, name) for name in ("students", "arms", "benchmarks", "pair")}
    head["words"] = {arm: spoken(arm) for arm in shown.arms if spoken(arm) != arm}
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    done = bytearray(packer.compress(_encoded(json.dumps(head, ensure_ascii=False))))
    problems = failures = 0
    for line in shown.lines:
        trial = packer.copy()
        packed = trial.compress(_encoded(line))
        # What the packer still holds back is known only by finishing, which is done on a copy.
        if len(done) + len(packed) + len(trial.copy().flush()) > room // 4 * 3:
            failures += 1
            if failures == FAILURES:
                break
            continue
        done += packed
        packer, problems, failures = trial, problems + 1, 0
    return Packed(base64.b64encode(done + packer.flush()).decode(), problems)


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "replace") + b"\n"
