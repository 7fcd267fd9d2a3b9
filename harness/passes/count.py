"""Count FLOPs, and check what a model claims: a metric's `measure` is given `Counted` and returns a number of FLOPs.

On the meta device (shapes only) the closed form is compared with torch's counter and fvcore, module by module. Real tensors at
the case's own place show what kernels executed, whether modules skip what they claim to skip, whether every call is computed,
and whether logits depend on later tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case, Comparison, UnitOfWork
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import AnyMetric, Cost, Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.passes import Pass
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.flops.reconcile import Row, mismatch, rows
from modbench.harness.machine import busy
from modbench.harness.passes.time import MANY_INPUTS, number_of_inputs
from modbench.harness.results.notes.causality import Causality
from modbench.harness.results.notes.counting import CARRIER, CountNotes, ModuleFlops, Operators
from modbench.harness.results.outcomes import attempt, measured, missing
from modbench.harness.results.records import Gap, Outcome

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modbench.harness.planning.unit_maker import Maker
    from modbench.harness.subject.subject import Subject

# Most tokens and rows that guards use for shipped models, for which the result does not depend on the size.
GUARD_TOKENS, GUARD_ROWS = 128, 2
# Batches that show whether a user's model costs the same on all.
FIRST_INPUTS = 4
# Batches on which training mode is compared with evaluation mode.
TRAINED_INPUTS = 4
# FLOPs per case that take as long as counting does, whatever the size.
WORK = 3e10
# The metric that needs a backward pass on real tensors.
HARDWARE = "flops/train_step/hardware"
NO_CLAIM = "not reported: no module states its capacity and the number of tokens it executed"


@dataclass(frozen=True)
class Counted:
    """FLOPs of one case, with their source.

    Attributes:
        flops: by convention: `forward`, `forward_causal`, `forward_headless`, `forward_nominal`, `forward_executed`,
            `train_step`, `train_step_causal`, `train_step_hardware`.
        params: parameters of the built module.
        notes: source, second opinions, and what the guards found.
        reasons: why a convention has no number.
        mismatch: why the closed form is wrong, or None.
    """

    flops: Mapping[str, float]
    params: int
    notes: CountNotes
    reasons: Mapping[str, str]
    mismatch: str | None = None

    def __getitem__(self, convention: str) -> float:
        """FLOPs under a convention.

        Raises:
            Unmeasured: if there is no such number for this case.
        """
        if convention not in self.flops:
            raise Unmeasured(self.reasons.get(convention, f"{convention} is not known for this model"))
        return self.flops[convention]


def run(unit: UnitOfWork, metrics: list[Metric[Counted, float]]) -> Iterator[Outcome]:
    """Yield the outcomes of every case; an exception fails one case only."""
    hardware = any(metric.key == HARDWARE for metric in metrics)
    inputs = number_of_inputs(unit.protocol.rounds, varying=True)
    for case in unit.comparison.arms:
        with busy.busy():
            counted = attempt(partial(count, case, unit.protocol.seed, hardware=hardware, inputs=inputs))
        for metric in metrics:
            if isinstance(counted, Gap):
                unknown = CountNotes(guards=f"nothing could be counted: {counted.reason}")
                yield missing(case, metric, counted, unknown)
                continue
            if counted.mismatch:
                yield missing(case, metric, Gap(status="failed", kind="flops_mismatch", reason=counted.mismatch))
                continue
            value = attempt(partial(metric.measure, counted))
            if isinstance(value, Gap):
                yield missing(case, metric, value)
                continue
            # Long notes are kept once per case.
            brief = CountNotes(
                params=counted.params,
                forward_causal=counted.flops["forward_causal"],
                train_step_causal=counted.flops["train_step_causal"],
            )
            update = {name: getattr(brief, name) for name in brief.model_fields_set}
            notes = counted.notes.model_copy(update=update) if metric.key == CARRIER else brief
            yield measured(case, metric, {"value": [float(value)]}, notes)


def units(maker: Maker, comparison: Comparison, metrics: Sequence[AnyMetric], _launch: int) -> Iterator[UnitOfWork]:
    """One unit for each comparison: the ideals of the other metrics need FLOPs."""
    of_training = any(catalogue.pass_of(metric).trains for metric in metrics)
    flops = sum(WORK + 6 * maker.forward(comparison, case) for case in comparison.arms)
    yield maker.unit(f"{PASS.name}-{'train-' if of_training else ''}{comparison.label}", comparison, PASS.name, flops)


def count(case: Case, seed: int, *, hardware: bool = True, inputs: int = MANY_INPUTS) -> Counted:
    """Count everything about a case, a user's model on all inputs that are timed; with `hardware`, also a backward pass."""
    counted = _own(case, seed, inputs) if case.own else _reference(case, seed)
    seen = attempt(partial(_executed, case, seed, counted.notes, hardware=hardware))
    if isinstance(seen, Gap):
        reasons = dict.fromkeys(("forward_executed", "train_step_hardware"), f"real tensors: {seen.reason}")
        reason = "; ".join(filter(None, [counted.notes.guards, seen.reason]))
        return replace(
            counted,
            notes=counted.notes.model_copy(update={"guards": reason}),
            reasons={**counted.reasons, **reasons},
        )
    flops, notes = seen
    return replace(counted, flops={**counted.flops, **flops}, notes=notes.model_copy(update=_operators(case, seed)))


