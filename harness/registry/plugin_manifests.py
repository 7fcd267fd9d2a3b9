"""Plug-ins: folders with a `plugin.toml` that lists what each adds, by kind; it is read, and nothing of a plug-in is imported.

The order is: those that modbench ships, the folders of `--plugin DIR` and of a suite's `plugins`, installed packages with an
entry point in the group `modbench.plugins`. The first of a name is used; a later one is named with the reason why it is not, as
is one whose `plugin.toml` cannot be used.

The user's folders are held in the environment variable `MODBENCH_PLUGINS`, joined as in `PATH`: every process that this one
starts (workers, the fork server, jobs of a cluster) inherits it, and so finds what this one finds.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from modbench.harness.core.errors import UsageError, in_short, near_path, shown, unknown

MANIFEST = "plugin.toml"
GROUP = "modbench.plugins"
SHIPPED = "modbench.plugins"
VARIABLE = "MODBENCH_PLUGINS"
EXAMPLE = "example"  # there to be copied
# Kinds: modbench's own folder of each (none: only plug-ins add to it), and what its files export. A file of warnings or sections
# may hold several instead.
KINDS = {
    "models": ("modbench.models", "MODEL"),
    "routers": ("modbench.models.routers", "ROUTER"),
    "metrics": ("modbench.harness.measure.metrics", "METRICS"),
    "passes": ("modbench.harness.measure.passes", "PASS"),
    "adaptive_rules": ("modbench.harness.measure.adaptive_rules", "RULE"),
    "launchers": ("modbench.harness.execution.launchers", "LAUNCHER"),
    "warnings": ("modbench.harness.measure.warnings", "WARNING"),
    "probes": ("", "PROBE"),
    "corpora": ("modbench.suites.corpora", "CORPUS"),
    "sections": ("modbench.reports.sections", "SECTION"),
    "formats": ("modbench.reports.formats", "FORMAT"),
    "suites": ("modbench.suites", ""),
    "suite_tables": ("", "TABLE"),
    "tasks": ("", "TASK"),
    "loggers": ("", "LOGGER"),
    "model_loaders": ("", "LOADER"),
    "recorders": ("", "RECORDER"),
    "reports": ("", "REPORT"),
    "machine_checks": ("", "CHECK"),
}
# What only plug-ins list besides: files that register a command, and files with names of `import modbench`.
FURTHER = ("commands", "python")
Source = Literal["shipped", "folder", "package"]
P = ParamSpec("P")
T = TypeVar("T")
# Functions that clear what was found: for tests, in whose process files and packages change.
CACHES: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Plugin:
    """A plug-in as its `plugin.toml` tells.

    Attributes:
        name: of its folder; of a package that of its entry point.
        folder: where its files lie.
        package: the package that they are imported from.
        source: where it comes from.
        origin: `modbench`, the user's folder, or a distribution's name and version.
        about: what it adds, in one sentence.
        needs: plug-ins whose code it uses.
        extras: extras of modbench that bring what it imports.
        adds: files by kind and name.
        problem: why it cannot be used; empty: nothing is known.
    """

    name: str
    folder: Path
    package: str
    source: Source
    origin: str
    about: str = ""
    needs: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    adds: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    problem: str = ""

    def module(self, file: Path) -> str:
        """The name under which one of its files is imported."""
        return ".".join([self.package, *file.relative_to(self.folder).with_suffix("").parts])


def cached(function: Callable[P, T]) -> Callable[P, T]:
    """Cache what a function finds, for each choice of the user's folders: with further ones it may find more."""
    known: dict[tuple[object, ...], T] = {}

    @functools.wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> T:
        key = included(), args, *kwargs.items()
        if key not in known:
            known[key] = function(*args, **kwargs)
        return known[key]

    CACHES.append(known.clear)
    return found


def usable() -> list[Plugin]:
    """The plug-ins that can be used, as far as their manifests show."""
    return [plugin for plugin in every() if not plugin.problem]


