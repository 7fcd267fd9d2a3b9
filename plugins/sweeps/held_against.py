"""Two variants held against each other, also where `comparisons.csv` has no row of them."""

from __future__ import annotations

from modbench.extend import Case, Finding, Label, Loaded, comparisons, of_pair, of_row


def held_against(loaded: Loaded, case: Case, other: Case, metric: str) -> Finding | None:
    """Hold a variant against another; None where one of the two has no value, or the two were not measured together."""
    for row in loaded.between(metric, case.variant, other.variant):
        if {row.case_id, row.baseline_case_id} == {case.id, other.id}:
            found = of_pair(loaded, row) if row.case_id == case.id else of_pair(loaded, row).mirrored()
            break
    else:
        described = loaded.tables.metrics.get(metric)
        together = (each for each in loaded.plan.comparisons if case in each.variants and other in each.variants)
        if described is None or case.variant == other.variant or not any(metric in each.metrics for each in together):
            return None
        pair = comparisons.pair_row(loaded.tables, case, other, described)
        comparisons.settle(loaded.tables, [pair], loaded.aa_control_verdicts)
        found = of_row(pair, case, other)
    return found if found.status == "ok" else None


def has_tail(found: Finding) -> bool:
    """Whether median and mean disagree."""
    return Label.TAIL in (*found.labels, *found.against_labels)
