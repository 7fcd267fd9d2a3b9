"""Where the unit at hand keeps files beside its record: a checkpoint, its progress, what it found out at length.

A worker says where before it runs a pass. Without one (a test, a script) nothing is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.store import write_atomically


@dataclass(frozen=True)
class Workspace:
    """A unit's place in its run folder.

    Attributes:
        run: the run folder.
        unit: the unit's name.
    """

    run: Path
    unit: str

    def _file(self, folder: str, suffix: str) -> Path:
        place = self.run / folder
        place.mkdir(parents=True, exist_ok=True)
        return place / f"{self.unit}{suffix}"

    @property
    def checkpoint(self) -> Path:
        """What a killed training run is resumed from."""
        return self._file("checkpoints", ".pt")

    @property
    def progress(self) -> Path:
        """One line that says how far the unit is; written anew about once a second."""
        return self._file("logs", ".progress")

    def record_of(self, unit: str) -> Path:
        """The record of another unit of the run."""
        return self.run / "units" / f"{unit}.json"

    def keep(self, found: dict[str, Any]) -> None:
        """Keep what a page may show and no table holds: JSON beside the record."""
        write_atomically(self._file("artifacts", ".json"), json.dumps(found))


def artifact(run: Path, unit: str) -> dict[str, Any] | None:
    """What a unit kept; None if nothing."""
    file = run / "artifacts" / f"{unit}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


# Of this process, which runs one unit.
HERE: Workspace | None = None
