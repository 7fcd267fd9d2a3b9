"""Runs whose truth is known: fake clocks with planted effects, stored as a worker would have left them."""

from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from resealed import reseal_with

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
    PeakFinding,
    TimeNotes,
    TrainNotes,
    WithoutUserCodeFinding,
)
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution.run_phase import Asker
from modbench.harness.machine import environment
from modbench.harness.machine.certificate import Certificate, fingerprint
from modbench.harness.planning import plan
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.reports.html_report import render
from modbench.reports.tables.load import load

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
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.speed = min(self.speed * 1.002, self.slowest)
        self.now += seconds * self.speed * math.exp(self.rng.normal(0, 0.005))


def planted_suite(effort: str, **changes: Any) -> Plan:
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
    return plan.make_plan(suite, device="cpu", text=Text("t", b"a" * 500, b"b" * 500, "c0ffee"))


@dataclass(frozen=True)
class Trouble:
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
        seed: of the noise: runs of one plan with different seeds are independent.
        losses: instead of what is planted, the loss by variant (or, in a sweep over budgets, by case), routed causally too;
            each seed adds an offset that all variants share, but for new seeds, and each run noise of its own.
        run_noise: standard deviation of that noise.
        text_noise: standard deviation of what each block of the held-out text adds to a routed variant's loss, of fresh runs."""

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
    seed: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    run_noise: float = 0.0
    text_noise: float | None = None


def _disturb(samples: dict[str, list[float]], variant: str, process: int, trouble: Trouble) -> None:
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


def _takes(job: Job, trouble: Trouble) -> dict[str, float]:
    """What each variant takes relative to the anchor where a job is timed."""
    known = dict.fromkeys((case.variant for case in job.comparison.variants), 1.0) | PLANTED
    takes = {variant: share * trouble.slower.get(variant, 1.0) for variant, share in known.items()}
    here = (job.workload, job.comparison.grid_point.seq_len, job.comparison.grid_point.batch_size)
    return takes | {name: share for (name, *where), share in trouble.grid.items() if (*where,) == here[: len(where)]}


def _trained(job: Job, case: Case, trouble: Trouble) -> Iterator[Outcome]:
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


def fake_record(job: Job, trouble: Trouble) -> Record:
    """What a worker would have left, had its clock been ours."""
    told: dict[str, Any] = {"outcomes": (*_timed(job, trouble), *_measured(job, trouble))}
    if job.made_in == "without_user_code":
        samples = {outcome.case: outcome.samples for outcome in told["outcomes"]}
        found = WithoutUserCodeFinding(samples={f"latency/{job.workload}": samples}, blocks={})
        told = {"outcomes": (), "findings": found}
    return Record(job=job, started=atomic_files.now(), wall_s=1.0, **told)


def _timed(job: Job, trouble: Trouble) -> list[Outcome]:
    outcomes = []
    if job.made_in in {"time", "without_user_code"}:
        name = f"{job.name}{trouble.seed or ''}"
        clock = DriftingClock(name)

        def variant(share: float, costs: tuple[float, ...]) -> Any:
            return lambda number: clock.pass_time(0.02 * beside * share * costs[number % len(costs)])

        beside = trouble.beside if any(case.is_user_model for case in job.comparison.variants) else 1.0

        takes = _takes(job, trouble)
        calls = {
            case.id: variant(takes[case.variant], trouble.costs.get(case.variant, (1.0,)))
            for case in job.comparison.variants
        }
        inputs = max(map(len, trouble.costs.values()), default=1)
        session = Session(
            calls,
            job.comparison.variants[0].id,
            rng=random.Random(name),
            clock=clock,
            on_error=lambda variant, error: pytest.fail(f"{variant}: {error}"),
            inputs=inputs,
        )
        timed = session.measure(Effort(job.protocol.rounds, 3)).samples
        for case in job.comparison.variants:
            samples = timed[case.id]
            _disturb(samples, case.variant, job.process, trouble)
            tokens = case.grid_point.tokens(job.workload)
            result: dict[str, Any] = {
                "status": "ok",
                "samples": samples,
                "notes": TimeNotes(tokens=tokens, inputs=inputs, **trouble.noted.get(case.variant, {})),
            }
            if case.variant == trouble.fails:
                result = {"status": "failed", "kind": "error", "reason": "planted failure"}
            outcomes.append(Outcome(case=case.id, metric=f"latency/{job.workload}", unit="s", **result))
    return outcomes