def _operators(case: Case, seed: int) -> dict[str, object]:
    """The operators of a forward pass and of a training step, from which it follows what is attainable."""
    from modbench.harness.profiling.operators_of_a_call import of_real_tensors, why_not

    reason = why_not(case)
    if reason is not None:
        return {"operators_reason": reason}
    found = {
        f"{name}_operators": attempt(partial(of_real_tensors, case, seed, training=name == "train"))
        for name in ("forward", "train")
    }
    reasons = [gap.reason for gap in found.values() if isinstance(gap, Gap)]
    return {key: None if isinstance(value, Gap) else value for key, value in found.items()} | {
        "operators_reason": "; ".join(dict.fromkeys(reasons)) or None
    }


def _reference(case: Case, seed: int) -> Counted:
    """Compare the closed form with the counters on the meta device (shapes only): milliseconds, no memory."""
    import torch

    from modbench.harness.flops import counter, fvcore_counter
    from modbench.harness.subject.build import build_module

    model, config, place = catalogue.load("models", case.model), case.config, case.place
    cost = case_cost(case)
    assert cost is not None
    source, depth_ratio = "closed form, checked against torch's counter", None
    nominal = cost.forward
    with torch.device("meta"):
        module = build_module(case, seed)
        tokens_BT = torch.zeros(place.batch_size, place.seq_len, dtype=torch.int64)
        train = counter.train(module, tokens_BT).total
    if model.dynamic:  # its cost depends on the input: run it, and check the closed form for what it did
        module = build_module(case, seed)
        _whole_squares(module)
        tokens_BT = torch.randint(config.vocab_size, tokens_BT.shape, generator=torch.Generator().manual_seed(seed))
    forward = counter.forward(module, tokens_BT)
    if model.dynamic:
        realised: list[int] = module.realised  # type: ignore[assignment]  # every dynamic model has it
        cost = model.cost(config, place.seq_len, place.batch_size, realised)
        source += "; for what the untrained model did with one random batch"
        depth_ratio = cost_ratio(realised, config, place.seq_len)
    third, reason = fvcore_counter.by_fvcore(module, tokens_BT)
    params = sum(p.numel() for p in module.parameters())
    table = rows(cost, forward, third)
    decode, rounded = model.decode_cost, config.capacity is not None and "round_k" in model.options
    notes = CountNotes(
        source=source,
        depth_ratio=depth_ratio,
        parts=dict(cost.parts),
        counter_forward=forward.total,
        counter_train_step=train,
        fvcore_reason=reason,
        modules=_modules(table),
        explained=dict(model.explained),
        decode_elements=decode(config, place.seq_len, place.batch_size).read if decode else None,
        effective_capacity=config.kept(place.seq_len) / place.seq_len if rounded else None,
    )
    trained = Row("the whole train step", cost.train_step, train)
    wrong = mismatch([*table, trained, Row("parameters", cost.params, params)], model.explained)
    return Counted(_conventions(cost) | {"forward_nominal": nominal}, params, notes, {}, wrong)


def _whole_squares(module: nn.Module) -> None:
    """Switch to full-square attention, the convention: on a CPU attention of short sequences is computed in pieces."""
    for part in module.modules():
        if hasattr(part, "pieces"):
            part.pieces = False  # type: ignore[assignment]  # torch types attributes as Tensor or Module


def _modules(table: Sequence[Row]) -> tuple[ModuleFlops, ...]:
    return tuple(ModuleFlops.model_validate(asdict(row)) for row in table)


def _conventions(cost: Cost) -> dict[str, float]:
    names = ("forward", "forward_causal", "forward_headless", "train_step", "train_step_causal", "train_step_hardware")
    return {name: getattr(cost, name) for name in names}


def cost_ratio(realised: list[int], config: ModelConfig, seq_len: int) -> float:
    """`depth_ratio`: mean share of the blocks that ran, from blocks per row or (early exit by token) tokens per block."""
    whole = seq_len if config.exit_by == "token" else config.n_layers
    return sum(realised) / (len(realised) * whole)


