"""What a panel is, and the small words that panels share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.harness.units import three_digits

if TYPE_CHECKING:
    import pandas as pd

    from modbench.harness.case import Case
    from modbench.reports.load import Loaded

# glyph and word of each verdict, for times and for everything else
TIME_WORDS = {
    "better": "▲ faster",
    "worse": "▼ slower",
    "equivalent": "≈ equivalent",
    "different": "△ different",
    "inconclusive": "? undecided",
}
PLAIN_WORDS = {**TIME_WORDS, "better": "▲ better", "worse": "▼ worse"}


@dataclass(frozen=True)
class Panel:
    """One place on the page.

    Attributes:
        title: heading.
        order: panels stand by ascending order.
        span: columns of the page's twelve on a wide screen.
        render: a pure function from a loaded run to HTML, or None where the run has nothing to show here.
        folded: whether it starts closed behind its heading.
    """

    title: str
    order: int
    span: int
    render: Callable[[Loaded], Markup | None]
    folded: bool = False


def figure(svg: str, reading: str, *, wide: bool = False) -> Markup:
    """A figure and how to read it; a wide one scrolls sideways on a phone instead of shrinking."""
    return Markup('<figure class="figure{}"><div>{}</div><figcaption>{}</figcaption></figure>').format(
        " wide" if wide else "",
        Markup(svg),  # noqa: S704  # our own SVG, its label escaped
        reading,  # our own SVG, its label escaped
    )


def words(row: pd.Series) -> str:
    """A verdict as a glyph and a word, or why there is none."""
    table = TIME_WORDS if str(row.metric).startswith("latency/") else PLAIN_WORDS
    return table.get(row.verdict, "no claim") if isinstance(row.verdict, str) else "no claim"


def times(ratio: float) -> str:
    """`1.62×`."""
    return f"{three_digits(ratio)}×"


def interval(row: pd.Series) -> str:
    """`[1.60–1.65]`, or nothing."""
    return (
        f"[{three_digits(row.ci_low)}–{three_digits(row.ci_high)}]" if row.ci_low == row.ci_low else ""
    )  # NaN is the only value unequal to itself


def is_number(value: object) -> bool:
    """Whether a table's cell holds a number."""
    return isinstance(value, int | float) and value == value  # noqa: PLR0124  # NaN is the only value unequal to itself


def default_arm(loaded: Loaded) -> Case | None:
    """The arm that the first screen is about: the lowest MoD capacity, else the first arm that is neither anchor nor rung."""
    others = [case for case in loaded.arms[1:] if not case.rung]
    return next((case for case in others if case.model == "mod"), others[0] if others else None)


def trained_length(loaded: Loaded) -> int | None:
    """The length that the ladder was solved at and losses were measured at, or the grid's longest."""
    suite = loaded.run.plan.suite
    if suite.train is not None and suite.train.seq_len in loaded.lengths:
        return suite.train.seq_len
    return loaded.lengths[-1] if loaded.lengths else None


def rung_beside(loaded: Loaded, case: Case) -> Case | None:
    """The rung of the dense ladder whose FLOPs equal the arm's at the length it was solved for: what to buy instead."""
    for rung in (rung for rung in loaded.arms if rung.rung):
        gaps = ladder_gaps(loaded, rung)
        if gaps and gaps[0].arm == case.arm:
            return rung
    return None


def ladder_gaps(loaded: Loaded, rung: Case) -> tuple[Case, dict[int, float]] | None:
    """The routed arm that a rung matches within 1 % at its own length, and the relative gap of FLOPs at every length."""
    length = trained_length(loaded)
    for case in loaded.arms[1:]:
        if case.rung:
            continue
        gaps = {
            t: theirs / ours - 1
            for t in loaded.lengths
            if (theirs := loaded.value(rung.arm, "flops/forward", t))
            and (ours := loaded.value(case.arm, "flops/forward", t))
        }
        if length in gaps and abs(gaps[length]) <= 0.01:
            return case, gaps
    return None
