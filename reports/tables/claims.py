"""Verdicts on pairs: each row's contrast is judged among those of its family; and where verdicts are withheld.

A family holds the variants against one baseline, for one metric at one grid point. Whether a variant differs significantly from
its baseline then does not depend on other lengths or metrics. Matched baselines against it are a family of their own, since they
differ from it on purpose; so are the variants against their matched baselines. Which pair belongs where: `comparisons.pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, TypeAlias

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import Label, of_cell
from modbench.harness.domain.case import Case
from modbench.harness.results.run_file import StoredRun
from modbench.harness.stats import noise
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import INCONCLUSIVE, Contrast, together
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.values import HELD_OUT, Tables


def judge(rows: Sequence[dict[str, Any]], *, claims: bool) -> None:
    """Add verdict, reason and labels to the rows that have a `contrast`, among those of their `family`; both are taken away."""
    families = [(row.pop("family", None), row.pop("contrast", None), row) for row in rows]
    alike = grouped((family, (found, row)) for family, found, row in families if found is not None)
    for those in alike.values():
        for (_, row), found in zip(those, together([found for found, _ in those]), strict=True):
            _tell(row, found, claims=claims)


def _tell(row: dict[str, Any], found: Contrast, *, claims: bool) -> None:
    """Write what a contrast found into its row; without claims only what made it noisy."""
    row["p_adjusted"] = found.p_adjusted
    labels, why = found.labels, [found.reason]
    if claims:
        row["verdict"] = found.verdict
        if found.by_cpu:
            row["process_sd"] = found.effect.sd
        # Confirmation analyses several times, and advises its own number of seeds.
        advised = found.rule.kind == "loss" and row["metric"] not in HELD_OUT
        why += [None if advised else found.open, found.disagreement]
        if found.verdict == INCONCLUSIVE and row["metric"] in HELD_OUT:
            row["seeds_needed"] = None if found.among else found.needed
    else:
        noisy = found.seen.noisy > noise.MOST
        labels, why = [Label.NOISY] * noisy, [Reason("noisy", share=found.seen.noisy)] * noisy
    if labels:
        row["labels"] = ";".join(filter(None, [row["labels"], *labels]))
    row["reason"] = joined_reasons([row["reason"], *why])


SMOKE = "a smoke run makes no claims"
UNCHECKED = "the machine was not checked: run `modbench doctor`, or leave `aa_control` on"
SILENT = "the machine was not checked, as its A/A control was noisy or failed: run `modbench doctor`, or measure again"
INCOMPLETE = "the machine was not checked, as the run is incomplete: `modbench resume` measures the rest"
# Verdicts and labels of the A/A controls of a run.
AAControls: TypeAlias = "Sequence[tuple[object, object]]"


def has_evidence(aa_controls: AAControls) -> bool:
    """Whether a verdict on an A/A control says something of the machine; that on a noisy A/A control does not."""
    return any(isinstance(verdict, str) and Label.NOISY not in of_cell(labels) for verdict, labels in aa_controls)


def why_unchecked(run: StoredRun, aa_controls: Sized) -> str:
    """Return why nothing speaks for the machine, and what would help, from what is known of A/A controls."""
    return UNCHECKED if not len(aa_controls) else INCOMPLETE if run.missing else SILENT


def suppress(tables: Tables, rows: Sequence[dict[str, Any]], aa_controls: AAControls) -> None:
    """Remove verdicts that may not be given, with the reason."""
    checked = provenance.certificates(tables.run) or has_evidence(aa_controls)
    cases = {case.id: case for case in tables.plan.cases}
    for row in (row for row in rows if row.get("verdict") is not None):
        case, baseline = cases[row["case_id"]], cases[row["baseline_case_id"]]
        metric = tables.metrics[row["metric"]]
        unchecked = not checked and tables.made_in(metric).times
        why = why_unchecked(tables.run, aa_controls) if unchecked else _of_hardware(tables, case, metric)
        if why := why or _of_code(tables, case, baseline, metric):
            row["verdict"], row["reason"] = None, "; ".join(filter(None, (row["reason"], why)))


def machine_labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a time whose processes ran on several machines or GPUs."""
    return [Label.SEVERAL_MACHINES] if len(_hardware(tables, case, metric)) > 1 else []


def _of_hardware(tables: Tables, case: Case, metric: Metric) -> str | None:
    kinds = set(_hardware(tables, case, metric).values())
    if len(kinds) < 2:
        return None
    why = f"its processes ran on different hardware ({' and on '.join(sorted(kinds))}), which no verdict may pool"
    return f"{why}: ask for one kind, as with --constraint or CUDA_VISIBLE_DEVICES"


def _of_code(tables: Tables, case: Case, baseline: Case, metric: Metric) -> str | None:
    ran = provenance.joined_versions(tables.value(side, metric).cell.versions for side in (case, baseline))
    names = provenance.versions_in_words(provenance.mixed_versions(ran))
    return f"its jobs ran several versions of {names}, which no verdict may pool" if names else None


def _hardware(tables: Tables, case: Case, metric: Metric) -> dict[str, str]:
    """Hardware of the nodes and GPUs that timed a case for a metric, each once; none where run.json names all there is."""
    return tables.value(case, metric).cell.nodes if tables.made_in(metric).times else {}
