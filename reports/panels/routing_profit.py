"""Which tokens profit: loss against the dense model of equal cost, by kind of token, position, frequency and difficulty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.reports.figures.style import new_figure
from modbench.reports.model import Arms, Block, Figure, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as parts
from modbench.reports.questions import routing
from modbench.reports.questions.routing import ALL, FEWEST_SEEDS, TITLES, Arm, Bin, Profit
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.number_format import plain


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable, with all tokens as the first row; the numbers are collapsed below."""
    made = routing.profit(loaded)
    if made is None:
        return
    yield Note(Arms([arm.case for arm in made.arms]))
    yield from (_figure(made, variable, columns) for variable, columns in made.groups.items())
    yield Note(
        Sentence(
            "Held-out loss minus that of {dense} ({equal}), in bits per token: left of the line the routed model is better. "
            "{evidence}.",
            dense=made.dense.case,
            equal=made.equal,
            evidence=_evidence(made.seeds),
        )
    )
    ahead = [arm.case for arm in made.arms if arm.saw_the_future]
    if ahead:
        yield Note(
            Sentence(
                "Hollow: {arms}, routed by top-k, which sees later tokens: the loss flatters it.", arms=Arms(ahead)
            )
        )
    yield routing.loss_differences(made)


def _evidence(seeds: int) -> Sentence:
    if seeds >= FEWEST_SEEDS:
        return Sentence("{seeds} seeds, paired: mean and 95 % t-interval over seeds", seeds=seeds)
    return Sentence("Seeds: {seeds}, an illustration without intervals; three give them", seeds=seeds)


def _figure(made: Profit, variable: str, columns: Sequence[Sequence[Bin]]) -> Figure:
    labels = [each.label for each in columns[0]]
    series = [parts.of_labels(arm, bins, labels) for arm, bins in zip(made.arms, columns, strict=True)]
    drawn, (axis,) = new_figure(3.4, 3.0)
    whole = columns[0][0].n
    parts.dots(axis, series, labels, shown=[_named(each, whole) for each in columns[0]], at=0.0)
    axis.locator_params(axis="x", nbins=5)  # labels such as -0.075 are wide
    parts.titled(axis, f"bits per token, by {TITLES[variable]}", most=32)
    label = f"Loss minus that of {name(made.dense.case)} by {TITLES[variable]}"
    caption = _caption(made.arms[0], columns[0][1:])
    return Figure(f"profit-{variable}", drawn, label, caption, parts.data_of(series), least=270)


def _named(each: Bin, whole: int) -> str:
    if each.label == ALL:
        return ALL
    return plain(Sentence("{group} ({share})", group=each.label, share=routing.part_of(each.n, whole)))


def _caption(arm: Arm, bins: Sequence[Bin]) -> Sentence:
    best, worst = routing.extremes(bins)
    return Sentence(
        "{arm}: best on {best} ({low}), worst on {worst} ({high}).",
        arm=arm.case,
        best=best.label,
        low=best.estimate,
        worst=worst.label,
        high=worst.estimate,
    )


READING = (
    "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures show the"
    " loss of the routed model minus that of the dense one: left of the line skipping did no harm there. Both are routed "
    "causally, as in decoding, but for hollow marks; with several seeds the small strokes are single seeds. Groups "
    "overlap between figures, so differences must not be added up."
)

PANEL = Panel(title="Who profits?", order=64, span=12, render=render, draws=True, reading=READING)
