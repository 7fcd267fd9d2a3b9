"""How near calls come to what this machine can do: attained FLOP/s over FLOPs per byte, under measured peak and bandwidth.

The roofline model: Williams, Waterman, Patterson, CACM 2009. FLOPs are causal; bytes are those that the recorded operators read
and write, as if no cache kept anything between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.domain.case import ELEMENT_BYTES, Case
from modbench.harness.roofline.table import Point, amount
from modbench.harness.roofline.table import Table as Peaks
from modbench.harness.roofline.work import Listed as Operators
from modbench.harness.roofline.work import Work
from modbench.reports.figures.style import INK, Marks, draw_dots, headline, new_figure
from modbench.reports.model import Estimate, Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.comparisons import RECORDED
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import WORKLOADS, short
from modbench.reports.writers.number_format import plain, typed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """One call under the roof: its intensity in FLOP per byte, and the FLOP/s that it attained."""

    case: Case
    metric: str
    intensity: float
    flop_per_s: float


def roof_of(table: Peaks) -> Roof | None:
    """Return the roof in a table of peaks by shape: its fastest long product, and its largest elementwise operator."""
    products = [
        _point_rate(point) for point in table.points if "product" in point.kind and point.seconds >= _LONG_ENOUGH_S
    ]
    copies = [point for point in table.points if point.kind == "pointwise"]
    if not products or not copies:
        return None
    return Roof(2 * max(products), _point_rate(max(copies, key=lambda point: point.size)))


def _point_rate(point: Point) -> float:
    return amount(point.size) / point.seconds


def placed(loaded: Loaded, arms: Sequence[Case], lengths: Sequence[int]) -> Iterator[Placed]:
    """Yield the calls of these arms whose time, FLOPs and operators are known."""
    for metric, arm, length in itertools.product(_FLOPS, arms, lengths):
        row = loaded.case(arm.arm, metric, length)
        if row is None or row.status != "ok":
            continue
        case = loaded.cases_by_id[str(row.case_id)]
        notes = loaded.tables.counted(case)
        done, call = getattr(notes, _FLOPS[metric]), getattr(notes, RECORDED[metric])
        if done and call is not None:
            moved = bytes_of(call, ELEMENT_BYTES[case.place.dtype])
            yield Placed(case, metric, done / moved, done / float(row.value))


def bytes_of(call: Operators, element: int) -> float:
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


def render(loaded: Loaded) -> list[Figure]:
    """Draw one mark per arm, length and workload, larger for longer; left out where no roof was measured."""
    dtype = loaded.suite.grid.dtype[0]
    table = loaded.tables.rooflines.get(dtype)
    limit = None if table is None else roof_of(table)
    if limit is None or loaded.sizes_differ:
        return []
    arms = loaded.shown
    calls = [each for each in placed(loaded, arms, loaded.lengths_shown) if each.case.place.dtype == dtype]
    if not calls:
        return []
    sides = [(metric, some) for metric in WORKLOADS if (some := [each for each in calls if each.metric == metric])]
    made, axes = new_figure(5.2, 3.4, len(sides), share_y=True)
    headline(made, "attained FLOP/s (higher is better)")
    marks = Marks()
    for axis, (metric, some) in zip(axes, sides, strict=True):
        _draw(axis, loaded, some, limit, marks)
        axis.set_title(WORKLOADS[metric])
    _ends(axes, calls, limit)
    data = pd.DataFrame(
        [
            {"case_id": each.case.id, "arm": each.case.arm, "seq_len": each.case.place.seq_len, "metric": each.metric}
            | {"intensity": each.intensity, "flop_per_s": each.flop_per_s, "roof_flop_per_s": limit.at(each.intensity)}
            for each in calls
        ]
    )
    label = "Attained FLOP/s over FLOPs per byte, under measured peak and bandwidth"
    flop, moved = _per_second(limit.flop_per_s, "FLOP"), _per_second(limit.bytes_per_s, "B")
    caption = Sentence("Roof: {flop}, {bytes}.", flop=flop, bytes=moved)
    return [Figure("roofline", made, label, caption, data, len(sides) > 1, marks, arms)]


def _draw(axis: Axes, loaded: Loaded, calls: Sequence[Placed], limit: Roof, marks: Marks) -> None:
    sizes = {length: (3.5 + 1.6 * i) ** 2 for i, length in enumerate(loaded.lengths_shown)}
    dots = []
    for each in calls:
        said = Sentence(
            "{arm}, {workload}, T = {length}: {rate} at {intensity} FLOP/B, {share} of the roof",
            arm=short(each.case),
            workload=WORKLOADS[each.metric],
            length=each.case.place.seq_len,
            rate=_per_second(each.flop_per_s, "FLOP"),
            intensity=Estimate(each.intensity),
            share=Estimate(round(each.flop_per_s / limit.at(each.intensity), 2), kind="share"),
        )
        dots.append((each.intensity, each.flop_per_s, sizes[each.case.place.seq_len], each.case, plain(said)))
    draw_dots(axis, dots, marks)
    axis.set_xlabel("FLOPs per byte")


def _ends(axes: Sequence[Axes], calls: Sequence[Placed], limit: Roof) -> None:
    """Draw the roof, with the same ends of the axes in each figure."""
    ridge = limit.flop_per_s / limit.bytes_per_s
    xs, ys = [each.intensity for each in calls], [each.flop_per_s for each in calls]
    low, high = min(*xs, ridge) / 1.4, max(*xs, ridge) * 1.4
    bottom, top = min(*ys, limit.at(low)) / 1.2, max(*ys, limit.flop_per_s) * 1.4

    def rate(flops: float) -> str:
        return plain(_per_second(flops, "FLOP"))

    for axis in axes:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(low, high)
        axis.set_ylim(bottom, top)
        axis.plot([low, ridge, high], [limit.at(low), limit.flop_per_s, limit.flop_per_s], color=INK, linewidth=1.4)
        for place, ends, text in ((axis.xaxis, (low, high), typed), (axis.yaxis, (bottom, top), rate)):
            ticks = [
                step * 10**power
                for power in range(-3, 19)
                for step in (1, 2, 5)
                if ends[0] <= step * 10**power <= ends[1]
            ]
            place.set_ticks(ticks, [text(tick) for tick in ticks])
            place.set_ticks([], minor=True)


def _per_second(value: float, unit: str) -> Sentence:
    return Sentence("{value}/s", value=Estimate(value, unit=unit))


READING = (
    "Each mark is one call: sideways how many FLOPs it computes for each byte that it moves, upwards how fast it computed; "
    "larger marks are longer sequences. Nothing can lie above the lines: the slope is the memory's measured peak (the "
    "largest elementwise operator, caches ignored), the flat part the processor's (the fastest product). A mark far below "
    "both lost time to something else, such as small products or the start of kernels. It does not say what that was."
)

PANEL = Panel(title="How busy is the machine?", order=58, span=5, render=render, draws=True, reading=READING)
