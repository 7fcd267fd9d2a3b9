"""Planted runs: run folders whose truth is known, for tests of what is read from a run.

    plan = planted_plan("draft", variants=[{"model": "dense"}, {"model": "mod", "capacity": 0.5}])
    folder = planted_run(tmp_path, plan, slower={"mod[c0.5]": 1.1}, waits="dense")

Nothing is timed: a fake clock passes the times that are planted, with noise, drift and waits, through the product's own
rounds, and each job's record is stored as its process would have left it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from modbench.harness.call.timing.interleave import Clock, Effort, Session
from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.notes import (
    Causality,
    CompileNotes,
    CountNotes,
    FitNotes,
    MemoryNotes,
    Notes,
    PeakFinding,
    TimeNotes,
    TrainNotes,
    WithoutUserCodeFinding,
)
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution.run_phase import Asker
from modbench.harness.machine.certificate import Certificate
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results import run_folder

# What each variant takes relative to the anchor.
PLANTED = {
    "dense": 1.0,
    "dense-aa": 1.0,
    "dense-f0.58": 0.7,
    "dense-f0.74": 0.82,
    "dense-f1.40": 1.4,
    "mod[c0.125]": 1 / 1.6,
    "mod[c0.5]": 1.0,
    "moe": 1.25,
    "mine:build": 1.0,
}


EVERY_VARIANT = "every variant"

# Of the machine on which nothing was measured.
ENVIRONMENT: dict[str, Any] = {
    "packages": {"modbench": "0"},
    "cpu": "a fake",
    "gpu": {"devices": [], "reason": "none"},
    "git": {"commit": None, "dirty": None, "reason": "none"},
    "usable_cores": 1,
    "cores": 1,
    "memory_bytes": 1,
    "system": "",
    "python": "",
    "load_average": None,
    "certificate": None,
}


# Of a machine that was checked.
FIT = Certificate(
    "m", 100, 4, 0.011, 0.099, detectable=0.01, detectable_cpu=0.01, width=0.02, noisy=0.0, checks=5, last="",
    processes=6, process_sd=0.005
).as_dict()  # fmt: skip


# Of one that called 20 of 100 identical pairs different.
UNFIT = Certificate(
    "m", 100, 20, 0.127, 0.292, detectable=0.03, detectable_cpu=0.01, width=0.05, noisy=0.1, checks=5, last=""
).as_dict()


class DriftingClock(Clock):
    """A machine whose speed wanders: slower by the minute, noisy by the call, different by the process."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self.rng = np.random.default_rng(list(seed.encode()))
        self.now = 0.0
        self.cpu_s = self.wall_s
        self.speed = math.exp(self.rng.normal(0, 0.3))
        self.slowest = 3 * self.speed  # of a unit with thousands of calls

    def wall_s(self) -> float:
        """Seconds that have passed."""
        return self.now

    def pass_time(self, seconds: float) -> None:
        """Let a call pass that takes so many seconds without noise."""
        self.speed = min(self.speed * 1.002, self.slowest)
        self.now += seconds * self.speed * math.exp(self.rng.normal(0, 0.005))


def planted_plan(effort: str, **changes: Any) -> Plan:  # noqa: ANN401  # of a suite
    """The plan of a small suite.

    Args:
        effort: its effort, such as `draft`.
        changes: keys of a suite, which replace those of this one.

    Raises:
        UsageError: if the suite is not one.
    """
    suite = parse_suite(
        {
            "name": "planted",
            "effort": effort,
            "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val", "loss/val_causal"],
            "shape": {"d_model": 64, "n_layers": 4},
            "grid": {"seq_len": [64, 128]},
            "variants": [
                {"model": "dense"},
                {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
                {"model": "mod", "capacity": [0.125, 0.5]},
                {"model": "moe"},
            ],
            "train": {"seq_len": 128, "tokens": 1000},
            "aa_control": False,  # the machine has a certificate
            **changes,
        },
        "planted",
    )
    return make_plan(suite, device="cpu", text=Text("t", b"a" * 500, b"b" * 500, "c0ffee"))


