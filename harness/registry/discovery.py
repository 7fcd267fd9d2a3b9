"""Finds additions by folder and by entry point: a file placed there is registered. Files are read and never imported.

The order is: what is shipped, the user's folders (`included.py`), installed packages (`packages.py`). The first of a name is
used; a later one is named with the reason why it is not, as is a file that cannot be used.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import in_short
from modbench.harness.registry import included, packages
from modbench.harness.registry.packages import Point

# Where each kind lies in modbench, and what its files export.
ROOMS = {
    "models": ("modbench.models", "MODEL"),
    "routers": ("modbench.models.routers", "ROUTER"),
    "metrics": ("modbench.harness.metrics", "METRICS"),
    "passes": ("modbench.harness.passes", "PASS"),
    "rules": ("modbench.harness.rules", "RULE"),
    "launchers": ("modbench.harness.execution.launch", "LAUNCHER"),
    "doubts": ("modbench.harness.doubts", "DOUBT"),
    "probes": ("modbench.harness.audit.probes", "PROBE"),
    "corpora": ("modbench.suites.corpora", "CORPUS"),
    "panels": ("modbench.reports.panels", "PANEL"),
    "formats": ("modbench.reports.formats", "FORMAT"),
    "suites": ("modbench.suites", ""),
    "tasks": ("modbench.suites.tasks", "TASK"),
    "sinks": ("modbench.harness.training.sinks", "SINK"),
    "sources": ("modbench.models.sources", "SOURCE"),
}
# Singular of a room's name, where it is not the name without its s.
ONE_OF = {"corpora": "corpus", "passes": "pass"}


@dataclass(frozen=True)
class Entry:
    """One entry of a room.

    Attributes:
        room: the room.
        name: its name there.
        about: first line of its docstring, or a suite's `about`.
        path: its file.
        kind: where it comes from.
        origin: `modbench`, the user's folder, or a package's name and version.
        module: the dotted name to import; empty for a file in a user's folder.
        attribute: what it exports.
        problem: why it cannot be used, as far as reading shows; empty: nothing.
    """

    room: str
    name: str
    about: str
    path: Path
    kind: Literal["shipped", "folder", "package"]
    origin: str
    module: str = ""
    attribute: str = ""
    problem: str = ""

    @property
    def shipped(self) -> bool:
        """Whether it comes with modbench."""
        return self.kind == "shipped"

    @property
    def where(self) -> str:
        """Its file, or where it has none, what names it."""
        return str(self.path) if self.path.name else self.origin

    @property
    def one(self) -> str:
        """Its kind, such as `router`."""
        return one_of(self.room)


def one_of(room: str) -> str:
    """The word for one entry of a room."""
    return ONE_OF.get(room, room.removesuffix("s"))


def every(room: str) -> tuple[Entry, ...]:
    """All entries of a room, those that cannot be used among them, in the order in which they were found."""
    return _every(room, included.named())


@functools.lru_cache(maxsize=256)
def _every(room: str, _included: str) -> tuple[Entry, ...]:
    found = [*_shipped(room)]
    for entry in (*_in_folders(room, included.folders()), *_in_packages(room, packages.points())):
        same = next((each for each in found if each.name == entry.name and not each.problem), None)
        taken = f"the name {entry.name!r} is taken by {same.origin}: rename it" if same else ""
        found.append(replace(entry, problem=taken or entry.problem))
    return tuple(found)


def forget() -> None:
    """Look again: what is installed changed."""
    packages.points.cache_clear()
    _every.cache_clear()


def folder_of(package: str) -> Path:
    """The folder of one of modbench's packages."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def _files(folder: Path, room: str) -> list[Path]:
    pattern = "*.toml" if room == "suites" else "*.py"
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith("_")]


def _shipped(room: str) -> Iterator[Entry]:
    package, exported = ROOMS[room]
    if importlib.util.find_spec(package) is None:  # the core runs without it
        return
    for path in _files(folder_of(package), room):
        about, _ = read(path, "")
        yield Entry(room, path.stem, about, path, "shipped", "modbench", f"{package}.{path.stem}", exported)


def _in_folders(room: str, folders: tuple[Path, ...]) -> Iterator[Entry]:
    exported = ROOMS[room][1]
    for folder in folders:
        for path in _files(folder / room, room):
            about, problem = read(path, exported)
            yield Entry(room, path.stem, about, path, "folder", str(folder), "", exported, problem)


def _in_packages(room: str, points: tuple[Point, ...]) -> Iterator[Entry]:
    for point in (each for each in points if each.room == room):
        exported = point.attribute or ROOMS[room][1]
        path = _file_of(room, point)
        about, problem = read(path, exported) if path else ("", _nowhere(room, point))
        made = Entry(room, point.name, about, path or Path(), "package", point.package, point.module, exported, problem)
        yield made


def _file_of(room: str, point: Point) -> Path | None:
    if room != "suites":
        return packages.file_of(point.module)
    files = (folder / f"{point.name}.toml" for folder in packages.folders_of(point.module))
    return next((file for file in files if file.is_file()), None)


def _nowhere(room: str, point: Point) -> str:
    if room == "suites":
        return f"its entry point names {point.module!r}, which is no package that holds {point.name}.toml"
    return f"its entry point names the module {point.module!r}, which has no source file"


def read(path: Path, exported: str) -> tuple[str, str]:
    """Read a file without running it.

    Args:
        path: a Python file, or a suite.
        exported: the name that it must define; empty: none.

    Returns:
        The first docstring line, or a suite's `about`; and what is wrong with the file, empty if nothing is.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return str(tomllib.loads(text).get("about", "")), ""
        tree = ast.parse(text)
    except SyntaxError as error:
        return "", f"line {error.lineno}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return "", f"it cannot be read: {in_short(error)}"
    about = (ast.get_docstring(tree) or "").partition("\n")[0]
    return about, "" if not exported or exported in _bound(tree) or "*" in _bound(tree) else f"it defines no {exported}"


def _bound(tree: ast.Module) -> set[str]:
    """Names that a file may define, and `*` where any could be."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add("*" if node.name == "__getattr__" else node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found
