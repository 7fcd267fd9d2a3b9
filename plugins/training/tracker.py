"""The interface that Weights & Biases and trackio share: `init`, `log` with a step, `finish`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from modbench.extend import Opening

PROJECT = "modbench"


class Tracker:
    """A run of a tracker.

    Args:
        package: the module with the interface.
        where: the training run.
        settings: further arguments of its `init`.
    """

    def __init__(self, package: str, where: Opening, settings: Mapping[str, Any]) -> None:
        self.module: Any = importlib.import_module(package)
        self.module.init(project=PROJECT, name=where.job, config=dict(where.config), resume="allow", **settings)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log all values of a step at once."""
        self.module.log(dict(values), step=step)

    def flush(self) -> None:
        """Do nothing: trackers write by themselves."""

    def close(self) -> None:
        """Finish the run."""
        self.module.finish()
