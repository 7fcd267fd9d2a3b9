"""How far from the truth is the measured ratio of two models under load, by modbench and by other tools?

    python benchmarks/ratio_error.py --load 0,2,6 --pairs 200 --seconds 36000  # again: it goes on
    python benchmarks/ratio_error.py --seconds 0    # the table of what the file holds, as of false_positives.py

Prints a Markdown table for docs/method-load.md: root mean square and largest error of the ratio of a tool's own means or medians,
and the median seconds of a decision, start of the script included. `planted_pairs.py` has the tools.
"""

from __future__ import annotations

import math
from statistics import fmean, median

from planted_pairs import LESS, MORE, NOTHING, Cell, Found, decisions, table


def error(more: int) -> Cell:
    """A cell: errors of the ratio of so many calls to `LESS`."""

    def cell(found: list[tuple[Found, float]]) -> str:
        logs = [math.log(each.ratio * LESS / more) for each, _ in found if each.ratio is not None]
        if not logs:
            return NOTHING
        rms, worst = (math.expm1(each) for each in (math.sqrt(fmean(log**2 for log in logs)), max(map(abs, logs))))
        return f"{rms:.2%}, {worst:.1%} (n = {len(logs)}), {median(seconds for _, seconds in found):.0f} s"

    return cell


COLUMNS = {f"{more / LESS - 1:+.0%}: RMS, worst": (more, error(more)) for more in MORE}


if __name__ == "__main__":
    print(table(decisions(__doc__), COLUMNS))