@cached
def every() -> tuple[Plugin, ...]:
    """All plug-ins, those that cannot be used among them, in the order in which they were found."""
    found: dict[str, Plugin] = {}
    wrong = list[Plugin]()
    for plugin in (*_shipped(), *map(_of_folder, included_folders()), *_installed()):
        same = found.get(plugin.name)
        taken = f"the name {plugin.name!r} is taken by {same.origin}: rename it" if same else ""
        if taken or plugin.problem:
            wrong.append(replace(plugin, problem=taken or plugin.problem))
        else:
            found[plugin.name] = plugin
    usable = [_with_needs(plugin, found) for plugin in found.values()]
    return (*usable, *wrong)


def _with_needs(plugin: Plugin, found: Mapping[str, Plugin]) -> Plugin:
    lacking = next((name for name in plugin.needs if name not in found), None)
    return replace(plugin, problem=f"it {_absent(lacking)}") if lacking else plugin


def _absent(name: str) -> str:
    return f"needs the plug-in {name!r}, which is absent"


def lack_of(name: str) -> str:
    """Why something that needs a plug-in cannot be used, in words that follow its name; empty if the plug-in can be."""
    if any(each.name == name for each in usable()):
        return ""
    wrong = next((each for each in every() if each.name == name), None)
    return f"needs the plug-in {name!r}, which cannot be used: {wrong.problem}" if wrong else _absent(name)


def _shipped() -> Iterator[Plugin]:
    if importlib.util.find_spec(SHIPPED) is None:  # the core runs without
        return
    for manifest in sorted(folder_of(SHIPPED).glob(f"*/{MANIFEST}")):
        name = manifest.parent.name
        if name == EXAMPLE:
            continue
        plugin = _read(Plugin(name, manifest.parent, f"{SHIPPED}.{name}", "shipped", "modbench"))
        assert not plugin.problem, f"{manifest}: {plugin.problem}"
        yield plugin


def _of_folder(folder: Path) -> Plugin:
    return _read(Plugin(folder.name, folder, f"modbench_plugin_{folder.name}", "folder", str(folder)))


@functools.cache
def _installed() -> tuple[Plugin, ...]:
    """The plug-ins of installed packages, as this process first found them."""
    if not any(GROUP in file.read_text(encoding="utf-8", errors="replace") for file in _entry_points()):
        return ()
    from importlib import metadata

    found = dict[str, Plugin]()
    for point in metadata.entry_points(group=GROUP):
        package = point.dist
        origin = f"{package.metadata['Name']} {package.version}" if package else point.value
        folder = next((each for each in folders_of(point.value) if (each / MANIFEST).is_file()), None)
        plugin = Plugin(point.name, folder or Path(), point.value, "package", origin)
        nowhere = f"its entry point names {point.value!r}, which is no package that holds {MANIFEST} (package data)"
        found.setdefault(point.name, _read(plugin) if folder else replace(plugin, problem=nowhere))
    return tuple(found[name] for name in sorted(found))


def _entry_points() -> Iterator[Path]:
    """Where installed packages list their entry points; read first, since `importlib.metadata` is 20 ms of every command."""
    for folder in map(Path, sys.path):
        try:
            packages = list(folder.iterdir())  # `glob` takes four times as long
        except OSError:
            continue  # no folder, or one that cannot be read: Python skips it too
        for package in packages:
            if package.suffix in (".dist-info", ".egg-info") and (file := package / "entry_points.txt").is_file():
                yield file


def _read(plugin: Plugin) -> Plugin:
    """The plug-in with what its manifest says, or with what is wrong with it."""
    try:
        body = tomllib.loads((plugin.folder / MANIFEST).read_text(encoding="utf-8"))
        adds = {kind: _files(plugin, kind, body.pop(kind)) for kind in (*KINDS, *FURTHER) if kind in body}
        needs, extras = (_names(key, body.pop(key, [])) for key in ("needs", "extras"))
        about = body.pop("about", "")
        for key in body:
            raise UsageError(str(unknown("key", key, ("about", "needs", "extras", *KINDS, *FURTHER))).rstrip("."))
    except (OSError, ValueError, RecursionError) as error:
        return replace(plugin, problem=f"{MANIFEST}: {in_short(error)}")
    return replace(plugin, about=str(about), needs=needs, extras=extras, adds=adds)


