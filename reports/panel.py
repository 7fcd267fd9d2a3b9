"""The panel type, and words and formats that panels share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.harness.core.units import three_digits
from modbench.reports.data_table import folded
from modbench.reports.style import Look, look, name, short, to_svg
from modbench.reports.templates import fill

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from modbench.harness.core.case import Case, Rung
    from modbench.reports.load import Loaded
    from modbench.reports.marks import Marks

# Glyph and word of each verdict, for times; below for everything else.
TIME_WORDS = {
    "better": "▲ faster",
    "worse": "▼ slower",
    "equivalent": "≈ equivalent",
    "different": "△ different",
    "inconclusive": "? undecided",
    "contaminated": "⚠ contaminated",
}
# Timed workloads in the order of the page.
TIMED = (
    ("forward pass", "latency/forward"),
    ("train step", "latency/train_step"),
    ("prefill", "latency/prefill"),
    ("decode step", "latency/decode"),
)
PLAIN_WORDS = {**TIME_WORDS, "better": "▲ better", "worse": "▼ worse"}
# What a rung of the dense ladder has in common with its target.
MATCHED = {"flops/forward": "FLOPs", "flops/train_step": "training FLOPs", "params": "parameters"}

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


def words(row: pd.Series) -> str:
    """Return a row's verdict as a glyph and a word, or `no claim`."""
    return verdict_words(row.verdict, str(row.unit))


def verdict_words(verdict: object, unit: str) -> str:
    """Return a verdict as a glyph and a word, or `no claim`; times are faster or slower, all else better or worse."""
    table = TIME_WORDS if unit == "s" else PLAIN_WORDS
    return table.get(verdict, "no claim") if isinstance(verdict, str) else "no claim"


def times(ratio: float) -> str:
    """Format a ratio: `1.62×`."""
    return f"{three_digits(ratio)}×"


def is_number(value: object) -> bool:
    """Whether a table's cell holds a number."""
    return isinstance(value, int | float) and value == value  # noqa: PLR0124  # NaN is the only value unequal to itself


def interval(row: pd.Series) -> str:
    """Format a row's interval: `[1.60–1.65]`, or an empty string."""
    return f"[{three_digits(row.ci_low)}–{three_digits(row.ci_high)}]" if is_number(row.ci_low) else ""


def promise(row: pd.Series, what: str = "promised") -> str:
    """Say which share of the ideal gain was realised; an empty string if there is no ideal."""
    if not is_number(row.ideal):
        return ""
    if is_number(row.realised) and row.ideal > 1:
        if row.realised <= 0:
            return f"none of the {what} gain of {times(row.ideal)}"
        return f"{row.realised:.0%} of the {what} gain"
    return f"{times(row.ideal)} {what}"


def seeds_in_words(loaded: Loaded) -> str:
    """Say how many seeds there are: `1 seed: illustration, no claim`, or `3 seeds`."""
    suite = loaded.run.plan.suite
    number = f"{len(suite.seeds)} seed{'s' * (len(suite.seeds) != 1)}"
    return number if len(suite.seeds) >= 3 and suite.claims else f"{number}: illustration, no claim"


def default_arm(loaded: Loaded) -> Case | None:
    """Return the arm to show first: MoD with the lowest capacity, else the first arm that is neither anchor nor rung."""
    others = [case for case in loaded.arms[1:] if not case.rung]
    routed = [case for case in others if case.model == "mod"]
    if routed:
        return min(routed, key=lambda case: case.config.capacity or 1.0)
    return others[0] if others else None


def rung_beside(loaded: Loaded, case: Case) -> tuple[Case, Rung] | None:
    """Return the rung of the dense ladder of equal cost: the alternative to the arm."""
    by_arm = {other.arm: other for other in loaded.arms}
    for rung in loaded.run.plan.ladder:
        if rung.target == case.arm and rung.arm in by_arm:
            return by_arm[rung.arm], rung
    return None


def place_shown(loaded: Loaded) -> str:
    """Say which batch size and number format figures show, if the grid has several, and how many arms and lengths of many."""
    grid, said = loaded.run.plan.suite.grid, []
    if len(grid.batch_size) > 1 or len(grid.dtype) > 1:
        said.append(f"Figures and tiles show batch size {grid.batch_size[0]} in {grid.dtype[0]}; the table has all.")
    counts = [
        f"{len(shown)} of {len(every):,} {what}"
        for shown, every, what in (
            (loaded.arms_shown, loaded.arms[1:], "arms"),
            (loaded.lengths_shown, loaded.lengths, "lengths"),
        )
        if len(shown) < len(every)
    ]
    if counts:
        said.append(f"Figures and tiles show {' and '.join(counts)}; cases.csv and comparisons.csv have all.")
    return " ".join(said)
