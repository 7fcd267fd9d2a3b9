"""A machine's certificate: how often it called two identical models different, pooled over all checks made on it.

Each check is a file under the user's state folder (`core/user_folders.py`), by a fingerprint of the machine, device and
threads. A verdict needs 100 comparisons: at 20 a fit machine would be refused 7.5 % of the time and a bad one passed 21 %.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from modbench.harness.core import user_folders
from modbench.harness.core.files import now, write_atomically
from modbench.harness.machine import cuda_driver

# Above this rate of false positives a machine is unfit: its times gate nothing.
LIMIT = 0.10
ENOUGH = 100


@dataclass(frozen=True)
class Certificate:
    """Results of all checks of a machine, pooled.

    Attributes:
        machine: its fingerprint.
        comparisons: A/A comparisons, all checks together.
        hits: comparisons whose interval excluded no difference.
        low: lower end of the exact 95 % interval of the rate.
        high: upper end.
        mde: median minimum detectable effect of a comparison.
        mde_cpu: the same in CPU time of the thread; None where that was not measured.
        width: median width of an interval, as a share.
        disturbed: mean share of disturbed blocks.
        checks: number of checks.
        last: when the last one was made.
    """

    machine: str
    comparisons: int
    hits: int
    low: float
    high: float
    mde: float | None
    mde_cpu: float | None
    width: float | None
    disturbed: float
    checks: int
    last: str

    @property
    def rate(self) -> float:
        """Share of false positives."""
        return self.hits / self.comparisons

    @property
    def verdict(self) -> str:
        """`undecided` below 100 comparisons; else `unfit` if the interval lies above 10 %, `fit` up to 10 %, else `doubtful`."""
        if self.comparisons < ENOUGH:
            return "undecided"
        if self.low > LIMIT:
            return "unfit"
        return "fit" if self.rate <= LIMIT else "doubtful"

    def in_words(self) -> str:
        """One line: `fit: 4 of 100 identical pairs called different (4.0 %, 95 % interval 1.1–9.9 %)`."""
        return (
            f"{self.verdict}: {self.hits} of {self.comparisons} identical pairs called different "
            f"({self.rate:.1%}, 95 % interval {100 * self.low:.1f}–{100 * self.high:.1f} %)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for run.json, with rate and verdict."""
        return {**self.__dict__, "rate": self.rate, "verdict": self.verdict}


def from_dict(data: Mapping[str, Any]) -> Certificate:
    """Read a certificate from run.json."""
    return Certificate(**{name: data[name] for name in Certificate.__dataclass_fields__})


def fingerprint(environment: Mapping[str, Any], device: str, threads: int) -> str:
    """Identify a machine and its use: processor, cores, memory; host and threads, or the GPU that is used.

    A GPU is identified by its UUID, not by the host's name, which is another one in every container; the other GPUs of a node
    do not matter. Without the CUDA driver's answer all GPUs and the choice among them identify it.
    """
    uuids = sorted(str(gpu.get("uuid")) for gpu in environment["gpu"]["devices"])
    hardware = (environment["cpu"], environment["cores"], environment["memory_bytes"])
    parts: tuple[Any, ...] = (platform.node(), *hardware, uuids)
    if device == "cuda":
        used = cuda_driver.uuid_in_use()
        choice = [os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")]
        parts = (*parts, choice) if used is None else (*hardware, used)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return f"{digest}-{device}{threads if device == 'cpu' else ''}"


def state_folder() -> Path:
    """The folder that holds the checks of all machines."""
    return user_folders.state()


def keep(machine: str, comparisons: Sequence[Mapping[str, Any]]) -> Path:
    """Save a check: one entry for each comparison, with `hit`, `mde`, `mde_cpu`, `width` and `disturbed`."""
    folder = state_folder() / "machines" / machine
    folder.mkdir(parents=True, exist_ok=True)
    made = now()
    # Checks within one second, or in two containers with equal process ids, must not replace each other.
    file = folder / f"{made.replace(':', '')}-{uuid4().hex[:8]}.json"
    write_atomically(file, json.dumps({"made": made, "comparisons": list(comparisons)}, indent=1))
    return file


def forget(machine: str) -> int:
    """Delete all checks of a machine; returns their number."""
    files = list((state_folder() / "machines" / machine).glob("*.json"))
    for file in files:
        file.unlink()
    return len(files)


def pooled(machine: str) -> Certificate | None:
    """Pool all checks of a machine; None if it was never checked."""
    checks, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for file in sorted((state_folder() / "machines" / machine).glob("*.json")):
        try:
            check = json.loads(file.read_text(encoding="utf-8"))
            found = [
                row | {"hit": bool(row["hit"]), "disturbed": float(row["disturbed"])} for row in check["comparisons"]
            ]
            str(check["made"])
        except (OSError, ValueError, TypeError, LookupError):
            continue  # truncated or foreign: a file that cannot be read does not count
        checks.append(check)
        rows += found
    if not rows:
        return None
    from modbench.harness.stats.effects import share_interval

    hits = sum(row["hit"] for row in rows)
    low, high = share_interval(hits, len(rows))
    return Certificate(
        machine,
        len(rows),
        hits,
        low,
        high,
        mde=_median(rows, "mde"),
        mde_cpu=_median(rows, "mde_cpu"),
        width=_median(rows, "width"),
        disturbed=sum(row["disturbed"] for row in rows) / len(rows),
        checks=len(checks),
        last=str(checks[-1]["made"]),
    )


def _median(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [row[key] for row in rows if row.get(key) is not None]
    return median(known) if known else None
