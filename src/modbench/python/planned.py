"""The result of `modbench.plan`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modbench.harness.core.units import counted, human, human_duration
from modbench.harness.planning.plan import Plan
from modbench.python.shown import html, html_lines, html_table, text
from modbench.tools import plan as tool

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("", "params", "FLOPs forward", "of anchor", "forward time")
# Cases that a notebook shows.
MOST_ROWS = 40


@dataclass(frozen=True, repr=False)
class Planned:
    """What a suite would measure.

    Attributes:
        plan: its cases and units.
    """

    plan: Plan

    @cached_property
    def forecast(self) -> dict[str, Any]:
        """As `modbench plan --json` prints it, in base units."""
        return tool.forecast(self.plan)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The cases, one row each, in base units."""
        import pandas as pd

        return pd.DataFrame(self.forecast["cases"])

    def __repr__(self) -> str:
        suite, plan = self.plan.suite, self.plan
        return (
            f"<modbench plan: suite {suite.name!r}, {suite.effort}, "
            f"{counted(len(plan.cases), 'case')}, {counted(len(plan.units), 'unit')}>"
        )

    def __str__(self) -> str:
        return text([tool.as_text(self.forecast)])

    def _repr_html_(self) -> str:
        cases = self.forecast["cases"]
        rows = [
            (
                case["case"],
                "–" if case["params"] is None else f"{case['params']:,}",
                human(case["flops_forward"], "FLOP"),
                human(case["flops_share"], "ratio"),
                human(case["forward_s"], "s"),
            )
            for case in cases[:MOST_ROWS]
        ]
        left = [f"and {len(cases) - MOST_ROWS:,} more cases"] if len(cases) > MOST_ROWS else []
        took = f"about {human_duration(self.forecast['predicted_s'])} on {self.plan.device}"
        return html(html_table(HEAD, rows), html_lines([*left, f"{repr(self)[1:-1]}: {took}"]))
