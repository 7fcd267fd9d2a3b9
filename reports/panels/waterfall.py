"""From the time that FLOPs promise to the time that was measured, part by part, as shares of the baseline's time.

Let I be the ideal ratio, P the seconds that operators take at this machine's measured peaks by shape
(`harness/roofline/table.py`), of the arm (A) and of the baseline (D), and t the measured times. FLOPs promise the share 1/I;
attainable is P_A / P_D; measured is t_A / t_D. Of the first gap each group g of operators takes (P_gA - P_gD / I) / P_D: what
it costs beyond its promised share. The groups add up to the gap. Products and attention, which have FLOPs, are divided once
more: what products cost because the arm's are of other shapes, at equal FLOPs, is P_pA - P_pD f_A / f_D, with f their multiply-
adds. The second gap is not explained by operators.

On a GPU no peaks by shape are measured. There the time in which the device waited for the host is known, from events, and is the
only part that can be told apart: launches. What is left is spent on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.roofline.table import RATIO_ERROR, amount
from modbench.harness.roofline.table import Table as Peaks
from modbench.harness.roofline.work import Listed, Work
from modbench.reports.figures.axes import name_rows, ticks
from modbench.reports.figures.style import (
    INK,
    MAP,
    MAP_INK,
    MUTED,
    PAPER,
    Mark,
    Marks,
    beside,
    headline,
    look,
    new_figure,
)
from modbench.reports.model import Block, Estimate, Figure, Note, Sentence, Table, Value, is_number
from modbench.reports.panel import Panel
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.tables.comparisons import RECORDED, attainable_bias
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import WORKLOADS, in_title, name, short
from modbench.reports.writers.number_format import grid_point, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUTER, PRODUCTS, ATTENTION, LAUNCHES = "router", "small products", "attention, mix of FLOPs", "launches"
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


@dataclass(frozen=True)
class Fall:
    """One arm's time against the baseline's, at one place.

    Attributes:
        case: the arm.
        baseline: what it is compared with.
        seconds: measured time of the baseline's call.
        promised: share of it that FLOPs promise.
        parts: what is predicted to be added, by name, in `ORDER`; those that neither arm has are left out.
        share: share that was measured.
        predicted: whether the parts are predicted from operators; else they are measured.
        claimed: whether a verdict on the measured time says anything: without one, no bar has the colour of one.
        by_cpu: whether the measured share is one of CPU times.
    """

    case: Case
    baseline: Case
    seconds: float
    promised: float
    parts: dict[str, float]
    share: Estimate
    predicted: bool = True
    claimed: bool = True
    by_cpu: bool = False

    @property
    def measured(self) -> float:
        """Share that was measured, without its interval."""
        assert self.share.value is not None, "times are known"
        return self.share.value

    @property
    def attainable(self) -> float:
        """Share that the arm's operators take at the peaks of this machine, or, of measured parts, the share without the rest."""
        return self.promised + sum(self.parts.values())

    @property
    def unexplained(self) -> float:
        """What was measured beyond that."""
        return self.measured - self.attainable


def fall(loaded: Loaded, arm: str, metric: str, seq_len: int) -> Fall | None:
    """Take the gap between ideal and measured time apart; None where times, operators or the machine's peaks are not known."""
    row, field = loaded.pair(arm, metric, seq_len), RECORDED.get(metric)
    if row is None or field is None or not is_number(row.ratio) or not is_number(row.ideal):
        return None
    case, baseline = (loaded.cases_by_id[str(each)] for each in (row.case_id, row.baseline_case_id))
    seconds = loaded.value(baseline.arm, metric, seq_len)
    if seconds is None:
        return None
    ideal = float(row.ideal)
    found = of_row(row, case, baseline)
    share, claimed = replace(found.typical.mirrored(), kind="share"), found.verdict is not None
    table = loaded.tables.rooflines.get(case.place.dtype)
    mine, theirs = (getattr(loaded.tables.counted(side), field) for side in (case, baseline))
    if table is not None and mine is not None and theirs is not None and table.lacks(mine, theirs) is None:
        parts = parts_of(table, mine, theirs, ideal)
        return Fall(case, baseline, seconds, 1 / ideal, parts, share, claimed=claimed, by_cpu=found.by_cpu)
    waited, base = (_waited(loaded, side, metric) for side in (case, baseline))
    if waited is None or base is None:
        return None
    parts = {LAUNCHES: waited / float(row.ratio) - base / ideal}
    return Fall(case, baseline, seconds, 1 / ideal, parts, share, predicted=False, claimed=claimed)


