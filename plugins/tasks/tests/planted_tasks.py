"""A run on one task, planted: so many correct answers by variant and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modbench.extend import ENVIRONMENT, unsynced
from modbench.harness.core import atomic_files
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.planning import plan
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.results import run_folder
from modbench.plugins.tasks.notes import TaskNotes
from modbench.reports.tables.load import Loaded, load

MOD = "mod[c0.125]"
# Correct answers out of 1,000 by variant and seed.
RIGHT: Mapping[str, Sequence[int]] = {
    "dense": (990, 992, 994),
    MOD: (300, 500, 400),
    "depth_predictor": (800, 810, 820),
}


@unsynced()
def planted(
    folder: Path,
    seeds: Sequence[int] = (0, 1, 2),
    right: Sequence[Sequence[int]] = tuple(RIGHT.values()),
    *,
    fails: str = "",
    **more: Any,
) -> Loaded:
    """Plant the answers of dense, MoD and the predictor of depth on the task `copy`, by seed.

    `more` goes into the suite.
    """
    suite = parse_suite(
        {
            "name": "tasks",
            "metrics": ["task/copy"],
            "seeds": seeds,
            "shape": {"d_model": 32, "n_layers": 4},
            "variants": [{"model": "dense"}, {"model": "mod"}, {"model": "depth_predictor"}],
            **more,
        },
        "test",
    )
    made = plan.make_plan(suite, device="cpu")
    run = run_folder.create(str(folder), "tasks")
    run.write_run(made, ENVIRONMENT, ["modbench"], atomic_files.now())
    by_variant = dict(zip(RIGHT, right, strict=True))
    for job in made.jobs:
        on_task = job.comparison.variants if job.made_in == "train_on_task" else ()
        outcomes = []
        for case in on_task:
            common: dict[str, Any] = {"case": case.id, "metric": "task/copy", "unit": "ratio"}
            if case.variant == fails:
                outcomes.append(Outcome(**common, status="failed", kind="numerics", reason="loss nan at step 3"))
                continue
            correct = by_variant[case.variant][job.protocol.seed]
            notes = TaskNotes(
                seed=job.protocol.seed,
                n=1000,
                correct=correct,
                correct_as_trained=correct + 5 if case.model == "mod" else None,
                whole=correct // 2,
                by_kind={"copy": (1000, correct)},
                shortcuts={"majority": 0.07, "last symbol": 0.35},
                depth_by_kind={"copy": 2.5} if case.model == "depth_predictor" else {},
                cpu_s=12.0,
            )
            outcomes.append(Outcome(**common, status="ok", samples={"value": [correct / 1000]}, notes=notes))
        run.write_record(Record(job=job, started=atomic_files.now(), wall_s=1.0, outcomes=tuple(outcomes)))
    return load(folder)
