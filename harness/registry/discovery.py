"""Finds additions by folder and by entry point: a file placed there is registered. Files are read and never imported.

The order is: what is shipped, the user's folders, installed packages (their entry points in groups such as `modbench.routers`).
The first of a name is used; a later one is named with the reason why it is not, as is a file that cannot be used.

The user's folders are held in the environment variable `MODBENCH_PLUGINS`, joined as in `PATH`: every process that this one
starts (workers, the fork server, jobs of a cluster) inherits it, and so finds what this one finds. `--plugin`, `modbench.toml`
and the record of a run add to it.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import UsageError, in_short, near_path, shown

# Where each kind lies in modbench, and what its files export. A file of doubts or panels may hold several instead (`_named`).
KINDS = {
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
# Kinds of which one file may hold several.
SEVERAL = ("doubts", "panels")
# Singular of a kind's name, where it is not the name without its s.
ONE_OF = {"corpora": "corpus", "passes": "pass"}
VARIABLE = "MODBENCH_PLUGINS"


def included() -> str:
    """The user's folders as the variable has them."""
    return os.environ.get(VARIABLE, "")


def included_folders() -> tuple[Path, ...]:
    """The user's folders, absolute, in the order in which they are searched."""
    return tuple(Path(folder).absolute() for folder in included().split(os.pathsep) if folder)


def include(asked: Iterable[str | Path], *, first: bool = False, by: str = "--plugin") -> None:
    """Search these folders as well, in this process and in those that it starts from now on.

    Args:
        asked: the folders; relative ones lie in the current folder.
        first: before those that are searched already; else after them.
        by: where they are named, for messages.

    Raises:
        UsageError: if one is no folder, or holds nothing that is looked for.
    """
    found = [Path(folder).absolute() for folder in asked]
    for folder in found:
        check_included(folder, by)
    every = [*found, *included_folders()] if first else [*included_folders(), *found]
    if every:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(every)))


def holds_additions(folder: Path) -> bool:
    """Whether a folder holds one of the folders that are looked for, such as `routers`."""
    return any((folder / kind).is_dir() for kind in KINDS)


def check_included(folder: Path, by: str) -> None:
    """Check that a folder can hold additions.

    Raises:
        UsageError: if it is no folder, or holds none of the folders that are looked for.
    """
    if not folder.is_dir():
        raise UsageError(f"{by} {shown(str(folder), 200)}: there is no such folder.{near_path(folder, Path.is_dir)}")
    if os.pathsep in str(folder):
        raise UsageError(
            f"{by} {shown(str(folder), 200)}: a folder with {os.pathsep!r} in its path cannot be included."
        )
    if not holds_additions(folder):
        raise UsageError(
            f"{by} {shown(str(folder), 200)} holds no folder that is looked for: {', '.join(KINDS)}. "
            f"A router, for instance, is {folder.name}/routers/NAME.py."
        )


@dataclass(frozen=True)
class Point:
    """An entry point.

    Attributes:
        kind: the kind that it adds to, such as `routers`.
        name: its name there.
        module: dotted name of the module.
        attribute: what the module exports; empty: as the kind's files do.
        package: name and version of the distribution, such as `mine 1.0`.
    """

    kind: str
    name: str
    module: str
    attribute: str
    package: str


@functools.cache
def entry_points() -> tuple[Point, ...]:
    """Every entry point in a group of modbench's, by package and name, as this process first found them."""
    found: dict[tuple[str, str, str], Point] = {}
    for package in metadata.distributions():
        told = package.read_text("entry_points.txt") or ""
        if "modbench." not in told:
            continue
        name, version = package.metadata["Name"], package.version
        for each in package.entry_points:
            kind = each.group.removeprefix("modbench.")
            if kind == each.group:
                continue
            module, _, attribute = (part.strip() for part in each.value.partition("[")[0].partition(":"))
            key = (re.sub(r"[-_.]+", "-", name).lower(), kind, each.name)  # the first of a name on the path is imported
            found.setdefault(key, Point(kind, each.name, module, attribute, f"{name} {version}"))
    return tuple(found[key] for key in sorted(found))


