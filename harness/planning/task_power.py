"""The power of a plan's tasks, before anything runs: seeds that solve a task or not are compared by exact counts."""

from __future__ import annotations

from modbench.harness.planning.plan import Plan
from modbench.harness.stats import solved
from modbench.harness.stats.solved import Decidable


def decidable(plan: Plan) -> Decidable | None:
    """Return what the seeds of a plan can decide on its tasks; None if nothing is compared there, or no claim is made."""
    pairs = [len(each.arms) - 1 for each in plan.comparisons if each.arms[0].task and len(each.arms) > 1]
    if not pairs or not plan.suite.claims:
        return None
    return solved.decidable(len(plan.suite.seeds), max(pairs))


def in_words(plan: Plan) -> str:
    """Say it in two sentences; empty if nothing is compared."""
    found = decidable(plan)
    if found is None:
        return ""
    anchor = next(each.arms[0].model for each in plan.comparisons if each.arms[0].task)
    return f"On tasks that a run solves or not, {solved.in_words(found, anchor)}"
