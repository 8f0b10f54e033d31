"""What the shell offers after <TAB>: recipe names and files, run folders. Imports nothing but the standard library."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")
"""Where runs are made unless --out says otherwise."""


def recipes(incomplete: str) -> list[str]:
    """Shipped recipes, and recipe files or folders on the way to one."""
    return [*shipped(incomplete), *_paths(incomplete, (".yaml", ".yml"))]


def shipped(incomplete: str) -> list[str]:
    """Shipped recipes by name."""
    folder = Path(__file__).parent.parent / "recipes"
    found = sorted(
        p.relative_to(folder).with_suffix("") for part in ("", "paper") for p in (folder / part).glob("*.yaml")
    )
    return [name for name in map(Path.as_posix, found) if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Run folders under `runs/`, by path, and folders on the way to one elsewhere."""
    found = [str(p) for p in run_folders(RUNS)]
    return [p for p in found if p.startswith(incomplete)] or _paths(incomplete, ())


def run_folders(parent: Path) -> list[Path]:
    """Folders in `parent` that hold a recipe and problems, as only runs do."""
    return sorted(p for p in parent.glob("*") if is_run(p))


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / "recipe.yaml").is_file() and (folder / "problems" / "done.json").is_file()


def _paths(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    typed = Path(incomplete)
    parent = typed if incomplete.endswith("/") or not incomplete else typed.parent
    try:
        there = sorted(p for p in parent.iterdir() if str(p).startswith(str(typed) if incomplete else ""))
    except OSError:
        return []
    shown = [p for p in there if not p.name.startswith(".")]
    return [f"{p}/" if p.is_dir() else str(p) for p in shown if p.is_dir() or p.suffix in endings]
