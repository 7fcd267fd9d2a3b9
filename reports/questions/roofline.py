"""How near calls come to what this machine can do: attained FLOP/s over FLOPs per byte, under measured peak and bandwidth.

The roofline model: Williams, Waterman, Patterson, CACM 2009. FLOPs are causal; bytes are those that the recorded operators read
and write, as if no cache kept anything between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modbench.harness.core.case import ELEMENT_BYTES, Case
from modbench.harness.roofline.table import Point, Table, amount
from modbench.harness.roofline.work import Listed, Work
from modbench.reports.tables.attainable import RECORDED
from modbench.reports.tables.load import Loaded

# Metric of a time to the count that holds the call's FLOPs.
_FLOPS = {"latency/forward": "forward_causal", "latency/train_step": "train_step_causal"}
# A point measured in less time says little about a rate.
_LONG_ENOUGH_S = 1e-4


@dataclass(frozen=True)
class Roof:
    """What a machine can do at most.

    Attributes:
        flop_per_s: of the fastest matrix product.
        bytes_per_s: of the largest copy or elementwise operator, read and write.
    """

    flop_per_s: float
    bytes_per_s: float

    def at(self, intensity: float) -> float:
        """FLOP/s that are possible with so many FLOPs per byte."""
        return min(self.flop_per_s, self.bytes_per_s * intensity)


@dataclass(frozen=True)
class Placed:
    """One call under the roof.

    Attributes:
        case: what was called.
        metric: of its time.
        intensity: FLOP per byte.
        flop_per_s: attained.
    """

    case: Case
    metric: str
    intensity: float
    flop_per_s: float


def roof(loaded: Loaded, dtype: str) -> Roof | None:
    """Return the measured roof for a number format; None where no peaks by shape were measured."""
    table = loaded.tables.rooflines.get(dtype)
    return None if table is None else roof_of(table)


def roof_of(table: Table) -> Roof | None:
    """Return the roof in a table of peaks by shape: its fastest long product, and its largest elementwise operator."""
    products = [_rate(point) for point in table.points if "product" in point.kind and point.seconds >= _LONG_ENOUGH_S]
    copies = [point for point in table.points if point.kind == "pointwise"]
    if not products or not copies:
        return None
    return Roof(2 * max(products), _rate(max(copies, key=lambda point: point.size)))


def _rate(point: Point) -> float:
    return amount(point.size) / point.seconds


def placed(loaded: Loaded, arms: Sequence[Case], lengths: Sequence[int]) -> list[Placed]:
    """Return the calls of these arms whose time, FLOPs and operators are known."""
    cases = {case.id: case for case in loaded.run.plan.cases}
    found = []
    for metric, flops in _FLOPS.items():
        for arm in arms:
            for length in lengths:
                row = loaded.case(arm.arm, metric, length)
                if row is None or row.status != "ok":
                    continue
                case = cases[row.case_id]
                notes = loaded.tables.counted(case)
                done, call = getattr(notes, flops), getattr(notes, RECORDED[metric])
                if done and call is not None:
                    moved = bytes_of(call, ELEMENT_BYTES[case.place.dtype])
                    found.append(Placed(case, metric, done / moved, done / float(row.value)))
    return found


def bytes_of(call: Listed, element: int) -> float:
    """Bytes that the operators of a call read and write, with elements of so many bytes."""
    return float(sum(work.calls * _bytes(work, element) for work in call.work))


def _bytes(work: Work, element: int) -> int:
    if work.kind == "view":
        return 0
    if work.kind == "optimizer" or len(work.size) == 1:
        return work.size[0]
    if "attention" in work.kind:
        heads, *extents, width = work.size
        # Queries and their results, keys and values; of causal attention the product of the extents is known.
        rows = 4 * round(extents[0] ** 0.5) if len(extents) == 1 else 2 * sum(extents)
        # The backward pass reads the four again with the gradient, and writes three gradients.
        return element * heads * rows * width * (2 if "backward" in work.kind else 1)
    batch, rows, inner, columns = work.size
    return element * batch * (rows * inner + inner * columns + rows * columns)
