"""Additions of installed packages: their entry points in groups such as `modbench.routers`. No package is imported."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from modbench.harness.registry import own_code


@dataclass(frozen=True)
class Point:
    """An entry point.

    Attributes:
        room: the room that it adds to, such as `routers`.
        name: its name there.
        module: dotted name of the module.
        attribute: what the module exports; empty: as the room's files do.
        package: name and version of the distribution, such as `mine 1.0`.
    """

    room: str
    name: str
    module: str
    attribute: str
    package: str


@functools.cache
def points() -> tuple[Point, ...]:
    """Every entry point in a group of modbench's, by package and name, as this process first found them.

    Folders that became importable only because a user's model lies there hold no installed packages: they may be a stranger's.
    """
    path = [folder for folder in sys.path if folder and not own_code.is_own(Path(folder))]
    found: dict[tuple[str, str, str], Point] = {}
    for package in metadata.distributions(path=path):
        told = package.read_text("entry_points.txt") or ""
        if "modbench." not in told:
            continue
        name, version = package.metadata["Name"], package.version
        for each in package.entry_points:
            room = each.group.removeprefix("modbench.")
            if room == each.group:
                continue
            module, _, attribute = (part.strip() for part in each.value.partition("[")[0].partition(":"))
            key = (re.sub(r"[-_.]+", "-", name).lower(), room, each.name)  # the first of a name on the path is imported
            found.setdefault(key, Point(room, each.name, module, attribute, f"{name} {version}"))
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
