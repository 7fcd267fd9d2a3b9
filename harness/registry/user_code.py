"""Runs a user's Python files from their source, and notes the SHA-256 of exactly what ran, which records keep.

Python may run `__pycache__/mine.cpython-311.pyc` where `mine.py` was edited since. So a file of the user's is compiled here, from
the bytes that are hashed. It is the user's if it lies in the folder of a model that was named, in the current one, or in one that
is included, and belongs to no installed package.

What a user's model finds when it imports is the same in every process, whatever was imported there before. Its neighbours are
looked for in its file's folder, then in the current one, which is where the command was started. Two models may each have a
neighbour of the same name: each gets its own.

A process imports a file once, under whatever names it is loaded: what a file registers for its whole process, such as operators
of torch, cannot be registered again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

from modbench.harness.core.errors import UsageError

# Folders of installed packages: nobody's own, and slow to compile.
INSTALLED = {"site-packages", "dist-packages"}
# Python's own, which may lie below a user's folder too.
STANDARD = Path(sysconfig.get_paths()["stdlib"]).resolve()

_FOLDERS: set[Path] = set()
# Of the user's files that this process ran: SHA-256 and content by absolute path, and modules by path and SHA-256.
_RAN: dict[str, str] = {}
_SOURCES: dict[str, bytes] = {}
_MODULES: dict[tuple[Path, str], ModuleType] = {}
# Whether a file that is edited stays as this process first ran it.
_settled: list[bool] = []
_exec_module, _create_module = SourceFileLoader.exec_module, ExtensionFileLoader.create_module


def ran() -> dict[str, str]:
    """SHA-256 of the user's files that this process ran, by absolute path."""
    return dict(_RAN)


def take(hashes: Mapping[str, str]) -> None:
    """Count files that a process which this one started ran (its `ran`) as if they had run here.

    Raises:
        UsageError: if another version of one ran here.
    """
    for path, sha256 in hashes.items():
        if _RAN.setdefault(path, sha256) != sha256:
            raise UsageError(f"{path} changed while it was measured.")


def settle() -> None:
    """From now on run each file as this process first ran it, whatever is edited meanwhile: a record names one version of it."""
    _settled[:] = [True]


def name_of(path: str, here: Path) -> str:
    """A file's name in a record: from the folder of the run on, as a project may be moved; absolute if it lies outside."""
    return Path(path).relative_to(here).as_posix() if Path(path).is_relative_to(here) else path


def add_own_folder(folder: Path) -> None:
    """Count the files in a folder and below it as the user's: they run from their source, and are noted."""
    root = folder.resolve()
    _FOLDERS.add(root)
    sys.path_importer_cache.pop(str(root), None)  # a file may have been written since Python looked
    SourceFileLoader.exec_module = _exec_own  # type: ignore[method-assign, assignment]  # modules are found in many ways
    ExtensionFileLoader.create_module = _create_own  # type: ignore[method-assign, assignment]  # as above


def _exec_own(loader: SourceFileLoader, module: ModuleType) -> None:
    """Run a module's file. Where this process imported a user's file as it is now, that module takes the place of this one."""
    path = Path(loader.path).absolute()
    if _is_ours(module.__name__) or not is_own(path.parent):
        _exec_module(loader, module)
        return
    content = _noted(path)
    version = path.resolve(), _RAN[str(path)]
    # Else the user's code executes it by hand, and holds the module.
    imported = sys.modules.get(module.__name__) is module
    if imported and _MODULES.setdefault(version, module) is not module:
        sys.modules[module.__name__] = _MODULES[version]
        return
    try:
        exec(loader.source_to_code(content, str(path)), vars(module))  # noqa: S102  # what an import does
    except BaseException:
        if imported:  # half of it ran
            _MODULES.pop(version, None)
        raise