def _waited(loaded: Loaded, case: Case, metric: str) -> float | None:
    """Share of a call in which the device waited for the host: the median over launches; None if one is not known."""
    shares = [notes.device_share for notes in loaded.tables.cell(case.id, metric).notes(TimeNotes)]
    known = [share for share in shares if share is not None]
    return max(0.0, 1 - median(known)) if known and len(known) == len(shares) else None


def parts_of(table: Peaks, mine: Listed, theirs: Listed, ideal: float) -> dict[str, float]:
    """Return what each part adds to the promised share of the baseline's time; together they lead to the attainable share."""
    narrowest = min((_width(work) for work in theirs.work if _is_product(work)), default=0)
    ours, base = (_seconds(table, side, narrowest) for side in (mine, theirs))
    whole = sum(base.values())
    # Of the baseline's groups the promised share is already there.
    parts = {name: (ours.get(name, 0.0) - base.get(name, 0.0) / ideal) / whole for name in {**base, **ours}}
    worked = [_multiplied(side, narrowest) for side in (mine, theirs)]
    if PRODUCTS in parts and all(worked):
        at_equal_flops = base[PRODUCTS] * worked[0] / worked[1]
        moved = (at_equal_flops - base[PRODUCTS] / ideal) / whole
        parts[PRODUCTS] -= moved
        parts[ATTENTION] = parts.get(ATTENTION, 0.0) + moved
    return {name: parts[name] for name in ORDER if name in parts}


def _seconds(table: Peaks, call: Listed, narrowest: int) -> dict[str, float]:
    """Seconds by part; launches, views included, are a part of their own."""
    launch, view = (table.training_launch_s, table.training_view_s) if call.training else (table.launch_s, table.view_s)
    found = {LAUNCHES: call.launches * launch + call.views * view}
    for work in call.work:
        if work.kind != "view":
            name = _part(work, narrowest)
            found[name] = found.get(name, 0.0) + work.calls * table.of(work)
    return found


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


def _multiplied(call: Listed, narrowest: int) -> float:
    """Multiply-adds of the products that are not the router's."""
    return sum(each.calls * amount(each.size) for each in call.work if _part(each, narrowest) == PRODUCTS)


def falls(loaded: Loaded, arms: Iterable[Case], metrics: Sequence[str], seq_len: int) -> list[tuple[str, Fall]]:
    """Return what is known of these arms at a length, workload by workload."""
    arms = list(arms)
    return [
        (metric, found)
        for metric in metrics
        for case in arms
        if (found := fall(loaded, case.arm, metric, seq_len)) is not None
    ]


def blocks(every: Sequence[tuple[str, Fall]]) -> Iterator[Block]:
    """Return the parts of all arms, by workload, in per cent of the baseline's time."""
    parts = [part for part in ORDER if any(part in found.parts for _, found in every)]
    predicted = any(found.predicted for _, found in every)
    attainable = Sentence("attainable" + " ±{error}" * predicted, error=Estimate(RATIO_ERROR, kind="about"))
    head: tuple[Value, ...] = ("arm", "workload", "promised", *parts, attainable, "unexplained", "measured")
    length = every[0][1].case.place.seq_len
    rows = [_row(WORKLOADS[metric], found, parts) for metric, found in every]
    yield Table(f"All arms at {grid_point('T', length)}, in % of the baseline's time", head, rows, folded=True)
    if predicted:
        yield Note(
            "Each part is what its operators take beyond the share that FLOPs promise of them. Router: products narrower than "
            "any of the baseline's. Small products: equal FLOPs at fewer rows are slower. Attention, mix of FLOPs: its FLOPs "
            "take other times than those of products. Launches: starting an operator, the model's Python code included. "
            "Unexplained: caches, memory, noise, and whatever operators and peaks do not show. Attainable was within 15 % of the "
            "measured ratio in 79 of 80 pairs that were tried: what is unexplained within that may be its error."
        )


