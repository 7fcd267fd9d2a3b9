"""Optional packages, and parts of modbench that can be left out: imported by name where they are used."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from modbench.harness.core.errors import UsageError

# The analysis of routing: what `train.watch` collects.
ROUTING = "modbench.harness.passes._routing"


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


def part(module: str, purpose: str) -> ModuleType:
    """Import a part of modbench that a copy may lack.

    Args:
        module: what to import, such as `modbench.harness.passes._routing`.
        purpose: what needs it: the start of the error's sentence.

    Raises:
        UsageError: if this copy lacks it.
    """
    check_part(module, purpose)
    return importlib.import_module(module)


def check_part(module: str, purpose: str) -> None:
    """Check, without importing it, that this copy of modbench has a part.

    Raises:
        UsageError: if it lacks it.
    """
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"{purpose} needs {module}, which this copy of modbench lacks: leave it out.")