def _create_own(loader: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
    """Load a module that was compiled from another language, and note it if it is the user's."""
    path = Path(loader.path).absolute()
    if is_own(path.parent) and not _is_ours(spec.name):
        _noted(path)
    return _create_module(loader, spec)


def _noted(path: Path) -> bytes:
    """The content of a file that runs now, which is noted."""
    name = str(path)
    if not _settled or name not in _SOURCES:
        _SOURCES[name] = path.read_bytes()
    _RAN[name] = hashlib.sha256(_SOURCES[name]).hexdigest()
    return _SOURCES[name]


def is_own(folder: Path) -> bool:
    """Whether a folder, or one that it lies in, holds files of the user's."""
    here = folder.resolve()
    below = bool(_FOLDERS & {here, *here.parents})
    return below and not INSTALLED & {*here.parts} and not here.is_relative_to(STANDARD)


def where_in(trace: TracebackType | None) -> str | None:
    """The innermost line of a user's own file in a traceback: `own/deep.py, line 9`; None if none of them ran.

    A file is named from the current folder on, and by its name alone if it lies outside it.
    """
    here, found = Path.cwd(), None
    for frame, line in traceback.walk_tb(trace):
        file = Path(frame.f_code.co_filename)
        # Who works on modbench itself has it in a folder of their own.
        if _is_ours(frame.f_globals.get("__name__")) or not file.is_absolute() or not is_own(file.parent):
            continue
        named = file.relative_to(here).as_posix() if file.is_relative_to(here) else file.name
        found = f"{named}, line {line}"
    return found


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "modbench"


def module_from_file(path: Path, name: str) -> ModuleType:
    """Import a file of the user's under a name. Exceptions of the import are passed on."""
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return sys.modules[name]


# Folders that were put on the path, and modules that gave way to others of the same name, by the folder they came from.
_USED: set[Path] = set()
_ASIDE: dict[Path, dict[str, ModuleType]] = {}


def search_first(*folders: Path) -> None:
    """Let these folders be searched first, in this order, and those of other models no longer.

    Args:
        folders: of the model that is imported or built next.
    """
    roots = list(dict.fromkeys(folder.resolve() for folder in folders))
    for root in roots:
        add_own_folder(root)
    others = {str(folder) for folder in _USED}
    _USED.update(roots)
    sys.path[:] = [*map(str, roots), *(each for each in sys.path if each not in others and each not in map(str, roots))]
    below = tuple(f"{folder}{os.sep}" for folder in _USED)
    found = {name: _root_of(name, module, below) for name, module in list(sys.modules.items())}
    loaded = {name: root for name, root in found.items() if root is not None}
    names = {name.partition(".")[0] for name in (*loaded, *(name for kept in _ASIDE.values() for name in kept))}
    for top in names:
        wanted = next((root for root in roots if (root / f"{top}.py").is_file() or (root / top).is_dir()), None)
        if wanted is None or loaded.get(top) == wanted:
            continue
        for name in [name for name in loaded if name.partition(".")[0] == top]:
            _ASIDE.setdefault(loaded[name], {})[name] = sys.modules.pop(name)
        kept = _ASIDE.get(wanted, {})
        for name in [name for name in kept if name.partition(".")[0] == top]:
            sys.modules[name] = kept.pop(name)


def search_all() -> None:
    """Let the folders of all models be searched again: what they import only when they are called is found too."""
    sys.path += [str(folder) for folder in sorted(_USED) if str(folder) not in sys.path]


def _root_of(name: str, module: ModuleType, below: tuple[str, ...]) -> Path | None:
    """The folder on the path that a module was imported from, if it is one of those above."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.startswith(below) or name.partition(".")[0] == "modbench":
        return None
    depth = name.count(".") + (Path(file).stem == "__init__")
    parents = Path(file).parents
    root = parents[depth] if depth < len(parents) else None
    return root if root in _USED else None


def import_name(file: Path) -> str:
    """The name under which a model's file is imported: no other file has it."""
    return f"modbench_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
