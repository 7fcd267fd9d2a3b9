"""From the theoretical time to the measured one, part by part, as shares of the baseline's time.

Let I be the theoretical speed-up, P the seconds that operators take at this machine's measured peaks by shape
(`harness/machine/roofline/table.py`), of the variant (A) and of the baseline (D), and t the measured times. The theoretical
share is 1/I, the predicted one P_A / P_D, the measured one t_A / t_D. Of the first gap each group g of operators takes
(P_gA - P_gD / I) / P_D: what it costs beyond its theoretical share. The groups add up to the gap. Products and attention,
which have FLOPs, are divided once more: what products cost because the variant's are of other shapes, at equal FLOPs, is
P_pA - P_pD f_A / f_D, with f their multiply-adds. The second gap is not explained by operators.

On a GPU no peaks by shape are measured. There the time in which the device waited for the host is known, from events, and
is the only part that can be separated: the starts of operators. What is left is spent on the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.extend import (
    INK,
    MAP,
    MAP_INK,
    MUTED,
    PAPER,
    RECORDED,
    WORKLOADS,
    CallWork,
    Case,
    Estimate,
    Figure,
    Finding,
    Label,
    Loaded,
    Mark,
    Marks,
    PeakTable,
    Section,
    Sentence,
    TimeNotes,
    Work,
    amount,
    first_variant,
    grouped,
    headline,
    in_title,
    is_number,
    look,
    name_rows,
    new_figure,
    of_pair,
    plain,
    short_variant_name,
    ticks,
    variant_name,
)
from modbench.extend import (
    line_beside as beside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUTER, PRODUCTS, ATTENTION, LAUNCHES = "router", "small products", "attention, mix of FLOPs", "kernel launches"
OTHER = "norms, elementwise"
# Parts by kind of operator; what is neither here nor a product nor attention is `OTHER`.
_BY_KIND = {
    "top_k": "top-k and sort",
    "sort": "top-k and sort",
    "index": "gather",
    "look_up": "gather",
    "scatter": "scatter",
    "optimizer": "optimizer",
}
ORDER = (ROUTER, "top-k and sort", "gather", "scatter", PRODUCTS, ATTENTION, OTHER, "optimizer", LAUNCHES)


UNEXPLAINED, ON_DEVICE, MEASURED = "unexplained", "on the device", "measured"
# More time, and less.
SLOWER, FASTER = MAP[1], MAP[7]
# Columns of the figure's data.
COLUMNS = ["variant", "baseline_variant", "seq_len", "metric", "part", "from_share", "to_share"]
# Name, start and end of a row; a sum starts where it ends.
Step: TypeAlias = tuple[str, float, float]


@dataclass(frozen=True)
class Fall:
    """One variant's time against the baseline's, at one place.

    Attributes:
        found: the variant, the baseline, and the share of the baseline's time that was measured; without a verdict on it
            nothing is claimed, and no bar has the colour of one.
        seconds: measured time of the baseline's call.
        promised: share of it that FLOPs promise.
        parts: what is predicted to be added, by name, in `ORDER`; those that neither variant has are left out.
        predicted: whether the parts are predicted from operators; else they are measured.
    """

    found: Finding
    seconds: float
    promised: float
    parts: dict[str, float]
    predicted: bool = True

    @property
    def baseline(self) -> Case:
        """What the variant is compared with."""
        assert isinstance(self.found.against, Case)
        return self.found.against

    @property
    def measured(self) -> float:
        """Share that was measured, without its interval."""
        assert self.found.typical.value is not None, "times are known"
        return self.found.typical.value

    @property
    def predicted_share(self) -> float:
        """Share that the variant's operators take at this machine's peaks, or, of measured parts, the share without the rest."""
        return self.promised + sum(self.parts.values())

    @property
    def unexplained(self) -> float:
        """What was measured beyond that."""
        return self.measured - self.predicted_share


def fall(loaded: Loaded, variant: str, metric: str, seq_len: int) -> Fall | None:
    """Take the gap between theoretical speed-up and measured time apart.

    None where times, operators or the machine's peaks are not known.
    """
    row, field = loaded.pair(variant, metric, seq_len), RECORDED.get(metric)
    if row is None or field is None or not is_number(row.ratio) or not is_number(row.theoretical):
        return None
    found, promised = of_pair(loaded, row), 1 / float(row.theoretical)
    case, baseline = (loaded.cases_by_id[str(each)] for each in (row.case_id, row.baseline_case_id))
    seconds = loaded.value(baseline.variant, metric, seq_len)
    if seconds is None:
        return None
    share = replace(found, typical=replace(found.typical.mirrored(), kind="share"))
    table = loaded.tables.rooflines.get(case.grid_point.dtype)
    mine, theirs = (getattr(loaded.tables.counted(side), field) for side in (case, baseline))
    if table is not None and mine is not None and theirs is not None and table.lacks(mine, theirs) is None:
        return Fall(share, seconds, promised, parts_of(table, mine, theirs, promised))
    waited, base = (_waited(loaded, side, metric) for side in (case, baseline))
    if waited is None or base is None:
        return None
    return Fall(share, seconds, promised, {LAUNCHES: waited / float(row.ratio) - base * promised}, predicted=False)


def _waited(loaded: Loaded, case: Case, metric: str) -> float | None:
    """Share of a call in which the device waited for the host: the median over processes; None if one is not known."""
    shares = [notes.device_share for notes in loaded.tables.notes_of(case, metric, TimeNotes)]
    known = [share for share in shares if share is not None]
    return max(0.0, 1 - median(known)) if known and len(known) == len(shares) else None


def parts_of(table: PeakTable, mine: CallWork, theirs: CallWork, promised: float) -> dict[str, float]:
    """Return what each part adds to the promised share of the baseline's time; together they lead to the predicted share."""
    narrowest = min((_width(work) for work in theirs.work if _is_product(work)), default=0)
    ours, base = (_seconds(table, side, narrowest) for side in (mine, theirs))
    whole = sum(base.values())
    # Of the baseline's groups the promised share is already there.
    parts = {name: (ours.get(name, 0.0) - base.get(name, 0.0) * promised) / whole for name in {**base, **ours}}
    worked = [_multiplied(side, narrowest) for side in (mine, theirs)]
    if PRODUCTS in parts and all(worked):
        at_equal_flops = base[PRODUCTS] * worked[0] / worked[1]
        moved = (at_equal_flops - base[PRODUCTS] * promised) / whole
        parts[PRODUCTS] -= moved
        parts[ATTENTION] = parts.get(ATTENTION, 0.0) + moved
    return {name: parts[name] for name in ORDER if name in parts}


