"""Imports between all modules, for types alone and inside functions too: no circle, and no small file for one neighbour."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import modbench
from modbench.harness.registry import plugin_manifests

PACKAGE = Path(modbench.__file__).parent
# Folders to which files are added, one for each question, section, format, metric, pass or rule.
ADDITIONS = {"questions", "sections", "formats", "metrics", "warnings", "passes", "probes", "adaptive_rules"}


def modules_of(package: Path) -> dict[str, Path]:
    """Files of a package by the name under which they are imported; `rglob` does not follow links."""
    folders = [package, *(each for each in package.iterdir() if each.is_symlink())]
    found = {path.relative_to(package): path for folder in folders for path in folder.rglob("*.py")}
    return {
        ".".join((package.name, *inside.with_suffix("").parts)).removesuffix(".__init__"): path
        for inside, path in found.items()
    }


def imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules among the known ones that a file imports; a name from a package is its module, if it has one of that name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ({each if each in known else node.module for each in names} & known.keys()) - {name}
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()


MODULES = modules_of(PACKAGE)
Imports = dict[str, set[str]]


@pytest.fixture(scope="module")
def imports() -> Imports:
    """What each module imports. Not read where tests are collected, which every worker does: it takes seconds."""
    return {name: {*imported(name, path, MODULES)} for name, path in MODULES.items()}


def test_every_room_is_looked_at(imports: Imports) -> None:
    assert {name.split(".")[1] for name in MODULES if "." in name} >= {
        "harness",
        "models",
        "plugins",
        "reports",
        "suites",
        "cli",
    }
    assert imports["modbench.harness.execution.worker"] >= {
        "modbench.harness.domain.case",
        "modbench.harness.domain.passes",  # for types
        "modbench.harness.call.subject.process_settings",  # in a function
    }


def test_no_circle(imports: Imports) -> None:
    try:
        order = [*TopologicalSorter(imports).static_order()]
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
    assert {*order} == MODULES.keys()


def test_what_only_its_neighbour_uses_belongs_in_its_neighbour(imports: Imports) -> None:
    """A file of less than 80 lines, not an addition, that one other file of its folder imports."""
    users: dict[str, list[Path]] = {name: [] for name in MODULES}
    for name, names in imports.items():
        for each in names:
            users[each].append(MODULES[name])
    # What a plug-in lists is used by its kind too.
    listed = {
        (each.folder / file).resolve()
        for each in plugin_manifests.every()
        for kind in each.adds.values()
        for file in kind.values()
    }
    small = {
        name: path
        for name, path in MODULES.items()
        if path.name != "__init__.py"
        and path.parent.name not in ADDITIONS
        and path.resolve() not in listed
        and path.read_text(encoding="utf-8").count("\n") < 80
    }
    assert {name for name, path in small.items() if [user.parent for user in users[name]] == [path.parent]} == set()
