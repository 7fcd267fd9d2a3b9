"""Tests whether this machine is fit to compare times: how often are two identical models found to differ?

Every comparison has processes of its own and shares no process with another. Processes are forked, as in drafts: cold ones would
take minutes. The verdicts come from the same code as in a report.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.case import Case, Comparison, Device, Dtype, GridPoint, Job, Protocol
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Record
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import Progress
from modbench.harness.execution.runner import run_in_temporary_folder
from modbench.harness.measure.passes.time import PASS as TIME
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.stats import paired, time_to_detect
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.time_to_detect import Spread
from modbench.harness.stats.verdicts import Contrast

# Comparisons of a check by device: a process on a GPU takes seconds to start, on a CPU a tenth of one.
COMPARISONS: dict[Device, int] = {"cpu": 20, "cuda": 5}
# Short processes: what varies here is the process, and six blocks are the fewest that can show a drift.
PROCESSES, ROUNDS = 4, 6
WARM_UP_S = 0.05
# seq_len, d_model and number format of the two models. A GPU is kept busy only by larger ones: small ones would show how evenly
# the host launches.
AA_CONTROLS: dict[Device, tuple[int, int, Dtype]] = {"cpu": (128, 128, "fp32"), "cuda": (2048, 1024, "bf16")}
LIMIT_S = 300.0
METRIC = "latency/forward"


@dataclass(frozen=True)
class AAControl:
    """One A/A comparison.

    Attributes:
        pair: the effect between a model and its A/A control; the true effect is zero.
        causes: what made its samples noisy, with the number of samples.
        spread: of its processes and blocks, and what a process cost; None where there is a single process.
        blocks: blocks of a process.
        stretch: how many times as long its samples took as without waiting for a processor.
    """

    pair: Contrast
    causes: dict[str, int]
    spread: Spread | None = None
    blocks: int = 0
    stretch: float = 1.0

    @property
    def hit(self) -> bool:
        """Whether the interval excludes zero: a false positive."""
        return self.pair.wall.effect.excludes_0

    def as_dict(self) -> dict[str, Any]:
        """The comparison as stored in the certificate."""
        effect, cpu = self.pair.wall.effect, self.pair.cpu and self.pair.cpu.effect
        return {
            "ratio": math.exp(effect.value),
            "hit": self.hit,
            "detectable": _share(effect.detectable),
            "detectable_cpu": None if cpu is None else _share(cpu.detectable),
            "width": _width(effect),
            "noisy": self.pair.seen.noisy,
            "processes": effect.n,
            "process_sd": effect.sd,
            **({**vars(self.spread), "blocks": self.blocks} if self.spread else {}),
        }


def _share(log_effect: float | None) -> float | None:
    return None if log_effect is None else math.expm1(log_effect)


def _width(effect: Effect) -> float | None:
    if effect.low is None or effect.high is None:
        return None
    return math.exp(effect.high) - math.exp(effect.low)


def jobs(number: int, device: Device, threads: int) -> list[Job]:
    """Processes of a number of comparisons; the processes of one comparison lie far apart in time."""
    seq_len, d_model, dtype = AA_CONTROLS[device]
    config = {"d_model": d_model, "n_layers": 2, "max_seq_len": seq_len}
    aa_controls = tuple(case_of(device, dtype, threads, seq_len, (name,), **config) for name in ("one", "aa_control"))
    effort = {"rounds": ROUNDS, "warm_up_calls": 3, "warm_up_s": WARM_UP_S}
    return [
        job_of(
            TIME, f"aa{comparison}-process{process}", aa_controls, 1e9, process, (METRIC,), seed=comparison, **effort
        )
        for process in range(PROCESSES)
        for comparison in range(number)
    ]


def case_of(
    device: Device, dtype: Dtype, threads: int, seq_len: int = 1, parts: tuple[str, ...] = (), **config: int
) -> Case:
    """A dense model at one grid point, one row."""
    grid_point = GridPoint(seq_len=seq_len, batch_size=1, dtype=dtype, device=device, threads=threads, compile=False)
    shape = ModelConfig.model_validate({"d_model": 64, **config})
    return with_facts(Case(model="dense", variant_parts=parts, config=shape, grid_point=grid_point))


def job_of(
    made_in: Pass,
    name: str,
    cases: tuple[Case, ...],
    flops: float,
    process: int = 0,
    metrics: tuple[str, ...] = (),
    **protocol: float,
) -> Job:
    """A job outside a run, by default of one round: it times forward passes, or where it has no metrics runs no model."""
    once = {"rounds": 1, "warm_up_calls": 1, "seed": 0, "corpus": "stdlib", "corpus_path": None, "corpus_sha256": ""}
    workload = "forward" if metrics else ""
    return Job(
        name=name,
        made_in=made_in.name,
        workload=workload,
        process=process,
        comparison=Comparison(variants=cases, metrics=metrics),
        protocol=Protocol.model_validate(once | protocol),
        flops=flops,
        facts=catalogue.facts_of_job(made_in.name, workload, metrics),
    )


@dataclass
class Stopwatch:
    """Passes a run's progress on, and notes how long each job took, the start of its process included."""

    progress: Progress
    took_s: dict[str, float]

    def started(self, job: Job) -> None:
        """Note when a job starts."""
        self.took_s[job.name] = -time.monotonic()
        self.progress.started(job)

    def tick(self) -> None:
        """Pass the tick on."""
        self.progress.tick()

    def added(self, series: str, jobs: Sequence[Job]) -> None:
        """Pass the processes of a pilot on; a check has none."""
        self.progress.added(series, jobs)

    def ended(self, job: Job) -> None:
        """Note when a job has its record."""
        self.took_s[job.name] += time.monotonic()
        self.progress.ended(job)