@dataclass(frozen=True)
class PlantedTrouble:
    """What goes wrong in a run, by variant.

    Attributes:
        slower: how much longer than planted it takes.
        costs: what it takes relative to that at each input, by variant.
        grid: what it takes instead of what is planted, by variant, workload and sequence length, or by batch size too.
        waits: it waits for a processor in every sample, as long as it runs; `EVERY_VARIANT`: the machine is busy.
        waits_every: it does so in every second, third, … block alone.
        own_work_seen: whether it was recorded that no other thread works and no variant waits of itself.
        fails: its timing raises.
        leaks: its logits move when later tokens do.
        other_text: units whose name holds this were trained on another text.
        drifts: it becomes slower in the course of a process.
        drifts_in: processes in which it does; None: in all.
        noted: what guards found after its timing, fields of `TimeNotes`, by variant.
        lurches: standard deviation, on the log scale, of the speed of the whole machine from block to block.
        beside: how many times as long every variant takes where a user's code is loaded.
        values: of further metrics, such as your own, in the metric's unit, by variant.
        seed: of the noise: runs of one plan with different seeds are independent.
        losses: instead of what is planted, the loss by variant (or, in a sweep over budgets, by case), routed causally too;
            each seed adds an offset that all variants share, but for new seeds, and each run noise of its own.
        run_noise: standard deviation of that noise.
        text_noise: standard deviation of what each block of the held-out text adds to a routed variant's loss, of fresh runs.
    """

    slower: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    grid: Mapping[tuple[str, str, int], float] | Mapping[tuple[str, str, int, int], float] = field(default_factory=dict)
    waits: str | None = None
    waits_every: int = 1
    own_work_seen: bool = False
    fails: str | None = None
    leaks: str | None = None
    other_text: str | None = None
    drifts: str | None = None
    drifts_in: tuple[int, ...] | None = None
    noted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lurches: float = 0.0
    beside: float = 1.0
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seed: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    run_noise: float = 0.0
    text_noise: float | None = None


def _disturb(samples: dict[str, list[float]], variant: str, process: int, trouble: PlantedTrouble) -> None:
    """Change a variant's samples by what goes wrong with it."""
    if variant == trouble.drifts and (trouble.drifts_in is None or process in trouble.drifts_in):
        grows = zip(samples["wall_s"], samples["round"], strict=True)
        samples["wall_s"] = [wall * (1 + 0.01 * round_) for wall, round_ in grows]
        samples["cpu_s"] = [*samples["wall_s"]]
    if trouble.lurches:
        speed = np.random.default_rng((process, trouble.seed)).lognormal(0, trouble.lurches, 1000)
        blocks = zip(samples["wall_s"], samples["block"], strict=True)
        samples["wall_s"] = [wall * float(speed[int(block)]) for wall, block in blocks]
    if trouble.own_work_seen:
        samples |= {"others_s": [0.0] * len(samples["wall_s"]), "blocked_s": [0.0] * len(samples["wall_s"])}
    if trouble.waits:
        waits = [trouble.waits in {variant, EVERY_VARIANT} and at % trouble.waits_every == 0 for at in samples["block"]]
        samples["wall_s"] = [wall * (1 + waited) for wall, waited in zip(samples["wall_s"], waits, strict=True)]
        samples["wait_s"] = [0.5 * wall * waited for wall, waited in zip(samples["wall_s"], waits, strict=True)]


def _takes(job: Job, trouble: PlantedTrouble) -> dict[str, float]:
    """What each variant takes relative to the baseline where a job is timed."""
    known = dict.fromkeys((case.variant for case in job.comparison.variants), 1.0) | PLANTED
    takes = {variant: share * trouble.slower.get(variant, 1.0) for variant, share in known.items()}
    here = (job.workload, job.comparison.grid_point.seq_len, job.comparison.grid_point.batch_size)
    return takes | {name: share for (name, *where), share in trouble.grid.items() if (*where,) == here[: len(where)]}


