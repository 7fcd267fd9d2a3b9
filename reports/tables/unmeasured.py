"""What a run has no numbers of: cells and fresh runs that it did not ask for, and pairs of arms never timed together."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.plan import Plan
from modbench.harness.results.run_folder import StoredRun

LEFT_OUT = "not measured: the search did not need it"
# Of units that a rule has not asked for, and did not ask for, by rule.
REASONS = {
    "bisection": ("not measured: the search has not ended", LEFT_OUT),
    "confirmation": (
        "not confirmed: the sweep has not ended",
        "not confirmed: the sweep found another size or variant better",
    ),
}


def left_out(run: StoredRun) -> Iterator[tuple[UnitOfWork, str]]:
    """Yield the units that no rule asked for, and why; none where all that is planned is measured."""
    asked, undecided = ({unit.name for unit in units} for units in (run.plan.units, run.undecided))
    for unit in run.planned:
        if unit.rule and unit.name not in asked:
            other = f"not measured: {unit.rule} has not ended", f"not measured: {unit.rule} did not ask for it"
            reasons = REASONS.get(unit.rule, other)
            yield unit, reasons[unit.name not in undecided]


def refuse_apart(plan: Plan, baseline: str) -> None:
    """Refuse a baseline beside which a search timed no other arm, or its own rung alone.

    Raises:
        UsageError: if the suite searches, and the baseline is not its anchor.
    """
    anchor = plan.comparisons[0].arms[0].arm
    if plan.suite.search is not None and baseline != anchor:
        raise UsageError(
            f"baseline {baseline!r}: a search times each arm beside {anchor!r} and its own rung, so that other arms have no "
            "ratio to it. Leave the baseline out."
        )
