"""A run's outcomes by case and metric: values, why a value is missing, doubts. Statistics are computed on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case, Comparison
from modbench.harness.core.contracts import Doubt, Metric, Pass
from modbench.harness.core.errors import Unmeasured, unknown
from modbench.harness.results.evidence import Evidence
from modbench.harness.results.records import Outcome, Record
from modbench.harness.results.run_folder import StoredRun
from modbench.harness.stats import effects
from modbench.harness.stats.paired import LaunchSamples

# Passes that sample repeatedly, and the column that holds a sample's value.
SAMPLED: dict[Pass, str] = {"time": "wall_s", "energy": "value"}
# Start of the reason of an arm whose times still drifted, whether from the machine or from the arm.
UNSTEADY = "not_steady"


@dataclass
class Cell:
    """All outcomes of one metric of one case, over launches or seeds.

    Attributes:
        outcomes: (launch or seed, outcome), in order.
        missing: names of planned units without a record.
        blocks: launch to what witnesses saw of its blocks.
    """

    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    blocks: dict[int, dict[str, list[float]]] = field(default_factory=dict)

    def trouble(self) -> tuple[str, str] | None:
        """Return (status, reason) if the cell has no value."""
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

    def good(self) -> dict[int, Outcome]:
        """Return the good outcome of each launch or seed."""
        return {number: outcome for number, outcome in self.outcomes if outcome.status == "ok"}

    def values(self) -> dict[int, float]:
        """Return the value of each seed (or launch), for metrics with one value per unit."""
        return {number: outcome.samples["value"][0] for number, outcome in self.outcomes}

    def over_seeds(self) -> effects.Effect:
        """Return mean and interval over seeds; for one seed's accuracy the binomial interval over its questions."""
        effect, asked = effects.over_launches(list(self.values().values())), self.note("n")
        if len(self.outcomes) > 1 or asked is None or self.note("correct") is None:
            return effect
        low, high = effects.share_interval(int(self.note("correct")), int(asked))
        reason = f"binomial, over {asked} questions of one seed: says nothing about another seed"
        return effects.Effect(effect.value, low, high, n=1, reason=reason)

    def notes(self) -> dict[str, Any]:
        """Return the notes of the first outcome."""
        return self.outcomes[0][1].notes if self.outcomes else {}

    def note(self, key: str) -> Any:  # noqa: ANN401  # each pass decides its notes' types
        """Return a note from the first outcome that has it, or None."""
        return next((o.notes[key] for _, o in self.outcomes if o.notes.get(key) is not None), None)


@dataclass(frozen=True)
class Derived:
    """What a derived metric is computed from, besides the seconds of its source.

    Attributes:
        tables: the run.
        case: the case.
        metric: the derived metric.
    """

    tables: Tables
    case: Case
    metric: Metric

    @property
    def tokens(self) -> float:
        """Tokens of one call or decode step."""
        return float(self.tables.cell(self.case.id, self.metric.source).note("tokens"))

    @property
    def peak(self) -> float | None:
        """The machine's measured peak in FLOP/s, for the case's number format."""
        return self.tables.peaks.get(self.case.place.dtype)

    @property
    def peak_reason(self) -> str:
        """Why there is no peak."""
        return f"no peak of this machine was measured for {self.case.place.dtype}"

    def counted(self, note: str) -> float | None:
        """Return a number that the counting pass noted, or None."""
        return self.tables.counted(self.case, note)

    @property
    def uncounted(self) -> list[str]:
        """Operators that the counter has no formula for: then its FLOPs are a lower bound."""
        return self.tables.uncounted(self.case)


