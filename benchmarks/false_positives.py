"""How often are identical models called different, and a planted +1 % and +3 % found, by modbench and others, under load?

    python benchmarks/false_positives.py --load 0,2,6 --pairs 200 --seconds 36000  # again: it goes on
    python benchmarks/false_positives.py --seconds 0    # the table of what the file holds

Prints a Markdown table for docs/method-load.md. A cell has the hits and the pairs, the exact 95 % interval of their share, and
the median seconds of a decision, start of the script included. `planted_pairs.py` has the tools.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from statistics import median

from planted_pairs import NOTHING, Cell, Found, decisions, table

from modbench.harness.stats.effects import share_interval


def share(said: Callable[[Found], str | None], *hits: str) -> Cell:
    """A cell: how many of what was said are hits."""

    def cell(found: list[tuple[Found, float]]) -> str:
        words = [word for each, _ in found if (word := said(each)) is not None]
        if not words:
            return NOTHING
        number = sum(word in hits for word in words)
        low, high = share_interval(number, len(words))
        seconds = median(each for _, each in found)
        return f"{number} of {len(words)} ({100 * low:.1f}–{100 * high:.1f} %), {seconds:.0f} s"

    return cell


SAID, APART = operator.attrgetter("said"), operator.attrgetter("apart")
COLUMNS = {
    "equal: *better* or *worse*": (100, share(SAID, "better", "worse")),
    "equal: told apart": (100, share(APART, "better", "worse")),
    "+1 %: told from equal": (101, share(APART, "worse")),
    "+3 %: *worse*": (103, share(SAID, "worse")),
}


if __name__ == "__main__":
    print(table(decisions(__doc__), COLUMNS))
