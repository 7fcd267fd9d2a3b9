"""A run as tidy tables, for notebooks and scripts: `modbench.load(RUN)`. Loads pandas, not torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped
from modbench.harness.core.public import public
from modbench.harness.core.units import counted
from modbench.harness.results.notes.training import TrainNotes
from modbench.harness.results.records import Outcome, Record
from modbench.harness.results.run_folder import StoredRun
from modbench.reports.notebook import display
from modbench.reports.page.render import PAGE
from modbench.reports.tables.comparisons import COMPARISONS
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.load import load as read
from modbench.reports.terminal import summary

# First columns of `samples`; what witnesses saw of a sample follows.
TIMED = ("round", "block", "position", "calls", "input", "wall_s", "cpu_s")
SAMPLES = ("case_id", "arm", "metric", "unit", "unit_of_work", "launch", "seed", "sample", "value", *TIMED)
LOSSES = ("case_id", "arm", "seed", "kind", "step", "tokens", "wall_s", "loss_nat")


@dataclass(frozen=True, repr=False)
class Results:
    """A run's results as tables. Values are in base units (s, B, FLOP, J, nat, ratio); what was not measured has a reason.

    Tables are made when first asked for. The tables are yours: changing one changes nothing else.

    In a notebook it shows the answer, a table and a figure; printed, what `modbench run` prints at its end.

    Attributes:
        loaded: the run as reports read it.
        wall_s: duration of the run in s, where it was just made; else None.
    """

    loaded: Loaded
    wall_s: float | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.loaded.path

    @property
    def report(self) -> Path | None:
        """The page; None if it was not written: `modbench report RUN` writes it."""
        page = self.path / PAGE
        return page if page.exists() else None

    @property
    def run(self) -> StoredRun:
        """What was run: its `plan`, `environment`, `command` and `started`; `missing` names units without a record."""
        return self.loaded.run

    @cached_property
    def cases(self) -> pd.DataFrame:
        """`cases.csv`: a row for each case and metric that was asked for."""
        return self.loaded.cases.copy()

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """`comparisons.csv`: a row for each pair of arms and metric; `primary`: against the baseline, `twin`: a check."""
        return self.loaded.pairs[[*COMPARISONS, "primary", "twin"]].copy()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each raw sample.

        `value` is what the metric is computed from (for times `wall_s`, per call). Samples of one `block` of a launch lie beside
        each other in time; nothing is left out, so that samples that were disturbed are in it too.
        """
        frames = [frame for record in self.run.records for frame in _samples(record)]
        if not frames:
            return pd.DataFrame(columns=list(SAMPLES))
        made = pd.concat(frames, ignore_index=True)
        return made[[*SAMPLES, *(column for column in made if column not in SAMPLES)]]

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Training curves: a row for each step that read its loss.

        `kind` is `train` for the loss of a step's batch before its update, `held_out` for evaluations during training; losses are
        in nats per token.
        """
        rows = [row for record in self.run.records for outcome in record.outcomes for row in _losses(record, outcome)]
        return pd.DataFrame(rows, columns=list(LOSSES)).astype({"step": "Int64", "tokens": "Int64"})

    def __repr__(self) -> str:
        plan = self.run.plan
        missing = len(self.run.missing)
        lacking = f", {counted(missing, 'unit')} missing" if missing else ""
        counts = [(len(self.loaded.arms), "arm"), (len(plan.cases), "case"), (len(plan.units), "unit")]
        said = ", ".join(counted(number, what) for number, what in counts)
        return f"<modbench run {str(self.path)!r}: suite {plan.suite.name!r}, {plan.suite.effort}, {said}{lacking}>"

    def __str__(self) -> str:
        page = self.report or f"not written; modbench report {self.path} writes it"
        return masked(escaped(summary.closing(self.loaded, page, self.wall_s, more="")))

    def _repr_html_(self) -> str:
        return display.html(self.loaded, self.report)


@public("mb.load('runs/quick-1')")
def load(run_folder: str | Path, baseline: str | None = None, *, all_pairs: bool = False) -> Results:
    """Read a run folder as tables.

    Args:
        run_folder: the run folder.
        baseline: the arm that others are compared with, by its id or by what the report calls it; None: the suite's anchor.
        all_pairs: whether any two arms are compared, however many pairs that makes.

    Raises:
        UsageError: if it is not a run folder, is damaged, or has no such arm.
    """
    return Results(read(run_folder, baseline, all_pairs=all_pairs))


def _samples(record: Record) -> Iterator[pd.DataFrame]:
    arms = {case.id: case.arm for case in record.unit.comparison.timed.arms}
    for outcome in record.outcomes:
        if not outcome.samples:
            continue
        columns: dict[str, Any] = dict(outcome.samples)
        n = len(next(iter(columns.values())))
        nothing = [float("nan")] * n
        made = pd.DataFrame({**dict.fromkeys(TIMED, nothing), **columns})
        yield made.assign(
            case_id=outcome.case,
            arm=arms.get(outcome.case, ""),
            metric=outcome.metric,
            unit=outcome.unit,
            unit_of_work=record.unit.name,
            launch=record.unit.launch,
            seed=record.unit.protocol.seed,
            sample=range(n),
            value=columns.get(record.unit.facts.column, nothing),
        )


def _losses(record: Record, outcome: Outcome) -> Iterator[dict[str, Any]]:
    if not isinstance(outcome.notes, TrainNotes):
        return
    notes = outcome.notes
    arms = {case.id: case.arm for case in record.unit.comparison.arms}
    told = {"case_id": outcome.case, "arm": arms.get(outcome.case, ""), "seed": notes.seed}
    if notes.curve is not None:
        curve = notes.curve
        for step, tokens, loss, wall_s in zip(curve.step, curve.tokens, curve.loss, curve.wall_s, strict=True):
            if loss is not None:
                yield {**told, "kind": "train", "step": step, "tokens": tokens, "wall_s": wall_s, "loss_nat": loss}
    if notes.looks is not None:
        for step, loss in zip(notes.looks.step, notes.looks.loss, strict=True):
            yield {**told, "kind": "held_out", "step": step, "loss_nat": loss}