def _measured(job: Job, trouble: Trouble) -> list[Outcome]:
    outcomes = []
    for number, case in enumerate(job.comparison.variants):
        cost = case_cost(case)
        assert cost is not None or case.is_user_model
        if cost is None:
            continue
        if job.made_in == "count":
            counted = CountNotes(
                params=cost.params,
                counter_forward=cost.forward,
                forward_causal=cost.forward_causal,
                train_step_causal=cost.train_step_causal,
                causality=Causality(reads_future=case.variant == trouble.leaks, change=0.5),
            )
            value = {"value": [cost.forward]}
            outcomes.append(
                Outcome(case=case.id, metric="flops/forward", unit="FLOP", status="ok", samples=value, notes=counted)
            )
            if "flops/train_step" in job.comparison.metrics:
                value = {"value": [cost.train_step]}
                outcomes.append(
                    Outcome(
                        case=case.id, metric="flops/train_step", unit="FLOP", status="ok", samples=value, notes=counted
                    )
                )
        inspected = ("graph_breaks/forward", "syncs/forward") if job.made_in == "inspect" else ()
        outcomes += [
            Outcome(case=case.id, metric=key, unit="count", status="ok", samples={"value": [0.0]})
            for key in inspected
            if key in job.comparison.metrics
        ]
        if job.made_in == "memory":
            value, weighed = {"value": [1e6 * (1 + number)]}, MemoryNotes(forecast=1e6 * (1 + 2 * number))
            outcomes.append(
                Outcome(
                    case=case.id, metric="memory/peak_allocated", unit="B", status="ok", samples=value, notes=weighed
                )
            )
        if job.made_in == "fit":
            fits = FitNotes(memory_limit_bytes=10**9, forecast=100 * (1 + number))
            value = {"value": [100.0 * (1 + number)]}
            outcomes.append(
                Outcome(
                    case=case.id, metric="memory/largest_seq_len", unit="token", status="ok", samples=value, notes=fits
                )
            )
        if job.made_in == "compile":
            outcomes.append(
                Outcome(
                    case=case.id,
                    metric="latency/compile",
                    unit="s",
                    status="ok",
                    samples={"value": [3.0 + number]},
                    notes=CompileNotes(cache="none"),
                )
            )
        if job.made_in in {"train", "confirm"}:
            outcomes += _trained(job, case, trouble)
    return outcomes


def stored(tmp_path: Path, made: Plan, **how: Any) -> pd.DataFrame:
    """A run folder as a worker would have left it with its tables, and `comparisons.csv`. Takes what `left` takes."""
    folder = left(tmp_path, made, **how)
    with unsynced():
        render.views(load(folder), ["csv"])  # `render.write` adds the page, which takes far longer
    return pd.read_csv(folder / "comparisons.csv")


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Wait for no disk: no power cut comes while a run is planted, and waiting takes longer than all else."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


@unsynced()
def left(
    tmp_path: Path,
    made: Plan,
    *,
    leave_out: str | None = None,
    certificate: dict[str, Any] | None = FIT,
    peak: float | None = None,
    **trouble: Any,
) -> Path:
    """A run folder as a worker would have left it, without its views.

    Args:
        tmp_path: takes the folder `run`.
        made: the plan.
        leave_out: a unit without a record.
        certificate: what was known of the machine.
        peak: the machine's, in FLOP/s.
        trouble: what goes wrong.
    """
    folder = run_folder.create(str(tmp_path / "run"), "planted")
    folder.write_run(made, ENVIRONMENT | {"certificate": certificate}, ["modbench"], atomic_files.now())
    asker = Asker(made, folder)

    def leave(job: Job) -> None:
        if job.name == leave_out:
            return
        record = fake_record(job, Trouble(**trouble))
        if peak and job.made_in == "peak":
            found = PeakFinding(
                device="cpu", dtype="fp32", threads=1, flop_per_s=peak, shape="1x1x1", bytes_per_s=1e9, how="planted"
            )
            record = record.model_copy(update={"findings": found})
        folder.write_record(record)

    for job in made.jobs:
        if not job.rule:
            leave(job)
    for group in made.groups:
        done: set[str] = set()
        while more := asker.decide(group.name).asked.keys() - done:
            for job in made.jobs:
                if job.name in more and not folder.record(job).exists():
                    leave(job)
            done |= more
    return folder.path


def ended(folder: Path) -> None:
    """Leave what a run leaves that has ended."""
    RunFolder(folder).write_finished(
        {"ended": "2026-01-01T00:00:00+00:00", "wall_s": 9.0, "timed_wall_s": 5.0, "parent_cpu_s": 0.01}
    )


def measured_here(folder: Path) -> None:
    """Let a run be one of this machine, which may resume it."""
    machine = fingerprint(environment.collect(), "cpu", 1)
    reseal_with(folder / "run.json", lambda body: body["environment"].update(machine=machine))
