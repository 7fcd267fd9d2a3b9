"""A machine's certificate: how often it called two identical models different, and how much processes differ; of all checks.

Each check is a file under the user's state folder (`core/atomic_files.py`), by a fingerprint of the machine, device and
threads. A verdict needs 100 comparisons: at 20, a machine that calls 5 % different would not be fit 7.5 % of the time, and one
that calls 20 % different would be 21 %; at 100 that is 1.1 and 0.6 %. The chances of each word: benchmarks/data/doctor_words.csv.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from pydantic import Field

from modbench.harness.core.atomic_files import NoHomeError, now, state_folder, write_atomically
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import per_cent, percent
from modbench.harness.machine import cuda_driver

if TYPE_CHECKING:
    from modbench.harness.stats.time_to_detect import Decision

# Above this rate of false positives a machine is unfit: its times gate nothing.
LIMIT = 0.10
ENOUGH = 100
# Above this minimum detectable effect at standard effort, equal A/A controls say little: a machine that sees nothing calls
# nothing different.
LARGEST_DETECTABLE = 0.03
# From the worst to the best.
VERDICTS = ("unfit", "inconclusive", "fit")
# Where a certificate is read from a run folder, its numbers must be such.
Whole = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Certificate:
    """Results of all checks of a machine, pooled.

    Attributes:
        machine: its fingerprint.
        comparisons: A/A comparisons, all checks together.
        hits: comparisons whose interval excluded no difference.
        low: lower end of the exact 95 % interval of the rate.
        high: upper end.
        detectable: median minimum detectable effect of a comparison.
        detectable_cpu: the same in CPU time of the thread; None where that was not measured.
        width: median width of an interval, as a share.
        noisy: mean share of noisy blocks.
        checks: number of checks.
        last: when the last one was made.
        processes: processes of a comparison at standard effort; None in certificates that do not say.
        process_sd: standard deviation of a log-ratio between processes, pooled over comparisons; None where it is not known.
        between_sd: the same without the error inside a process.
        block_sd: standard deviation of the log-ratio between blocks of a process (median).
        start_s: seconds of a process besides its rounds (median).
        round_s: seconds of a round (median).
    """

    machine: str
    comparisons: Annotated[int, Field(ge=1)]
    hits: Whole
    low: Size
    high: Size
    detectable: Size | None
    detectable_cpu: Size | None
    width: Size | None
    noisy: Size
    checks: Whole
    last: str
    processes: Whole | None = None
    process_sd: Size | None = None
    between_sd: Size | None = None
    block_sd: Size | None = None
    start_s: Size | None = None
    round_s: Size | None = None

    @property
    def rate(self) -> float:
        """Share of false positives."""
        return self.hits / self.comparisons

    @property
    def standard_detectable(self) -> float | None:
        """Minimum detectable effect at standard effort's processes, as a share; None where the spread is not known."""
        if self.process_sd is None or self.processes is None:
            return None
        from modbench.harness.stats.effects import detectable

        return math.expm1(detectable(self.process_sd, self.processes))

    @property
    def time_to_decide(self) -> Decision | None:
        """What a true +3 % takes to be called worse; None where that is not known, or more than 1,000 processes."""
        parts = (self.between_sd, self.block_sd, self.start_s, self.round_s)
        if None in parts:
            return None
        from modbench.harness.stats import time_to_detect

        return time_to_detect.time_to_decide(
            time_to_detect.Spread(*(float(part) for part in parts if part is not None))
        )

    @property
    def verdict(self) -> str:
        """What the machine is good for.

        `unfit` if the confidence interval of the rate lies above 10 %, which errs in 2.1 % of machines at 10 % at the first
        verdict, and in more where calls go on; `inconclusive` below 100 comparisons, if the rate itself is above 10 %, and if the
        minimum detectable effect at standard effort is above 3 % or not known; else `fit`.
        """
        if self.comparisons < ENOUGH:
            return "inconclusive"
        if self.low > LIMIT:
            return "unfit"
        if self.rate > LIMIT or self.standard_detectable is None:
            return "inconclusive"
        return "fit" if self.standard_detectable <= LARGEST_DETECTABLE else "inconclusive"

    def in_words(self) -> str:
        """One line: `fit: 4 of 100 identical pairs called different (4.0 %, 95 % confidence interval [1.1–9.9]); …`."""
        return (
            f"{self.verdict}: {self.hits} of {self.comparisons} identical pairs called different "
            f"({per_cent(self.rate)} %, 95 % confidence interval [{per_cent(self.low)}–{per_cent(self.high)}]); "
            f"smallest effect {self.effect_in_words()}"
        )

    def effect_in_words(self) -> str:
        """The minimum detectable effect at standard effort: `1.2 % at 6 processes`, or `not known`."""
        if self.standard_detectable is None:
            return "at standard effort not known"
        return f"{percent(self.standard_detectable)} at {self.processes} processes"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for run.json, with what follows from it."""
        decision = self.time_to_decide
        derived = {
            "rate": self.rate,
            "verdict": self.verdict,
            "standard_detectable": self.standard_detectable,
            "time_to_decide": None if decision is None else decision.__dict__,
        }
        return {**self.__dict__, **derived}


def from_dict(data: Mapping[str, Any]) -> Certificate:
    """Read a certificate from run.json, without what follows from it."""
    return Certificate(**{name: data[name] for name in Certificate.__dataclass_fields__ if name in data})


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


def check_folder() -> None:
    """Check that a result can be kept, before minutes are spent on it.

    Raises:
        UsageError: if the user has no home, or the folder cannot be written.
    """
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written ({error.strerror}), so the result could not be kept. Set MODBENCH_STATE to a folder "
            "that may be written."
        ) from error


def keep(machine: str, comparisons: Sequence[Mapping[str, Any]]) -> Path:
    """Save a check, for each comparison its `hit`, `detectable`, `detectable_cpu`, `width`, `noisy`, spread and costs."""
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


def pooled(machine: str, processes: int | None = None) -> Certificate | None:
    """Pool all checks of a machine; None if it was never checked, or nothing can be kept because the user has no home.

    Args:
        machine: its fingerprint.
        processes: processes of a comparison at standard effort; None leaves open whether they are enough.
    """
    checks, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    try:
        files = sorted((state_folder() / "machines" / machine).glob("*.json"))
    except NoHomeError:
        return None
    for file in files:
        try:
            check = json.loads(file.read_text(encoding="utf-8"))
            found = [
                row | {"hit": bool(row["hit"]), "noisy": float(row["noisy"]), "processes": int(row["processes"])}
                for row in check["comparisons"]
            ]
            str(check["made"])
        except (OSError, ValueError, TypeError, LookupError):
            continue  # truncated, foreign or of another version: a file that cannot be read does not count
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
        detectable=_median(rows, "detectable"),
        detectable_cpu=_median(rows, "detectable_cpu"),
        width=_median(rows, "width"),
        noisy=sum(row["noisy"] for row in rows) / len(rows),
        checks=len(checks),
        last=str(checks[-1]["made"]),
        processes=processes,
        process_sd=_pooled_sd(rows, "process_sd"),
        between_sd=_between_sd(rows),
        block_sd=_median(rows, "block_sd"),
        start_s=_median(rows, "start_s"),
        round_s=_median(rows, "round_s"),
    )


def _between_sd(rows: Sequence[dict[str, Any]]) -> float | None:
    """The spread between processes without the error inside them, taken out of the pool: single ones lie below it by chance."""
    from modbench.harness.stats.effects import MEDIAN_PENALTY

    known = [row for row in rows if row.get("blocks") and row.get("block_sd") is not None]
    whole = _pooled_sd(known, "process_sd")
    if whole is None:
        return None
    errors = [row | {"error_sd": MEDIAN_PENALTY * row["block_sd"] / math.sqrt(row["blocks"])} for row in known]
    return math.sqrt(max(0.0, whole**2 - (_pooled_sd(errors, "error_sd") or 0.0) ** 2))


def _pooled_sd(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Root of the mean variance, weighted by degrees of freedom; None if no comparison has it."""
    known = [(row["processes"] - 1, row[key] ** 2) for row in rows if row.get(key) is not None and row["processes"] > 1]
    if not known:
        return None
    return math.sqrt(sum(weight * variance for weight, variance in known) / sum(weight for weight, _ in known))


def _median(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [row[key] for row in rows if row.get(key) is not None]
    return median(known) if known else None
