"""From records to `cases.csv`: one row per case and metric that was asked for. Every empty cell has its reason beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness import catalogue, stats
from modbench.harness.case import Case
from modbench.harness.contracts import Metric
from modbench.harness.records import Outcome, Record
from modbench.harness.store import StoredRun

CASE_COLUMNS = [
    *("case_id", "arm", "model", "capacity", "depth_ratio", "seq_len", "batch_size", "workload", "device", "dtype"),
    *("compile", "threads", "seed", "params", "effort", "config"),
]
CASES = [
    *CASE_COLUMNS,
    "metric",
    "unit",
    "statistic",
    "value",
    "ci_low",
    "ci_high",
    "ci_level",
    "n",
    "status",
    "reason",
]
SAW_FUTURE = "top-k routing saw future tokens when it chose"


@dataclass
class Cell:
    """All outcomes of one metric of one case, over launches or seeds.

    Attributes:
        outcomes: (launch or seed, outcome), in order.
        missing: names of planned units without a record.
    """

    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def trouble(self) -> tuple[str, str] | None:
        """(status, reason) if the cell has no value."""
        failed = [outcome for _, outcome in self.outcomes if outcome.status == "failed"]
        if failed:
            part = f" (in {len(failed)} of {len(self.outcomes)} units)" if len(failed) < len(self.outcomes) else ""
            return "failed", f"{failed[0].kind}: {failed[0].reason}{part}"
        for _, outcome in self.outcomes:
            if outcome.status == "skipped":
                return "skipped", str(outcome.reason)
        if self.missing or not self.outcomes:
            name = self.missing[0] if self.missing else "none was planned"
            return "skipped", f"not measured: the unit has no record ({name})"
        return None

    def values(self) -> dict[int, float]:
        """Seed (or 0) to value, for metrics that leave one value per unit."""
        return {number: outcome.samples["value"][0] for number, outcome in self.outcomes}

    def note(self, key: str) -> Any:  # noqa: ANN401  # notes hold what their pass put there
        """A note of the first outcome, or None."""
        return self.outcomes[0][1].notes.get(key) if self.outcomes else None


class Tables:
    """The run's outcomes by case and metric, and the frames made of them."""

    def __init__(self, run: StoredRun) -> None:
        self.run = run
        self.metrics: dict[str, Metric] = catalogue.metrics()
        self.cells: dict[tuple[str, str], Cell] = {}
        records = {record.unit.name: record for record in run.records}
        for unit in run.plan.units:
            number = unit.protocol.seed if unit.made_in == "train" else unit.launch
            record: Record | None = records.get(unit.name)
            if record is not None:
                for outcome in record.outcomes:
                    self.cell(outcome.case, outcome.metric).outcomes.append((number, outcome))
                continue
            for case in unit.comparison.arms:
                for key, metric in self.metrics.items():
                    if unit.makes(metric):
                        self.cell(case.id, key).missing.append(unit.name)
        self.seeds = " ".join(str(seed) for seed in run.plan.suite.seeds)

    def cell(self, case_id: str, metric: str) -> Cell:
        """The cell, empty if nothing was measured."""
        return self.cells.setdefault((case_id, metric), Cell())

    def counted(self, case: Case, note: str) -> Any:  # noqa: ANN401  # a count or None
        """`params`, `forward_causal` and the like, as the counting pass noted them."""
        return self.cell(case.id, "flops/forward").note(note)

    def trouble(self, case: Case, metric: str) -> tuple[str, str] | None:
        """(status, reason) if the metric has no value; wrong FLOPs fail the whole case."""
        for key in ("flops/forward", "flops/train_step"):
            for _, outcome in self.cell(case.id, key).outcomes:
                if outcome.kind == "flops_mismatch":
                    return "failed", f"flops_mismatch: {outcome.reason}"
        return self.cell(case.id, metric).trouble()

    def estimate(self, case: Case, metric: Metric) -> stats.Effect:
        """Value and interval of one cell; times on the log scale."""
        cell = self.cell(case.id, metric.key)
        if metric.made_in != "time":
            return stats.over_launches(list(cell.values().values()))
        medians = [float(np.median(np.log(outcome.samples["wall_s"]))) for _, outcome in cell.outcomes]
        return stats.over_launches(medians)

    def case_columns(self, case: Case, metric: Metric) -> dict[str, Any]:
        """The columns that say what was measured."""
        return {
            "case_id": case.id,
            "arm": case.arm,
            "model": case.model,
            "capacity": case.config.capacity,
            "depth_ratio": self.counted(case, "depth_ratio"),
            "seq_len": case.place.seq_len,
            "batch_size": case.place.batch_size,
            "workload": metric.workload,
            "device": case.place.device,
            "dtype": case.place.dtype,
            "compile": case.place.compile,
            "threads": case.place.threads,
            "seed": self.seeds if metric.made_in == "train" else str(self.run.plan.suite.seeds[0]),
            "params": self.counted(case, "params"),
            "effort": self.run.plan.suite.effort,
            "config": case.config_diff(),
        }


def case_table(tables: Tables) -> pd.DataFrame:
    """`cases.csv`: one row per case and metric that was asked for."""
    rows = [
        _case_row(tables, case, tables.metrics[key])
        for comparison in tables.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms
    ]
    frame = pd.DataFrame(rows, columns=CASES).astype({"params": "Int64", "n": "Int64"})
    return frame.astype(dict.fromkeys(("capacity", "depth_ratio", "value", "ci_low", "ci_high", "ci_level"), "float64"))


def _case_row(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    row = tables.case_columns(case, metric) | {"metric": metric.key, "unit": metric.unit}
    trouble = tables.trouble(case, metric.key)
    if trouble:
        return row | {"status": trouble[0], "reason": trouble[1]}
    effect = tables.estimate(case, metric)
    if metric.made_in == "time":
        low, high = (None if end is None else math.exp(end) for end in (effect.low, effect.high))
        return row | _filled("median", math.exp(effect.value), low, high, effect.n, effect.reason)
    if metric.made_in == "train":
        reasons = [effect.reason] if effect.reason else []
        if saw_future(tables, case, metric):
            reasons.append(SAW_FUTURE)
        return row | _filled("mean", effect.value, effect.low, effect.high, effect.n, "; ".join(reasons) or None)
    statistic = "peak" if metric.key == "memory/peak_allocated" else "exact"
    return row | _filled(statistic, effect.value, None, None, 1, no_interval(tables, case, metric))


def no_interval(tables: Tables, case: Case, metric: Metric) -> str:
    """Why FLOPs and bytes have no interval, and who counted a user's model."""
    if metric.key == "memory/peak_allocated":
        return "the peak of one training step, not sampled: no interval"
    told = (
        case.own or tables.counted(case, "depth_ratio") is not None
    )  # who counted, where it is not the plain closed form
    source = tables.counted(case, "source") if told and metric.made_in == "count" else None
    return "; ".join(["counted, not sampled: no interval", *([str(source)] if source else [])])


def _filled(
    statistic: str, value: float, low: float | None, high: float | None, n: int, reason: str | None
) -> dict[str, Any]:
    level = stats.LEVEL if low is not None else None
    interval = {"ci_low": low, "ci_high": high, "ci_level": level}
    return {"statistic": statistic, "value": value, **interval, "n": n, "status": "ok", "reason": reason}


def saw_future(tables: Tables, case: Case, metric: Metric) -> bool:
    """Whether a loss was measured with routing that looked ahead."""
    if metric.made_in != "train" or metric.key == "loss/val_causal":
        return False
    return tables.cell(case.id, metric.key).note("sees_future") is True
