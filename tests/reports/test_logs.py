"""A failed cell names the log that tells more, in the terminal and on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from resealed import reseal

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.sections.failures_and_warnings import failures
from modbench.reports.tables import job_files, load
from modbench.reports.terminal import printed_run


def failed_run(folder: Path, reason: str) -> tuple[Path, str]:
    """A run of one job, in which MoD failed, and the name of that job."""
    variants, grid = [{"model": "dense"}, {"model": "mod", "capacity": 0.125}], {"seq_len": [64]}
    made = planted_plan(
        "smoke", metrics=["latency/forward"], variants=variants, grid=grid, train=None, processes=1, rounds=1
    )
    run = planted_run(folder, made, fails="mod[c0.125]")
    (job,) = (job.name for job in made.jobs if job.made_in == "time")
    file = run / "jobs" / f"{job}.json"
    reseal(file, json.loads(file.read_text().replace("planted failure", reason)))
    (run / "logs").mkdir(exist_ok=True)
    return run, job


@pytest.mark.parametrize("ending", job_files.ENDINGS)
def test_a_failure_names_its_log(tmp_path: Path, ending: str) -> None:
    run, job = failed_run(tmp_path, "ValueError: it cannot be built")
    log = f"logs/{job}{ending}"
    (run / log).write_text("Traceback")
    loaded = load.load(run)
    closing = printed_run.closing(loaded, run / "report.html", None)
    assert "it cannot be built" in closing
    assert any(f"{run}/{log}" in line for line in closing.splitlines())  # whole, so that it can be copied
    (found,) = failures(loaded)
    assert found.metrics == ("latency/forward",)
    assert found.reason.endswith(f"see {log}")


def test_a_log_that_is_not_there_or_named_already_is_not_named(tmp_path: Path) -> None:
    run, _ = failed_run(tmp_path / "one", "ValueError: it cannot be built")
    assert "logs/" not in failures(load.load(run))[0].reason
    run, job = failed_run(tmp_path / "two", "the process died of SIGSEGV; see logs/two.died.log")
    (run / "logs" / f"{job}.log").write_text("something")
    assert failures(load.load(run))[0].reason.count("logs/") == 1


def test_a_reason_without_a_log_stays() -> None:
    assert job_files.in_run_folder("see logs/ of yours", Path("run")) == "see logs/ of yours"
    assert job_files.in_run_folder("it died; see jobs/7.out", Path("runs/a")) == "it died; see runs/a/jobs/7.out"
