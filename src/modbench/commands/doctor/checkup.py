"""`modbench doctor`: checks this machine, pools the result with earlier checks, and judges whether it is fit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import fmean
from typing import Any, NamedTuple

from modbench.commands.doctor import aa_comparisons
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.plain_text import aligned
from modbench.harness.core.units import counted, human_duration
from modbench.harness.domain.case import Device, Dtype, Job
from modbench.harness.domain.notes import RooflineFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Record
from modbench.harness.domain.suite import EFFORTS
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import Progress
from modbench.harness.execution.runner import run_in_temporary_folder
from modbench.harness.machine import certificate, environment
from modbench.harness.machine.certificate import Certificate
from modbench.harness.machine.process.processes import text_of
from modbench.harness.machine.roofline import stored
from modbench.harness.measure.passes import roofline
from modbench.harness.registry import catalogue
from modbench.harness.stats import power, time_to_detect
from modbench.harness.stats.effects import POWER
from modbench.reports.blocks import Estimate
from modbench.reports.markup.number_format import interval, number, plain, share

# Of the job that measures the peaks of a CPU.
PEAKS_LIMIT_S = 300.0


class MachineFinding(NamedTuple):
    """What a further check found out about the machine.

    Attributes:
        rows: what is printed, as pairs of a word and what is said of it.
        data: the same for JSON.
    """

    rows: Sequence[tuple[str, str]]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class MachineCheck:
    """What a plug-in lets `modbench doctor` find out besides; its file exports it as `CHECK`.

    Attributes:
        device: where it is made.
        processes: how many jobs it runs.
        run: runs them, in sight of a progress.
    """

    device: Device
    processes: int
    run: Callable[[Progress], MachineFinding]


@dataclass(frozen=True)
class Checkup:
    """The result of one check.

    Attributes:
        aa_controls: A/A comparisons made now.
        certificate: verdict over these and all earlier comparisons on this machine.
        advice: what would make times on this machine more precise.
        machine: description of the machine.
        wall_s: duration of the check in s.
        found: what further checks found, by name.
    """

    aa_controls: list[aa_comparisons.AAControl]
    certificate: Certificate
    advice: list[str]
    machine: str
    wall_s: float
    found: Mapping[str, MachineFinding] = field(default_factory=dict)


def check(number: int, device: Device, threads: int, progress: Progress, *, fresh: bool) -> Checkup:
    """Compare so many identical models, and store the result; `fresh` forgets earlier checks of this machine first.

    Raises:
        UsageError: for fewer than one comparison or thread, or if the result could not be kept.
    """
    if number < 1 or threads < 1:
        raise UsageError("doctor needs at least one comparison and one thread.")
    certificate.check_folder()
    where = environment.collect()
    machine = certificate.fingerprint(where, device, threads)
    start = time.monotonic()
    found = {name: each.run(progress) for name, each in _further(device).items()}
    if device == "cpu":
        keep_peaks(threads, progress)
    aa_controls = aa_comparisons.examine(number, device, threads, progress)
    if fresh:
        certificate.forget(machine)
    certificate.keep(machine, [aa_control.as_dict() for aa_control in aa_controls])
    stored.keep_load(machine, stored.CHECK, fmean(aa_control.stretch for aa_control in aa_controls))
    pooled = certificate.pooled(machine, EFFORTS["standard"][0])
    assert pooled is not None
    advice = aa_comparisons.advice(where, threads, text_of)
    return Checkup(aa_controls, pooled, advice, _machine(where, device, threads), time.monotonic() - start, found)


def peaks_job(threads: int) -> Job:
    """The job that measures the peaks of a CPU by shape, and keeps them for later plans."""
    return about_machine(roofline.PASS, "cpu", "fp32", roofline.WORK, threads)


def keep_peaks(threads: int, progress: Progress) -> None:
    """Measure the CPU's peaks by shape, outside a run.

    Raises:
        ModbenchError: if the job left no result.
    """
    launcher = LocalLauncher(cold=True, threads=threads)
    (record,) = run_in_temporary_folder([peaks_job(threads)], launcher, progress, PEAKS_LIMIT_S)
    if not isinstance(record.findings, RooflineFinding):
        raise ModbenchError(f"the peaks by shape could not be measured: {_why(record)}")


def _why(record: Record) -> str:
    """Why a job found nothing."""
    return record.died.reason if record.died else "no result"


def about_machine(made_in: Pass, device: Device, dtype: Dtype, flops: float, threads: int = 1) -> Job:
    """A job that finds something about the machine: its pass reads the grid point, and runs no model."""
    case = aa_comparisons.case_of(device, dtype, threads)
    return aa_comparisons.job_of(made_in, f"{made_in.name}-{dtype}", (case,), flops)


def processes(number: int, device: Device) -> int:
    """Processes that a check starts."""
    peaks = 1 if device == "cpu" else 0
    return number * aa_comparisons.PROCESSES + peaks + sum(each.processes for each in _further(device).values())


def _further(device: Device) -> dict[str, MachineCheck]:
    """The checks that plug-ins add, by name."""
    known: dict[str, MachineCheck] = catalogue.usable("machine_checks")
    return {name: each for name, each in known.items() if each.device == device}


def _machine(where: dict[str, Any], device: Device, threads: int) -> str:
    if device == "cuda":
        cards = where["gpu"]["devices"]
        drivers = {f"driver {card['driver']}" for card in cards if card.get("driver")}
        names = dict.fromkeys(str(card["name"]) for card in cards)
        return ", ".join([*names, *sorted(drivers), f"torch {where['packages']['torch']}"])
    cores = f"{where['usable_cores']} of {where['cores']} cores"
    return f"{where['cpu']}, {cores}, {counted(threads, 'thread')}"


def as_text(found: Checkup) -> str:
    """The verdict in one line; then the machine, this check, the pooled result and advice."""
    pooled, now = found.certificate, len(found.aa_controls)
    hits = sum(aa_control.hit for aa_control in found.aa_controls)
    causes: Counter[str] = Counter()
    for aa_control in found.aa_controls:
        causes.update(aa_control.causes)
    noisy = sum(aa_control.pair.seen.noisy for aa_control in found.aa_controls) / now
    why = f" ({', '.join(f'{cause}: {n} samples' for cause, n in causes.most_common())})" if causes else ""
    of_pairs = Estimate(pooled.rate, pooled.low, pooled.high, kind="share")
    rate = f"{number(of_pairs)}, 95 % confidence interval {interval(of_pairs)}; nominal 5 %"
    in_cpu_time = "" if pooled.detectable_cpu is None else f" ({share(pooled.detectable_cpu, 1)} in CPU time)"
    smallest = f"{share(pooled.detectable, 1)}{in_cpu_time} with 80 % power at {aa_comparisons.PROCESSES} processes"
    rows = (
        (
            "now",
            f"{now} A/A comparisons, {aa_comparisons.PROCESSES} processes each, in {found.wall_s:.0f} s; {hits} called different",
        ),
        ("pooled", f"{pooled.hits} of {pooled.comparisons} called different in {pooled.checks} check(s): {rate}"),
        ("smallest effect", f"{smallest}; width of the interval {share(pooled.width, 1)} (medians)"),
        ("standard effort", _standard_effort(pooled)),
        ("time to decide", _time_to_decide(pooled)),
        ("noisy", f"{share(noisy)} of the blocks{why}"),
    )
    further = chain.from_iterable(each.rows for each in found.found.values())
    lines = [_verdict(pooled), found.machine, "", *aligned([*further, *rows])]
    if found.advice:
        lines += ["", "Advice", *(f"  - {each}" for each in found.advice)]
    return "\n".join(lines)


def _standard_effort(pooled: Certificate) -> str:
    """The smallest effect that standard effort detects on this machine."""
    limit = f"at most {share(certificate.LARGEST_DETECTABLE)} for a fit machine"
    if pooled.process_sd is None:
        return f"smallest effect not known ({limit})"
    differ = f"processes differ by {share(pooled.process_sd, 1)} (standard deviation)"
    return f"smallest effect {pooled.effect_in_words()} ({limit}); {differ}"


def _time_to_decide(pooled: Certificate) -> str:
    """The time to decide, and from how many processes it comes."""
    slowdown, margin = share(time_to_detect.SLOWDOWN, signed=True), share(time_to_detect.MARGIN)
    what = f"a true {slowdown} is called worse with {share(POWER)} power (margin {margin})"
    found = pooled.time_to_decide
    if found is not None:
        return f"{human_duration(found.seconds)} of measuring, {found.processes} processes of {found.rounds} rounds, until {what}"
    if pooled.between_sd is None:
        return "not known: earlier checks did not measure what a process costs"
    return f"not even {plain(power.MOST)} processes are enough until {what}"


def _verdict(pooled: Certificate) -> str:
    limit, largest = share(certificate.LIMIT), share(certificate.LARGEST_DETECTABLE)
    found = "identical models were called different in"
    if pooled.verdict == "unfit":
        said = f"{found} significantly over {limit}; `modbench gate` compares no times of this machine"
    elif pooled.verdict == "fit":
        said = f"{found} at most {limit}, and standard effort detects {largest}"
    elif pooled.comparisons < certificate.ENOUGH:
        said = f"{certificate.ENOUGH - pooled.comparisons} more comparisons are needed; run doctor again"
    elif pooled.rate > certificate.LIMIT:
        said = f"{found} over {limit}, but not significantly; run doctor again"
    elif pooled.standard_detectable is None:
        said = "how much processes differ is not known"
    else:
        said = f"processes differ so much that standard effort would miss {largest}; a quieter machine would help"
    return f"{pooled.verdict}: {said}"


def as_json(found: Checkup) -> dict[str, Any]:
    """The check as JSON data."""
    return {
        "machine": found.machine,
        **dict.fromkeys(catalogue.entries("machine_checks")),
        **{name: each.data for name, each in found.found.items()},
        "wall_s": found.wall_s,
        "comparisons": [aa_control.as_dict() for aa_control in found.aa_controls],
        "certificate": found.certificate.as_dict(),
        "advice": found.advice,
    }
