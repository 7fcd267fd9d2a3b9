"""A run on one task, planted: so many correct answers by variant and seed."""

from __future__ import annotations

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

# Correct answers out of 1,000 by variant and seed.
RIGHT = {"dense": (990, 992, 994), "mod[c0.125]": (300, 500, 400), "depth_predictor": (800, 810, 820)}


@unsynced()
def planted(
    folder: Path, seeds: tuple[int, ...] = (0, 1, 2), *, fails: str = "", filtered: tuple[str, ...] = (), **more: Any
) -> Loaded:
    """Plant the answers on the task `copy`.

    `filtered` are further metrics, which `-k copy` keeps from running; `more` goes into the suite.
    """
    suite = parse_suite(
        {
            "name": "tasks",
            "metrics": ["task/copy", *filtered],
            "seeds": seeds,
            "shape": {"d_model": 32, "n_layers": 4},
            "variants": [{"model": "dense"}, {"model": "mod"}, {"model": "depth_predictor"}],
            **more,
        },
        "test",
    )
    made = plan.make_plan(suite, device="cpu", select="copy" if filtered else None)
    run = run_folder.create(str(folder), "tasks")
    run.write_run(made, ENVIRONMENT, ["modbench"], atomic_files.now())
    for job in made.jobs:
        outcomes = []
        for case in job.comparison.variants:
            if job.made_in != "train_on_task":
                continue
            common: dict[str, Any] = {"case": case.id, "metric": "task/copy", "unit": "ratio"}
            if case.variant == fails:
                outcomes.append(Outcome(**common, status="failed", kind="numerics", reason="loss nan at step 3"))
                continue
            right = RIGHT[case.variant][job.protocol.seed]
            answers: dict[str, Any] = {
                "seed": job.protocol.seed,
                "n": 1000,
                "correct": right,
                "correct_as_trained": right + 5 if case.model == "mod" else None,
                "whole": right // 2,
                "by_kind": {"copy": (1000, right)},
                "shortcuts": {"majority": 0.07, "last symbol": 0.35},
                "depth_by_kind": {"copy": 2.5} if case.model == "depth_predictor" else {},
                "cpu_s": 12.0,
            }
            notes = TaskNotes.model_validate(answers)
            outcomes.append(Outcome(**common, status="ok", samples={"value": [right / 1000]}, notes=notes))
        record = Record(job=job, started=atomic_files.now(), wall_s=1.0, outcomes=tuple(outcomes))
        run.write_record(record)
    return load(folder)
