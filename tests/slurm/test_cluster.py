"""Units of milliseconds on a real Slurm: every unit once, whatever is cancelled, requeued or killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from slurm_stubs import folder_at, lines, units_of, work
from slurm_watching import beside, hows, hurry, job_of, record, slurm_says, starts, tell, until

from modbench.harness.core.errors import UsageError
from modbench.harness.results import attempts

STUBS = Path(__file__).with_name("slurm_stubs.py")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


def test_every_unit_runs_once_in_arrays_that_the_site_allows(tmp_path: Path) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count", "memory", "time")
    work(units, folder, "--gres=gpu:1")
    assert starts(folder) == Counter(unit.name for unit in units)
    assert all(folder.record(unit).exists() for unit in units)
    made = attempts.submissions(folder.path)
    single = [each for each in made if all(len(names) == 1 for names in each.tasks)]
    assert max(len(each.tasks) for each in made) <= 3  # MaxArraySize
    assert sum(len(each.tasks) for each in single) == len(units_of("count", "memory"))
    (timed,) = [each for each in made if each not in single]
    assert "--exclusive" in timed.options
    assert "--exclusive" not in single[0].options
    assert all("--gres=gpu:1" in each.options for each in made)
    # Timed units of one comparison are one task: they ran one after the other, on one node.
    assert sorted(len(names) for names in timed.tasks) == [2, 2]
    until(lambda: all(hows(folder, unit) == ["done"] for unit in units))
    tried = attempts.all_attempts(folder.path)
    assert {line.split()[1] for line in lines(folder.path / "starts")} <= {"0", "1"}  # Slurm gave each one of two GPUs
    assert attempts.in_words(tried.values()) is None


def test_a_cancelled_job_is_recorded_and_a_resumed_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def cancel() -> None:
        until(lambda: starts(folder)[units[0].name])
        slurm_says("scancel", job_of(folder, units[0]).partition("_")[0])

    beside(cancel)
    work(units, folder)
    for unit in units:
        died = record(folder, unit)["died"]
        assert isinstance(died, dict)
        assert died["reason"].partition("; see jobs/")[0].endswith("was cancelled")
    monkeypatch.setenv("STUB_SECONDS", "0")
    for unit in units:  # as `resume` does with units whose process died
        folder.record(unit).unlink()
    work(units, folder)
    assert all(record(folder, unit).get("died") is None for unit in units)
    until(lambda: hows(folder, units[0]) == ["cancelled", "done"])


def test_a_requeued_job_runs_again_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, (unit, *_) = folder_at(tmp_path / "run"), units_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def requeue() -> None:
        until(lambda: starts(folder)[unit.name])
        time.sleep(0.3)
        tell(folder, unit, "scontrol", "requeue")
        hurry(folder, unit, 2)

    beside(requeue)
    work([unit], folder)
    assert record(folder, unit)["outcomes"] == []
    tried = attempts.all_attempts(folder.path)
    # Slurm starts the job again, or calls it failed for longer than these tests wait: then a new job takes the unit.
    assert [each.restart for each in tried[unit.name]] in ([0, 1], [0, 0])
    until(lambda: hows(folder, unit) == ["requeued", "done"])
    assert re.fullmatch(r"1 unit .*\(preempted or requeued 1\)", str(attempts.in_words(tried.values())))


def test_a_job_that_is_told_of_its_end_saves_a_checkpoint_and_goes_back_into_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (unit, *_) = folder_at(tmp_path / "run"), units_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def signal() -> None:
        until(lambda: starts(folder)[unit.name])
        time.sleep(0.3)
        tell(folder, unit, "scancel", "--signal=USR2")  # as Slurm does before the time limit
        hurry(folder, unit, 2)

    beside(signal)
    work([unit], folder, "--time=2")
    until(lambda: hows(folder, unit) == ["time limit", "done"])
    tried = attempts.all_attempts(folder.path)
    assert re.fullmatch(r"1 unit .*\(time limit 1\)", str(attempts.in_words(tried.values())))


@pytest.mark.proof  # as a requeued one, but for who asks for it
def test_a_preempted_job_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, (unit, *_) = folder_at(tmp_path / "run"), units_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[unit.name] == 1)
        slurm_says("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
        hurry(folder, unit, 2)

    beside(disturb)
    work([unit], folder)
    until(lambda: hows(folder, unit) == ["requeued", "done"])


# Where the id is not known it is asked for, and the rest is the same.
KNOWN = [pytest.param(True, id="jobs known", marks=pytest.mark.proof)]


@pytest.mark.parametrize("told", [*KNOWN, pytest.param(False, id="killed before the id was written")])
def test_a_killed_submitter_loses_no_job_and_starts_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count", trains=False)
    monkeypatch.setenv("STUB_SECONDS", "1")
    submitter = subprocess.Popen([sys.executable, STUBS, folder.path])
    until(lambda: starts(folder))
    submitter.kill()
    submitter.wait()
    assert not all(folder.record(unit).exists() for unit in units)
    if not told:
        for each in attempts.submissions(folder.path):
            attempts.submit(folder.path, each.model_copy(update={"job": None}))
    rest = [unit for unit in units if not folder.record(unit).exists()]
    work(rest, folder)
    assert starts(folder) == Counter(unit.name for unit in units)
    assert all(folder.record(unit).exists() for unit in units)
    assert all(each.job is not None for each in attempts.submissions(folder.path))


def test_units_wait_here_while_the_queue_may_hold_no_more(tmp_path: Path) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count")
    work(units, folder, "--max-submit=1")
    assert [len(each.tasks) for each in attempts.submissions(folder.path)] == [1] * len(units)
    assert starts(folder) == Counter(unit.name for unit in units)


def test_sbatch_says_itself_what_it_does_not_know(tmp_path: Path) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count")
    with pytest.raises(UsageError, match=r"unrecognized option '--partitoin=debug'"):
        work(units, folder, "--partitoin=debug")
    with pytest.raises(UsageError, match=r"invalid partition specified: night"):
        work(units, folder, "--partition=night")


SUITE = """
name = "counts"
effort = "smoke"
metrics = ["flops/forward"]
[shape]
d_model = 32
n_layers = 2
n_heads = 2
[grid]
seq_len = [16]
batch_size = [1]
[[arms]]
model = "dense"
"""


@pytest.mark.usefixtures("undrawn")
def test_the_command_line_runs_a_suite_on_the_cluster(modbench: Any, tmp_path: Path) -> None:
    """With a real worker: the record names the node, and the page says which jobs there were."""
    (tmp_path / "counts.toml").write_text(SUITE)
    (tmp_path / "site.toml").write_text('partition = "nowhere"\nmem = "1000"\n')
    words = ("run", "counts.toml", "--launcher", "slurm", "--launcher-profile", "site.toml")
    refused = modbench(*words, "-o", "refused", cwd=tmp_path)
    assert refused.returncode == 2
    assert "invalid partition specified: nowhere" in refused.stderr
    assert not (tmp_path / "refused").exists()
    done = modbench(*words, "-o", "run", "--", "--partition=debug", "--time=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["launcher_options"] == ["--partition=nowhere", "--mem=1000", "--partition=debug", "--time=5"]
    (file,) = (tmp_path / "run" / "units").glob("*.json")
    where = json.loads(file.read_text())["environment"]
    assert where["machine"]
    assert "cores" in where["hardware"]
    assert "1 unit, started once" in (tmp_path / "run" / "report.html").read_text()
    seen = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (seen["state"], seen["remote"], seen["note"]) == ("finished", True, "")
    assert [(group["name"], group["done"], group["running"]) for group in seen["groups"]] == [("count", 1, 0)]
