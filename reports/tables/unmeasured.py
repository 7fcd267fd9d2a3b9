"""What a run has no numbers of: cells and fresh runs that it did not ask for, and pairs of arms never timed together."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.confirming import confirms
from modbench.harness.planning.plan import Plan
from modbench.harness.results.run_folder import StoredRun

LEFT_OUT = "not measured: the search did not need it"
UNDECIDED = "not measured: the search has not ended"
NOT_CONFIRMED = "not confirmed: the sweep found another size or variant better"
NOT_ENDED = "not confirmed: the sweep has not ended"


def left_out(run: StoredRun) -> Iterator[tuple[UnitOfWork, str]]:
    """Yield the units that a search or a confirmation did not ask for, and why; none where all that is planned is measured."""
    suite = run.plan.suite
    if suite.search is None and suite.confirm is None:
        return
    asked, undecided = ({unit.name for unit in units} for units in (run.plan.units, run.undecided))
    for unit in run.planned:
        if unit.name not in asked:
            told = (UNDECIDED, LEFT_OUT) if not confirms(unit) else (NOT_ENDED, NOT_CONFIRMED)
            yield unit, told[unit.name not in undecided]


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
