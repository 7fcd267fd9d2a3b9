"""Confirmed: the best of a sweep against dense, routing by noise and the runner-up, look by look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from modbench.harness.rules.confirmation import Compared
from modbench.reports.figures.style import MUTED, look, new_figure
from modbench.reports.model import Block, Figure, Sentence
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import confirmation
from modbench.reports.questions.confirmation import Answer, answers, blocks, table
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops
from modbench.reports.writers.number_format import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw the losses of the fresh seeds and the difference at each look, a figure per budget; then the numbers."""
    made = answers(loaded)
    yield from (_figure(answer) for answer in made if any(each.looks for each in answer.confirmed.compared))
    yield from blocks(loaded)


def _figure(answer: Answer) -> Figure:
    compared = [each for each in answer.confirmed.compared if each.looks]
    drawn, axes = new_figure(12.0, 3.0, 1 + len(compared))
    _draw_losses(axes[0], answer)
    for axis, each in zip(axes[1:], compared, strict=True):
        _draw_looks(axis, answer, each)
    dtype = answer.dtype
    label = Sentence(
        "Losses of fresh seeds and differences at each look, at {budget}" + " in {dtype}" * bool(dtype),
        budget=in_flops(answer.budget),
        dtype=dtype,
    )
    return Figure(
        f"confirm-{answer.budget:.0f}" + f"-{dtype}" * bool(dtype),
        drawn,
        plain(label),
        "Left, every dot is a fresh seed and a bar their mean. The others: the difference at each look, with its interval; the "
        "band is the margin.",
        _data(answer),
        wide=True,
    )


def _draw_losses(axis: Axes, answer: Answer) -> None:
    """Draw a row for each arm, the best on top."""
    rows = sorted(answer.sides, key=lambda role: role == "best")
    for at, role in enumerate(rows):
        side, style = answer.sides[role], look(answer.sides[role].case)
        axis.plot(side.losses, [at] * len(side.losses), ".", color=style.color, markersize=5, alpha=0.7)
        if side.mean is not None:
            axis.plot([side.mean] * 2, [at - 0.25, at + 0.25], color=style.color, linewidth=2)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_yticks(range(len(rows)), [answer.name(role) for role in rows])
    axis.set_title("held-out nats per token")


def _draw_looks(axis: Axes, answer: Answer, compared: Compared) -> None:
    from matplotlib.ticker import MaxNLocator

    style, margin = look(answer.sides["best"].case), answer.confirmed.margin or 0.0
    axis.axhspan(-margin, margin, color=MUTED, alpha=0.12, linewidth=0)
    axis.axhline(0, color=MUTED, linewidth=0.8)
    for each in compared.looks:
        at = min(each.seeds)
        if each.low is not None and each.high is not None:
            axis.plot([at, at], [each.low, each.high], color=style.color, linewidth=1.5)
        axis.plot([at], [each.value], "o", color=style.color, markersize=5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.set_xlim(0, answer.confirmed.planned + 1)
    axis.set_xlabel("seeds of each")
    axis.set_title(f"nats against {answer.name(compared.role)}")


def _data(answer: Answer) -> pd.DataFrame:
    """Return a row for each fresh loss, and for each look at a difference."""
    rows: list[tuple[object, ...]] = [
        (role, side.case.id, "loss", 1, loss, None, None) for role, side in answer.sides.items() for loss in side.losses
    ]
    rows += [
        (each.role, answer.sides[each.role].case.id, "difference", min(one.seeds), one.value, one.low, one.high)
        for each in answer.confirmed.compared
        for one in each.looks
    ]
    frame = pd.DataFrame(rows, columns=["role", "case", "what", "seeds", "value_nat", "low_nat", "high_nat"])
    frame.insert(0, "budget", answer.budget)
    return frame


READING = (
    "The sweep explored sizes and learning rates on few seeds. Its best was then trained again on fresh seeds, and judged on "
    "held-out text that had chosen nothing: what was chosen for being lowest is not flattered by it. When to stop was fixed "
    "beforehand: where an interval leaves 0 or lies within the margin. Intervals hold at all looks together: over them each "
    "comparison errs in 5 % of cases (simulated: in 5.2 % at most). Several are several "
    "chances to err, but `pays` needs two of them, and so errs no more often than one."
)

PANEL = Panel(
    title="What was confirmed?",
    order=4,
    span=12,
    render=render,
    draws=True,
    reading=READING,
    tables={"confirm": table},
    lead=Lead(
        answer=confirmation.in_short,
        details=confirmation.rest,
        doubts=confirmation.doubts,
        table=confirmation.short_table,
        above=True,
    ),
    rules=frozenset({"confirmation"}),
)