def _trained(job: Job, case: Case, trouble: PlantedTrouble) -> Iterator[Outcome]:
    """What a training run would have left."""
    seed = job.protocol.seed
    of_mod = (0.05 + 0.001 * seed) * (case.model == "mod")
    planted = trouble.losses.get(case.id, trouble.losses.get(case.variant, 2.0 + of_mod))
    own = np.random.default_rng(sum(map(ord, job.name)) * 1009 + seed).normal(0, 1)
    shared = 0.0 if job.made_in == "confirm" else (0.3, -0.2, 0.1, 0.05, -0.15)[seed % 5]
    loss = planted + shared + trouble.run_noise * own
    corpus = "badcafe" if trouble.other_text and trouble.other_text in job.name else "c0ffee"
    trained = TrainNotes(seed=seed, sees_future=case.model in {"mod", "moe"}, corpus_sha256=corpus, corpus="t")
    if job.protocol.train is not None:
        trained = trained.model_copy(update={"tokenizer": job.protocol.train.tokenizer})
    told: dict[str, Any] = {"status": "ok", "samples": {"value": [loss]}, "notes": trained}
    if job.made_in == "confirm":
        if case.variant == trouble.fails:
            told = {"status": "failed", "kind": "numerics", "reason": "planted failure"}
        elif told["notes"]:
            noise_B = np.random.default_rng(0).normal(0, 1, 8) * (trouble.text_noise or 0.0) * (case.model == "mod")
            blocks = None if trouble.text_noise is None else [*(loss + noise_B - noise_B.mean())]
            told["notes"] = trained.model_copy(update={"sees_future": False, "by_block": blocks})
        yield Outcome(case=case.id, metric="loss/confirmed", unit="nat", **told)
        return
    for metric, unit_of in (("loss/val", "nat"), ("bpb/val", "bit/B")):
        yield Outcome(case=case.id, metric=metric, unit=unit_of, **told)
    reason = "non-causal routing when it chose"
    causal: dict[str, Any] = told if trouble.losses else {"status": "skipped", "reason": reason}
    yield Outcome(case=case.id, metric="loss/val_causal", unit="nat", **causal)


def planted_record(job: Job, trouble: PlantedTrouble) -> Record:
    """What a worker would have left, had its clock been ours."""
    told: dict[str, Any] = {"outcomes": (*_timed(job, trouble), *_measured(job, trouble), *_given(job, trouble))}
    if job.made_in == "without_user_code":
        samples = {outcome.case: outcome.samples for outcome in told["outcomes"]}
        found = WithoutUserCodeFinding(samples={f"latency/{job.workload}": samples}, blocks={})
        told = {"outcomes": (), "findings": found}
    return Record(job=job, started=atomic_files.now(), wall_s=1.0, **told)


def _timed(job: Job, trouble: PlantedTrouble) -> Iterator[Outcome]:
    """The samples of every variant where a job is timed, from calls in interleaved rounds on a fake clock."""
    if job.made_in not in {"time", "without_user_code"}:
        return
    name = f"{job.name}{trouble.seed or ''}"
    clock = DriftingClock(name)
    beside = trouble.beside if any(case.is_user_model for case in job.comparison.variants) else 1.0
    takes = _takes(job, trouble)

    def call(variant: str) -> Callable[[int], None]:
        costs = trouble.costs.get(variant, (1.0,))
        return lambda number: clock.pass_time(0.02 * beside * takes[variant] * costs[number % len(costs)])

    def no_error(variant: str, error: BaseException) -> None:
        raise AssertionError(f"{variant}: {error}")

    inputs = max(map(len, trouble.costs.values()), default=1)
    session = Session(
        {case.id: call(case.variant) for case in job.comparison.variants},
        job.comparison.variants[0].id,
        rng=random.Random(name),  # noqa: S311  # no secret
        clock=clock,
        on_error=no_error,
        inputs=inputs,
    )
    timed = session.measure(Effort(job.protocol.rounds, 3)).samples
    for case in job.comparison.variants:
        samples = timed[case.id]
        _disturb(samples, case.variant, job.process, trouble)
        if case.variant == trouble.fails:
            told: dict[str, Any] = {"status": "failed", "kind": "error", "reason": "planted failure"}
        else:
            tokens, noted = case.grid_point.tokens(job.workload), trouble.noted.get(case.variant, {})
            told = {"status": "ok", "samples": samples, "notes": TimeNotes(tokens=tokens, inputs=inputs, **noted)}
        yield Outcome(case=case.id, metric=f"latency/{job.workload}", unit="s", **told)


