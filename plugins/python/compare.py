"""`modbench.compare`: models in memory, timed side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from modbench.extend import (
    ESCAPED,
    Clock,
    Label,
    UsageError,
    against_theoretical,
    public,
    reason_in_words,
    shown,
    units,
    unknown,
)
from modbench.plugins.python import callable_contrasts, calls, checks, timing_processes
from modbench.plugins.python.callable_contrasts import Beside, own_time
from modbench.plugins.python.callables import TimingProcess, check_effort, naming
from modbench.plugins.python.calls import Flops, Loss, Model, Workload
from modbench.plugins.python.comparison import Comparison, Row
from modbench.plugins.python.inputs import CallInputs, Inputs
from modbench.plugins.python.job import Job, on_device
from modbench.plugins.python.threads import at_threads, working_threads

WORKLOADS = ("forward", "train_step")
EXAMPLE = "mb.compare(models, x)"


@public("mb.compare({'dense': a, 'mod': b}, x)")
def compare(
    models: Mapping[str, Model],
    inputs: CallInputs = None,
    *,
    workload: Workload = "forward",
    rounds: int | None = None,
    seconds: float | None = None,
    processes: int = 1,
    threads: int | None = None,
    baseline: str | None = None,
    margin: float = callable_contrasts.MARGIN,
    loss: Loss | None = None,
    outputs: bool = False,
    aa_control: bool = False,
    seed: int = 0,
    clock: Clock | None = None,
) -> Comparison:
    """Compare models in memory by the protocol of a run: interleaved, warmed up, watched, judged.

    Modules run in evaluation mode without gradients (`forward`), or a copy of each takes training steps (`train_step`: forward,
    backward, AdamW); callables that are no modules are called as they are. Everything is called on the same inputs.

    Args:
        models: name to an `nn.Module` or any callable; two or more.
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; None: nothing.
        workload: `forward` or `train_step`.
        rounds: rounds of each process; None: as many as fit into `seconds`.
        seconds: how long the rounds of a process take together; None: one second for each model. At least 9 are made; the
            others end after 1.5 times that, or 1.5 times what 10 take.
        processes: processes. 1: this one, whose interval lacks what differs between processes; more are started afresh, for
            which models and inputs must be picklable and defined in a module. From three on the interval is over processes.
        threads: torch's threads while they are timed; None: as many as it has.
        baseline: name of what the others are compared with; None: the first.
        margin: differences below this share are of no practical interest.
        loss: function of a model's output that is trained on; None: the model's own loss, else the mean square of its output.
        outputs: whether each model's output is compared with the baseline's too.
        aa_control: whether the baseline is timed twice (A/A); where it differs from itself nothing is decided.
        seed: draws the orders.
        clock: what to read instead of this machine's clocks; only in this process.

    Returns:
        A table and a figure in a notebook, text where it is printed.

    Raises:
        UsageError: if something that was asked is impossible.
    """
    base = _checked_baseline(models, workload, processes, baseline, margin, loss, clock)
    check_effort(rounds, seconds)
    units.check_seed(seed)
    if outputs and workload != "forward":
        raise UsageError("outputs=True compares what forward passes return; a training step returns nothing.")
    call_inputs = Inputs.of(inputs)
    for name, model in models.items():
        if isinstance(model, nn.Module):
            call_inputs.check(name, model)
    job = Job(dict(models), call_inputs, workload, base, loss, rounds, seconds, aa_control, seed)
    with at_threads(threads):
        return _compare(job, processes, margin, clock, outputs=outputs)


def _compare(job: Job, processes: int, margin: float, clock: Clock | None, *, outputs: bool) -> Comparison:
    """Time and judge the checked models, with the threads of this process."""
    base, device = job.baseline, str(job.device)
    began = time.monotonic()
    differences, flops = _call_each(job, outputs=outputs)
    calls_s = time.monotonic() - began
    measured = (
        [job.measure_and_check(clock)]
        if processes == 1
        else timing_processes.processes(job, processes, job.limit_s(calls_s))
    )
    findings = _findings(measured)
    escaped = {name: label for name, said in findings.items() for label in said if label in ESCAPED}
    # The time of a look-up decides nothing.
    reuses = Label.REUSES_OUTPUT
    withheld = {name: f"{name} {reuses}" for name, said in findings.items() if reuses in said}
    found = callable_contrasts.beside_baseline(measured, margin, escaped=escaped, withheld=withheld)
    rows = [
        _with_findings(
            _row(name, measured, found.get(name), flops, base, differences.get(name) if name != base else None),
            findings.get(name, {}),
        )
        for name in (*job.models, *filter(None, [measured[0].aa_control]))
    ]
    played = len(set(measured[0].samples[base]["round"]))
    doubtful = [name for name, each in found.items() if each.doubtful]
    causes = callable_contrasts.noise_causes(measured, [base, *doubtful]) if doubtful else ()
    about = (base, job.workload, device, working_threads(), played, margin, tuple(measured))
    return Comparison(tuple(rows), *about, callable_contrasts.remedy(causes, device))


def _checked_baseline(
    models: Mapping[str, Model],
    workload: str,
    processes: int,
    baseline: str | None,
    margin: float,
    loss: Loss | None,
    clock: Clock | None,
) -> str:
    """The baseline's name."""
    _check_kinds(models, processes, margin, loss)
    if len(models) < 2:
        raise UsageError("compare needs two models or more, as in {'dense': a, 'mod': b}. To time one, use measure.")
    for name, model in models.items():
        if not callable(model):
            raise UsageError(f"{name!r} is of type {type(model).__name__}, which cannot be called.")
    if workload not in WORKLOADS:
        raise unknown("workload", str(workload), WORKLOADS)
    if processes < 1 or (processes > 1 and clock is not None):
        raise UsageError(f"processes = {processes}: give 1, or more without a clock of your own.")
    if baseline is not None and baseline not in list(models):
        raise unknown("baseline", str(baseline), models)
    return next(iter(models)) if baseline is None else baseline


