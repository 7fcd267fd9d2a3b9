"""Finds models, metrics, passes and other additions by folder: a file placed there is registered.

Listing reads files without importing them (names, first docstring lines, literal options), so it takes milliseconds and no torch.
Folders named in the environment variable `MODBENCH_INCLUDE` (joined as in `PATH`) are searched too: each may hold `metrics/`,
`passes/`, `launchers/`, `doubts/`, `panels/` and so on. Their files come after the shipped ones and cannot replace them.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.harness.core import own_code
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.passes import Pass

ROOMS = {
    "models": ("modbench.models", "MODEL"),
    "routers": ("modbench.models.routers", "ROUTER"),
    "metrics": ("modbench.harness.metrics", "METRICS"),
    "passes": ("modbench.harness.passes", "PASS"),
    "launchers": ("modbench.harness.execution.launch", "LAUNCHER"),
    "doubts": ("modbench.harness.doubts", "DOUBT"),
    "corpora": ("modbench.suites.corpora", "CORPUS"),
    "panels": ("modbench.reports.panels", "PANEL"),
    "formats": ("modbench.reports.formats", "FORMAT"),
    "suites": ("modbench.suites", ""),
    "tasks": ("modbench.suites.tasks", "TASK"),
    "sinks": ("modbench.harness.training.sinks", "SINK"),
}
# Singular of a room's name, where it is not the name without its s.
ONE_OF = {"corpora": "corpus", "passes": "pass"}


@dataclass(frozen=True)
class Entry:
    """One entry of a room: its name, first docstring line and file."""

    name: str
    about: str
    path: Path


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def entries(room: str) -> dict[str, Entry]:
    """All entries of a room by name, without importing them."""
    package, _ = ROOMS[room]
    pattern = "*.toml" if room == "suites" else "*.py"
    folders = [_folder(package), *(folder / room for folder in included())]
    files = [path for folder in folders for path in sorted(folder.glob(pattern)) if not path.name.startswith("_")]
    found: dict[str, Entry] = {}
    for path in files:
        if path.stem not in found:
            found[path.stem] = Entry(path.stem, _about(path), path)
    return found


def included() -> list[Path]:
    """The user's folders (`MODBENCH_INCLUDE`), searched after the shipped ones."""
    named = os.environ.get("MODBENCH_INCLUDE", "")
    return [Path(folder).absolute() for folder in named.split(os.pathsep) if folder]


def is_included(entry: Entry) -> bool:
    """Whether an entry lies in a folder of the user's."""
    return entry.path.parent.parent in included()


def _about(path: Path) -> str:
    if path.suffix == ".toml":
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("about", ""))
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0]


def find(room: str, name: str) -> Entry:
    """Find an entry by name.

    Raises:
        UsageError: if there is no such entry; the message suggests the nearest name.
    """
    known = entries(room)
    if name not in known:
        raise unknown(ONE_OF.get(room, room.removesuffix("s")), name, known)
    return known[name]


def load(room: str, name: str) -> Any:  # noqa: ANN401  # each room exports its own type
    """Import an entry and return the object that it exports."""
    entry = find(room, name)
    package, exported = ROOMS[room]
    if entry.path.parent == _folder(package):
        module = importlib.import_module(f"{package}.{name}")
    else:
        module = _included_module(f"modbench_include.{room}.{name}", entry.path)
    return getattr(module, exported)


def _included_module(name: str, path: Path) -> ModuleType:
    return sys.modules[name] if name in sys.modules else own_code.module_from_file(path, name)


@functools.cache
def metrics() -> dict[str, AnyMetric]:
    """All metrics by key. Their files import nothing heavy."""
    found: dict[str, AnyMetric] = {}
    for name, entry in entries("metrics").items():
        for metric in load("metrics", name):
            if metric.key in found:
                raise UsageError(f"{entry.path}: there is a metric {metric.key!r} already. Give this one another key.")
            found[metric.key] = metric
    return found


@functools.cache
def passes() -> dict[str, Pass]:
    """All passes by name, in the order in which a plan lists their units."""
    found: dict[str, Pass] = {name: load("passes", name) for name in entries("passes")}
    for name, each in found.items():
        if each.name != name:
            raise UsageError(
                f"{find('passes', name).path}: its PASS is named {each.name!r}. Name it {name!r}, as its file."
            )
    return dict(sorted(found.items(), key=lambda item: (item[1].phase, item[1].order)))


def pass_of(metric: AnyMetric) -> Pass:
    """The pass that measures a metric; for a derived metric, the pass that measures its source."""
    return passes()[metric.made_in or metrics()[metric.source].made_in]


@functools.cache
def needed(keys: tuple[str, ...]) -> frozenset[str]:
    """Metrics that must be measured for these: themselves, and the sources of derived ones."""
    return frozenset(keys) | {metrics()[key].source for key in keys if metrics()[key].source}


def model_options(name: str) -> dict[str, object]:
    """Routing keys that a model reads, with their defaults; parsed from its file without importing torch."""
    tree = ast.parse(find("models", name).path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Model":
            for keyword in node.keywords:
                if keyword.arg == "options":
                    return dict(ast.literal_eval(keyword.value))
    return {}