def _row(workload: str, found: Fall, parts: Sequence[str]) -> Sequence[Value]:
    added = (Estimate(found.parts[part], kind="change") if part in found.parts else "" for part in parts)
    attainable = Estimate(found.attainable, kind="share") if found.predicted else ""
    ends = (attainable, Estimate(found.unexplained, kind="change"), Estimate(found.measured, kind="share"))
    return (found.case, workload, Estimate(found.promised, kind="share"), *added, *ends)


# More time, and less.
SLOWER, FASTER = MAP[1], MAP[7]
UNEXPLAINED, ON_DEVICE, MEASURED = "unexplained", "on the device", "measured"
Step: TypeAlias = tuple[str, float, float]


def render(loaded: Loaded) -> Iterator[Block]:
    """Take each workload apart, of the arm that the page shows first at the longest length; then the numbers of all arms."""
    first = first_arm(loaded)
    if first is None or not loaded.lengths or loaded.sizes_differ:
        return
    length = loaded.lengths[-1]
    every = falls(loaded, loaded.arms_shown, list(WORKLOADS), length)
    made = [_figure(metric, found) for metric, found in every if found.case.arm == first.arm]
    if not made:
        return
    yield from made
    yield from blocks(every)


def _figure(metric: str, found: Fall) -> Figure:
    rows = _steps(found)
    made, (axis,) = new_figure(4.5, 0.7 + 0.21 * len(rows))
    title = f"{WORKLOADS[metric]}: time as a share of {in_title(found.baseline)}'s (further left is better)"
    headline(made, title)
    marks = Marks()
    _draw(axis, found, rows, marks)
    frame = pd.DataFrame(
        [
            {"arm": found.case.arm, "baseline_arm": found.baseline.arm, "seq_len": found.case.place.seq_len}
            | {"metric": metric, "part": part, "from_share": start, "to_share": end}
            for part, start, end in rows
        ]
    )
    label = f"From promised to measured time of {name(found.case)}: {WORKLOADS[metric]}"
    identity = f"waterfall-{metric.partition('/')[2]}"
    return Figure(identity, made, label, _caption(found), frame, marks=marks, least=430)


def _steps(found: Fall) -> list[Step]:
    """Name, start and end of each row; a sum starts where it ends."""
    rows = [(in_title(found.baseline), 1.0, 1.0), ("FLOPs saved", 1.0, found.promised)]
    rows.append(("promised", found.promised, found.promised))
    at = found.promised
    for part, share in found.parts.items():
        rows.append((part, at, at + share))
        at += share
    if found.predicted:
        rows.append(("attainable here", at, at))
    rows.append((_remainder(found), at, found.measured))
    return [*rows, (MEASURED, found.measured, found.measured)]


def _remainder(found: Fall) -> str:
    """What leads to the measured time after the known parts."""
    return UNEXPLAINED if found.predicted else ON_DEVICE