def _seconds(table: PeakTable, call: CallWork, narrowest: int) -> dict[str, float]:
    """Seconds by part; starts of operators, views included, are a part of their own."""
    launch, view = (table.training_launch_s, table.training_view_s) if call.training else (table.launch_s, table.view_s)
    taken = grouped((_part(work, narrowest), work.calls * table.of(work)) for work in call.work if work.kind != "view")
    return {LAUNCHES: call.launches * launch + call.views * view} | {part: sum(each) for part, each in taken.items()}


def _part(work: Work, narrowest: int) -> str:
    if _is_product(work):
        return ROUTER if _width(work) < narrowest else PRODUCTS
    return ATTENTION if "attention" in work.kind else _BY_KIND.get(work.kind, OTHER)


def _is_product(work: Work) -> bool:
    return work.kind in {"product", "product_of_transposed"}


def _width(work: Work) -> int:
    """The smaller extent of a product's weights: the gradient of weights sums over rows, the other products keep them."""
    _, rows, inner, columns = work.size
    return min(rows if work.kind == "product_of_transposed" else inner, columns)


def _multiplied(call: CallWork, narrowest: int) -> float:
    """Multiply-adds of the products that are not the router's."""
    return sum(each.calls * amount(each.size) for each in call.work if _part(each, narrowest) == PRODUCTS)


def render(loaded: Loaded) -> list[Figure]:
    """Take each workload apart, of the variant that the report shows first at the longest length."""
    first = first_variant(loaded)
    if first is None or not loaded.lengths or loaded.sizes_differ:
        return []
    made = (fall(loaded, first.variant, metric, loaded.lengths[-1]) for metric in WORKLOADS)
    return [_figure(each) for each in made if each is not None]


def _figure(each: Fall) -> Figure:
    found, baseline, rows = each.found, each.baseline, _steps(each)
    case, grid_point, workload = found.case, found.grid_point, WORKLOADS[found.metric]
    made, (axis,) = new_figure(4.5, 0.7 + 0.21 * len(rows))
    headline(made, f"{workload}: time, % of {in_title(baseline)}'s (further left is better)")
    marks = Marks()
    _draw(axis, each, rows, marks)
    drawn = [(case.variant, baseline.variant, grid_point.seq_len, found.metric, *row) for row in rows]
    data = pd.DataFrame(drawn, columns=COLUMNS)
    words = "{variant} at T = {T}, B = {B}: measured {measured}" + f" {Label.BY_CPU}" * found.by_cpu + "."
    where = {"T": grid_point.seq_len, "B": grid_point.batch_size}
    caption = Sentence(words, variant=case, **where, measured=found.typical)
    label = f"From theoretical to measured time of {variant_name(case)}, part by part: {workload}"
    identity = f"waterfall-{found.metric.partition('/')[2]}"
    return Figure(identity, made, label, caption, data, marks=marks, least=430)


