"""Count FLOPs, and check what a model claims: a metric's `measure` is given `Counted` and returns a number of FLOPs.

On the meta device (shapes only) the closed form is compared with torch's counter and fvcore, module by module. Real tensors at
the case's own grid point show what kernels executed, whether modules skip what they claim to skip, whether every call is
computed, and whether logits depend on later tokens. The validity checks of a shipped model run on few tokens, of a large one on
fewer: tests cover these models at any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import AnyMetric, Cost, Metric
from modbench.harness.core.errors import Unmeasured
from modbench.harness.domain.case import COUNTS, Case, Comparison, Counts, Job
from modbench.harness.domain.notes import CARRIER, WHOLE, Causality, CountNotes, ModuleFlops, Operators
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Missing, Outcome
from modbench.harness.machine.process import clocks
from modbench.harness.machine.roofline.work import listed
from modbench.harness.measure.passes.time import MANY_INPUTS, number_of_inputs
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost
from modbench.harness.planning.jobs import JobMaker
from modbench.harness.planning.plan import ASSUMED_FLOP_PER_S
from modbench.harness.registry import catalogue
from modbench.harness.results import workspace
from modbench.harness.results.measured_or_missing import attempt, missing, single

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modbench.harness.call.operators import Found
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.domain.suite import Suite
    from modbench.harness.planning.flops import user_router
    from modbench.harness.planning.flops.counter import Count, Row

# Batches that show whether a user's model costs the same on all.
FIRST_INPUTS = 4
# Batches on which training mode is compared with evaluation mode.
TRAINED_INPUTS = 4
# Reasons of what a suite did not ask for.
NO_FLOPS = "not counted by fvcore: the suite asks for no metric of FLOPs"
NO_TRAINING = "no training step was counted: the suite asks for no metric of one"
# FLOPs that take as long as parts of a count, from which a plan and the time left follow. Counting was taken apart at d_model
# 576, 30 layers and 49,152 words, and at the shape of `quick`. What is no product (drawing weights, going through every operator
# of a block in Python) is put in FLOPs at the speed that plans assume of a CPU.
# Of a process, whose libraries start; of a case; of a block: in the passes that every case gets, in a count of training on the
# meta device, and in fvcore's trace.
FIRST, CASE, BLOCK, TRAINED_BLOCK, TRACED_BLOCK = 5e10, 3e9, 1.5e9, 2.4e9, 1.5e9
# Of a weight: to draw it, and for a step of the optimizer.
DRAWN, STEPPED = 600.0, 300.0
# Forward passes at the case's own grid point: the contract, executed FLOPs, claims. Calls of the validity checks.
FORWARDS, GUARDS = 3, 22
# What a user's model adds: first inputs and work out of sight; training mode against evaluation mode, with two models.
OWN_FORWARDS, OWN_TRAINED = 10, 14
# The metric that needs a backward pass on real tensors.
HARDWARE = "flops/train_step/hardware"
# Called with what is done next, in words.
Say: TypeAlias = Callable[[str], None]
# Most rows and tokens that validity checks use for shipped models, for which the result does not depend on the size; of
# models with more parameters than `LARGE`, which take a second for a hundred tokens.
GUARDED, GUARDED_LARGE, LARGE = (2, 128), (1, 32), 20e6
NO_CLAIM = "not reported: no module has capacity and executed_tokens (docs/your-model.md)"


def silent(_step: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Counted:
    """FLOPs of one case, with their source.

    Attributes:
        flops: by convention: `forward`, `forward_causal`, `forward_headless`, `forward_nominal`, `forward_executed`,
            `train_step`, `train_step_causal`, `train_step_hardware`.
        params: parameters of the built module.
        notes: source, second opinions, and what the validity checks found.
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


