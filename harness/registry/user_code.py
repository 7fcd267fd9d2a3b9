"""Runs a user's Python files from their source: the bytes that were hashed are the bytes that run.

Python prefers `__pycache__/mine.cpython-311.pyc` to `mine.py` where the two seem to agree, and whoever sends a folder can make
them seem so. And a file that is edited while its run goes on would put two versions into one table.

What a user's model finds when it imports is the same in every process, whatever was imported there before. Its neighbours are
looked for in its file's folder, then in the current one, which is where the command was started. Two models may each have a
neighbour of the same name: each gets its own.

A process runs a file once, under whatever names it is loaded: what a file registers for its whole process, such as operators of
torch, cannot be registered again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.abc import PathEntryFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from modbench.harness.core.errors import UsageError

# Folders of installed packages: nobody's own, and slow to compile.
INSTALLED = {"site-packages", "dist-packages"}
# Python's own, which may lie below a user's folder too.

STANDARD = Path(sysconfig.get_paths()["stdlib"]).resolve()

# Says which version of a file runs: given its path and the hash of what lies there, returns the hash that is expected.
Agree = Callable[[str, str], str]

_HASHES: dict[str, str] = {}
_RAN: dict[str, str] = {}
_FOLDERS: set[Path] = set()
# Modules of the user's files that this process ran, by path and SHA-256.
_MODULES: dict[tuple[Path, str], ModuleType] = {}
_agree: list[Agree] = []
_beside: list[bool] = []
_get_code = SourceFileLoader.get_code


def expect(hashes: Mapping[str, str], agree: Agree | None = None) -> None:
    """From now on run these files only as they were.

    Args:
        hashes: SHA-256 by absolute path.
        agree: decides for other files of the user's; None: whatever lies there runs.
    """
    _HASHES.clear()
    _HASHES.update(hashes)
    _agree[:] = [agree] if agree else []
    _watch()


def hashes() -> dict[str, str]:
    """What is expected, for a process that this one starts: files that ran here run there as they did here."""
    return _RAN | _HASHES


def ran() -> dict[str, str]:
    """SHA-256 of the user's files that this process ran, by absolute path."""
    return dict(_RAN)


def take(hashes: Mapping[str, str]) -> None:
    """Count files that a process which this one started ran (its `ran`) as if they had run here.

    Raises:
        UsageError: if another version of one is expected.
    """
    for path, sha256 in hashes.items():
        _check(path, sha256)


def name_of(path: str, here: Path) -> str:
    """A file's name in a record: from the folder of the run on, as a project may be moved; absolute if it lies outside."""
    return Path(path).relative_to(here).as_posix() if Path(path).is_relative_to(here) else path


@contextlib.contextmanager
def beside(path: Path) -> Iterator[None]:
    """In the `with` block check and note nothing, unless this file is expected: else it takes no part in what is measured."""
    _beside.append(str(path.absolute()) not in _HASHES)
    try:
        yield
    finally:
        _beside.pop()


def _check(path: str, sha256: str) -> None:
    """Refuse a version of a file that is not the expected one, and note that it runs."""
    if any(_beside):
        return
    expected = _HASHES.get(path) or (_agree[0](path, sha256) if _agree else sha256)
    if expected != sha256:
        raise UsageError(
            f"{path} changed since the run began: results of two versions would be mixed. Start a new run, or, if you want "
            "that, `modbench resume` with --trust and --retry-failed."
        )
    _RAN[path] = sha256


def import_from_source(folder: Path) -> None:
    """Let modules in a folder and below it be imported from their source, without what Python compiled before."""
    root, before = folder.resolve(), len(_FOLDERS)
    _FOLDERS.add(root)
    added = len(_FOLDERS) > before
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
        added = True
    _watch()
    # Other finders know a folder only from before it was a user's: paths are resolved, which is slow, only for a new one.
    for known, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, FinderOfOwn) or (added and is_own(Path(known))):
            del sys.path_importer_cache[known]


def _watch() -> None:
    """See the user's files too that the finder does not find: named to `importlib` by path, or of a package in another place."""
    SourceFileLoader.get_code = _get_code_of_own  # type: ignore[method-assign, assignment]  # its loader is none of ours


def is_own(folder: Path) -> bool:
    """Whether a folder, or one that it lies in, became importable because a user's file lies there."""
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


def _finder(path: str) -> PathEntryFinder:
    if not is_own(Path(path)):
        raise ImportError(path)
    return FinderOfOwn.path_hook((FromBinary, EXTENSION_SUFFIXES), (FromSource, SOURCE_SUFFIXES))(path)


def _get_code_of_own(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    path = str(Path(loader.get_filename(fullname)).absolute())
    if path in _HASHES or is_own(Path(path).parent):
        return FromSource(fullname, path).get_code(fullname)
    return _get_code(loader, fullname)


class FinderOfOwn(FileFinder):
    """Finds the modules of a folder that is a user's own."""


class FromSource(SourceFileLoader):
    """Compiles a module's file each time, refuses one that changed, and runs it once."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file; where this process ran it as it is now, the module of it takes the place of this one.

        Raises:
            UsageError: as for its code.
        """
        file = Path(self.path).resolve()
        version = (file, hashlib.sha256(self.get_data(self.path)).hexdigest())
        known = _MODULES.setdefault(version, module)
        if known is not module:
            self.get_code(module.__name__)  # refuses it, or notes that it is used
            sys.modules[module.__name__] = known
            return
        try:
            super().exec_module(module)
        except BaseException:  # half of it ran
            del _MODULES[version]
            raise

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file.

        Raises:
            UsageError: if it is not as the run began with it, or as another of its processes ran it.
        """
        path = self.get_filename(fullname)
        content = self.get_data(path)
        if not _is_ours(fullname):
            _check(str(Path(path).absolute()), hashlib.sha256(content).hexdigest())
        return self.source_to_code(content, path)


class FromBinary(ExtensionFileLoader):
    """Loads a module that was compiled from another language, and refuses one that changed."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the file.

        Raises:
            UsageError: as for a source.
        """
        if not _is_ours(spec.name):
            _check(str(Path(self.path).absolute()), hashlib.sha256(self.get_data(self.path)).hexdigest())
        return super().create_module(spec)


def module_from_file(path: Path, name: str) -> ModuleType:
    """Import a file under a name, from its source. Exceptions of the import are passed on."""
    loader = FromSource(name, str(path.absolute()))
    spec = importlib.util.spec_from_file_location(name, path.absolute(), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    loader.exec_module(module)
    return sys.modules[spec.name]


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
        import_from_source(root)
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
