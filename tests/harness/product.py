"""The product's files, which tests of structure read: without tests, and without what links show twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("harness", "models", "plugins", "reports", "suites")


def files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in {"__pycache__", "tests"}:
            continue
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


FILES = [path for top in (*PACKAGES, "src/modbench") if (ROOT / top).is_dir() for path in files_below(ROOT / top)]
SOURCES = [path for path in FILES if path.suffix == ".py"]
