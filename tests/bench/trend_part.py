"""The trend of a run over a part of its budgets: `python tests/bench/trend_part.py RUN FIRST`, budgets from FIRST FLOPs on.

Sizes, curvatures and seeds are those of the whole run; only slope, crossing and forecast are made anew.
"""

from __future__ import annotations

import sys

from modbench.harness.stats.joint_fit import Estimate
from modbench.harness.stats.trend import Trend
from modbench.reports.questions import trend
from modbench.reports.tables.load import load


def shown(found: Estimate | None) -> str:
    """A value with its interval."""
    return "unknown" if found is None else f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def main(folder: str, first: float) -> None:
    """Print the trend of each arm."""
    for answer in trend.answers(load(folder)):
        if answer.trend is None:
            print(answer.name, answer.reason)
            continue
        part = Trend([each for each in answer.trend.budgets if each.flops >= first], *answer.trend.bends)
        print(answer.name, "minus", answer.base)
        for budget, difference in zip(part.budgets, part.differences, strict=True):
            print(f"{budget.flops:g}: {shown(difference)}, {budget.seeds} seeds")
        print("slope", shown(part.slope), "| quadratic term", shown(part.bent))
        print("crossing", part.crossing())
        if answer.plan.forecast is not None:
            print(
                f"forecast {answer.plan.forecast:g}",
                shown(part.forecast(answer.plan.forecast, answer.plan.forecast_seeds)),
            )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
