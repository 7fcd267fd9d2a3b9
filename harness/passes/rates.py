"""Rates pass: one variant is trained at several learning rates, and at more of them until the best is not at the edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from modbench.harness.core.case import Case, Protocol, UnitOfWork
from modbench.harness.core.contracts import Metric
from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.core.train_plan import MOST_MORE
from modbench.harness.machine import busy
from modbench.harness.passes.training import train
from modbench.harness.results import workspace
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """The best multiple of the rule's rate; every try stands in the notes."""
    (case,) = unit.comparison.arms
    with busy.busy():
        tried = attempt(partial(search, partial(_loss, case, unit.protocol), unit.protocol.rates))
    for metric in metrics:
        if isinstance(tried, Gap):
            yield missing(case, metric, tried)
            continue
        best = min(tried, key=lambda rate: tried[rate])
        ordered = sorted(tried)
        assert unit.protocol.train is not None
        notes: dict[str, Any] = {
            "seed": unit.protocol.seed,
            "rule": unit.protocol.train.lr,
            "rates": ordered,
            # JSON knows no infinity: a rate that diverged has no loss.
            "losses": [tried[rate] if tried[rate] < float("inf") else None for rate in ordered],
            "at_edge": best in {ordered[0], ordered[-1]},
        }
        yield measured(case, metric, {"value": [best]}, notes)


def search(loss: Any, rates: Sequence[float]) -> dict[float, float]:  # noqa: ANN401  # rate -> loss, or NumericsError
    """Rate to loss: those named, and up to three more beyond an edge that is the best so far. Diverged is infinite.

    Raises:
        Unmeasured: if every rate diverged.
    """
    tried: dict[float, float] = {}

    def attempt_at(rate: float) -> None:
        try:
            tried[rate] = loss(rate)
        except NumericsError:
            tried[rate] = float("inf")

    for rate in sorted(rates):
        attempt_at(rate)
    for _ in range(MOST_MORE):
        low, *_, high = sorted(tried)
        best = min(tried, key=lambda rate: tried[rate])
        if tried[best] == float("inf"):
            attempt_at(low / 2)
        elif best in {low, high}:
            attempt_at(low / 2 if best == low else high * 2)
        else:
            break
    if min(tried.values()) == float("inf"):
        raise Unmeasured(f"training diverged at every rate tried: {', '.join(f'{rate:g}' for rate in sorted(tried))}")
    return tried


def _loss(case: Case, protocol: Protocol, multiple: float) -> float:
    """Held-out loss at a multiple of the rule's rate: that of the claim, without the future where there is a way."""
    run = protocol.train
    assert run is not None
    plain = run.model_copy(update={"lr": run.lr * multiple, "looks": 0, "watch": False, "flips": 0})
    held_out = train(case, protocol.model_copy(update={"train": plain})).held_out
    if workspace.HERE is not None:
        workspace.HERE.checkpoint.unlink(missing_ok=True)  # the next rate starts anew
    return held_out.loss if held_out.causal is None else held_out.causal
