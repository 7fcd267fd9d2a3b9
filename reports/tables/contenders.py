"""Arms that a report is about: those that may replace the baseline, the one that is shown first, dense models of equal cost."""

from __future__ import annotations

from modbench.harness.core.case import Case, Rung
from modbench.reports.tables.load import Loaded


def contenders(loaded: Loaded) -> list[Case]:
    """Arms that could replace the baseline: not the rungs of the dense ladder, those with a dense model of equal cost first."""
    targets = {rung.target for rung in loaded.run.plan.ladder}
    others = [case for case in loaded.arms[1:] if not case.rung]
    return sorted(others, key=lambda case: case.arm not in targets)


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
