"""Findings of passes that belong to no metric."""

from __future__ import annotations

from pydantic import Field

from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.notes import Notes
from modbench.harness.roofline.table import Table


class PeakFinding(Notes):
    """The machine's measured peak.

    Attributes:
        device: `cpu` or `cuda`.
        dtype: number format.
        threads: CPU threads.
        flop_per_s: FLOP/s of the fastest matrix product.
        shape: shape of that product.
        bytes_per_s: B/s of the fastest copy, read and write.
        how: how it was measured, in words.
    """

    device: str
    dtype: str
    threads: int
    flop_per_s: float = Field(gt=0)
    shape: str
    bytes_per_s: float = Field(gt=0)
    how: str


class RooflineFinding(Notes):
    """The machine's measured peaks by shape.

    Attributes:
        table: times by kind of operator and size.
        not_kept: why later plans will not know it; None: it was kept.
        reused: whether an earlier run or `modbench doctor` measured it on this machine, within the last day.
    """

    table: Table
    not_kept: str | None = None
    reused: bool = False


class WithoutOwnFinding(Notes):
    """A launch of the shipped arms in a process without the user's code.

    Attributes:
        samples: raw samples by metric, case and column, as those of other launches.
        blocks: what witnesses saw of its blocks, by column.
        reason: why an arm has no samples; None: all have.
    """

    samples: dict[str, dict[str, dict[str, list[float]]]]
    blocks: dict[str, list[float]]
    reason: str | None = None


class RangeTime(Frozen):
    """Time of a named range of a call.

    Attributes:
        calls: how often it was entered.
        seconds: total time.
        own_seconds: time without ranges inside it.
    """

    calls: float
    seconds: float
    own_seconds: float


class OperatorTime(Frozen):
    """Time of an operator in a call.

    Attributes:
        name: torch's name of it.
        calls: number of calls.
        own_seconds: time without operators that it calls.
    """

    name: str
    calls: float
    own_seconds: float


class ProfileFinding(Notes):
    """Profile of one case.

    Attributes:
        case: case id.
        workload: what was called.
        wall_s: seconds of a call without the profiler.
        ranges: name of a range to its time.
        components: component to seconds; they add up to the call.
        operators: the slowest operators.
        trace: path of the trace.
        flops: module path to FLOPs of a forward pass; the empty path is the model.
        bytes: module path to bytes read and written.
        kept: module path to bytes kept for the backward pass.
        peak: the machine's peak.
    """

    case: str
    workload: str
    wall_s: float
    ranges: dict[str, RangeTime]
    components: dict[str, float]
    operators: tuple[OperatorTime, ...]
    trace: str | None
    flops: dict[str, float]
    bytes: dict[str, float]
    kept: dict[str, float]
    peak: PeakFinding