def _draw(axis: Axes, found: Fall, rows: list[Step], marks: Marks) -> None:
    low, high = _ends(found, rows)
    axis.set_xlim(low, high)
    steps = [(y, *row) for y, row in enumerate(rows) if row[1] != row[2]]
    bars = axis.barh(
        [y for y, *_ in steps],
        [end - start for *_, start, end in steps],
        left=[start for _, _, start, _ in steps],
        height=0.66,
        color=[(SLOWER if end > start else FASTER) if found.claimed else MUTED for *_, start, end in steps],
        edgecolor=INK,
        linewidth=0.4,
    )
    for bar, (_, part, start, end) in zip(bars, steps, strict=True):
        marks.name(bar, Mark(f"{part}: {_added(end - start)} of {short(found.baseline)}'s time", found.case.arm))
        if part == _remainder(found):
            bar.set(facecolor="none", hatch="////", linewidth=0.8)
    totals = [(y, part, end) for y, (part, start, end) in enumerate(rows) if start == end and low <= end <= high]
    # A hairline leads from each sum down to where the next parts start.
    axis.vlines([end for *_, end in totals], [y for y, *_ in totals], len(rows) - 0.5, color=MUTED, linewidth=0.5)
    if high < 1:
        axis.annotate(
            "from 100 %",
            (high, 1),
            (-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=MAP_INK[7] if found.claimed else PAPER,
        )
    style = look(found.case)
    if found.share.ends is not None:
        axis.plot(found.share.ends, [len(rows) - 1] * 2, color=style.color, linewidth=1.4, alpha=0.7)
    colors = [style.color if part == MEASURED else MUTED for _, part, _ in totals]
    sums = axis.scatter([end for *_, end in totals], [y for y, *_ in totals], s=34, marker="D", color=colors, zorder=3)
    marks.name(sums, *(Mark(f"{part}: {_total(found, end)}", found.case.arm) for _, part, end in totals))
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.locator_params(axis="x", nbins=5)
    name_rows(axis, [part for part, *_ in rows], 0.5)
    right = [(_total(found, end), INK) if start == end else (_added(end - start), MUTED) for _, start, end in rows]
    for y, (text, color) in enumerate(right):
        beside(axis, y, text, color)


def _ends(found: Fall, rows: list[Step]) -> tuple[float, float]:
    """The ends of the axis: what FLOPs save may leave the frame, since it would make all other parts too small to see."""
    core = [end for *_, end in rows[2:]]
    span = max(0.03, max(core) - min(core))
    low, high = min(core) - 0.15 * span, max(core) + 0.5 * span
    if found.share.ends is not None:
        least, most = found.share.ends
        low, high = min(low, max(least, low - span / 2)), max(high, min(most, high + span / 2))
    return low, (max(high, 1 + 0.1 * span) if high > 1 - 0.3 * span else high)


def _added(share: float) -> str:
    return plain(Estimate(share, kind="change"))


def _total(found: Fall, share: float) -> str:
    """A share, and the time that it comes to; of CPU time none, since the baseline's time is wall time."""
    share_, time = Estimate(share, kind="share"), Estimate(share * found.seconds, unit="s")
    return plain(Sentence("{share}" + ", {time}" * (not found.by_cpu), share=share_, time=time))


def _caption(found: Fall) -> Sentence:
    place, ends = found.case.place, found.share.ends
    noise = found.predicted and ends is not None and ends[0] <= found.attainable <= ends[1]
    # A ratio of times within this share of the measured one: its inverse, of this time, likewise.
    error = found.predicted and not noise and abs(found.unexplained) <= RATIO_ERROR * found.attainable
    bias = attainable_bias(found.case, found.baseline) if found.predicted else None
    return Sentence(
        "{arm} at T = {length}, B = {batch}: FLOPs promise {promised} of {base}'s time; "
        + "its operators at this machine's measured peaks come to {attainable}, give or take {error} of that; "
        * found.predicted
        + "measured: {measured}"
        + f" {Label.BY_CPU}" * found.by_cpu
        + "."
        + " The interval includes what is attainable: the unexplained part may be noise." * noise
        + " The unexplained part is within that error." * error
        + " As a speed-up {bias}." * (bias is not None),
        arm=found.case,
        length=place.seq_len,
        batch=place.batch_size,
        promised=Estimate(found.promised, kind="share"),
        base=found.baseline,
        attainable=Estimate(found.attainable, kind="share"),
        error=Estimate(RATIO_ERROR, kind="about"),
        measured=found.share,
        bias=bias,
    )


READING = (
    "From the time that the saved FLOPs promise to the time that was measured, step by step: each bar is what one kind of work "
    "adds. Bars before the attainable time are predicted from the operators of a call and this machine's measured peaks; only "
    "the last, hatched one is measured and not explained. Where no peaks were measured, launches are the time in which the "
    "device waited for the host, beyond the promised share, and what was spent on the device is not told apart. A long bar says "
    "where to look first, not that the time can be saved."
)

PANEL = Panel(title="Where does the promised gain go?", order=42, span=12, render=render, draws=True, reading=READING)
