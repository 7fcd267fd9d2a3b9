"""The result of a comparison, and its text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modbench.extend import (
    BETTER,
    BETTER_OPEN,
    INCONCLUSIVE,
    SIZE_OPEN,
    WORSE,
    WORSE_OPEN,
    aligned,
    brief,
    escaped,
    grouped,
)

if TYPE_CHECKING:
    from modbench.plugins.python.callables import TimingProcess

NOT_JUDGED = "not judged"
UNDECIDED = (INCONCLUSIVE, *SIZE_OPEN, NOT_JUDGED)
# Verdicts on times have words of their own.
VERDICT_WORDS = {
    BETTER: "faster",
    WORSE: "slower",
    BETTER_OPEN: "faster (size open)",
    WORSE_OPEN: "slower (size open)",
}


@dataclass(frozen=True)
class Compared:
    """A candidate beside its baseline.

    Attributes:
        name: id of the test, and the comparison's own name, if it has one.
        verdict: `better`, `worse`, `equivalent`; `better_open`, `worse_open`, `inconclusive` or `not judged`, which fail nothing.
        margin: the largest slowdown that does not matter, as a share.
        ratio: time of the baseline over the candidate's, above 1 where the candidate is faster; None if nothing was timed.
        interval: the 95 % interval of the ratio, over the rounds of this process; None if there is none.
        reason: why it is inconclusive; None where it is not.
        labels: warnings: `one process`, `not steady`, `baseline differs from itself`, `noisy`.
        process: the raw samples; None if nothing was timed.
    """

    name: str
    verdict: str
    margin: float
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None
    labels: tuple[str, ...] = ()
    process: TimingProcess | None = None

    @property
    def is_regression(self) -> bool:
        """Whether a regression is shown."""
        return self.verdict == WORSE

    @property
    def _ends(self) -> tuple[float | None, float | None]:
        return self.interval or (None, None)

    def message(self) -> str:
        """Two lines about a regression: the finding, and the next step."""
        return (
            f"{self.name}: the candidate is slower than the baseline: {_ratio(self.ratio, *self._ends)} as fast, "
            f"measured twice (95 % confidence interval; margin {_share(self.margin)}).\n"
            "Make it faster, or allow it by a larger margin=…; --modbench-rounds N with more rounds narrows the interval."
        )

    def row(self) -> dict[str, Any]:
        """The summary as plain data, for a report that travels between processes."""
        low, high = self._ends
        row: dict[str, Any] = {name: getattr(self, name) for name in ("name", "verdict", "margin", "ratio", "reason")}
        return row | {"low": low, "high": high, "labels": list(self.labels)}


def written(compared: Compared) -> str:
    """A row as JSON."""
    return json.dumps(compared.row())


def summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the terminal's summary: a table, then why something is inconclusive."""
    from modbench.extend import Estimate
    from modbench.extend import interval_in_words as interval
    from modbench.extend import number_text as number

    cells = [("comparison", "ratio", "95 % CI", "margin", "verdict")]
    for row in rows:
        made = Estimate(row["ratio"], row["low"], row["high"], "ratio")
        ratio = "" if made.value is None else number(made)
        verdict = VERDICT_WORDS.get(row["verdict"], row["verdict"])
        cells.append((row["name"], ratio, interval(made).strip("[]"), _share(row["margin"]), verdict))
    yield from (escaped(line, lines=False) for line in aligned(cells, right=range(1, len(cells[0]))))
    yield from _reasons("inconclusive", ((row["name"], row["reason"]) for row in rows if row["verdict"] in UNDECIDED))
    warned = ((row["name"], ", ".join(_warnings(row))) for row in rows if row["verdict"] not in UNDECIDED)
    yield from _reasons("warning", ((name, labels) for name, labels in warned if labels))


def _reasons(word: str, reasons: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    """Yield each reason once, with the comparisons that it is about."""
    for reason, those in grouped((str(reason), name) for name, reason in reasons).items():
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        yield escaped(f"{word}: {those[0]}{more}: {brief(reason, 300)}", lines=False)


def _warnings(row: Mapping[str, Any]) -> list[str]:
    """The labels, without the one that all have: the heading shows it."""
    return [label for label in row["labels"] if label != "one process"]


def _ratio(ratio: float | None, low: float | None, high: float | None) -> str:
    """Write a ratio with its interval, as reports do."""
    from modbench.extend import Estimate, plain

    return plain(Estimate(ratio, low, high, "ratio"))


def _share(margin: float) -> str:
    from modbench.extend import Estimate, plain

    return plain(Estimate(margin, kind="share"))
