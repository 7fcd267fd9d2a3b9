"""One arm held against another in one metric at one place, whichever way round the pair is stored, or not stored at all."""

from __future__ import annotations

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.stats import paired
from modbench.harness.stats.effects import Effect, over_launches
from modbench.reports.model import Finding
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.comparison_row import pair_row
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.pair_verdicts import judge


def against(loaded: Loaded, case: Case, other: Case, metric: str) -> Finding | None:
    """Hold an arm against another; None where one of the two has no value, or the two were not measured together."""
    cases = loaded.cases_by_id
    for row in loaded.between(metric, case.arm, other.arm):
        if {row.case_id, row.baseline_case_id} == {case.id, other.id}:
            made = of_row(row, cases[row.case_id], cases[row.baseline_case_id])
            return _known(made if row.case_id == case.id else made.mirrored())
    known = loaded.tables.metrics.get(metric)
    together = (each for each in loaded.run.plan.comparisons if case in each.arms and other in each.arms)
    if known is None or case.arm == other.arm or not any(metric in each.metrics for each in together):
        return None
    row = pair_row(loaded.tables, case, other, known) | {"primary": False, "twin": False}
    judge([row], loaded.run.plan.suite.margin, claims=loaded.run.plan.suite.claims)
    pair_verdicts.suppress(loaded.tables, [row], [{"verdict": verdict} for verdict in loaded.twins.verdict])
    return _known(of_row(row, case, other))


def _known(found: Finding) -> Finding | None:
    return found if found.status == "ok" else None


def has_tail(found: Finding) -> bool:
    """Whether typical calls and the mean disagree."""
    return Label.TAIL in (*found.labels, *found.against_labels)


def effect_between(loaded: Loaded, case: Case, other: Case, metric: str) -> Effect | None:
    """Return the effect of a pair of times or losses over launches or seeds, above 0 better; None where it has none."""
    tables, known = loaded.tables, loaded.tables.metrics[metric]
    made_in = tables.made_in(known)
    if made_in.samples == "launches":
        launches = tables.launches(known, case, other, tables.anchor(case, known))
        return (
            paired.compare(launches, column=made_in.column, one_thread=False, averaged=False).effect
            if launches
            else None
        )
    if made_in.samples == "seeds":
        mine, theirs = (tables.cell(side.id, metric).values() for side in (case, other))
        seeds = sorted(mine.keys() & theirs.keys())
        return over_launches([theirs[seed] - mine[seed] for seed in seeds]) if seeds else None
    return None
