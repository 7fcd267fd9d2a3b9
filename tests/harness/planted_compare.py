"""Runs for `modbench compare` whose truth is known: two lengths, two number formats, arms that take planted shares of time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planted import FIT, Trouble, fake_record, planted_suite
from planted_gate import ROUNDS, Truth, timed, written

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.notes import WithoutOwnFinding
from modbench.harness.domain.records import Record
from modbench.reports.tables.load import Loaded

ARMS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.25, 0.5]}, {"model": "moe"}]
# What arms take of the anchor's time, and what everything takes at a length and in a number format.
ARM = {"mod[c0.125]": 0.5, "mod[c0.25]": 0.8, "mod[c0.5]": 1.0, "moe": 1.25}
AT = {64: 1.0, 128: 2.0, 256: 4.0, 512: 8.0, "fp32": 1.0, "bf16": 0.8}


# A model of one's own whose options are an axis: the first of its arms is the slowest.
OWN: dict[str, Any] = {
    "arms": [{"model": "mine.py:build", "options": {"capacity": [0.5, 0.25, 0.125]}}],
    "metrics": ["latency/forward"],
    "grid": {"seq_len": [64, 128], "dtype": ["fp32"]},
}
OWN_ARM = {"mine:build[capacity0.5]": 1.0, "mine:build[capacity0.25]": 0.8, "mine:build[capacity0.125]": 0.5}


def own_run(here: Path, suite: Mapping[str, Any] | None = None, *, name: str = "run", **truth: Any) -> Loaded:
    """Write a run of a model of one's own, whose file lies in the current folder.

    Args:
        here: the current folder.
        suite: changes to the suite.
        name: of the run folder.
        truth: fields of `Truth`, and `at`.
    """
    (here / "mine.py").write_text("def build(config, capacity=1.0, router='a'): ...\n")
    return compared_run(here / name, suite=OWN | dict(suite or {}), slower=truth.pop("slower", OWN_ARM), **truth)


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
        leave_out: units whose names begin with this have no record.
        fails: the arm whose timing fails.
        at: by length, what arms take there instead.
        truth: fields of `Truth`; `slower` is multiplied with `ARM`.
    """
    grid = {"seq_len": [64, 128], "dtype": ["fp32", "bf16"]}
    changes: dict[str, Any] = {"metrics": ["latency/forward", "memory/peak_allocated"], "arms": ARMS, "grid": grid}
    changes |= {"launches": 5, "rounds": ROUNDS} | dict(suite or {})
    made = planted_suite(str(changes.pop("effort", "draft")), **changes)
    slower = {
        arm: ARM.get(arm, 1.0) * truth.get("slower", {}).get(arm, 1.0)
        for arm in ("dense", *ARM, *truth.get("slower", {}))
    }
    speed = float(truth.get("speed", 1.0))

    def record(unit: UnitOfWork) -> Record:
        if unit.made_in not in {"time", "without_own"}:
            return fake_record(unit, Trouble())
        place = unit.comparison.place
        here = truth | {
            "slower": slower | dict((at or {}).get(place.seq_len, {})),
            "speed": speed * AT[place.seq_len] * AT[place.dtype],
        }
        found, failed = timed(unit, Truth(**here)), [case.id for case in unit.comparison.arms if case.arm == fails]
        if unit.made_in == "without_own":
            samples = {f"latency/{unit.workload}": {each.case: each.samples for each in found.outcomes}}
            return found.model_copy(update={"outcomes": (), "findings": WithoutOwnFinding(samples=samples, blocks={})})
        outcomes = tuple(
            each.model_copy(
                update={"status": "failed", "kind": "error", "reason": "planted <b>failure</b>", "samples": {}}
            )
            if each.case in failed
            else each
            for each in found.outcomes
        )
        return found.model_copy(update={"outcomes": outcomes})

    known = {"certificate": FIT, "machine": "m"} | dict(environment or {})
    return written(folder, made, record, known, leave_out)
