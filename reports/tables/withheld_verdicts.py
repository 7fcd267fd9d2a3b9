"""Verdicts that may not be given: on times of a machine that nothing speaks for, and on pairs that pool what may not be pooled.

Nothing speaks for a machine that neither `modbench doctor` checked before the run nor the twin in it. Launches on several
machines and units that ran several versions of the user's code are not pooled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.reports.tables import nodes, versions
from modbench.reports.tables.outcomes import Tables

UNCHECKED = "the machine was not checked: run `modbench doctor`, or leave `twin` on"
SILENT = "the machine was not checked, as its twin was disturbed or failed: run `modbench doctor`, or measure again"
# Verdicts on a twin that say that equal models came out unequal, beyond chance over all twins of the run.
APART = ("better", "worse", "different")


def has_evidence(verdicts: Iterable[object]) -> bool:
    """Whether one of the verdicts on twins says something of the machine; a disturbed twin does not."""
    return any(isinstance(verdict, str) and verdict != "contaminated" for verdict in verdicts)


def suppress(tables: Tables, rows: Sequence[dict[str, Any]], twins: Sequence[dict[str, Any]]) -> None:
    """Remove verdicts that may not be given, with the reason. *Contaminated* stays: it is no claim.

    Args:
        tables: the run.
        rows: pairs of arms, judged.
        twins: pairs of an anchor and its twin, judged.
    """
    if not (nodes.certificates(tables.run) or has_evidence(row.get("verdict") for row in twins)):
        for row in rows:
            if tables.made_in(tables.metrics[row["metric"]]).times:
                _remove(row, SILENT if twins else UNCHECKED)
    cases = {case.id: case for case in tables.run.plan.cases}
    for row in rows:
        sides = (cases[row["case_id"]], cases[row["baseline_case_id"]])
        for why in (_of_hardware, _of_code):
            if _has_verdict(row) and (said := why(tables, *sides, tables.metrics[row["metric"]])) is not None:
                _remove(row, said)


def _has_verdict(row: dict[str, Any]) -> bool:
    return row.get("verdict") not in {None, "contaminated"}


def _remove(row: dict[str, Any], why: str) -> None:
    if _has_verdict(row):
        row["verdict"], row["reason"] = None, "; ".join(filter(None, (row["reason"], why)))


def machine_labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a time whose launches ran on several machines or GPUs."""
    return [Label.SEVERAL_MACHINES] if len(_hardware(tables, case, metric)) > 1 else []


def _of_hardware(tables: Tables, case: Case, _baseline: Case, metric: Metric) -> str | None:
    kinds = set(_hardware(tables, case, metric).values())
    if len(kinds) < 2:
        return None
    why = f"its launches ran on different hardware ({' and on '.join(sorted(kinds))}), which no verdict may pool"
    return f"{why}: ask for one kind, as with --constraint or CUDA_VISIBLE_DEVICES"


def _of_code(tables: Tables, case: Case, baseline: Case, metric: Metric) -> str | None:
    if not tables.changed:
        return None
    names = versions.mixed(versions.joined(tables.code_versions(side, metric) for side in (case, baseline)))
    return f"its units ran several versions of {versions.in_words(names)}, which no verdict may pool" if names else None


def _hardware(tables: Tables, case: Case, metric: Metric) -> dict[str, str]:
    """Hardware of the nodes and GPUs that timed a case for a metric, each once; none where run.json names all there is."""
    return tables.cell(case.id, tables.source(metric).key).nodes if tables.made_in(metric).times else {}