def _files(plugin: Plugin, kind: str, told: Any) -> dict[str, Path]:  # noqa: ANN401  # a value of TOML
    if not isinstance(told, dict) or not all(isinstance(each, str) for each in told.values()):
        raise UsageError(f'[{kind}]: write a line NAME = "FILE" for each')
    files = {name: plugin.folder / file for name, file in told.items()}
    for name, file in files.items():
        if not file.is_file():
            raise UsageError(f"[{kind}] {name} = {shown(told[name])}: there is no such file")
    return files


def _names(key: str, told: Any) -> tuple[str, ...]:  # noqa: ANN401  # a value of TOML
    if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
        raise UsageError(f"{key}: write a list of names")
    return tuple(told)


def import_from(plugin: Plugin) -> None:
    """Let the files of a plug-in in a user's folder be imported, from `modbench_plugin_NAME`; others are installed."""
    known = sys.modules.get(plugin.package)
    if plugin.source != "folder" or (known is not None and str(plugin.folder) in known.__path__):
        return
    from modbench.harness.registry import user_code

    _unload(plugin.package)
    user_code.add_own_folder(plugin.folder)
    spec = ModuleSpec(plugin.package, None, is_package=True)
    spec.submodule_search_locations = [str(plugin.folder)]
    sys.modules[plugin.package] = importlib.util.module_from_spec(spec)


def with_python_name(name: str) -> Plugin | None:
    """The plug-in that adds a name to `import modbench`; None if none does."""
    return next((each for each in usable() if name in each.adds.get("python", ())), None)


def perhaps_in() -> str:
    """What to say where a name is not known, and a plug-in that cannot be used may have it; else nothing."""
    wrong = next((each for each in every() if each.problem), None)
    return f" Perhaps it is in the plug-in {wrong.name!r}, which cannot be used: {wrong.problem}." if wrong else ""


def included() -> str:
    """The user's folders as the variable has them."""
    return os.environ.get(VARIABLE, "")


def included_folders() -> tuple[Path, ...]:
    """The user's folders, absolute, in the order in which they are searched."""
    return tuple(Path(folder).absolute() for folder in included().split(os.pathsep) if folder)


def include(asked: Iterable[str | Path], *, by: str = "--plugin") -> None:
    """Use the plug-ins in these folders as well, in this process and in those that it starts from now on.

    Args:
        asked: the folders; relative ones lie in the current folder.
        by: where they are named, for messages.

    Raises:
        UsageError: if one is no folder, or holds no `plugin.toml`.
    """
    found = [Path(os.path.normpath(Path(folder).absolute())) for folder in asked]  # so that a folder has one name
    for folder in found:
        _check(folder, by)
    if found:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys([*included_folders(), *found])))


def _check(folder: Path, by: str) -> None:
    named = f"{by} {shown(str(folder), 200)}"
    if not folder.is_dir():
        raise UsageError(f"{named}: there is no such folder.{near_path(folder, Path.is_dir)}")
    if os.pathsep in str(folder):
        raise UsageError(f"{named}: a folder with {os.pathsep!r} in its path cannot be used.")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{named} holds no {MANIFEST}, which lists what a plug-in adds.")
    if not folder.name.isidentifier():
        raise UsageError(f"{named}: the folder's name is the plug-in's: letters, digits and _ only.")


def _unload(beginning: str) -> None:
    for name in [name for name in sys.modules if name.startswith(beginning)]:
        del sys.modules[name]


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


def folders_of(module: str) -> list[Path]:
    """The folders of a package; none if it is no package."""
    spec = spec_of(module)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []


def folder_of(package: str) -> Path:
    """The folder of one of modbench's packages."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))
