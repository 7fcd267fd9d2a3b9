"""What a logger exports: where the numbers of a long training run go besides the run folder. No torch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modbench.harness.core.errors import UsageError


@dataclass(frozen=True)
class Opening:
    """A training run that a logger is opened for.

    Attributes:
        folder: the run folder; what the logger writes lies below it.
        job: name of the training job, which is that of its files.
        config: settings of model and training, as plain values.
        first: the first step that will be written; above 1 where an interrupted run continues.
    """

    folder: Path
    job: str
    config: Mapping[str, Any]
    first: int


class Writer(Protocol):
    """An open logger. Whatever it raises ends the logger, never the training."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values by metric key; steps only grow."""

    def flush(self) -> None:
        """Put what was written where a killed process cannot lose it."""

    def close(self) -> None:
        """End the logger."""


@dataclass(frozen=True)
class Logger:
    """A logger. Its file's first docstring line is its description.

    Attributes:
        package: the Python package that it needs.
        extra: the extra of modbench that installs it.
        open: opens it for a training run.
        rewinds: whether steps that an interrupted run wrote beyond its checkpoint are hidden when they are written again; else
            they are not written again.
    """

    package: str
    extra: str
    open: Callable[[Opening], Writer]
    rewinds: bool = False

    def check(self, name: str) -> None:
        """Check that its package is installed, without importing it.

        Raises:
            UsageError: if it is not.
        """
        if not _installed(self.package):
            raise UsageError(
                f"train.log_to {name!r} needs the package {self.package!r}, which is not installed. Install it inside the clone: "
                f"pip install '.[{self.extra}]'"
            )


def _installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None  # None: its import is forbidden
    return importlib.util.find_spec(package) is not None
