"""Counting pass: a metric's `measure` is given `Counted` and returns a number of FLOPs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from modbench.harness.case import Case, UnitOfWork
from modbench.harness.contracts import Metric
from modbench.harness.passes import attempt, measured, missing
from modbench.harness.plan import case_cost
from modbench.harness.records import Gap, Outcome

TOLERANCE = 0.005


@dataclass(frozen=True)
class Counted:
    """FLOPs of one case, and who says so.

    Attributes:
        forward: of one forward pass, full-square attention.
        forward_causal: the same with attention over the lower triangle.
        train_step: of forward and backward.
        params: parameters of the built module.
        notes: source and second opinion.
        mismatch: why the closed form cannot be believed, or None.
    """

    forward: float
    forward_causal: float
    train_step: float
    params: int
    notes: dict[str, Any]
    mismatch: str | None = None


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """Outcomes of every case; an exception is one failed case."""
    for case in unit.comparison.arms:
        counted = attempt(partial(_count, case, unit.protocol.seed))
        for metric in metrics:
            if isinstance(counted, Gap):
                yield missing(case, metric, counted)
            elif counted.mismatch:
                yield missing(case, metric, Gap(status="failed", kind="flops_mismatch", reason=counted.mismatch))
            else:
                notes = {**counted.notes, "params": counted.params, "forward_causal": counted.forward_causal}
                yield measured(case, metric, {"value": [float(metric.measure(counted))]}, notes)


def _count(case: Case, seed: int) -> Counted:
    return _count_own(case, seed) if case.own else _count_reference(case, seed)


def _count_reference(case: Case, seed: int) -> Counted:
    """Closed form against the counter, both on shapes alone (meta device): milliseconds, no memory."""
    import torch

    from modbench.harness.flops import count_forward, count_train
    from modbench.harness.subject import build_module

    cost = case_cost(case)
    assert cost is not None
    with torch.device("meta"):
        module = build_module(case, seed)
        tokens_BT = torch.zeros(case.place.batch_size, case.place.seq_len, dtype=torch.int64)
        forward, train = count_forward(module, tokens_BT), count_train(module, tokens_BT)
    params = sum(p.numel() for p in module.parameters())
    notes = {
        "source": "closed form, checked against torch's counter",
        "parts": dict(cost.parts),
        "counter_forward": forward,
        "counter_train_step": train,
    }
    mismatch = (
        disagreement("forward FLOPs", cost.forward, forward)
        or disagreement("train-step FLOPs", cost.train_step, train)
        or disagreement("parameters", cost.params, params)
    )
    return Counted(cost.forward, cost.forward_causal, cost.train_step, params, notes, mismatch)


def _count_own(case: Case, seed: int) -> Counted:
    """A user's model has no closed form: the counter on real tensors, backward taken as twice forward."""
    from modbench.harness.flops import count_forward, uncounted
    from modbench.harness.subject import Subject

    subject = Subject(case, seed)
    tokens_BT = subject.inputs(seed, 1)[0]
    subject.check(tokens_BT)
    forward = count_forward(subject.module, tokens_BT)
    if forward == 0:
        raise ValueError("torch's counter saw no operator that it has a formula for: 0 FLOPs would be a lie")
    causal = count_forward(subject.module, tokens_BT, causal=True)
    unknown = uncounted(subject.module, tokens_BT)
    source = "counted by torch's counter alone (a user's model has no closed form), backward as twice forward"
    if unknown:
        source += f"; a lower bound: it has no formula for {', '.join(unknown)}"
    notes = {"source": source, "uncounted": unknown}
    params = sum(p.numel() for p in subject.module.parameters())
    return Counted(forward, causal, 3 * forward, params, notes)


def disagreement(what: str, closed_form: float, counter: float) -> str | None:
    """One sentence if the two differ by more than 0.5 %, else None."""
    gap = abs(counter / closed_form - 1)
    if gap <= TOLERANCE:
        return None
    return (
        f"{what}: closed form {closed_form:.6g}, counter {counter:.6g}, {gap:.2%} apart (limit {TOLERANCE:.1%}): "
        "one of them is wrong, so nothing about this case is believed"
    )