def _check_kinds(models: object, processes: object, margin: object, loss: object) -> None:
    """Check the types of arguments, where no type checker has done so."""
    if not isinstance(models, Mapping) or not all(isinstance(name, str) for name in models):
        got = "names that are no text" if isinstance(models, Mapping) else type(models).__name__
        raise UsageError(f"models must be a dict of name to module, as in {{'dense': a, 'mod': b}}; got {got}.")
    if not isinstance(processes, int):
        raise UsageError(f"processes = {shown(processes)}: give a whole number from 1 on.")
    units.margin(margin, asked=f"margin = {shown(margin)}")
    if loss is not None and not callable(loss):
        raise UsageError(f"loss must be a function of what a model returns; got {type(loss).__name__}.")


def _call_each(job: Job, *, outputs: bool) -> tuple[dict[str, float | None], dict[str, Flops]]:
    """Call every model before anything is timed, which raises what it raises: differences of outputs, and FLOPs.

    Each is called on copies of its own, so that one that writes into them changes no other's.
    """
    base: object = None
    differences, flops = dict[str, float | None](), dict[str, Flops]()
    with on_device(job.device), calls.evaluating(job.models if job.workload == "forward" else {}):
        check_settings = checks.settings()
        for name in (job.baseline, *(each for each in job.models if each != job.baseline)):
            copies = job.inputs.copies()
            with job.inputs.explaining_refusal(name, job.models[name], EXAMPLE), naming(name):
                output = job.call(name, copies.inputs)()
                check_settings()
            copies.check(name)
            base = output if name == job.baseline else base
            differences[name] = calls.difference(output, base) if outputs else None
            flops[name] = job.flops(name, copies.inputs)
    return differences, flops


def _findings(measured: Sequence[TimingProcess]) -> dict[str, dict[str, str]]:
    """What the checks of the timed calls found in all processes, by name and label."""
    found = dict[str, dict[str, str]]()
    for each in measured:
        for name, labels in each.findings.items():
            found[name] = dict(labels) | found.get(name, {})
    return found


def _with_findings(row: Row, own: Mapping[str, str]) -> Row:
    """A row with what checks found of its model."""
    reason = "; ".join(filter(None, [row.reason, *own.values()])) or None
    return replace(row, reason=reason, labels=(*row.labels, *own))


def _row(
    name: str,
    measured: Sequence[TimingProcess],
    against: Beside | None,
    flops: Mapping[str, Flops],
    base: str,
    output_difference: float | None,
) -> Row:
    time, own = own_time(measured, name), flops.get(name, flops[base])
    row = Row(
        name,
        time.median_s,
        time.low_s,
        time.high_s,
        own.total,
        noisy=time.noisy,
        reason=own.reason,
        output_difference=output_difference,
    )
    if against is None:
        return row
    theoretical, otherwise = _theoretical(own, flops[base])
    found = against.contrast
    # not of an A/A control
    columns, reasons = against_theoretical(found.ratio[0], theoretical, otherwise) if name in flops else ({}, [])
    if found.cpu is not None:
        columns |= zip(("cpu_ratio", "cpu_ratio_ci_low", "cpu_ratio_ci_high"), found.cpu.effect.ratio, strict=True)
    ratio, low, high = found.wall.effect.ratio
    return replace(
        row,
        ratio=ratio,
        ratio_ci_low=low,
        ratio_ci_high=high,
        mean_ratio=None if found.wall.other is None else math.exp(found.wall.other.value),
        **columns,
        verdict=against.verdict,
        reason="; ".join(filter(None, [reason_in_words(against.reason), *reasons])) or None,
        labels=(*against.labels, *([str(Label.LOWER_BOUND)] if own.unknown or flops[base].unknown else [])),
        noisy=found.seen.noisy,
    )


def _theoretical(own: Flops, base: Flops) -> tuple[float | None, str]:
    """The ratio that the FLOPs promise, or None and why."""
    if own.causal is None or base.causal is None:
        return None, own.reason or base.reason or ""
    if own.unknown or base.unknown:
        return (
            None,
            f"no theoretical speed-up: no FLOPs are counted of {', '.join(dict.fromkeys((*own.unknown, *base.unknown)))}",
        )
    return base.causal / own.causal, ""