def _steps(each: Fall) -> list[Step]:
    ends = [*itertools.accumulate(each.parts.values(), initial=each.promised)]
    first, last = ends[0], ends[-1]
    rows = [(in_title(each.baseline), 1.0, 1.0), ("FLOPs saved", 1.0, first), ("theoretical", first, first)]
    rows += [*zip(each.parts, ends, ends[1:], strict=False), *[("predicted", last, last)] * each.predicted]
    remainder = UNEXPLAINED if each.predicted else ON_DEVICE
    return [*rows, (remainder, last, each.measured), (MEASURED, each.measured, each.measured)]


def _draw(axis: Axes, each: Fall, rows: Sequence[Step], marks: Marks) -> None:
    low, high = _ends(each, rows)
    axis.set_xlim(low, high)
    claimed, case, interval = each.found.verdict is not None, each.found.case, each.found.typical.ends
    said = [
        _total(each, end) if start == end else plain(Estimate(end - start, kind="difference", unit="%"))
        for _, start, end in rows
    ]
    steps = [y for y, (_, start, end) in enumerate(rows) if start != end]
    sums = [y for y, (_, start, end) in enumerate(rows) if start == end and low <= end <= high]
    for y in steps:
        part, start, end = rows[y]
        color = MUTED if not claimed else SLOWER if end > start else FASTER
        (bar,) = axis.barh(y, end - start, left=start, height=0.66, color=color, edgecolor=INK, linewidth=0.4)
        marks.name(bar, Mark(f"{part}: {said[y]} of {short_variant_name(each.baseline)}'s time", case.variant))
        if part in {UNEXPLAINED, ON_DEVICE}:
            bar.set(facecolor="none", hatch="////", linewidth=0.8)
    ends = [rows[y][2] for y in sums]
    # A hairline leads from each sum down to where the next parts start.
    axis.vlines(ends, sums, len(rows) - 0.5, color=MUTED, linewidth=0.5)
    if high < 1:
        color = MAP_INK[7] if claimed else PAPER
        axis.annotate(
            "from 100 %", (high, 1), (-4, 0), textcoords="offset points", ha="right", va="center", color=color
        )
    style = look(case)
    if interval is not None:
        axis.plot(interval, [len(rows) - 1] * 2, color=style.color, linewidth=1.4, alpha=0.7)
    colors = [style.color if rows[y][0] == MEASURED else MUTED for y in sums]
    drawn = axis.scatter(ends, sums, s=34, marker="D", color=colors, zorder=3)
    marks.name(drawn, *(Mark(f"{rows[y][0]}: {said[y]}", case.variant) for y in sums))
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.locator_params(axis="x", nbins=5, min_n_ticks=3)
    name_rows(axis, [part for part, *_ in rows], 0.5)
    for y, text in enumerate(said):
        beside(axis, y, text, MUTED if y in steps else INK)


def _ends(each: Fall, rows: Sequence[Step]) -> tuple[float, float]:
    """The ends of the axis: what FLOPs save may leave the frame, since it would make all other parts too small to see."""
    core = [end for *_, end in rows[2:]]
    span = max(0.03, max(core) - min(core))
    low, high = min(core) - 0.15 * span, max(core) + 0.5 * span
    if each.found.typical.ends is not None:
        least, most = each.found.typical.ends
        low, high = min(low, max(least, low - span / 2)), max(high, min(most, high + span / 2))
    return low, (max(high, 1 + 0.1 * span) if high > 1 - 0.3 * span else high)


def _total(each: Fall, share: float) -> str:
    """A share, and the time that it comes to; of CPU time none, since the baseline's time is wall time."""
    share_, time = Estimate(share, kind="share"), Estimate(share * each.seconds, unit="s")
    return plain(Sentence("{share}" + ", {time}" * (not each.found.by_cpu), share=share_, time=time))


READING = (
    "Each bar is the time that one kind of work adds to the theoretical time, predicted from this machine's peaks; the hatched "
    "one is not explained. A long bar says where to look first, not that the time can be saved."
)

SECTION = Section(
    title="Did fewer FLOPs become less time?", order=42, span=12, render=render, draws=True, reading=READING
)
