"""Runs for a gate whose truth is known: process effects drawn at random, written without a report, so that many are quick."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modbench.harness.core import atomic_files
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.planning.plan import Plan
from modbench.harness.results import rule_decisions, run_folder
from modbench.harness.results.rule_decisions import Decided
from modbench.planted_runs import ENVIRONMENT, PlantedTrouble, planted_plan, planted_record, unsynced
from modbench.reports.blocks import Estimate, Kind
from modbench.reports.questions.gate.gate import GateFinding
from modbench.reports.tables.load import Loaded, load

ROUNDS = 4
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]


@dataclass(frozen=True)
class Truth:
    """What a run's times are drawn from.

    Attributes:
        sd: standard deviation between processes, of the ratio to the anchor.
        slower: how much longer a variant takes than in other runs.
        speed: how much longer everything takes.
        garbage: share of a variant's calls that garbage collection takes.
        waits: the variant that waits for a processor in every sample.
        own_work_seen: whether it was recorded that no other thread works and no variant waits of itself.
        seed: of all draws.
        by_round: what a variant takes in each round, relative to what it takes else; "" is all variants without one of their own.
    """

    sd: float = 0.003
    slower: Mapping[str, float] = field(default_factory=dict)
    speed: float = 1.0
    garbage: Mapping[str, float] = field(default_factory=dict)
    waits: str = ""
    own_work_seen: bool = False
    seed: int = 0
    by_round: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def timed(job: Job, truth: Truth) -> Record:
    """The record of a process."""
    rng = np.random.default_rng([truth.seed, *job.name.encode()])
    outcomes = []
    for number, case in enumerate(job.comparison.variants):
        drawn = math.exp(rng.normal(0, truth.sd)) if number else 1.0
        seconds = 0.02 * truth.speed * truth.slower.get(case.variant, 1.0) * drawn
        rounds = [float(i) for i in range(ROUNDS)]
        shape = truth.by_round.get(case.variant, truth.by_round.get("", (1.0,) * ROUNDS))
        took, waits = [seconds * share for share in shape], case.variant == truth.waits
        samples = {"round": rounds, "block": rounds, "position": [0.0] * ROUNDS, "calls": [1.0] * ROUNDS, "cpu_s": took}
        samples |= {"wall_s": [(1 + waits) * each for each in took], "wait_s": [waits * each for each in took]}
        if truth.garbage:
            samples["collect_s"] = [seconds * truth.garbage.get(case.variant, 0.0)] * ROUNDS
        if truth.own_work_seen:
            samples |= {"others_s": [0.0] * ROUNDS, "blocked_s": [0.0] * ROUNDS}
        tokens = case.grid_point.batch_size * case.grid_point.seq_len
        result: dict[str, Any] = {"status": "ok", "samples": samples, "notes": TimeNotes(tokens=tokens)}
        outcomes.append(Outcome(case=case.id, metric=f"latency/{job.workload}", unit="s", **result))
    return Record(job=job, started=atomic_files.now(), wall_s=1.0, outcomes=tuple(outcomes))


def gate_run(
    folder: Path,
    *,
    suite: Mapping[str, Any] | None = None,
    machine: str | None = "m",
    certificate: Mapping[str, Any] | None = None,
    leave_out: str = "",
    leaks: str | None = None,
    **truth: Any,
) -> Loaded:
    """Write a run folder and read it.

    Args:
        folder: where.
        suite: changes to the suite.
        machine: the machine's fingerprint.
        certificate: what was known of the machine.
        leave_out: units whose names begin with this have no record.
        leaks: the variant whose logits move when later tokens do.
        truth: fields of `Truth`.
    """
    changes = {"metrics": ["latency/forward"], "variants": VARIANTS, "processes": 10, "rounds": ROUNDS}
    changes |= dict(suite or {})
    known, calm = Truth(**truth), PlantedTrouble(leaks=leaks)

    def record(job: Job) -> Record:
        return timed(job, known) if job.made_in == "time" else planted_record(job, calm)

    environment = {"certificate": certificate, "machine": machine}
    return written(folder, planted_plan("draft", **changes), record, environment, leave_out)


@unsynced()
def written(
    folder: Path,
    made: Plan,
    record: Callable[[Job], Record],
    environment: Mapping[str, Any],
    leave_out: str = "",
) -> Loaded:
    """Write a run folder without a page, and read it."""
    run = run_folder.create(str(folder), "planted")
    run.write_run(made, ENVIRONMENT | dict(environment), ["modbench"], atomic_files.now())
    for job in made.jobs:
        if not leave_out or not job.name.startswith(leave_out):
            run.write_record(record(job))
    for group in made.groups:  # every process was asked for
        asked = {job.name: 0 for job in made.jobs if job.group == group.name and job.rule}
        rule_decisions.write(run.path, Decided(rule=group.rule, group=group.name, asked=asked, ended=True))
    return load(folder)


def finding(case: str, metric: str, verdict: str, *ends: float, kind: Kind = "ratio", **more: Any) -> GateFinding:
    """A finding of a gate: its verdict, and a change with its interval where numbers are given."""
    value, low, high = [*ends, None, None, None][:3]
    typical = Estimate(value, low, high, kind, "nat" * (kind == "difference"), level=0.9)
    return GateFinding(case, metric=metric, verdict=verdict, typical=typical if ends else Estimate(None), **more)
