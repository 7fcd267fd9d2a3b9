"""Runs for `modbench compare` whose truth is known: two lengths, two number formats, planted shares of time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planted_gate import ROUNDS, Truth, timed, written

from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import WithoutUserCodeFinding
from modbench.harness.domain.records import Record
from modbench.planted_runs import FIT, PlantedTrouble, planted_plan, planted_record
from modbench.reports.tables.load import Loaded

VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.25, 0.5]}, {"model": "moe"}]
# What variants take of the anchor's time, and what everything takes at a length and in a number format.
VARIANT = {"mod[c0.125]": 0.5, "mod[c0.25]": 0.8, "mod[c0.5]": 1.0, "moe": 1.25}
AT = {64: 1.0, 128: 2.0, 256: 4.0, 512: 8.0, "fp32": 1.0, "bf16": 0.8}
FAILED = {"status": "failed", "kind": "error", "reason": "planted <b>failure</b>", "samples": {}}

# A model of one's own whose options are an axis: the first of its variants is the slowest.
OWN: dict[str, Any] = {
    "variants": [{"model": "mine.py:build", "options": {"capacity": [0.5, 0.25, 0.125]}}],
    "metrics": ["latency/forward"],
    "grid": {"seq_len": [64, 128], "dtype": ["fp32"]},
}
OWN_VARIANT = {"mine:build[capacity0.5]": 1.0, "mine:build[capacity0.25]": 0.8, "mine:build[capacity0.125]": 0.5}


def own_run(here: Path, suite: Mapping[str, Any] | None = None, *, name: str = "run", **truth: Any) -> Loaded:
    """Write a run of a model of one's own, whose file lies in the current folder.

    Args:
        here: the current folder.
        suite: changes to the suite.
        name: of the run folder.
        truth: fields of `Truth`, and `at`.
    """
    (here / "mine.py").write_text("def build(config, capacity=1.0, router='a'): ...\n")
    return compared_run(here / name, suite=OWN | dict(suite or {}), slower=truth.pop("slower", OWN_VARIANT), **truth)


def compared_run(
    folder: Path,
    *,
    suite: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    leave_out: str = "",
    fails: str = "",
    at: Mapping[int, Mapping[str, float]] | None = None,
    **truth: Any,
) -> Loaded:
    """Write a run folder and read it.

    Args:
        folder: where.
        suite: changes to the suite.
        environment: changes to the machine and its software.
        leave_out: jobs whose names begin with this have no record.
        fails: the variant whose timing fails.
        at: by length, what variants take there instead.
        truth: fields of `Truth`; `slower` is multiplied with `VARIANT`.
    """
    grid = {"seq_len": [64, 128], "dtype": ["fp32", "bf16"]}
    changes: dict[str, Any] = {"metrics": ["latency/forward", "memory/peak_allocated"], "variants": VARIANTS}
    changes |= {"grid": grid, "processes": 5, "rounds": ROUNDS} | dict(suite or {})
    made = planted_plan(str(changes.pop("effort", "draft")), **changes)
    more = truth.pop("slower", {})
    slower = {each: VARIANT.get(each, 1.0) * more.get(each, 1.0) for each in ("dense", *VARIANT, *more)}
    speed = float(truth.pop("speed", 1.0))

    def record(job: Job) -> Record:
        if job.made_in not in {"time", "without_user_code"}:
            return planted_record(job, PlantedTrouble())
        grid_point = job.comparison.grid_point
        there = slower | dict((at or {}).get(grid_point.seq_len, {}))
        known = Truth(slower=there, speed=speed * AT[grid_point.seq_len] * AT[grid_point.dtype], **truth)
        found = timed(job, known)
        if job.made_in == "without_user_code":
            samples = {f"latency/{job.workload}": {each.case: each.samples for each in found.outcomes}}
            findings = WithoutUserCodeFinding(samples=samples, blocks={})
            return found.model_copy(update={"outcomes": (), "findings": findings})
        failed = {case.id for case in job.comparison.variants if case.variant == fails}
        outcomes = [each.model_copy(update=FAILED if each.case in failed else {}) for each in found.outcomes]
        return found.model_copy(update={"outcomes": tuple(outcomes)})

    machine = {"certificate": FIT, "machine": "m"} | dict(environment or {})
    return written(folder, made, record, machine, leave_out)
