"""Where the unit at hand keeps files beside its record: a checkpoint, its progress, what it found out at length.

A worker says where before it runs a pass. Without one (a test, a script) nothing is kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import unfinished, write_atomically
from modbench.harness.core.torchrun import ALONE, Ranks


@dataclass(frozen=True)
class Workspace:
    """A unit's place in its run folder.

    Attributes:
        run: the run folder.
        unit: the unit's name.
        ranks: the processes that share it.
        tell: told how far a training run is; None: a line in a file tells.
        keeps_weights: whether trained weights are kept.
    """

    run: Path
    unit: str
    ranks: Ranks = ALONE
    tell: Callable[[Any], None] | None = None
    keeps_weights: bool = False

    def _file(self, folder: str, suffix: str) -> Path:
        return self.run / folder / f"{self.unit}{suffix}"

    @property
    def checkpoint(self) -> Path:
        """What a killed training run is resumed from."""
        return self._file("checkpoints", ".pt")

    @property
    def weights(self) -> Path:
        """The trained model's state dict."""
        return self._file("weights", ".pt")

    @property
    def progress(self) -> Path:
        """One line that says how far the unit is; written anew about once a second."""
        return self._file("logs", ".progress")

    def said(self) -> str:
        """How far the unit says it is; empty where it says nothing."""
        try:
            return self.progress.read_text(encoding="utf-8")
        except OSError:
            return ""

    def record_of(self, unit: str) -> Path:
        """The record of another unit of the run."""
        return self.run / "units" / f"{unit}.json"

    def tidy(self) -> None:
        """Take away what nobody needs once there is a record."""
        for file in (self.checkpoint, unfinished(self.checkpoint), self.progress):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or another unit's is in it
            (self.run / "checkpoints").rmdir()

    def keep(self, found: dict[str, Any]) -> None:
        """Keep what a page may show and no table holds: JSON beside the record."""
        file = self._file("artifacts", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(found))


def artifact(run: Path, unit: str) -> dict[str, Any] | None:
    """What a unit kept; None if nothing.

    Raises:
        UsageError: if it is damaged.
    """
    file = run / "artifacts" / f"{unit}.json"
    if not file.is_file():
        return None
    try:
        found: dict[str, Any] = {**json.loads(file.read_text(encoding="utf-8"))}
        return {part: {**told} for part, told in found.items()}
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{file}: damaged ({error}). Take it away, and its panels stay empty.") from error


# Of the unit that this process runs now.
HERE: Workspace | None = None


@contextlib.contextmanager
def at(here: Workspace) -> Iterator[None]:
    """Inside, a unit's pass finds its place."""
    global HERE  # noqa: PLW0603  # one unit at a time, and nothing after it
    before, HERE = HERE, here
    try:
        yield
    finally:
        HERE = before
