"""Train the best of a sweep again: with new seeds, judged on held-out sequences that chose nothing.

Which cases run, and how many seeds of each, is decided while the suite runs (`rule.py` here and in `../trend`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.extend import (
    AnyMetric,
    Comparison,
    Job,
    JobMaker,
    Metric,
    Outcome,
    Pass,
    Phase,
    Protocol,
    Trained,
    TrainNotes,
    notes_of,
    runs,
    train,
    train_once,
)
from modbench.plugins.sweeps.confirmation.table import ConfirmPlan
from modbench.plugins.sweeps.isoflop.plan import CONFIRM_PASS, spent
from modbench.plugins.sweeps.trend.table import TrendPlan, fresh_seeds


def run(job: Job, metrics: list[Metric[Trained, float]]) -> Iterator[Outcome]:
    """Train once, then let every metric read the result."""
    return train_once(job, metrics, train, _notes)


def _notes(_metric: AnyMetric, protocol: Protocol, made: Trained) -> TrainNotes:
    notes = notes_of(protocol, made)
    if made.held_out.causal_causality is not None:
        notes = notes.model_copy(update={"causality": made.held_out.causal_causality})
    # What is measured routes without the future. A hundred runs need no curves.
    update = {"sees_future": False, "curve": None, "looks": None, "by_block": made.held_out.by_block}
    return notes.model_copy(update=update)


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each case and new seed, as many as may be asked for.

    Raises:
        UsageError: if a budget cannot be met.
    """
    for case in comparison.variants:
        seeds, plain = fresh_seeds(maker.suite, spent(case)), {"looks": 0, "watch": False, "flips": 0}
        yield from runs(maker, comparison, case, PASS.name, seeds, held_out="confirm", **plain)


PASS = Pass(
    name=CONFIRM_PASS,
    run=run,
    jobs=jobs,
    notes=TrainNotes,
    phase=Phase.TRAIN,
    order=4,
    trains=True,
    needs_table=("confirm", "trend"),
    samples="seeds",
    statistic="mean",
    settings=lambda suite, _case: ConfirmPlan.of(suite) or TrendPlan.of(suite),
)
