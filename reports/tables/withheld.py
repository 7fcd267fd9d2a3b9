"""What may not be pooled: launches on several machines, and units that ran several versions of the user's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.reports.tables import versions
from modbench.reports.tables.outcomes import Tables


def machine_labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a time whose launches ran on several machines or GPUs."""
    return [Label.SEVERAL_MACHINES] if len(_hardware(tables, case, metric)) > 1 else []


def withhold(tables: Tables, rows: Sequence[dict[str, Any]]) -> None:
    """Remove verdicts on pairs that pool what may not be pooled, with the reason. *Contaminated* stays.

    Those are times whose launches ran on different hardware, and pairs whose two numbers come from two versions of a file.
    """
    cases = {case.id: case for case in tables.run.plan.cases}
    for row in rows:
        for why in (_of_hardware, _of_code):
            if row.get("verdict") in {None, "contaminated"}:
                break
            sides = (cases[row["case_id"]], cases[row["baseline_case_id"]])
            said = why(tables, *sides, tables.metrics[row["metric"]])
            if said is not None:
                row["verdict"], row["reason"] = None, "; ".join(filter(None, (row["reason"], said)))


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
