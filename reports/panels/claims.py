"""A card for each claim of the first screen: the numbers behind it, what to doubt, how to measure it again, and its samples."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.harness.core.units import three_digits
from modbench.reports.panel import Panel
from modbench.reports.panels._claims import Behind, Evidence, claims
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.words import TIME_WORDS, is_number, times
from modbench.reports.writers.html import inline
from modbench.reports.writers.templates import fill

# Doubts of one claim that are listed; the rest are counted. Files of a claim that are named.
MOST_DOUBTS, MOST_FILES = 8, 12
# Rows of a claim: of more, as many.
MOST_ROWS = 24
_MIRRORED = {"better": "worse", "worse": "better"}
HEAD = ("Place", "Ratio", "95 % interval", "Mean ratio", "Launches", "Least detectable", "Adjusted p", "Verdict")


def render(loaded: Loaded) -> Markup | None:
    """Show the cards, folded."""
    made = claims(loaded)
    if not made:
        return None
    behind = Behind(loaded, made)
    cards = [_card(behind.evidence(claim)) for claim in made]
    return fill("claims", cards=cards, head=HEAD, rule=_rule(loaded))


def _rule(loaded: Loaded) -> str:
    """How a verdict is reached, in words."""
    margin = f"{100 * loaded.run.plan.suite.margin:g} %"
    if not loaded.run.plan.suite.claims:
        return "A smoke run gives no verdicts."
    return (
        f"Faster or slower: the whole 95 % interval of the ratio lies beyond {margin}, for typical calls and for mean "
        "times, and the difference is significant among the arms at that place (Benjamini-Hochberg, 5 %). Equivalent: "
        f"the 90 % interval lies within {margin}. Different: there is a difference, but it may be smaller than that. "
        "Undecided: none of these."
    )


def _card(found: Evidence) -> dict[str, object]:
    shown = list(zip(found.rows, found.turned, found.launches, strict=True))
    return {
        "sentence": inline(found.claim.sentence),
        "rows": [_row(row, turned=turned, launches=launches) for row, turned, launches in shown[:MOST_ROWS]],
        "more_rows": len(shown) - MOST_ROWS,
        "doubts": found.doubts[:MOST_DOUBTS],
        "more_doubts": len(found.doubts) - MOST_DOUBTS,
        "command": found.command,
        "no_command": found.no_command,
        "files": found.files[:MOST_FILES],
        "more_files": len(found.files) - MOST_FILES,
    }


def _row(row: Any, *, turned: bool, launches: int | None) -> tuple[str, ...]:  # noqa: ANN401  # a row of `pairs`
    place = f"T = {row.seq_len:,}, B = {row.batch_size:,}, {row.dtype}"
    if row.status != "ok":
        return place, row.status, "", "", "", "", "", str(row.reason)
    ends = [row.ci_low, row.ci_high]
    ratio, mean = row.ratio, row.mean_ratio
    if turned:
        ratio, mean, ends = 1 / ratio, 1 / mean, [1 / end for end in reversed(ends)]
    word = row.verdict if isinstance(row.verdict, str) else ""
    word = _MIRRORED.get(word, word) if turned else word
    return (
        place,
        times(ratio),
        f"{three_digits(ends[0])} to {three_digits(ends[1])}" if is_number(ends[0]) else "",
        times(mean) if is_number(mean) else "",
        "" if launches is None else str(launches),
        f"{row.mde:.1%}" if is_number(row.mde) else "",
        f"{row.p_adjusted:.2g}" if is_number(row.p_adjusted) else "",
        TIME_WORDS.get(word, "no verdict"),
    )


READING = (
    "Each line is a sentence about one model against another, as the first screen sums them up. Unfold it for the numbers "
    "that it rests on, for everything that speaks against it, for the command that measures just this again, and for the "
    "files with its raw samples. The command repeats the measurement on your machine; it need not give the same number."
)

PANEL = Panel(title="What stands behind the answer?", order=12, span=12, render=render, folded=True, reading=READING)
