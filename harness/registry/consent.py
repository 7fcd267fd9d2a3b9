"""What a user agrees to by including folders: the content of their files, and of the user's own files that these import.

Other files in the same place were not agreed to. What is installed is left out, since installing it is the consent; so is what a
file imports by a name that it computes.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modbench.harness.core.errors import shown
from modbench.harness.registry.discovery import KINDS
from modbench.harness.registry.user_code import INSTALLED

CODE = (*importlib.machinery.SOURCE_SUFFIXES, *importlib.machinery.EXTENSION_SUFFIXES)
# Models and routers that a suite names, such as `mine.py:build`.
NAMED = re.compile(r"[\w./-]+\.py(?=:)")
# Files that are named in a message.
MOST = 3


def digests(folders: Iterable[Path], project: Path | None = None) -> dict[str, str]:
    """SHA-256 by path of all that including folders may run: their files, and what these import or name; nothing is run.

    Args:
        folders: as they are included, absolute.
        project: where their files may import from besides; by default each folder's parent.
    """
    found: dict[Path, str] = {}
    for folder in folders:
        roots = list(dict.fromkeys([folder, project or folder.parent, *_own_path()]))
        left = [file for kind in KINDS for file in _files(folder / kind, set())]
        while left:
            file = left.pop()
            if file in found:
                continue
            try:
                content = file.read_bytes()
            except OSError:
                continue  # what cannot be read cannot run
            found[file] = hashlib.sha256(content).hexdigest()
            left += _named(file, content, roots) if file.suffix == ".toml" else _imported(file, content, roots)
    return {str(file): found[file] for file in sorted(found)}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Files that are new, or not as they were. One that is gone runs nothing."""
    return [file for file, digest in now.items() if before.get(file) != digest]


def in_words(files: list[str], below: Path) -> str:
    """`a.py and b.py`, `a.py, b.py, c.py and 2 more`: files by their paths from a folder on."""
    names = [shown(str(Path(f).relative_to(below) if Path(f).is_relative_to(below) else f), 100) for f in files[:MOST]]
    names += [f"{len(files) - MOST} more"] if len(files) > MOST else []
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _files(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files in a folder and below it that Python or modbench could load; helpers beside additions too."""
    if not folder.is_dir() or folder.resolve() in seen:  # a link may lead back
        return
    seen.add(folder.resolve())
    for each in sorted(folder.iterdir()):
        if (
            each.is_dir()
            and each.name != "__pycache__"
            and not each.name.startswith(".")
            and each.name not in INSTALLED
        ):
            yield from _files(each, seen)
        elif each.is_file() and each.name.endswith((*CODE, ".toml")):
            yield each


def _own_path() -> Iterator[Path]:
    """Folders that Python imports from and that hold no installed packages."""
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    ours = Path(__file__).resolve().parents[2]
    for entry in sys.path:
        folder = Path(entry).absolute()
        if not folder.is_dir() or INSTALLED & {*folder.parts} or folder.resolve().is_relative_to(ours):
            continue
        if not installed & {folder, *folder.parents}:
            yield folder


def _named(file: Path, content: bytes, roots: list[Path]) -> Iterator[Path]:
    """Python files that a suite names."""
    for name in dict.fromkeys(NAMED.findall(content.decode(errors="replace"))):
        for root in (file.parent, *roots):
            if (root / name).is_file():
                yield root / name


def _imported(file: Path, content: bytes, roots: list[Path]) -> Iterator[Path]:
    """The user's own files that a file imports, as far as its text shows."""
    try:
        tree = ast.parse(content)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # an extension module, or nothing that can run
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _modules(each.name.split("."), [file.parent, *roots])
        elif isinstance(node, ast.ImportFrom):
            where = [file.parents[node.level - 1]] if 0 < node.level <= len(file.parents) else [file.parent, *roots]
            parts = node.module.split(".") if node.module else []
            for each in node.names:
                yield from _modules([*parts, each.name], where)


def _modules(parts: list[str], roots: Iterable[Path]) -> Iterator[Path]:
    """Files of a module and of the packages around it below each of some folders; the last part may be a name in a module."""
    for root in roots:
        here = root
        for part in parts:
            yield from (file for suffix in CODE if (file := here / f"{part}{suffix}").is_file())
            here = here / part
            if not here.is_dir():
                break
            yield from (file for suffix in CODE if (file := here / f"__init__{suffix}").is_file())
