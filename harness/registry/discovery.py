"""The entries of each kind: a file in the kind's folder, or one that a plug-in lists. Files are read and never imported.

The order is: what is shipped, then plug-ins in the order of `plugins.every`. The first of a name is used; a later one is named
with the reason why it is not, as is a file that cannot be used.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import in_short
from modbench.harness.registry import plugin_manifests
from modbench.harness.registry.plugin_manifests import KINDS, Plugin, Source

# Kinds of which one file may hold several.
SEVERAL = ("warnings", "sections")
# Singular of a kind's name, where it is not the name without its s.
ONE_OF = {"corpora": "corpus", "passes": "pass"}


@dataclass(frozen=True)
class Entry:
    """One entry of a kind.

    Attributes:
        kind: the kind.
        name: its name there.
        about: first line of its docstring, or a suite's `about`.
        path: its file.
        source: where it comes from.
        origin: `modbench`, the plug-in's folder, or a package's name and version.
        module: the dotted name to import.
        attribute: what it exports.
        problem: why it cannot be used, as far as reading shows; empty: nothing.
        plugin: what lists it; None: modbench's own folder of its kind has it.
    """

    kind: str
    name: str
    about: str
    path: Path
    source: Source
    origin: str
    module: str
    attribute: str = ""
    problem: str = ""
    plugin: Plugin | None = None

    @property
    def shipped(self) -> bool:
        """Whether it comes with modbench."""
        return self.source == "shipped"

    @property
    def one(self) -> str:
        """The word for one of its kind, such as `router`."""
        return one_of(self.kind)


def one_of(kind: str) -> str:
    """The word for one entry of a kind."""
    return ONE_OF.get(kind, kind.removesuffix("s").replace("_", " "))


@plugin_manifests.cached
def every(kind: str) -> tuple[Entry, ...]:
    """All entries of a kind, those that cannot be used among them, in the order in which they were found."""
    found = list[Entry]()
    for entry in (*_in_folder(kind), *_in_plugins(kind)):
        same = next((each for each in found if each.name == entry.name and not each.problem), None)
        taken = f"the name {entry.name!r} is taken by {same.origin}: rename it" if same else ""
        found.append(replace(entry, problem=taken or entry.problem))
    ours = sorted((entry for entry in found if entry.shipped), key=lambda entry: entry.name)
    return (*ours, *(entry for entry in found if not entry.shipped))


def _in_folder(kind: str) -> Iterator[Entry]:
    """What lies in modbench's folder of a kind."""
    package, exported = KINDS[kind]
    if not package:  # only plug-ins add to it
        return
    for path in sorted(plugin_manifests.folder_of(package).glob("*.toml" if kind == "suites" else "*.py")):
        if not path.name.startswith("_"):
            yield from _in_file(
                Entry(kind, path.stem, "", path, "shipped", "modbench", f"{package}.{path.stem}", exported)
            )


def _in_plugins(kind: str) -> Iterator[Entry]:
    """What plug-ins list."""
    for each in plugin_manifests.usable():
        for name, path in each.adds.get(kind, {}).items():
            made = Entry(kind, name, "", path, each.source, each.origin, each.module(path), KINDS[kind][1], plugin=each)
            yield from _in_file(made)


def _in_file(file: Entry) -> list[Entry]:
    """What a file adds: what it exports has the name of the file; warnings and sections may have names of their own."""
    if file.shipped and file.attribute and file.kind not in SEVERAL:  # parsing all of them is slow
        with file.path.open(encoding="utf-8") as lines:
            return [replace(file, about=next(lines, "").strip().strip('"'))]
    tree, problem = _parsed(file.path)
    if isinstance(tree, str):
        # A suite that was read may lack a plug-in.
        return [replace(file, about=tree, problem=problem if tree or not file.shipped else "")]
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
    """What has a name of its own: functions below `@warning(…)`, and constants `NAME = Section(…)`, whose name is in lower case.

    Yields the name, what the file exports, and the first line of its docstring; a constant's is the string below it.
    """
    for at, node in enumerate(tree.body):
        match node:
            case ast.FunctionDef(name=name, decorator_list=above) if kind == "warnings":
                if any(_calls(each, "warning") for each in above):
                    yield name, name, _about(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=made) if kind == "sections" and _calls(made, "Section"):
                yield name.lower(), name, _about(ast.Module(tree.body[at + 1 : at + 2], []))


def _calls(node: ast.expr, function: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function


def _about(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


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
        if path.suffix != ".toml":
            return ast.parse(text), ""
        suite = tomllib.loads(text)
        return str(suite.get("about", "")), _lacks_plugin(suite)
    except SyntaxError as error:
        return "", f"line {error.lineno}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return "", f"it cannot be read: {in_short(error)}"


def _lacks_plugin(suite: Mapping[str, Any]) -> str:
    """Why a suite cannot run for want of a plug-in; one that names folders of plug-ins may bring it."""
    needs = suite.get("needs")
    lacking = map(plugin_manifests.lack_of, needs if isinstance(needs, list) and not suite.get("plugins") else ())
    return next((f"it {why}" for why in lacking if why), "")


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
