"""Optional packages: imported by name where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from modbench.harness.core.errors import UsageError


def load(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a package that `pip install .` does not install.

    Args:
        module: what to import, such as `pyarrow.parquet`.
        extra: the extra of modbench that installs it.
        purpose: what needs it: the start of the error's sentence.

    Raises:
        UsageError: if it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"{purpose} needs the package {package!r} ({error}). Install it inside the clone: pip install '.[{extra}]'"
        ) from error