def _own(case: Case, seed: int, inputs: int) -> Counted:
    """Count a user's model, which has no closed form: torch's counter on real tensors, backward as twice forward."""
    from modbench.harness.flops import counter, fvcore_counter
    from modbench.harness.subject import training
    from modbench.harness.subject.escapes import escapes

    subject, batches = _subject(case, seed, inputs)
    # The batches that are timed. Where the first few cost the same, all do.
    counts = [counter.both(subject.module, tokens_BT) for tokens_BT in batches[:FIRST_INPUTS]]
    if len({each.total for each, _ in counts}) > 1:
        counts += [counter.both(subject.module, tokens_BT) for tokens_BT in batches[FIRST_INPUTS:]]
    forward = counts[0][0]
    total = fmean(each.total for each, _ in counts)
    causal = fmean(each for _, each in counts)
    out_of_sight = escapes(partial(subject.forward, batches[0]), one_thread=case.place.one_thread)
    forward = replace(forward, operators=forward.operators | {"unknown": forward.operators["unknown"] | out_of_sight})
    if forward.total == 0 and not forward.unknown:
        raise ValueError("torch's counter saw no operator for which it has a formula: 0 FLOPs would be wrong")
    if forward.total == 0:
        raise ValueError(f"torch's counter has no formula for {', '.join(forward.unknown)}: 0 FLOPs would be wrong")
    source = "counted by torch's counter alone (a user's model has no closed form), backward as twice forward"
    if forward.unknown:
        source += f"; a lower bound: it has no formula for {', '.join(forward.unknown)}"
    varies = len({each.total for each, _ in counts}) > 1
    if varies:
        source += f"; the mean over the {len(counts)} batches that are timed, on which it depends"
    third, reason = fvcore_counter.by_fvcore(subject.module, batches[0])
    trained = attempt(partial(training.shares, partial(_subject, case, seed, TRAINED_INPUTS)))
    notes = CountNotes(
        operators=Operators(unknown=out_of_sight),
        trained_share=None if isinstance(trained, Gap) else trained[0],
        train_forward_share=None if isinstance(trained, Gap) else trained[1],
        training_unchecked=trained.reason if isinstance(trained, Gap) else None,
        counted_inputs=len(counts) if varies else 1,
        source=source,
        uncounted=tuple(forward.unknown),
        counter_forward=total,
        fvcore_reason=reason,
        modules=_modules(rows(None, forward, third)),
    )
    found = {"forward": total, "forward_causal": causal, "train_step": 3 * total, "train_step_causal": 3 * causal}
    reason = "a user's model has no closed form: which part is the head, and its nominal FLOPs, are not known"
    reasons = dict.fromkeys(("forward_headless", "forward_nominal"), reason)
    return Counted(found, sum(p.numel() for p in subject.module.parameters()), notes, reasons)


def _subject(case: Case, seed: int, number: int) -> tuple[Subject, list[Tensor]]:
    """A checked model, and unused batches: a model that caches its answers must be counted on tokens that it has not seen."""
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, seed)
    *batches, last_BT = subject.inputs(seed, number + 1)
    subject.check(last_BT)
    return subject, batches


def _executed(case: Case, seed: int, known: CountNotes, *, hardware: bool) -> tuple[dict[str, float], CountNotes]:
    """FLOPs that kernels executed on real tensors, and the known notes extended by what the guards found."""
    from modbench.harness.flops import counter
    from modbench.harness.subject import causality, claims, reuse
    from modbench.harness.subject.precision import Precision

    subject, (tokens_BT, second_BT, third_BT) = _subject(case, seed, 3)
    module = subject.module
    precision = Precision(case.place.dtype)
    with precision:
        seen = counter.forward(module, tokens_BT)
    found = {"forward_executed": float(seen.total)}
    out_of_sight = known.operators.unknown if known.operators else {}
    stated = tuple(claims.claims(module, second_BT))
    few, other = subject.inputs(seed + 1, 2)
    if not case.own:  # tests cover shipped models at any length, but not a user's model
        few, other = (batch[:GUARD_ROWS, :GUARD_TOKENS] for batch in (few, other))
    with precision:  # also calls on tokens seen before, which may compute something else
        reused = attempt(partial(reuse.reused, module, few, other))
    if case.config.bidirectional:
        reason = "a bidirectional model reads all tokens: there is no future to hide"
        guard: Causality | Gap = Causality(reads_future=None, reason=reason, tried=False)
    else:
        guard = attempt(partial(causality.guard, module, few, case.config.vocab_size, seed))
    if hardware:
        subject, _ = _subject(case, seed, 0)  # nothing else is measured with it
        found["train_step_hardware"] = float(counter.train(subject.module, third_BT).total)
    return found, known.model_copy(
        update={
            "operators": Operators(cheap=seen.operators["cheap"], unknown=seen.operators["unknown"] | out_of_sight),
            "claims": stated,
            "claims_reason": None if stated else NO_CLAIM,
            "reused": None if isinstance(reused, Gap) else reused,
            "other_precision": precision.found(),
            "causality": None if isinstance(guard, Gap) else guard,
            "guards": "; ".join(
                filter(None, [known.guards, *(g.reason for g in (reused, guard) if isinstance(g, Gap))])
            )
            or None,
        }
    )


PASS = Pass(name="count", run=run, units=units, notes=CountNotes, always=True)