def run(job: Job, metrics: list[Metric[Counted, float]]) -> Iterator[Outcome]:
    """Yield the outcomes of every case; an exception fails one case only."""
    hardware = any(metric.key == HARDWARE for metric in metrics)
    inputs = number_of_inputs(job.protocol.rounds, varying=True)
    variants, parts = job.comparison.variants, COUNTS if job.protocol.counts is None else job.protocol.counts
    for number, case in enumerate(variants, 1):
        say = workspace.Steps(f"counting {case.id}" + f", {number} of {len(variants)}" * (len(variants) > 1)).say
        with clocks.busy():
            made = partial(count, case, job.protocol.seed, hardware=hardware, inputs=inputs, parts=parts, say=say)
            counted = attempt(made)
        for metric in metrics:
            if isinstance(counted, Missing):
                unknown = CountNotes(guards=f"nothing could be counted: {counted.reason}")
                yield missing(case, metric, counted, unknown)
                continue
            if counted.mismatch:
                yield missing(case, metric, Missing(status="failed", kind="flops_mismatch", reason=counted.mismatch))
                continue
            # Long notes are kept once per case.
            brief = CountNotes(
                params=counted.params,
                forward_causal=counted.flops["forward_causal"],
                train_step_causal=counted.flops["train_step_causal"],
            )
            update = {name: getattr(brief, name) for name in brief.model_fields_set}
            notes = counted.notes.model_copy(update=update) if metric.key == CARRIER else brief
            yield single(case, metric, attempt(partial(metric.measure, counted)), notes)