def _measured(job: Job, trouble: PlantedTrouble) -> Iterator[Outcome]:
    """What a job leaves that is not timed: counts by the closed form, memory and compilation by the number of the variant."""
    for number, case in enumerate(job.comparison.variants):
        cost = case_cost(case)
        if cost is None:  # of a user's model
            continue
        if job.made_in == "count":
            causality = Causality(reads_future=case.variant == trouble.leaks, change=0.5)
            counted = CountNotes(
                params=cost.params,
                counter_forward=cost.forward,
                forward_causal=cost.forward_causal,
                train_step_causal=cost.train_step_causal,
                causality=causality,
            )
            yield _value(case, "flops/forward", "FLOP", cost.forward, counted)
            if "flops/train_step" in job.comparison.metrics:
                yield _value(case, "flops/train_step", "FLOP", cost.train_step, counted)
        elif job.made_in == "inspect":
            for key in ("graph_breaks/forward", "syncs/forward"):
                if key in job.comparison.metrics:
                    yield _value(case, key, "count", 0.0)
        elif job.made_in == "memory":
            forecast = MemoryNotes(forecast=1e6 * (1 + 2 * number))
            yield _value(case, "memory/peak_allocated", "B", 1e6 * (1 + number), forecast)
        elif job.made_in == "fit":
            fits = FitNotes(memory_limit_bytes=10**9, forecast=100 * (1 + number))
            yield _value(case, "memory/largest_seq_len", "token", 100.0 * (1 + number), fits)
        elif job.made_in == "compile":
            yield _value(case, "latency/compile", "s", 3.0 + number, CompileNotes(cache="none"))
        elif job.made_in in {"train", "confirm"}:
            yield from _trained(job, case, trouble)


def _given(job: Job, trouble: PlantedTrouble) -> Iterator[Outcome]:
    """The values of further metrics that a job measures."""
    for made, case in itertools.product(job.facts.makes, job.comparison.variants):
        values = trouble.values.get(made.key, {})
        if case.variant in values:
            yield _value(case, made.key, made.unit, values[case.variant])


def _value(case: Case, metric: str, unit: str, value: float, notes: Notes | None = None) -> Outcome:
    samples = {"value": [value]}
    return Outcome(case=case.id, metric=metric, unit=unit, status="ok", samples=samples, notes=notes or Notes())


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Wait for no disk: no power cut comes while a run is planted, and waiting takes longer than all else."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


@unsynced()
def planted_run(
    folder: Path,
    plan: Plan,
    *,
    leave_out: str | None = None,
    certificate: dict[str, Any] | None = FIT,
    peak: float | None = None,
    **trouble: Any,  # noqa: ANN401  # of `PlantedTrouble`
) -> Path:
    """Plant a run in the folder `run` of a folder, without tables and report; returns its path.

    Args:
        folder: a folder, such as pytest's `tmp_path`.
        plan: the plan.
        leave_out: a job without a record.
        certificate: what `doctor` found of the machine; None: nobody asked it.
        peak: peak of the machine, in FLOP/s, where the plan measures it.
        trouble: what goes wrong: the attributes of `PlantedTrouble`.

    Raises:
        UsageError: if the folder holds a run.
    """
    run = run_folder.create(str(folder / "run"), "planted")
    run.write_run(plan, ENVIRONMENT | {"certificate": certificate}, ["modbench"], atomic_files.now())
    asker = Asker(plan, run)

    def leave(job: Job) -> None:
        if job.name == leave_out:
            return
        record = planted_record(job, PlantedTrouble(**trouble))
        if peak and job.made_in == "peak":
            found = PeakFinding(
                device="cpu", dtype="fp32", threads=1, flop_per_s=peak, shape="1x1x1", bytes_per_s=1e9, how="planted"
            )
            record = record.model_copy(update={"findings": found})
        run.write_record(record)

    for job in plan.jobs:
        if not job.rule:
            leave(job)
    for group in plan.groups:
        done: set[str] = set()
        while more := asker.decide(group.name).asked.keys() - done:
            for job in plan.jobs:
                if job.name in more and not run.record(job).exists():
                    leave(job)
            done |= more
    return run.path
