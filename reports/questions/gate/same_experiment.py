"""Whether two runs measured the same thing: cases, settings, text."""

from __future__ import annotations

from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.options import typed
from modbench.harness.results.notes.memory import FitNotes
from modbench.reports.tables.outcomes import Tables

# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}


def why_other(now: Tables, base: Tables, case: Case, old: Case, metric: Metric) -> str | None:
    """Return why the two runs did not measure the same thing, or None."""
    if case != old:
        return f"the same id, but another case: {differences(case, old)}"
    mine, theirs = (settings(tables, case, metric) for tables in (now, base))
    if mine != theirs:
        changed = [f"{key} {value}, was {theirs.get(key)}" for key, value in mine.items() if value != theirs.get(key)]
        return f"measured with other settings: {'; '.join(changed) or 'see the suites'}"
    return None


def settings(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = tables.run.plan.suite, tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    found = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.budget_bytes for notes in tables.cell(case.id, metric.key).notes(FitNotes)]
    return found | {"budget": next(iter(budgets), None)}


def differences(case: Case, old: Case) -> str:
    """Return how two cases of one id differ: `d_model 64, was 32`."""
    now, before = (
        {**side.config.model_dump(), "model": side.model, "options": typed(dict(side.options)) or "none"}
        for side in (case, old)
    )
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in now if now[name] != before[name])