class Tables:
    """The run's outcomes by case and metric, and estimates from them.

    Args:
        run: the stored run.
        baseline: name of the arm that others are compared with; None: every comparison's anchor.

    Raises:
        UsageError: if no arm has that name.
    """

    def __init__(self, run: StoredRun, baseline: str | None = None) -> None:
        self.run, self.baseline = run, baseline
        self.metrics: dict[str, Metric] = catalogue.metrics()
        self.doubts: dict[str, Doubt] = {name: catalogue.load("doubts", name) for name in catalogue.entries("doubts")}
        self.cells: dict[tuple[str, str], Cell] = {}
        self.peaks: dict[str, float] = {}
        self._doubted: dict[tuple[str, str], dict[str, str]] = {}
        arms = dict.fromkeys(case.arm for case in run.plan.cases)
        if baseline is not None and baseline not in arms:
            raise unknown("baseline", baseline, arms)
        records = {record.unit.name: record for record in run.records}
        for unit in run.plan.units:
            number = unit.protocol.seed if unit.made_in == "train" else unit.launch
            record: Record | None = records.get(unit.name)
            if record is not None:
                self._take(record, number)
                continue
            for case in unit.comparison.arms:
                for key, metric in self.metrics.items():
                    if unit.makes(metric):
                        self.cell(case.id, key).missing.append(unit.name)
        self.seeds = " ".join(str(seed) for seed in run.plan.suite.seeds)

    def _take(self, record: Record, number: int) -> None:
        peak = record.environment.get("peak")
        if peak:
            self.peaks[peak["dtype"]] = peak["flop_per_s"]
        blocks = {each.group: each.columns for each in record.blocks}
        for outcome in record.outcomes:
            cell = self.cell(outcome.case, outcome.metric)
            cell.outcomes.append((number, outcome))
            if outcome.metric in self.metrics:
                cell.blocks[number] = blocks.get(self.metrics[outcome.metric].group, {})

    def cell(self, case_id: str, metric: str) -> Cell:
        """Return the cell, empty if nothing was measured."""
        return self.cells.setdefault((case_id, metric), Cell())

    def training_notes(self, case_id: str) -> dict[str, Any] | None:
        """Return the notes of the first seed's run on a corpus, stored with one of its metrics; None if it was not trained."""
        cells = (self.cell(case_id, key) for key, metric in self.metrics.items() if metric.made_in == "train")
        return next((cell.notes() for cell in cells if cell.notes().get("curve")), None)

    def source(self, metric: Metric) -> Metric:
        """Return the metric itself, or the timed one that it is derived from."""
        return self.metrics[metric.source] if metric.source else metric

    def counted(self, case: Case, note: str) -> float | None:
        """Return a number that the counting pass noted, such as `params` or `forward_causal`, or None."""
        found: float | None = self.cell(case.id, "flops/forward").note(note)
        return found

    def uncounted(self, case: Case) -> list[str]:
        """Return the operators that the counter has no formula for: then its FLOPs are a lower bound."""
        return list(self.cell(case.id, "flops/forward").note("uncounted") or ())

    def anchor(self, case: Case, metric: Metric) -> Case:
        """Return the arm that every block of this case also timed."""
        return self.comparison(case, metric).arms[0]

    def comparison(self, case: Case, metric: Metric) -> Comparison:
        """Return the comparison in which this metric of the case was measured."""
        return next(c for c in self.run.plan.comparisons if case in c.arms and metric.key in c.metrics)

    def baseline_of(self, comparison: Comparison) -> Case:
        """Return the arm of a comparison that the others are compared with."""
        named = (case for case in comparison.arms if case.arm == self.baseline)
        return next(named, comparison.arms[0])

    def launches(self, metric: Metric, case: Case, baseline: Case, anchor: Case) -> list[LaunchSamples]:
        """Return every launch in which both arms and their anchor were timed."""
        key = self.source(metric).key
        sides = [dict(self.cell(side.id, key).outcomes) for side in (case, baseline, anchor)]
        blocks = self.cell(case.id, key).blocks
        return [
            LaunchSamples(
                None if case == anchor else sides[0][number].samples,
                None if baseline == anchor else sides[1][number].samples,
                sides[2][number].samples,
                blocks.get(number, {}),
            )
            for number in sides[0]
            if number in sides[1] and number in sides[2]
        ]

    def trouble(self, case: Case, metric: Metric) -> tuple[str, str] | None:
        """Return (status, reason) if the metric has no value; wrong FLOPs fail the whole case, an unsteady arm its times."""
        for key in ("flops/forward", "flops/train_step"):
            for _, outcome in self.cell(case.id, key).outcomes:
                if outcome.kind == "flops_mismatch":
                    return "failed", f"flops_mismatch: {outcome.reason}"
        cell = self.cell(case.id, self.source(metric).key)
        found = cell.trouble()
        if found is None and cell.note("unsteady") is not None:
            return "failed", f"{UNSTEADY}: {cell.note('unsteady')}"
        if found is None and metric.source:
            try:
                metric.measure(Derived(self, case, metric))
            except Unmeasured as error:
                return "skipped", str(error)
        return found

    def anchor_trouble(self, case: Case, metric: Metric) -> tuple[str, str] | None:
        """Return (status, reason) if the anchor has no samples: then no two arms form a pair."""
        return self.cell(self.anchor(case, metric).id, self.source(metric).key).trouble()

    def factor(self, case: Case, metric: Metric) -> float:
        """Return the number that a derived metric divides by seconds."""
        return float(metric.measure(Derived(self, case, metric)))

    def estimate(self, case: Case, metric: Metric) -> effects.Effect:
        """Return value and interval of one cell; times and rates on the log scale."""
        cell = self.cell(case.id, self.source(metric).key)
        if metric.source:
            times = self.estimate(case, self.metrics[metric.source])
            return times.mirrored().shifted(math.log(self.factor(case, metric)))
        column = SAMPLED.get(metric.made_in)
        if column is None:
            return cell.over_seeds()
        medians = [float(np.median(np.log(outcome.samples[column]))) for _, outcome in cell.outcomes]
        return effects.over_launches(medians)

    def doubts_about(self, case: Case, metric: Metric) -> dict[str, str]:
        """Return what is doubtful about a cell, by doubt."""
        key = (case.id, metric.key)
        if key not in self._doubted:
            self._doubted[key] = self._doubt(case, metric)
        return self._doubted[key]

    def _doubt(self, case: Case, metric: Metric) -> dict[str, str]:
        cell = self.cell(case.id, self.source(metric).key)
        mine, anchors = cell.good(), self.cell(self.anchor(case, metric).id, self.source(metric).key).good()
        # Launches that the anchor has too, or all if the anchor has none of them.
        numbers = [number for number in mine if number in anchors] or list(mine)
        evidence = Evidence(
            case,
            metric,
            [mine[number] for number in numbers],
            [anchors[number] for number in numbers if number in anchors],
            [cell.blocks.get(number, {}) for number in numbers],
            dict(self.cell(case.id, "flops/forward").notes()),
        )
        found = {name: doubt.finds(evidence) for name, doubt in self.doubts.items()}
        return {name: said for name, said in found.items() if said}

    def labels(self, case: Case, metric: Metric) -> list[str]:
        """Return the labels of a case in every output, such as `not autoregressive as measured`."""
        return [self.doubts[name].label for name in self.doubts_about(case, metric) if self.doubts[name].label]

    def case_columns(self, case: Case, metric: Metric) -> dict[str, Any]:
        """Return the columns that identify what was measured."""
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
