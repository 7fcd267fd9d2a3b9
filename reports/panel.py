"""The panel type, and words and formats that panels share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.reports.figures.data_table import folded
from modbench.reports.figures.style import Look, look, to_svg
from modbench.reports.wording.arm_names import name, short
from modbench.reports.writers.templates import fill

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from modbench.harness.core.case import Case
    from modbench.reports.figures.marks import Marks
    from modbench.reports.tables.load import Loaded

# A key that names more arms of one mark helps nobody: a reader could not tell them apart.
MOST_ALIKE = 2


@dataclass(frozen=True)
class Drawing:
    """A figure of a panel, drawn with `style.new_figure`: on the page as inline SVG, in a paper as `modbench figure` saves it.

    Attributes:
        name: names it on the command line and its parts on the page: unlike all other names there.
        figure: the matplotlib figure, in sentinel colours.
        label: what it shows, for readers who cannot see it.
        caption: the line below it.
        data: what is drawn, one row for each mark or point of a line, in base units.
        wide: whether it scrolls sideways on a phone instead of shrinking.
        marks: what its marks say on hover and focus.
        key: arms whose marks it shows without a name beside them.
    """

    name: str
    figure: Figure
    label: str
    caption: str
    data: pd.DataFrame
    wide: bool = False
    marks: Marks | None = None
    key: Sequence[Case] = ()


@dataclass(frozen=True)
class Panel:
    """One section of the page.

    Attributes:
        title: heading.
        order: position on the page, ascending.
        span: width on a wide screen, in twelfths.
        render: pure function from a loaded run to HTML, or to None if the run has nothing to show here.
        folded: whether it is collapsed at first.
        figures: pure function from a loaded run to the figures among what it renders, for `modbench figure`; None if it has none.
        reading: how to read it, for somebody who sees it for the first time: what it shows, and what it does not say.
    """

    title: str
    order: int
    span: int
    render: Callable[[Loaded], Markup | None]
    folded: bool = False
    figures: Callable[[Loaded], Sequence[Drawing]] | None = None
    reading: str = ""


def on_page(drawings: Iterable[Drawing]) -> list[Markup]:
    """Return figures as they stand on the page: the marks of their arms, inline SVG, captions; their data folded below."""
    return [
        Markup('<div class="drawn">{}{}{}</div>').format(
            key_of(each.key),
            figure(to_svg(each.figure, each.name, each.label, each.marks), each.caption, wide=each.wide),
            folded(each.name, each.label, each.data),
        )
        for each in drawings
    ]


def key_of(arms: Sequence[Case]) -> Markup:
    """Return the marks and names of arms as a line of text; nothing for none.

    Of more than `MOST_ALIKE` arms with one mark, such as the sizes of a sweep, it says what their names have in common.
    """
    by_look: dict[Look, list[str]] = {}
    for case in arms:
        by_look.setdefault(look(case), []).append(short(case) if case.rung else name(case))
    marks = [
        {"look": mark, "name": each}
        for mark, names in by_look.items()
        for each in (names if len(names) <= MOST_ALIKE else [_together(names)])
    ]
    return fill("key", arms=marks) if marks else Markup()


def _together(names: Sequence[str]) -> str:
    """The words that several names begin with, and how many there are."""
    words = zip(*(each.split() for each in names), strict=False)
    common = [word for word, *_ in takewhile(lambda words: len(set(words)) == 1, words)]
    return f"{' '.join(common) or 'others'} ({len(names)} arms)"


def figure(svg: str, reading: str, *, wide: bool = False) -> Markup:
    """Return a figure with its caption; a wide one scrolls sideways on a phone instead of shrinking."""
    return Markup('<figure class="figure{}"><div>{}</div><figcaption>{}</figcaption></figure>').format(
        " wide" if wide else "",
        Markup(svg),  # noqa: S704  # our own SVG, its label escaped
        reading,
    )
