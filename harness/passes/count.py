"""Counting pass: a metric's `measure` is given `Counted` and returns a number of FLOPs. Here a model's claims are tested too.

On shapes alone (meta device) the closed form is held against torch's counter and fvcore, module by module. On real tensors at the
case's own place it is seen what kernels executed, whether modules skip what they say they skip, whether a call is computed anew,
and whether logits depend on later tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case, UnitOfWork
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.flops.reconcile import Row, mismatch, rows
from modbench.harness.machine import busy
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome

if TYPE_CHECKING:
    from modbench.harness.subject.subject import Subject

# Guards look at no more than this many tokens and rows of our own models: there what they test does not depend on the size.
GUARD_TOKENS, GUARD_ROWS = 128, 2


@dataclass(frozen=True)
class Counted:
    """FLOPs of one case, and who says so.

    Attributes:
        flops: by convention: `forward`, `forward_causal`, `forward_headless`, `forward_nominal`, `forward_executed`,
            `train_step`, `train_step_causal`, `train_step_hardware`.
        params: parameters of the built module.
        notes: source, second opinions, and what the guards found.
        reasons: why a convention is not there.
        mismatch: why the closed form cannot be believed, or None.
    """

    flops: Mapping[str, float]
    params: int
    notes: dict[str, Any]
    reasons: Mapping[str, str]
    mismatch: str | None = None

    def __getitem__(self, convention: str) -> float:
        """FLOPs under a convention.

        Raises:
            Unmeasured: where there is no such number for this case.
        """
        if convention not in self.flops:
            raise Unmeasured(self.reasons.get(convention, f"{convention} is not known of this model"))
        return self.flops[convention]


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """Outcomes of every case; an exception is one failed case."""
    hardware = any(metric.key.endswith("/hardware") for metric in metrics if metric.key in unit.comparison.metrics)
    for case in unit.comparison.arms:
        with busy.busy():
            counted = attempt(partial(count, case, unit.protocol.seed, hardware=hardware))
        for metric in metrics:
            if isinstance(counted, Gap):
                unknown = {"guards": f"nothing of it could be counted: {counted.reason}"}
                yield missing(case, metric, counted).model_copy(update={"notes": unknown})
                continue
            if counted.mismatch:
                yield missing(case, metric, Gap(status="failed", kind="flops_mismatch", reason=counted.mismatch))
                continue
            value = attempt(partial(metric.measure, counted))
            if isinstance(value, Gap):
                yield missing(case, metric, value)
                continue
            causal = {name: counted.flops[name] for name in ("forward_causal", "train_step_causal")}
            notes = {"params": counted.params, **causal} | (counted.notes if metric.key == "flops/forward" else {})
            yield measured(case, metric, {"value": [float(value)]}, notes)


def count(case: Case, seed: int, *, hardware: bool = True) -> Counted:
    """All that can be counted of a case. `hardware`: count a backward pass on real tensors too."""
    counted = _own(case, seed) if case.own else _reference(case, seed)
    seen = attempt(partial(_executed, case, seed, hardware=hardware))
    if isinstance(seen, Gap):
        reasons = dict.fromkeys(("forward_executed", "train_step_hardware"), f"real tensors: {seen.reason}")
        return Counted(
            counted.flops,
            counted.params,
            counted.notes | {"guards": seen.reason},
            {**counted.reasons, **reasons},
            counted.mismatch,
        )
    flops, notes = seen
    notes["operators"]["unknown"] |= counted.notes.get("escapes", {})
    return Counted({**counted.flops, **flops}, counted.params, counted.notes | notes, counted.reasons, counted.mismatch)


def _reference(case: Case, seed: int) -> Counted:
    """Closed form against the counters, on shapes alone (meta device): milliseconds, no memory."""
    import torch

    from modbench.harness.flops import counter, fvcore_counter
    from modbench.harness.subject.subject import build_module

    model, config, place = catalogue.load("models", case.model), case.config, case.place
    cost = case_cost(case)
    assert cost is not None
    notes: dict[str, Any] = {"source": "closed form, checked against torch's counter"}
    nominal = cost.forward
    with torch.device("meta"):
        module = build_module(case, seed)
        tokens_BT = torch.zeros(place.batch_size, place.seq_len, dtype=torch.int64)
        train = counter.train(module, tokens_BT).total
    if model.dynamic:  # what it costs depends on the input: run it, ask what it did, and hold the closed form to that
        module = build_module(case, seed)
        _whole_squares(module)
        tokens_BT = torch.randint(config.vocab_size, tokens_BT.shape, generator=torch.Generator().manual_seed(seed))
    forward = counter.forward(module, tokens_BT)
    if model.dynamic:
        realised: list[int] = module.realised  # type: ignore[assignment]  # every dynamic model has it
        cost = model.cost(config, place.seq_len, place.batch_size, realised)
        notes["source"] += "; of what the untrained model did with one random batch"
        notes["depth_ratio"] = cost_ratio(realised, config, place.seq_len)
    third, reason = fvcore_counter.by_fvcore(module, tokens_BT)
    params = sum(p.numel() for p in module.parameters())
    table = rows(cost, forward, third)
    notes |= {
        "parts": dict(cost.parts),
        "counter_forward": forward.total,
        "counter_train_step": train,
        "fvcore_reason": reason,
        "modules": [asdict(row) for row in table],
        "explained": dict(model.explained),
    }
    if model.decode_cost is not None:
        notes["decode_elements"] = model.decode_cost(config, place.seq_len, place.batch_size).read
    if config.capacity is not None and "round_k" in model.options:
        notes["effective_capacity"] = config.kept(place.seq_len) / place.seq_len
    trained = Row("the whole train step", cost.train_step, train)
    wrong = mismatch([*table, trained, Row("parameters", cost.params, params)], model.explained)
    return Counted(_conventions(cost) | {"forward_nominal": nominal}, params, notes, {}, wrong)


def _whole_squares(module: Any) -> None:  # noqa: ANN401  # a module; naming it would load torch
    """Full-square attention everywhere, by convention: on a CPU short sequences are attended to in pieces."""
    for part in module.modules():
        part.pieces = False


def _conventions(cost: Cost) -> dict[str, float]:
    names = ("forward", "forward_causal", "forward_headless", "train_step", "train_step_causal", "train_step_hardware")
    return {name: getattr(cost, name) for name in names}


def cost_ratio(realised: list[int], config: ModelConfig, seq_len: int) -> float:
    """`depth_ratio`: mean share of the blocks that ran, from blocks per row or (early exit by token) tokens per block."""
    whole = seq_len if config.exit_by == "token" else config.n_layers
    return sum(realised) / (len(realised) * whole)


def _own(case: Case, seed: int) -> Counted:
    """A user's model has no closed form: the counter on real tensors, backward taken as twice forward."""
    from modbench.harness.flops import counter, fvcore_counter
    from modbench.harness.subject.escapes import escapes

    subject, (tokens_BT, second_BT, third_BT) = _subject(case, seed, 3)
    forward = counter.forward(subject.module, tokens_BT)
    out_of_sight = escapes(partial(subject.forward, tokens_BT), one_thread=case.place.one_thread)
    forward = replace(forward, operators=forward.operators | {"unknown": forward.operators["unknown"] | out_of_sight})
    if forward.total == 0 and not forward.unknown:
        raise ValueError("torch's counter saw no operator that it has a formula for: 0 FLOPs would be a lie")
    if forward.total == 0:
        raise ValueError(f"torch's counter has no formula for {', '.join(forward.unknown)}: 0 FLOPs would be a lie")
    causal = counter.forward(subject.module, second_BT, causal=True).total
    source = "counted by torch's counter alone (a user's model has no closed form), backward as twice forward"
    if forward.unknown:
        source += f"; a lower bound: it has no formula for {', '.join(forward.unknown)}"
    third, reason = fvcore_counter.by_fvcore(subject.module, third_BT)
    trained = attempt(lambda: counter.train(subject.module, third_BT).total)
    notes = {
        "escapes": out_of_sight,
        "trained_share": None if isinstance(trained, Gap) else trained / (3 * forward.total),
        "source": source,
        "uncounted": forward.unknown,
        "counter_forward": forward.total,
        "fvcore_reason": reason,
        "modules": [asdict(row) for row in rows(None, forward, third)],
    }
    total = float(forward.total)
    found = {"forward": total, "forward_causal": causal, "train_step": 3 * total, "train_step_causal": 3.0 * causal}
    reason = "a user's model has no closed form: which part is the head, and what it intends, is not known"
    reasons = dict.fromkeys(("forward_headless", "forward_nominal"), reason)
    return Counted(found, sum(p.numel() for p in subject.module.parameters()), notes, reasons)


