"""Which tokens pass: participation by kind, position, frequency, difficulty, loss and entropy, learned beside controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.reports.figures.axes import ticks
from modbench.reports.figures.style import new_figure
from modbench.reports.model import Arms, Block, Figure, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as parts
from modbench.reports.questions import routing
from modbench.reports.questions.routing import TITLES, Arm, Bin
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable; the numbers are collapsed below."""
    shown = routing.shown(routing.arms_of(loaded))
    if not shown:
        return
    focus = shown[0]
    yield Note(Arms([arm.case for arm in shown]))
    yield from (_figure(shown, variable) for variable in TITLES)
    alone = "Wilson intervals with windows, not tokens, as independent units; they do not cover other seeds"
    yield Note(
        Sentence(
            "Share of tokens that pass, mean over {layers} routed blocks; thin line: all tokens of {arm}. {tokens} held-out "
            "tokens in {windows} windows, routed by top-k. {evidence}.",
            layers=len(focus.first["layers"]),
            arm=focus.case,
            tokens=focus.first["tokens"],
            windows=focus.first["windows"],
            evidence=routing.evidence(focus, alone),
        )
    )
    yield routing.participation(shown)


def _figure(shown: list[Arm], variable: str) -> Figure:
    first = routing.shares(shown[0], variable)
    labels = [each.label for each in first]
    series = [parts.of_labels(arm, routing.shares(arm, variable), labels) for arm in shown]
    made, (axis,) = new_figure(4.0, 3.0)
    mean = shown[0].over_seeds(lambda each: each["summary"]["participation"])
    parts.dots(axis, series, labels, at=mean.value if mean and mean.value is not None else 0.0)
    axis.xaxis.set_major_formatter(ticks("%"))
    axis.set_xlim(left=0)
    axis.set_title(f"passing, by {TITLES[variable]}")
    label = f"Share of tokens that pass by {TITLES[variable]}"
    return Figure(f"who-{variable}", made, label, _caption(shown[0], first), parts.data_of(series), least=370)


def _caption(arm: Arm, bins: Sequence[Bin]) -> Sentence:
    least, most = routing.extremes(bins)
    if most.value == least.value:
        return Sentence("{arm}: {share} everywhere.", arm=arm.case, share=most.estimate)
    return Sentence(
        "{arm}: most of {most} ({high}), least of {least} ({low}).",
        arm=arm.case,
        most=most.label,
        high=most.estimate,
        least=least.label,
        low=least.estimate,
    )


READING = (
    "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures show the"
    " share that passed through a routed block instead of skipping it; with several seeds the small strokes are single seeds. "
    "If all groups have the same share, the router does not tell them apart. Loss and entropy are the model's own, after "
    "routing: a token may be easy because it passed. The figures do not show whether the right tokens passed."
)

PANEL = Panel(title="Who passes?", order=63, span=12, render=render, draws=True, reading=READING)
