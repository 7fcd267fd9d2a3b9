"""Counting pass: a metric's `measure` is given `Counted` and returns a number of FLOPs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from modbench.harness import catalogue
from modbench.harness.case import Case, UnitOfWork
from modbench.harness.config import ModelConfig
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
        train_step_causal: the same with attention over the lower triangle.
        params: parameters of the built module.
        notes: source and second opinion.
        mismatch: why the closed form cannot be believed, or None.
    """

    forward: float
    forward_causal: float
    train_step: float
    train_step_causal: float
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
                notes = {
                    **counted.notes,
                    "params": counted.params,
                    "forward_causal": counted.forward_causal,
                    "train_step_causal": counted.train_step_causal,
                }
                yield measured(case, metric, {"value": [float(metric.measure(counted))]}, notes)


def _count(case: Case, seed: int) -> Counted:
    return _count_own(case, seed) if case.own else _count_reference(case, seed)


def _count_reference(case: Case, seed: int) -> Counted:
    """Closed form against the counter, both on shapes alone (meta device): milliseconds, no memory."""
    import torch

    from modbench.harness.flops import count_forward, count_train
    from modbench.harness.subject import build_module

    model, config, place = catalogue.load("models", case.model), case.config, case.place
    cost = case_cost(case)
    assert cost is not None
    notes: dict[str, Any] = {"source": "closed form, checked against torch's counter"}
    with torch.device("meta"):
        module = build_module(case, seed)
        tokens_BT = torch.zeros(place.batch_size, place.seq_len, dtype=torch.int64)
        train = count_train(module, tokens_BT)
        if not model.dynamic:
            forward = count_forward(module, tokens_BT)
    if model.dynamic:  # what it costs depends on the input: run it, ask what it did, and hold the closed form to that
        module = build_module(case, seed)
        for part in module.modules():
            part.pieces = False  # type: ignore[assignment]  # full-square attention, by convention
        tokens_BT = torch.randint(config.vocab_size, tokens_BT.shape, generator=torch.Generator().manual_seed(seed))
        forward = count_forward(module, tokens_BT)
        realised: list[int] = module.realised  # type: ignore[assignment]  # every dynamic model has it
        cost = model.cost(config, place.seq_len, place.batch_size, realised)
        notes["source"] += "; of what the untrained model did with one random batch"
        notes["depth_ratio"] = cost_ratio(realised, config, place.seq_len)
    params = sum(p.numel() for p in module.parameters())
    notes |= {"parts": dict(cost.parts), "counter_forward": forward, "counter_train_step": train}
    if model.decode_bytes is not None:
        notes["decode_elements"] = model.decode_bytes(config, place.seq_len, place.batch_size)
    if config.capacity is not None and "round_k" in model.options:
        notes["effective_capacity"] = config.kept(place.seq_len) / place.seq_len
    mismatch = (
        disagreement("forward FLOPs", cost.forward, forward)
        or disagreement("train-step FLOPs", cost.train_step, train)
        or disagreement("parameters", cost.params, params)
    )
    return Counted(cost.forward, cost.forward_causal, cost.train_step, cost.train_step_causal, params, notes, mismatch)


def cost_ratio(realised: list[int], config: ModelConfig, seq_len: int) -> float:
    """`depth_ratio`: mean share of the blocks that ran, from blocks per row or (early exit by token) tokens per block."""
    whole = seq_len if config.exit_by == "token" else config.n_layers
    return sum(realised) / (len(realised) * whole)


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
    return Counted(forward, causal, 3 * forward, 3 * causal, params, notes)


def disagreement(what: str, closed_form: float, counter: float) -> str | None:
    """One sentence if the two differ by more than 0.5 %, else None."""
    gap = abs(counter / closed_form - 1)
    if gap <= TOLERANCE:
        return None
    return (
        f"{what}: closed form {closed_form:.6g}, counter {counter:.6g}, {gap:.2%} apart (limit {TOLERANCE:.1%}): "
        "one of them is wrong, so nothing about this case is believed"
    )