def spec_of(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing it or its packages; None if it is nowhere."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)  # of a name without a dot it imports nothing
    except (ImportError, ValueError):
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        first = f"{first}.{part}"
        spec = PathFinder.find_spec(first, list(spec.submodule_search_locations))
    return spec


def file_of(module: str) -> Path | None:
    """The source file of a module; None if it has none."""
    spec = spec_of(module)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def folders_of(module: str) -> list[Path]:
    """The folders of a package; none if it is no package."""
    spec = spec_of(module)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []


@dataclass(frozen=True)
class Entry:
    """One entry of a kind.

    Attributes:
        kind: the kind.
        name: its name there.
        about: first line of its docstring, or a suite's `about`.
        path: its file.
        source: where it comes from.
        origin: `modbench`, the user's folder, or a package's name and version.
        module: the dotted name to import; empty for a file in a user's folder.
        attribute: what it exports.
        problem: why it cannot be used, as far as reading shows; empty: nothing.
    """

    kind: str
    name: str
    about: str
    path: Path
    source: Literal["shipped", "folder", "package"]
    origin: str
    module: str = ""
    attribute: str = ""
    problem: str = ""

    @property
    def shipped(self) -> bool:
        """Whether it comes with modbench."""
        return self.source == "shipped"

    @property
    def where(self) -> str:
        """Its file, or where it has none, what names it."""
        return str(self.path) if self.path.name else self.origin

    @property
    def one(self) -> str:
        """The word for one of its kind, such as `router`."""
        return one_of(self.kind)


def one_of(kind: str) -> str:
    """The word for one entry of a kind."""
    return ONE_OF.get(kind, kind.removesuffix("s"))


def every(kind: str) -> tuple[Entry, ...]:
    """All entries of a kind, those that cannot be used among them, in the order in which they were found."""
    return _every(kind, included())


@functools.lru_cache(maxsize=256)
def _every(kind: str, _included: str) -> tuple[Entry, ...]:
    found = [*_shipped(kind)]
    for entry in (*_in_folders(kind, included_folders()), *_in_packages(kind, entry_points())):
        same = next((each for each in found if each.name == entry.name and not each.problem), None)
        taken = f"the name {entry.name!r} is taken by {same.origin}: rename it" if same else ""
        found.append(replace(entry, problem=taken or entry.problem))
    return tuple(found)


def forget() -> None:
    """Look again: what is installed changed."""
    entry_points.cache_clear()
    _every.cache_clear()


def folder_of(package: str) -> Path:
    """The folder of one of modbench's packages."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def _files(folder: Path, kind: str) -> list[Path]:
    pattern = "*.toml" if kind == "suites" else "*.py"
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith("_")]


def _shipped(kind: str) -> Iterator[Entry]:
    package, exported = KINDS[kind]
    if importlib.util.find_spec(package) is None:  # the core runs without it
        return
    found: list[Entry] = []
    for path in _files(folder_of(package), kind):
        found += _in_file(Entry(kind, path.stem, "", path, "shipped", "modbench", f"{package}.{path.stem}", exported))
    yield from sorted(found, key=lambda entry: entry.name)


def _in_folders(kind: str, folders: tuple[Path, ...]) -> Iterator[Entry]:
    for folder in folders:
        for path in _files(folder / kind, kind):
            yield from _in_file(Entry(kind, path.stem, "", path, "folder", str(folder), "", KINDS[kind][1]))


def _in_file(file: Entry) -> list[Entry]:
    """What a file adds: what it exports has the name of the file; doubts and panels may have names of their own."""
    if file.shipped and file.attribute and file.kind not in SEVERAL:  # parsing all of them is slow
        with file.path.open(encoding="utf-8") as lines:
            return [replace(file, about=next(lines, "").strip().strip('"'))]
    tree, problem = _parsed(file.path)
    if isinstance(tree, str):
        return [replace(file, about=tree, problem="" if file.shipped else problem)]
    found = {attribute: (name, about) for name, attribute, about in _named(tree, file.kind)}
    named = [
        replace(file, name=name, about=about or _about(tree), attribute=attribute)
        for attribute, (name, about) in found.items()
        if attribute != file.attribute and not attribute.startswith("_")
    ]
    if named and file.attribute not in (found if file.shipped else _bound(tree)):
        return named
    problem = "" if file.shipped else _lacks(tree, file.attribute)
    return [replace(file, about=_about(tree), problem=problem), *named]


def _named(tree: ast.Module, kind: str) -> Iterator[tuple[str, str, str]]:
    """What has a name of its own: functions below `@doubt(…)`, and constants `NAME = Panel(…)`, whose name is in lower case.

    Yields the name, what the file exports, and the first line of its docstring; a constant's is the string below it.
    """
    for at, node in enumerate(tree.body):
        match node:
            case ast.FunctionDef(name=name, decorator_list=above) if kind == "doubts":
                if any(_calls(each, "doubt") for each in above):
                    yield name, name, _about(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=made) if kind == "panels" and _calls(made, "Panel"):
                yield name.lower(), name, _about(ast.Module(tree.body[at + 1 : at + 2], []))


def _calls(node: ast.expr, function: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function


def _about(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _in_packages(kind: str, points: tuple[Point, ...]) -> Iterator[Entry]:
    for point in (each for each in points if each.kind == kind):
        exported = point.attribute or KINDS[kind][1]
        path = _file_of(kind, point)
        about, problem = read(path, exported) if path else ("", _nowhere(kind, point))
        made = Entry(kind, point.name, about, path or Path(), "package", point.package, point.module, exported, problem)
        yield made


def _file_of(kind: str, point: Point) -> Path | None:
    if kind != "suites":
        return file_of(point.module)
    files = (folder / f"{point.name}.toml" for folder in folders_of(point.module))
    return next((file for file in files if file.is_file()), None)


def _nowhere(kind: str, point: Point) -> str:
    if kind == "suites":
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
    tree, problem = _parsed(path)
    return (tree, problem) if isinstance(tree, str) else (_about(tree), _lacks(tree, exported))


def _parsed(path: Path) -> tuple[ast.Module | str, str]:
    """The syntax tree of a Python file, or a suite's `about`; and why it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return (str(tomllib.loads(text).get("about", "")) if path.suffix == ".toml" else ast.parse(text)), ""
    except SyntaxError as error:
        return "", f"line {error.lineno}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return "", f"it cannot be read: {in_short(error)}"


def _lacks(tree: ast.Module, exported: str) -> str:
    defined = not exported or bool({exported, "*"} & _bound(tree))
    return "" if defined else f"it defines no {exported}"


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
