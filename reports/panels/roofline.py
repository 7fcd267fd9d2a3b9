"""How near calls come to what this machine can do: attained FLOP/s over FLOPs per byte, under measured peak and bandwidth.

The roofline model: Williams, Waterman, Patterson, CACM 2009. FLOPs are causal; bytes are those that the recorded operators read
and write, as if no cache kept anything between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pandas as pd

from modbench.harness.domain.case import ELEMENT_BYTES
from modbench.harness.roofline.table import Point, amount
from modbench.harness.roofline.table import Table as Peaks
from modbench.harness.roofline.work import Listed as Operators
from modbench.harness.roofline.work import Work
from modbench.reports.figures.style import INK, Marks, draw_dots, headline, new_figure
from modbench.reports.model import Estimate, Figure, Sentence
from modbench.reports.panel import Panel
from modbench.reports.tables.comparisons import RECORDED
from modbench.reports.tables.load import Loaded, Row
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


def calls(loaded: Loaded, limit: Roof, dtype: str) -> pd.DataFrame:
    """Return the calls in a number format whose time, FLOPs and operators are known, of the arms and lengths that are shown."""
    found = []
    for metric, arm, length in itertools.product(_FLOPS, loaded.shown, loaded.lengths_shown):
        row = loaded.case(arm.arm, metric, length)
        if row is None or row.status != "ok" or row.dtype != dtype:
            continue
        case = loaded.cases_by_id[str(row.case_id)]
        notes = loaded.tables.counted(case)
        done, call = getattr(notes, _FLOPS[metric]), getattr(notes, RECORDED[metric])
        if done and call is not None:
            intensity = done / bytes_of(call, ELEMENT_BYTES[case.place.dtype])
            found.append(
                {"case_id": case.id, "arm": case.arm, "seq_len": length, "metric": metric, "intensity": intensity}
                | {"flop_per_s": done / float(row.value), "roof_flop_per_s": limit.at(intensity)}
            )
    return pd.DataFrame(found)


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
    data = calls(loaded, limit, dtype)
    if data.empty:
        return []
    sides = data.groupby("metric", sort=False)
    made, axes = new_figure(5.2, 3.4, len(sides), share_y=True)
    headline(made, "attained FLOP/s (higher is better)")
    marks = Marks()
    for axis, (metric, some) in zip(axes, sides, strict=True):
        _draw(axis, loaded, some, marks)
        axis.set_title(WORKLOADS[str(metric)])
    _ends(axes, data, limit)
    label = "Attained FLOP/s over FLOPs per byte, under measured peak and bandwidth"
    flop, moved = _per_second(limit.flop_per_s, "FLOP"), _per_second(limit.bytes_per_s, "B")
    caption = Sentence("Roof: {flop}, {bytes}.", flop=flop, bytes=moved)
    return [Figure("roofline", made, label, caption, data, len(sides) > 1, marks, loaded.shown)]


def _draw(axis: Axes, loaded: Loaded, some: pd.DataFrame, marks: Marks) -> None:
    sizes = {length: (3.5 + 1.6 * i) ** 2 for i, length in enumerate(loaded.lengths_shown)}
    dots, rows = [], cast("Iterator[Row]", some.itertuples(index=False))
    for row in rows:
        case = loaded.cases_by_id[row.case_id]
        said = Sentence(
            "{arm}, {workload}, T = {length}: {rate} at {intensity} FLOP/B, {share} of the roof",
            arm=short(case),
            workload=WORKLOADS[row.metric],
            length=row.seq_len,
            rate=_per_second(row.flop_per_s, "FLOP"),
            intensity=Estimate(row.intensity),
            share=Estimate(round(row.flop_per_s / row.roof_flop_per_s, 2), kind="share"),
        )
        dots.append((row.intensity, row.flop_per_s, sizes[row.seq_len], case, plain(said)))
    draw_dots(axis, dots, marks)
    axis.set_xlabel("FLOPs per byte")


def _ends(axes: Sequence[Axes], data: pd.DataFrame, limit: Roof) -> None:
    """Draw the roof, with the same ends of the axes in each figure."""
    ridge = limit.flop_per_s / limit.bytes_per_s
    low, high = min(data.intensity.min(), ridge) / 1.4, max(data.intensity.max(), ridge) * 1.4
    bottom = min(data.flop_per_s.min(), limit.at(low)) / 1.2
    top = max(data.flop_per_s.max(), limit.flop_per_s) * 1.4
    scales: tuple[tuple[float, float, Callable[[float], str]], ...]
    scales = ((low, high, typed), (bottom, top, lambda flops: plain(_per_second(flops, "FLOP"))))
    for axis in axes:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(low, high)
        axis.set_ylim(bottom, top)
        axis.plot([low, ridge, high], [limit.at(low), limit.flop_per_s, limit.flop_per_s], color=INK, linewidth=1.4)
        for place, (least, most, text) in zip((axis.xaxis, axis.yaxis), scales, strict=True):
            ticks = [step * 10.0**power for power in range(-3, 19) for step in (1, 2, 5)]
            shown = [tick for tick in ticks if least <= tick <= most]
            place.set_ticks(shown, [text(tick) for tick in shown])
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
