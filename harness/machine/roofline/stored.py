"""What was measured last on each machine, kept under the user's state folder beside its checks: from it runs are planned.

That is the table of its peaks, and the ratio of measured to predicted training time: predictions add up what each operator takes
alone, and steps of small models take about twice as long. Beside them, how much longer than predicted runs took.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from modbench.harness.core.atomic_files import state_folder, write_atomically
from modbench.harness.core.immutable import Frozen
from modbench.harness.machine.roofline.table import Table

DAY_S = 24 * 3600.0
Kept = TypeVar("Kept", bound=Frozen)


# Shorter training tells more about its start than about its steps.
LEAST_S = 5.0
# Runs of which the fastest counts: one beside other work does not mislead later plans, a slower machine is soon known.
RUNS = 3
# The ratio where none is known (docs/method-costs.md).
USUAL = 1.8


class Pace(Frozen):
    """Ratios of measured to predicted training time.

    Attributes:
        ratios: by the power of ten of a training step's FLOPs, then by run, the newest last.
    """

    ratios: Mapping[int, Mapping[str, float]] = {}

    def of(self, flops: float) -> float:
        """The smallest ratio for a step of so many FLOPs, of the nearest size; the usual one if none is known."""
        if not self.ratios:
            return USUAL
        size = size_of(flops)
        return min(self.ratios[min(self.ratios, key=lambda each: abs(each - size))].values())

    def with_run(self, run: str, flops: float, ratio: float) -> Pace:
        """Add a training of a run. Of its trainings of one size the smallest ratio is kept: that one was noisy least."""
        size = size_of(flops)
        runs = dict(self.ratios.get(size, {}))
        runs[run] = min(ratio, runs.pop(run, math.inf))
        return Pace(ratios={**self.ratios, size: dict([*runs.items()][-RUNS:])})


class Load(Frozen):
    """How many times as long as predicted work took on a machine, which other programs may use too.

    Attributes:
        seen: by run, and by `CHECK`, the newest last.
    """

    seen: Mapping[str, float] = {}

    @property
    def most(self) -> float:
        """The largest of the last, at least 1: what a plan must expect."""
        return max(1.0, *self.seen.values()) if self.seen else 1.0

    def with_seen(self, who: str, times: float) -> Load:
        """Add what a run, or the check of the machine, saw last."""
        others = {name: known for name, known in self.seen.items() if name != who}
        return Load(seen=dict([*others.items(), (who, times)][-RUNS:]))


# What `modbench doctor` keeps its own under.
CHECK = "doctor"


def size_of(flops: float) -> int:
    """The power of ten of a step's FLOPs."""
    return round(math.log10(max(1.0, flops)))


def keep(machine: str, table: Table) -> str | None:
    """Keep a table in place of an earlier one; returns why it could not be kept, or None.

    Args:
        machine: the fingerprint of machine, device and threads (`machine/certificate.py`).
        table: what was measured.
    """
    try:
        _keep(_file("peaks", machine, table.dtype), table)
    except (OSError, RuntimeError) as error:
        return f"plans will not know it: {error}"
    return None


def latest(machine: str, dtype: str) -> Table | None:
    """The latest table of a machine; None if there is none, or one of another version."""
    return _latest("peaks", machine, dtype, Table)


def recent(machine: str, dtype: str, torch_version: str) -> Table | None:
    """The latest table, if it was measured with this version of torch within a day; else None."""
    table = latest(machine, dtype)
    if table is None or table.torch != torch_version:
        return None
    try:
        age_s = time.time() - _file("peaks", machine, dtype).stat().st_mtime
    except OSError:
        return None
    return table if 0 <= age_s <= DAY_S else None


def keep_pace(machine: str, dtype: str, run: str, flops: float, ratio: float) -> None:
    """Keep how long a training took beside what earlier runs found; nothing happens where it cannot be written.

    Args:
        machine: as above.
        dtype: number format.
        run: the run's folder.
        flops: those of a training step.
        ratio: of measured to predicted time.
    """
    with contextlib.suppress(OSError, RuntimeError):
        _keep(_file("pace", machine, dtype), latest_pace(machine, dtype).with_run(run, flops, ratio))


def latest_pace(machine: str, dtype: str) -> Pace:
    """What the last runs of a machine found; empty if none did."""
    return _latest("pace", machine, dtype, Pace) or Pace()


def keep_load(machine: str, who: str, times: float) -> None:
    """Keep how many times as long as predicted work took; nothing happens where it cannot be written.

    Args:
        machine: as above.
        who: the run's folder, or `CHECK`.
        times: of predicted time.
    """
    with contextlib.suppress(OSError, RuntimeError):
        _keep(_file("load", machine), latest_load(machine).with_seen(who, times))


def latest_load(machine: str) -> Load:
    """What the last runs and checks of a machine saw; empty if none did."""
    return _latest("load", machine, "", Load) or Load()


def _keep(file: Path, kept: Frozen) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, kept.model_dump_json())


def _latest(kind: str, machine: str, dtype: str, of: type[Kept]) -> Kept | None:
    try:
        return of.model_validate_json(_file(kind, machine, dtype).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValidationError):
        return None


def _file(kind: str, machine: str, dtype: str = "") -> Path:
    return state_folder() / kind / f"{'-'.join(filter(None, (machine, dtype)))}.json"
