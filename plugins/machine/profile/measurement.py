"""Profile one case, for `modbench profile`. It yields no outcome: the result is a finding in the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Any

from modbench.extend import AnyMetric, Frozen, Job, Notes, Pass, PeakFinding, Phase, Unmeasured, clocks
from modbench.plugins.machine.profile.ranges import (
    ROOT,
    SPANS,
    Range,
    by_name,
    components,
    count_kernels_once,
    counted_twice,
    operators,
    tree,
    typical,
)

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.extend import Subject

WARM_UP, CALLS = 3, 7


class RangeTime(Frozen):
    """Time of a named range of a call.

    Attributes:
        calls: how often it was entered.
        seconds: total time.
        own_seconds: time without ranges inside it.
    """

    calls: float
    seconds: float
    own_seconds: float


class OperatorTime(Frozen):
    """Time of an operator in a call.

    Attributes:
        name: torch's name of it.
        calls: number of calls.
        own_seconds: time without operators that it calls.
    """

    name: str
    calls: float
    own_seconds: float


class ProfileFinding(Notes):
    """Profile of one case.

    Attributes:
        case: case id.
        workload: what was called.
        wall_s: seconds of a call without the profiler.
        ranges: name of a range to its time.
        components: component to seconds; they add up to the call.
        operators: the slowest operators.
        trace: path of the trace.
        flops: module path to FLOPs of a forward pass; the empty path is the model.
        bytes: module path to bytes read and written.
        kept: module path to bytes kept for the backward pass.
        peak: the machine's peak.
    """

    case: str
    workload: str
    wall_s: float
    ranges: dict[str, RangeTime]
    components: dict[str, float]
    operators: tuple[OperatorTime, ...]
    trace: str | None
    flops: dict[str, float]
    bytes: dict[str, float]
    kept: dict[str, float]
    peak: PeakFinding


def run(job: Job, _metrics: list[AnyMetric]) -> Iterator[ProfileFinding]:
    """Profile the case; yields a finding, no outcome. The trace is written where the protocol says."""
    from modbench.extend import Subject, measure_peak

    (case,) = job.comparison.variants
    subject = Subject(case, job.protocol.seed, decode=job.protocol.decode)
    tokens_BT = subject.inputs(job.protocol.seed, 1)[0]
    subject.check(tokens_BT)
    _prepared(subject, job.workload)
    call = _call(subject, job.workload)
    with clocks.busy():
        found = {
            "case": case.id,
            "workload": job.workload,
            "wall_s": _unwatched(subject, call, tokens_BT),
            **_times(subject, call, tokens_BT, job.protocol.trace),
            # A model of its own: the training steps before may have changed what this one computes.
            **_counts(_prepared(Subject(case, job.protocol.seed), job.workload), tokens_BT),
            "peak": measure_peak(case.grid_point.device, case.grid_point.dtype),
        }
    yield ProfileFinding.model_validate(found)


def _prepared(subject: Subject, workload: str) -> Subject:
    subject.module.train(workload == "train_step")
    return subject


def _call(subject: Subject, workload: str) -> Callable[[Tensor], object]:
    import torch

    if workload == "forward":
        return subject.forward

    def step(tokens_BT: Tensor) -> None:
        with torch.profiler.record_function("forward"):
            loss, auxiliary = subject.loss(tokens_BT, subject.targets(tokens_BT))
        with torch.profiler.record_function("backward"):
            (loss + auxiliary).backward()
        with torch.profiler.record_function("optimizer"):
            subject.optimizer.step()
            subject.optimizer.zero_grad(set_to_none=True)

    return step


def _unwatched(subject: Subject, call: Callable[[Tensor], object], tokens_BT: Tensor) -> float:
    """Median seconds of a call without the profiler."""
    seconds = []
    for number in range(WARM_UP + CALLS):
        subject.clock.synchronize()
        start = clocks.perf_counter()
        call(tokens_BT)
        subject.clock.synchronize()
        if number >= WARM_UP:
            seconds.append(clocks.perf_counter() - start)
    return median(seconds)


def _times(subject: Subject, call: Callable[[Tensor], object], tokens_BT: Tensor, trace: str | None) -> dict[str, Any]:
    """Seconds by range, by component and by operator; the trace is written for Perfetto."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from modbench.plugins.machine.profile.watch import named_modules

    activities = [ProfilerActivity.CPU]
    if subject.case.grid_point.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with named_modules(subject.module), profile(activities=activities, acc_events=True) as profiler:
        for _ in range(1 + CALLS):
            with torch.profiler.record_function(ROOT):
                call(tokens_BT)
                subject.clock.synchronize()
    if trace is not None:
        profiler.export_chrome_trace(trace)
    # The first call under the profiler is slow: it is in the trace, but not in the medians.
    on_gpu = subject.case.grid_point.device == "cuda"
    events = profiler.events()
    if on_gpu:
        count_kernels_once(events)
    roots = tree(events, {*SPANS, ROOT}, on_gpu=on_gpu)[1:]
    _check(roots, on_gpu=on_gpu)
    calls = [[each] for each in roots]
    return {
        "ranges": typical([by_name(each) for each in calls]),
        "components": {
            name: row["seconds"]
            for name, row in typical(
                [{c: {"seconds": s} for c, s in components(each, SPANS).items()} for each in calls]
            ).items()
        },
        "operators": operators(events, roots, on_gpu=on_gpu)[:20],
        "trace": trace,
    }


def _check(roots: list[Range], *, on_gpu: bool) -> None:
    """Check what the profiler saw of the calls.

    Raises:
        Unmeasured: if it saw none, no kernel, or kernels that take longer than their call.
    """
    if not roots:
        raise Unmeasured("the profiler returned no range of the calls")
    if not on_gpu:
        return
    if not roots[0].seconds:
        raise Unmeasured(
            "the profiler saw no kernel: it may lack permission to read GPU counters (NVIDIA's ERR_NVGPUCTRPERM)"
        )
    why = next(filter(None, map(counted_twice, roots)), None)
    if why:
        raise Unmeasured(why)


def _counts(subject: Subject, tokens_BT: Tensor) -> dict[str, Any]:
    """FLOPs, bytes and kept memory of a forward pass by module path; "" is the whole model."""
    import torch

    from modbench.extend import flop_counter
    from modbench.plugins.machine.profile.watch import Kept, Traffic

    module = subject.module
    training = module.training
    counted = flop_counter.forward(module, tokens_BT)
    traffic = Traffic(module)
    with torch.no_grad(), traffic.watching():
        module(tokens_BT)
    module.train(training)
    kept: dict[str, float] = {}
    if training:
        watcher = Kept(module)
        with watcher.watching():
            subject.loss(tokens_BT, subject.targets(tokens_BT))
        kept = watcher.bytes
    return {"flops": {"": counted.total, **counted.modules}, "bytes": traffic.moved, "kept": kept}


PASS = Pass(name="profile", run=run, notes=Notes, findings=ProfileFinding, phase=Phase.FIT, order=1, exclusive=True)