def _subject(case: Case, seed: int, number: int) -> tuple[Subject, list[Any]]:
    """A checked model, and as many batches: one that keeps its answers shall be counted on tokens that it has not seen."""
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, seed)
    *batches, last_BT = subject.inputs(seed, number + 1)
    subject.check(last_BT)
    return subject, batches


def _executed(case: Case, seed: int, *, hardware: bool) -> tuple[dict[str, float], dict[str, Any]]:
    """What kernels did on real tensors, and what the guards say."""
    from modbench.harness.flops import counter
    from modbench.harness.subject import causality, claims, reuse

    subject, (tokens_BT, second_BT, third_BT) = _subject(case, seed, 3)
    module = subject.module
    seen = counter.forward(module, tokens_BT)
    found = {"forward_executed": float(seen.total)}
    notes: dict[str, Any] = {
        "operators": seen.operators,
        "claims": claims.as_notes(claims.claims(module, second_BT)),
        "claims_reason": None,
    }
    if not notes["claims"]:
        notes["claims_reason"] = "not reported: no module states its capacity and the tokens it executed"
    few, other = subject.inputs(seed + 1, 2)
    if not case.own:  # ours are what the tests say at any length; of a user's nobody knows
        few, other = (batch[:GUARD_ROWS, :GUARD_TOKENS] for batch in (few, other))
    reused = attempt(partial(reuse.reused, module, few, other))
    if case.config.bidirectional:
        said = "a classifier reads everything: there is no later token to hide"
        guard: causality.Causality | Gap = causality.Causality(None, reason=said, tried=False)
    else:
        guard = attempt(partial(causality.guard, module, few, case.config.vocab_size, seed))
    notes["reused"] = None if isinstance(reused, Gap) else reused
    notes["causality"] = None if isinstance(guard, Gap) else asdict(guard)
    notes["guards"] = "; ".join(gap.reason for gap in (reused, guard) if isinstance(gap, Gap)) or None
    if hardware:
        found["train_step_hardware"] = float(counter.train(module, third_BT).total)
    return found, notes
