"""What passes find out that belongs to no metric."""

from __future__ import annotations

from modbench.harness.core.frozen import Frozen
from modbench.harness.results.notes import Notes


class PeakFinding(Notes):
    """What the machine did at its best.

    Attributes:
        device: `cpu` or `cuda`.
        dtype: number format.
        threads: CPU threads.
        flop_per_s: of the fastest matrix product.
        shape: of that product.
        bytes_per_s: of the fastest copy, read and write.
        how: in words.
    """

    device: str
    dtype: str
    threads: int
    flop_per_s: float
    shape: str
    bytes_per_s: float
    how: str


class RangeTime(Frozen):
    """Time of a named range of a call.

    Attributes:
        calls: how often it was entered.
        seconds: in all.
        own_seconds: ranges inside it left out.
    """

    calls: float
    seconds: float
    own_seconds: float


class OperatorTime(Frozen):
    """Time of an operator in a call.

    Attributes:
        name: torch's.
        calls: how often.
        own_seconds: operators that it calls left out.
    """

    name: str
    calls: float
    own_seconds: float


class ProfileFinding(Notes):
    """One case taken apart.

    Attributes:
        case: id.
        workload: what was called.
        wall_s: seconds of an unwatched call.
        ranges: name of a range to its time.
        components: component to seconds; they add up to the call.
        operators: the slowest.
        trace: where the trace was written.
        flops: module path to FLOPs of a forward pass; empty: the model.
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