def jobs(maker: JobMaker, comparison: Comparison, metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each comparison: the ideals of the other metrics need FLOPs."""
    of_training = any(catalogue.pass_of(metric).trains for metric in metrics)
    name = f"{PASS.name}-{'train-' if of_training else ''}{comparison.label}"
    made = maker.job(name, comparison, PASS.name, 0.0)
    made = made.model_copy(
        update={"protocol": made.protocol.model_copy(update={"counts": required_counts(maker.suite)})}
    )
    yield made.model_copy(update={"flops": work(made, partial(maker.forward, comparison))})


def estimate_seconds(job: Job, forward_s: Callable[[Case], float]) -> float:
    """Seconds of a job, given those of a forward pass: the rest is Python, whatever the machine's products take."""
    speed = ASSUMED_FLOP_PER_S["cpu"]
    return work(job, lambda case: forward_s(case) * speed) / speed


def count(
    case: Case,
    seed: int,
    *,
    hardware: bool = True,
    inputs: int = MANY_INPUTS,
    parts: Sequence[Counts] = COUNTS,
    say: Say = silent,
) -> Counted:
    """Count everything about a case, a user's model on all inputs that are timed.

    Args:
        case: the case.
        seed: of weights and inputs.
        hardware: whether a backward pass on real tensors is counted as well.
        inputs: how many batches are timed.
        parts: what is counted besides what every number needs (`domain/case.py`).
        say: called with each step, in words.
    """
    counted = _own(case, seed, inputs, parts, say) if case.is_user_model else _reference(case, seed, parts, say)
    seen = attempt(partial(executed, case, seed, counted.notes, hardware=hardware, parts=parts, say=say))
    if isinstance(seen, Missing):
        reasons = dict.fromkeys(("forward_executed", "train_step_hardware"), f"real tensors: {seen.reason}")
        reason = "; ".join(filter(None, [counted.notes.guards, seen.reason]))
        return replace(
            counted,
            notes=counted.notes.model_copy(update={"guards": reason}),
            reasons={**counted.reasons, **reasons},
        )
    flops, notes = seen
    return replace(counted, flops={**counted.flops, **flops}, notes=notes)


def _reference(case: Case, seed: int, parts: Sequence[Counts], say: Say) -> Counted:
    """Compare the closed form with the counters on the meta device (shapes only): no memory, and little time."""
    import torch

    from modbench.harness.call.subject.build import build_module
    from modbench.harness.planning.flops import counter, user_router

    model, config, grid_point = catalogue.load("models", case.model), case.config, case.grid_point
    cost = case_cost(case)
    assert cost is not None
    source, depth_ratio = "closed form, checked against torch's counter", None
    step: tuple[Count, user_router.Tally] | None = None
    say("FLOPs by torch's counter")
    with torch.device("meta"):
        module = build_module(case, seed)
        tokens_BT = torch.zeros(grid_point.batch_size, grid_point.seq_len, dtype=torch.int64)
        routers = user_router.routers_in(module, own=case.facts.own_router)
        if "training" in parts:
            step = user_router.train(module, tokens_BT, routers)
        else:
            source += f"; {NO_TRAINING}"
    if model.dynamic or model.pairs(module) is not None:  # its cost depends on the input: see what it does
        module = build_module(case, seed)
        _whole_squares(module)
        tokens_BT = torch.randint(config.vocab_size, tokens_BT.shape, generator=torch.Generator().manual_seed(seed))
    forward, of_routers = user_router.forward(module, tokens_BT, routers)
    explained = {**model.explained, **user_router.explained(routers, config.router)}
    if routers:
        cost = user_router.with_routers(cost, routers, of_routers, step)
        source += user_router.source(config.router, of_routers, cost)
    nominal = cost.forward
    if model.dynamic:
        realised: list[int] = module.realised  # type: ignore[assignment]  # every dynamic model has it
        cost = model.cost(config, grid_point.seq_len, grid_point.batch_size, realised)
        source += "; for what the untrained model did with one random batch"
        depth_ratio = cost_ratio(realised, config, grid_point.seq_len)
    pairs = model.pairs(module)
    if pairs is not None:
        cost = model.cost(config, grid_point.seq_len, grid_point.batch_size, pairs)
        source += "; for what the tokens of one random batch chose in the untrained model"
    third, reason = _third(module, tokens_BT, parts, say)
    params = sum(p.numel() for p in module.parameters())
    table = counter.rows(cost, forward, third)
    reads = None
    if model.decode_cost is not None:
        reads = model.decode_cost(config, grid_point.seq_len, grid_point.batch_size).read
    rounded = config.capacity is not None and "round_k" in model.options
    notes = CountNotes(
        source=source,
        depth_ratio=depth_ratio,
        parts=dict(cost.parts),
        counter_forward=forward.total,
        counter_train_step=None if step is None else step[0].total,
        fvcore_reason=reason,
        modules=_modules(table),
        explained=explained,
        decode_elements=None if reads is None else reads + user_router.weights(routers),
        effective_capacity=config.kept(grid_point.seq_len) / grid_point.seq_len if rounded else None,
    )
    trained = [] if step is None else [counter.Row("the whole train step", cost.train_step, step[0].total)]
    wrong = counter.mismatch([*table, *trained, counter.Row("parameters", cost.params, params)], explained)
    return Counted(_conventions(cost) | {"forward_nominal": nominal}, params, notes, {}, wrong)


def _third(
    module: nn.Module, tokens_BT: Tensor, parts: Sequence[Counts], say: Say
) -> tuple[dict[str, int] | None, str | None]:
    """FLOPs by module path as fvcore counts them, or None and the reason."""
    from modbench.harness.planning.flops import counter

    if "third_opinion" not in parts:
        return None, NO_FLOPS
    say("FLOPs by fvcore")
    return counter.by_fvcore(module, tokens_BT)


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


def _own(case: Case, seed: int, inputs: int, parts: Sequence[Counts], say: Say) -> Counted:
    """Count a user's model by torch's counter on real tensors, backward as twice forward; or by its source's closed form."""
    from modbench.harness.call.subject import check_counts
    from modbench.harness.planning.flops import counter

    say("its contract, and FLOPs by torch's counter")
    subject, batches = subject_of(case, seed, inputs)
    # The batches that are timed. Where the first few cost the same, all do.
    counts = [counter.both(subject.module, tokens_BT) for tokens_BT in batches[:FIRST_INPUTS]]
    if len({each.total for each, _ in counts}) > 1:
        counts += [counter.both(subject.module, tokens_BT) for tokens_BT in batches[FIRST_INPUTS:]]
    forward = counts[0][0]
    total = fmean(each.total for each, _ in counts)
    causal = fmean(each for _, each in counts)
    say("work that no counter sees")
    out_of_sight = check_counts.escapes(partial(subject.forward, batches[0]), one_thread=case.grid_point.one_thread)
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
    cost = case_cost(case)
    params = sum(p.numel() for p in subject.module.parameters())
    wrong = None
    if cost is not None:
        source = "closed form, checked against torch's counter"
        wrong = counter.mismatch(
            [counter.Row(WHOLE, cost.forward, total), counter.Row("parameters", cost.params, params)], {}
        )
    third, reason = _third(subject.module, batches[0], parts, say)
    trained: tuple[float, float] | Missing = Missing(status="skipped", reason=NO_TRAINING)
    if "training" in parts:
        say("training mode against evaluation mode")
        trained = attempt(partial(check_counts.shares, partial(subject_of, case, seed, TRAINED_INPUTS)))
    notes = CountNotes(
        operators=Operators(unknown=out_of_sight),
        trained_share=None if isinstance(trained, Missing) else trained[0],
        train_forward_share=None if isinstance(trained, Missing) else trained[1],
        training_unchecked=trained.reason if isinstance(trained, Missing) else None,
        counted_inputs=len(counts) if varies else 1,
        source=source,
        uncounted=tuple(forward.unknown),
        counter_forward=total,
        fvcore_reason=reason,
        modules=_modules(counter.rows(None, forward, third)),
        decode_elements=decode.read if (decode := case_decode_cost(case, case.grid_point.seq_len)) else None,
    )
    if cost is not None:
        return Counted(_conventions(cost) | {"forward_nominal": cost.forward}, params, notes, {}, wrong)
    found = {"forward": total, "forward_causal": causal, "train_step": 3 * total, "train_step_causal": 3 * causal}
    reason = "a user's model has no closed form: which part is the head, and its nominal FLOPs, are not known"
    reasons = dict.fromkeys(("forward_headless", "forward_nominal"), reason)
    return Counted(found, params, notes, reasons)


PASS = Pass(
    name="count", run=run, jobs=jobs, notes=CountNotes, runs_for_every_case=True, estimate_seconds=estimate_seconds
)


def required_counts(suite: Suite) -> tuple[Counts, ...]:
    """What the suite's metrics need of a count, besides what every number needs to be believed.

    By suite and not by comparison: a case may be in several, and the report reads one count of it.
    """
    known = catalogue.metrics()
    metrics = [known[key] for key in catalogue.with_sources(suite.metrics)]
    wanted: dict[Counts, bool] = {
        "training": any(metric.workload in {"train_step", "train"} for metric in metrics),
        "third_opinion": any(metric.measured_by == "count" for metric in metrics),
        "forward_operators": any(metric.needs == "roofline" and metric.workload == "forward" for metric in metrics),
        "train_operators": any(metric.needs == "roofline" and metric.workload == "train_step" for metric in metrics),
    }
    return tuple(part for part in COUNTS if wanted[part])


def work(job: Job, forward: Callable[[Case], float]) -> float:
    """FLOPs that take as long as a job that counts.

    Args:
        job: the job.
        forward: gives the FLOPs of a case's forward pass.
    """
    variants = job.comparison.variants
    parts = COUNTS if job.protocol.counts is None else job.protocol.counts
    hardware = HARDWARE in job.comparison.metrics
    return FIRST + sum(_of_case(case, variants[0], forward(case), parts, hardware=hardware) for case in variants)


def _of_case(case: Case, baseline: Case, forward: float, parts: Sequence[Counts], *, hardware: bool) -> float:
    """The same of one case; a user's model is assumed to have as many parameters as the baseline."""
    cost = case_cost(case) or case_cost(baseline)
    params = cost.params if cost else 0.0
    tokens = case.grid_point.batch_size * case.grid_point.seq_len
    most = guarded(case, int(params))
    share = 1.0 if most is None else min(1.0, most[0] * most[1] / tokens)
    models, forwards, steps = 1, FORWARDS + GUARDS * share, 0
    blocks = BLOCK + TRACED_BLOCK * ("third_opinion" in parts) + TRAINED_BLOCK * ("training" in parts)
    if "train_operators" in parts:
        models, forwards, steps = models + 1, forwards + 3, steps + 2
    if hardware:
        models, forwards = models + 1, forwards + 4
    if case.is_user_model:
        forwards += OWN_FORWARDS
        if "training" in parts:
            models, forwards = models + 2, forwards + OWN_TRAINED
    return CASE + blocks * case.config.n_layers + forwards * forward + params * (models * DRAWN + steps * STEPPED)


def guarded(case: Case, params: int) -> tuple[int, int] | None:
    """Most rows and tokens that the validity checks of a model use; None: all, since nothing else has tested a user's model."""
    if case.facts.runs_user_code:
        return None
    return GUARDED if params < LARGE else GUARDED_LARGE


def subject_of(case: Case, seed: int, number: int) -> tuple[Subject, list[Tensor]]:
    """A checked model, and unused batches: a model that caches its answers must be counted on tokens that it has not seen."""
    from modbench.harness.call.subject.subject import Subject

    subject = Subject(case, seed)
    *batches, last_BT = subject.inputs(seed, number + 1)
    subject.check(last_BT)
    return subject, batches


def executed(
    case: Case, seed: int, known: CountNotes, *, hardware: bool, parts: Sequence[Counts], say: Say
) -> tuple[dict[str, float], CountNotes]:
    """FLOPs that kernels executed on real tensors, and the known notes extended by what the validity checks found."""
    from modbench.harness.call.operators import Recorder
    from modbench.harness.call.subject import check_caching, check_skipping
    from modbench.harness.call.subject.check_counts import Precision
    from modbench.harness.planning.flops import counter

    say("weights, and its contract")
    subject, (tokens_BT, second_BT, third_BT) = subject_of(case, seed, 3)
    module = subject.module
    precision = Precision(case.grid_point.dtype)
    say("FLOPs and number formats of its kernels")
    recorder = Recorder()
    with recorder, precision:
        seen = counter.forward(module, tokens_BT)
    found = {"forward_executed": float(seen.total)}
    out_of_sight = known.operators.unknown if known.operators else {}
    say("whether it skips what it claims")
    stated = tuple(check_skipping.claims(module, second_BT))
    few, other = subject.inputs(seed + 1, 2)
    most = guarded(case, sum(p.numel() for p in module.parameters()))
    if most is not None:
        rows, tokens = most
        few, other = (batch[:rows, :tokens] for batch in (few, other))
    say("whether every call is computed")
    with precision:  # also calls on tokens seen before, which may compute something else
        reused = attempt(partial(check_caching.reused, module, few, other))
    guard = _reads_future(case, module, few, seed, say)
    if hardware:
        say("FLOPs of a training step's kernels")
        del subject, module
        subject, _ = subject_of(case, seed, 0)  # nothing else is measured with it
        found["train_step_hardware"] = float(counter.train(subject.module, third_BT, subject.counted_loss()).total)
    del subject
    unchecked = [known.guards, *(found.reason for found in (reused, guard) if isinstance(found, Missing))]
    notes = known.model_copy(
        update={
            "operators": Operators(cheap=seen.operators["cheap"], unknown=seen.operators["unknown"] | out_of_sight),
            "claims": stated,
            "claims_reason": None if stated else NO_CLAIM,
            "reused": None if isinstance(reused, Missing) else reused,
            "other_precision": precision.found(),
            "causality": None if isinstance(guard, Missing) else guard,
            "guards": "; ".join(filter(None, unchecked)) or None,
        }
    )
    return found, notes.model_copy(update=_operators(case, seed, recorder.found, parts, say))


def _reads_future(case: Case, module: nn.Module, tokens_BT: Tensor, seed: int, say: Say) -> Causality | Missing:
    """Whether logits depend on later tokens."""
    from modbench.harness.call.subject import check_causality

    if case.config.bidirectional:
        reason = "a bidirectional model reads all tokens: there is no future to hide"
        return Causality(reads_future=None, reason=reason, tried=False)
    calls = 0

    def forward(x_BT: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        say(f"whether it reads later tokens, call {calls} of {check_causality.CUTS + 2}")
        logits_BTV: Tensor = module(x_BT)
        return logits_BTV

    return attempt(partial(check_causality.guard, forward, tokens_BT, case.config.vocab_size, seed))


def _operators(case: Case, seed: int, forward: Sequence[Found], parts: Sequence[Counts], say: Say) -> dict[str, object]:
    """The operators of a forward pass and of a training step, from which the prediction follows.

    Args:
        case: the case.
        seed: of weights and inputs.
        forward: the operators of a forward pass, as they ran.
        parts: which of the two are wanted.
        say: called with each step.
    """
    from modbench.harness.call.operators import of_real_tensors, why_not

    reason = why_not(case)
    if reason is not None:
        return {"operators_reason": reason}
    found: dict[str, object] = {}
    if "forward_operators" in parts:
        found["forward_operators"] = listed(forward, training=False)
    if "train_operators" in parts:
        say("the operators of a training step")
        trained = attempt(partial(of_real_tensors, case, seed, training=True))
        if isinstance(trained, Missing):
            return found | {"operators_reason": trained.reason}
        found["train_operators"] = trained
    return found
