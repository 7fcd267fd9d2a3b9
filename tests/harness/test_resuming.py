"""What a resumed run does again, and that a finished one is left as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import ended, measured_here
from present import present
from resealed import reseal

from modbench import api
from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.execution import resuming, runner
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.results import progress_file, run_folder
from modbench.harness.results.run_file import StoredRun
from modbench.harness.results.run_folder import read
from modbench.planted_runs import planted_plan, planted_run
from modbench.progress_bar import Lines
from modbench.reports.html_report import render


def remaining(run: StoredRun, *, retry_failed: bool = False) -> list[str]:
    return [job.name for job in resuming.remaining(run, retry_failed=retry_failed)]


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


def never(*_: Any, **__: Any) -> None:
    raise AssertionError


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run of this machine in which MoE failed."""
    folder = planted_run(tmp_path, planted_plan("smoke"), fails="moe")
    measured_here(folder)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_of_a_finished_run_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted_run(tmp_path, planted_plan("smoke"))
    render.write(folder)
    ended(folder)
    monkeypatch.setattr(runner, "run", never)
    before = content(folder)
    for retry_failed in (False, True):
        finished = api.resume(str(folder), Lines, retry_failed=retry_failed)
        assert finished.report == folder / "report.html"
        assert content(folder) == before


def test_failed_cells_run_again_when_asked(failed: Path) -> None:
    """Without being asked only what a dying process left."""
    run = read(str(failed))
    cells = {r.job.name for r in run.records if any(outcome.status == "failed" for outcome in r.outcomes)}
    assert cells
    assert remaining(run) == []
    assert set(remaining(run, retry_failed=True)) == cells


@pytest.mark.parametrize(("again", "expected"), [(False, True), (True, False)])
def test_what_a_dying_process_left_runs_again(again: bool, expected: bool, tmp_path: Path) -> None:
    """But not where the shipped models were measured without the user's model that killed it: it would do so again."""
    planted_run(tmp_path, planted_plan("smoke"))
    file = min((tmp_path / "run" / "jobs").glob("memory-*.json"))
    body = json.loads(file.read_text())
    body["died"] = {"kind": "crash", "reason": "the process died of SIGSEGV", "again": again}
    reseal(file, body)
    assert (file.stem in remaining(read(str(tmp_path / "run")))) is expected


def test_what_is_measured_again_is_kept_until_then(failed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt between the two loses no good variant of a job in which another failed."""
    records = sorted(failed.rglob("jobs/*.json"))

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    with pytest.raises(IncompleteError, match="interrupted"):
        api.resume(str(failed), Lines, retry_failed=True)
    assert sorted(failed.rglob("jobs/*.json")) == records


def test_a_run_that_ended_before_its_first_job_is_begun_again(tmp_path: Path) -> None:
    """Its folder holds no plan, so it cannot be resumed; what it made is no reason to refuse the same command."""
    folder = run_folder.create(str(tmp_path / "run"), "s")
    (folder.path / "lock.json").write_text("{}")
    run_folder.create(str(tmp_path / "run"), "s")
    (folder.jobs / "mine.json").write_text("{}")
    with pytest.raises(UsageError, match="already holds other files"):
        run_folder.create(str(tmp_path / "run"), "s")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_where_nothing_is_left_no_launcher_is_made(failed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed before it wrote its end, maybe a stranger's: its launcher's options were not agreed to."""
    monkeypatch.setattr(LocalLauncher, "__init__", never)
    records = api.resume(str(failed), Lines).loaded.run.records
    assert (failed / "finished.json").exists()
    seen = present(progress_file.read(failed))
    assert (seen.state, seen.ended, seen.all_ended) == ("finished", len(records), True)
    assert {each.job for each in seen.failures} == {
        record.job.name for record in records if any(each.status == "failed" for each in record.outcomes)
    }