def examine(number: int, device: Device, threads: int, progress: Progress) -> list[AAControl]:
    """Run a number of A/A comparisons on this machine."""
    # The fork server imports torch, but never starts CUDA: its children can.
    launcher, watch = LocalLauncher(cold=False, threads=threads), Stopwatch(progress, {})
    return list(judge(run_in_temporary_folder(jobs(number, device, threads), launcher, watch, LIMIT_S), watch.took_s))


def judge(records: list[Record], took_s: Mapping[str, float] | None = None) -> Iterator[AAControl]:
    """Group processes into comparisons and evaluate them.

    Comparisons in which a variant still drifted are left out, since a report would give no number for them.

    Args:
        records: of all processes.
        took_s: seconds of each job with the start of its process; None: what it took inside its process.

    Raises:
        ModbenchError: if a process failed, or no comparison is left.
    """
    from modbench.harness.stats import noise

    drifting = set()
    by_comparison: dict[int, list[tuple[Record, paired.ProcessSamples]]] = {}
    grid_point = records[0].job.comparison.grid_point
    for record in records:
        failed = next((outcome.reason for outcome in record.outcomes if outcome.status != "ok"), None)
        if failed:
            raise ModbenchError(f"the machine check failed: {record.job.name}: {failed}")
        if any(isinstance(outcome.notes, TimeNotes) and outcome.notes.unsteady for outcome in record.outcomes):
            drifting.add(record.job.protocol.seed)
        baseline, aa_control = (outcome.samples for outcome in record.outcomes)
        together = paired.ProcessSamples(aa_control, None, baseline, record.blocks[0].columns)
        by_comparison.setdefault(record.job.protocol.seed, []).append((record, together))
    if drifting >= by_comparison.keys():
        raise ModbenchError(
            "the machine check failed: in every comparison a model still drifted relative to its A/A control"
        )
    for found in (found for number, found in by_comparison.items() if number not in drifting):
        processes = [process for _, process in found]
        sides = [(side, each.blocks) for each in processes for side in (each.case, each.baseline) if side is not None]
        marks = [mark for each in sides for mark in noise.causes(*each)]
        pair = paired.numbers(processes, one_thread=grid_point.one_thread).contrast()
        costs = [
            time_to_detect.cost(
                (took_s or {}).get(record.job.name, record.wall_s),
                record.blocks[0].columns["wall_s"],
                record.job.protocol.rounds,
            )
            for record, _ in found
        ]
        blocks = len(processes[0].blocks["block"])
        spread = time_to_detect.measured("wall_s", processes, *map(fmean, zip(*costs, strict=True)))
        stretch = noise.stretch(samples for samples, _ in sides)
        yield AAControl(pair, noise.counted(marks), spread, blocks, stretch)


Read = Callable[[str], str | None]


def advice(environment: dict[str, Any], threads: int, read: Read) -> list[str]:
    """Conditions of this machine that make times hard to compare, as far as the system exposes them, and what would help."""
    return [*_load_advice(environment, threads), *_clock_advice(read), *_quota_advice(read), *_gpu_advice(environment)]


def _load_advice(environment: dict[str, Any], threads: int) -> Iterator[str]:
    cores, load = environment["usable_cores"], environment["load_average"]
    if load is not None and load > 0.5:
        yield f"load {load:.2f} before the check: another program is running; stop it, or expect wide confidence intervals"
    if threads >= cores > 1:
        yield f"{threads} threads on {cores} cores leave none for the system: use at most {cores - 1}"
    if threads > 1:
        yield "with more than one thread CPU time includes spinning and cannot confirm wall time; the default is one thread"


def _clock_advice(read: Read) -> Iterator[str]:
    cpu = "/sys/devices/system/cpu"
    governor = read(f"{cpu}/cpu0/cpufreq/scaling_governor")
    if governor is None:
        yield "the processor's frequency is not exposed: its changes cannot be seen, only cancelled within blocks"
    elif governor.strip() != "performance":
        yield f"frequency governor {governor.strip()!r}: `cpupower frequency-set -g performance` keeps the clock constant"
    if (read(f"{cpu}/cpufreq/boost") or "").strip() == "1":
        yield "boost is on: the clock depends on temperature; write 0 to cpufreq/boost to keep it constant"
    if (read(f"{cpu}/smt/active") or "").strip() == "1":
        yield "two threads share a core (SMT): keep the sibling of the measured one idle"
    clock = (read("/sys/devices/system/clocksource/clocksource0/current_clocksource") or "tsc").strip()
    if clock not in {"tsc", "kvm-clock", "arch_sys_counter"}:
        yield f"clock source {clock!r} is slow to read: prefer tsc"


def _quota_advice(read: Read) -> Iterator[str]:
    quota = (read("/sys/fs/cgroup/cpu.max") or "max").split()
    if quota[0] != "max":
        yield f"the container may use {int(quota[0]) / int(quota[1]):.2f} cores: it is paused whenever it has used its share"


def _gpu_advice(environment: dict[str, Any]) -> Iterator[str]:
    for gpu in environment["gpu"]["devices"]:
        if gpu.get("persistence_mode") == 0:
            yield f"{gpu['name']}: persistence mode is off; `nvidia-smi -pm 1` keeps the driver loaded"
        if gpu.get("mig_mode"):
            yield f"{gpu['name']}: MIG is on; an instance shares power and clocks with its neighbours"
