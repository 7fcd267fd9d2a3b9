"""A user's own models, named by file or module: where their code is, whether it is there, and how it is imported."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.harness.core import own_code
from modbench.harness.core.errors import UsageError


def is_user_model(spec: str) -> bool:
    """Whether a model is named as `FILE.py:build` or `package.module:build` instead of by a catalogue name."""
    return ":" in spec or spec.endswith(".py")


def check_user_model(spec: str) -> None:
    """Check that a user's model can be found, before anything is measured and without running its code.

    Raises:
        UsageError: if the file or module does not exist, or names no attribute.
    """
    where, _, attribute = spec.rpartition(":")
    if not where or not attribute.isidentifier():
        raise UsageError(f"model {spec!r} names no function. Write FILE.py:build or package.module:build.")
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise UsageError(f"model {spec!r}: there is no file {where!r} in {Path.cwd()}.")
        return
    if not _module_exists(where):
        raise UsageError(f"model {spec!r}: there is no module {where!r} to import. Write a file as FILE.py:build.")


def _module_exists(name: str) -> bool:
    """Whether a module can be found from the current folder."""
    return all(_specs(name))


def files_of_module(name: str) -> dict[str, Path]:
    """Files that importing a module by name runs, by module: its own and those of its packages; none if it has none."""
    return {spec.name: Path(spec.origin) for spec in _specs(name) if spec and spec.has_location and spec.origin}


def _specs(name: str) -> Iterator[importlib.machinery.ModuleSpec | None]:
    """Where a module and its packages are found from the current folder, without importing them; None for the first not found."""
    path = [str(Path.cwd()), *sys.path]
    for i, _ in enumerate(parts := name.split(".")):
        try:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: i + 1]), path)
        except (ImportError, ValueError):
            spec = None
        yield spec
        if spec is None:
            return
        path = list(spec.submodule_search_locations or ())


def load_user_model(spec: str) -> Any:  # noqa: ANN401  # a user's build(config)
    """Import a user's `build` function. Exceptions of the import are passed on to the user.

    Raises:
        AttributeError: if the module has no such function.
    """
    where, _, attribute = spec.rpartition(":")
    module = _module_of_file(Path(where)) if where.endswith(".py") else _module_from_name(where)
    if not hasattr(module, attribute):
        raise AttributeError(f"{where} defines no {attribute!r}")
    return getattr(module, attribute)


def _module_from_name(name: str) -> ModuleType:
    _importable(Path.cwd())
    return importlib.import_module(name)


def _importable(folder: Path) -> None:
    own_code.import_from_source(folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _module_of_file(path: Path) -> ModuleType:
    _importable(path.resolve().parent)
    return own_code.module_from_file(path, f"modbench_user_{path.stem}")
