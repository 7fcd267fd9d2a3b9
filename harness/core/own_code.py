"""Runs a user's Python files from their source: the bytes that were hashed are the bytes that run.

Python prefers `__pycache__/mine.cpython-311.pyc` to `mine.py` where the two seem to agree, and whoever sends a folder can make
them seem so. And a file that is edited while its run goes on would put two versions into one table.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from importlib.abc import PathEntryFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from modbench.harness.core.errors import UsageError

# Folders of installed packages: nobody's own, and slow to compile.
INSTALLED = {"site-packages", "dist-packages"}

_HASHES: dict[str, str] = {}
_FOLDERS: set[Path] = set()


def expect(hashes: Mapping[str, str]) -> None:
    """From now on run these files only as they were.

    Args:
        hashes: SHA-256 by absolute path.
    """
    _HASHES.clear()
    _HASHES.update(hashes)


def hashes() -> dict[str, str]:
    """What is expected, for a process that this one starts."""
    return dict(_HASHES)


def import_from_source(folder: Path) -> None:
    """Let modules in a folder and below it be imported from their source, without what Python compiled before."""
    _FOLDERS.add(folder.resolve())
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for known in list(sys.path_importer_cache):
        if is_own(Path(known)):
            del sys.path_importer_cache[known]


def is_own(folder: Path) -> bool:
    """Whether a folder, or one that it lies in, became importable because a user's file lies there."""
    here = folder.resolve()
    return bool(_FOLDERS & {here, *here.parents}) and not INSTALLED & {*here.parts}


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
    return FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (FromSource, SOURCE_SUFFIXES))(path)


class FromSource(SourceFileLoader):
    """Compiles a module's file each time, and refuses one that changed."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file.

        Raises:
            UsageError: if it is not as the run began with it.
        """
        path = self.get_filename(fullname)
        content = self.get_data(path)
        expected = _HASHES.get(str(Path(path).absolute()))
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise UsageError(
                f"{path} changed since the run began: results of two versions would be mixed. Start a new run, or, if you want "
                "that, `modbench resume` with --trust and --retry-failed."
            )
        return self.source_to_code(content, path)


def module_from_file(path: Path, name: str) -> ModuleType:
    """Import a file under a name, from its source. Exceptions of the import are passed on."""
    loader = FromSource(name, str(path.absolute()))
    spec = importlib.util.spec_from_file_location(name, path.absolute(), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    loader.exec_module(module)
    return module
