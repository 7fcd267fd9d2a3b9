"""One arm held against another in one metric at one place, whichever way round the pair is stored, or not stored at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.labels import LOOKED_AHEAD, Label
from modbench.harness.stats import paired
from modbench.harness.stats.effects import Effect, over_launches
from modbench.reports.tables import machine_checked, withheld
from modbench.reports.tables.comparison_row import pair_row
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.verdicts import judge
from modbench.reports.wording.words import is_number

_MIRRORED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Against:
    """How an arm compares with another.

    Attributes:
        metric: the metric's key.
        ratio: above 1 the arm is better; None for a loss.
        difference: the arm minus the other, in the metric's unit.
        low: lower end of the 95 % interval: of the ratio, of a loss of the difference; None where there is none.
        high: upper end.
        verdict: on the arm; None where none may be given.
        reason: why there is no verdict, or what must be said beside it.
        looked_ahead: whether a model of the two read later tokens when this was measured.
        tail: whether typical calls and the mean disagree.
    """

    metric: str
    ratio: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str | None
    reason: str | None
    looked_ahead: bool = False
    tail: bool = False


def against(loaded: Loaded, case: Case, other: Case, metric: str) -> Against | None:
    """Hold an arm against another; None where one of the two has no value, or the two were not measured together."""
    for row in loaded.between(metric, case.arm, other.arm):
        if {row.case_id, row.baseline_case_id} == {case.id, other.id}:
            return _oriented(row._asdict(), turned=row.case_id != case.id)
    known = loaded.tables.metrics.get(metric)
    together = (each for each in loaded.run.plan.comparisons if case in each.arms and other in each.arms)
    if known is None or case.arm == other.arm or not any(metric in each.metrics for each in together):
        return None
    row = pair_row(loaded.tables, case, other, known) | {"primary": False, "twin": False}
    judge([row], loaded.run.plan.suite.margin, claims=loaded.run.plan.suite.claims)
    machine_checked.withhold(loaded.tables, [row], [{"verdict": verdict} for verdict in loaded.twins.verdict])
    withheld.withhold(loaded.tables, [row])
    return _oriented(row, turned=False)


def _oriented(row: dict[str, Any], *, turned: bool) -> Against | None:
    if row.get("status") != "ok":
        return None
    ratio, difference, low, high = (_number(row.get(key)) for key in ("ratio", "difference", "ci_low", "ci_high"))
    verdict, reason = (row.get(key) if isinstance(row.get(key), str) else None for key in ("verdict", "reason"))
    labels = {label for key in ("labels", "baseline_labels") for label in str(row.get(key) or "").split(";")}
    if turned:
        difference = None if difference is None else -difference
        ends = (low, high)
        if ratio is None:
            low, high = (None if end is None else -end for end in reversed(ends))
        else:
            ratio = 1 / ratio
            low, high = (None if end is None else 1 / end for end in reversed(ends))
        verdict = _MIRRORED.get(verdict or "", verdict)
    return Against(
        row["metric"],
        ratio,
        difference,
        low,
        high,
        verdict,
        reason,
        bool(labels & LOOKED_AHEAD),
        Label.TAIL in labels,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and is_number(value) else None


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
