"""The number of processes: computed once from a pilot, kept in the run folder, and honest about its error."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_launcher import new_folder, resume_timed, run_timed
from in_process import command_line
from planted import ended, measured_here, stored
from present import of_type, present

from modbench import api
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.evidence import ProcessCount
from modbench.harness.domain.records import Outcome
from modbench.harness.execution import resuming
from modbench.harness.execution.run_phase import Asker
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan
from modbench.harness.results import rule_decisions, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import EVERY_VARIANT, PlantedTrouble, planted_plan, planted_record, planted_run, unsynced
from modbench.progress_bar import Lines
from modbench.reports.html_report import render
from modbench.reports.tables.load import load
from modbench.reports.terminal import printed_run

pytestmark = pytest.mark.slow

SERIES = "time-forward-T64-B1-fp32-cpu1"


def timed_plan(**changes: Any) -> Plan:
    """Two series of processes at standard effort, with a pilot of four."""
    return planted_plan(
        "standard",
        **{"metrics": ["latency/forward"], "pilot_processes": 4, "rounds": 3, "most_processes": 9, **changes},
    )


@unsynced()
def leave(folder: RunFolder, jobs: Iterable[Job], **trouble: Any) -> None:
    for job in jobs:
        folder.write_record(planted_record(job, PlantedTrouble(**trouble)))


def pilot_of(made: Plan) -> list[Job]:
    return [job for job in made.jobs if job.series == SERIES and job.process < 4]


def count(made: Plan, folder: RunFolder, series: str = SERIES) -> ProcessCount:
    return of_type(ProcessCount, rule_decisions.read(folder.path, made)[series].found)


def test_processes_after_the_pilot_run_only_if_it_asks_for_them(tmp_path: Path) -> None:
    """One decision for each series, made once, in a file of its own; what is beyond it is neither run nor missing."""
    made = timed_plan()
    folder = new_folder(made, tmp_path / "run")
    launcher, left = run_timed(made, folder)
    timed = [job for job in made.jobs if job.made_in == "time"]
    assert 4 <= count(made, folder).made < 9
    assert launcher.ran == [job.name for job in timed if job.process < count(made, folder, job.series).made]
    assert sorted(file.stem for file in (folder.path / "decisions").iterdir()) == sorted(made.members("process_count"))
    assert left.now.ended == len(launcher.ran)
    stored_run = run_folder.read(str(folder.path))
    assert not [name for name in stored_run.missing if name.startswith("time-")]
    assert len(stored_run.records) == len(launcher.ran)
    assert stored_run.undecided == ()
    file = rule_decisions.file_of(folder.path, SERIES)
    before = file.read_bytes()
    for job in pilot_of(made):  # records that change after the decision change nothing
        leave(folder, [job], slower={"moe": 1 + 0.2 * job.process})
    assert Asker(made, folder).decide(SERIES).found == count(made, folder)
    assert file.read_bytes() == before


@pytest.mark.parametrize("seen", [True, False])
def test_the_spread_of_a_pilot_is_that_of_the_clock_that_will_decide(seen: bool, tmp_path: Path) -> None:
    """Every variant waits, for a time that differs between variants and processes; its CPU time does not."""
    made = timed_plan()
    folder = new_folder(made, tmp_path / "run")

    def waiting(outcome: Outcome, times: float) -> Outcome:
        wall_s = [times * wall for wall in outcome.samples["wall_s"]]
        return outcome.model_copy(update={"samples": {**outcome.samples, "wall_s": wall_s}})

    for job in pilot_of(made):
        record = planted_record(job, PlantedTrouble(waits=EVERY_VARIANT, own_work_seen=seen))
        rng = random.Random(job.name)
        outcomes = tuple(waiting(outcome, rng.uniform(1, 2)) for outcome in record.outcomes)
        folder.write_record(record.model_copy(update={"outcomes": outcomes}))
    found = of_type(ProcessCount, Asker(made, folder).decide(SERIES).found)
    assert (present(found.asked) < 9) is seen


def test_an_interrupted_pilot_is_incomplete_and_goes_on(tmp_path: Path) -> None:
    """Without a decision the run is not complete, even if every process of the pilot has its record."""
    made = timed_plan()
    folder = new_folder(made, tmp_path / "run")
    leave(folder, (job for job in made.jobs if job.made_in != "time" or job.process < 2 or job in pilot_of(made)))
    run = run_folder.read(str(folder.path))
    assert f"{SERIES}-process4" in run.missing
    assert f"{SERIES}-process5" not in run.missing
    assert {job.process for job in run.undecided if job.series == SERIES} == {5, 6, 7, 8}
    assert {job.process for job in run.undecided if job.series != SERIES} == {4, 5, 6, 7, 8}
    launcher, left = resume_timed(folder)
    after = run_folder.read(str(folder.path))
    assert not [name for name in after.missing if name.startswith("time-")]
    assert left.now.ended == len(after.records)
    assert not any(name.startswith(f"{SERIES}-process{n}") for name in launcher.ran for n in range(4))


def test_processes_that_died_leave_the_number_to_the_others_or_open_until_they_run_again(tmp_path: Path) -> None:
    made = timed_plan(pilot_processes=5)
    folder = new_folder(made, tmp_path / "one")
    run_timed(made, folder, dies=[f"{SERIES}-process1"])
    found = count(made, folder)
    assert (found.pilot, found.used) == (5, 4)
    assert found.asked is not None
    made = timed_plan()
    folder = new_folder(made, tmp_path / "all")
    launcher, _ = run_timed(made, folder, dies=[job.name for job in pilot_of(made)])
    found = count(made, folder)
    assert (found.asked, found.made) == (None, 4)
    assert str(found.reason).startswith("0 of 4 processes")
    assert f"{SERIES}-process4" not in launcher.ran
    run = run_folder.read(str(folder.path))
    assert run.decisions.keys() - resuming.without_old_decisions(run, retry_failed=False).decisions.keys() == {SERIES}


def test_a_pilot_that_is_measured_again_decides_when_it_has_ended(tmp_path: Path) -> None:
    """Until then what the folder holds of it is old."""
    made = timed_plan()
    folder, pilot = new_folder(made, tmp_path / "run"), pilot_of(made)
    leave(folder, pilot)
    asker = Asker(made, folder, pilot[:1])
    assert not asker.decide(SERIES).ended
    asker.ended(pilot[0])
    assert asker.decide(SERIES).ended


CAPPED: dict[str, Any] = {"detectable": 1e-6, "most_processes": 5}


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose pilots asked for more processes than the cap of five."""
    return planted_run(tmp_path_factory.mktemp("cut"), timed_plan(**CAPPED))


@pytest.fixture
def capped(cut: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(cut, tmp_path / "run"))


@pytest.mark.usefixtures("undrawn")
def test_a_result_that_the_cap_cut_is_labelled(capped: Path, tmp_path: Path) -> None:
    """In both CSV files and on the page; the cap is printed."""
    loaded, page = load(capped), tmp_path / "report.html"
    render.views(loaded, ["csv"])
    cases = pd.read_csv(capped / "cases.csv")
    for rows in (pd.read_csv(capped / "comparisons.csv"), cases[cases.metric == "latency/forward"]):
        assert rows.labels.str.contains(Label.PROCESSES_CAPPED).all()
    assert "only 5 were allowed" in render.html(loaded)
    assert f"{Label.PROCESSES_CAPPED}: " in " ".join(printed_run.closing(loaded, page, None).split())
    told = printed_run.as_json(loaded, page, None)["processes"]
    assert [(each["made"], each["capped"]) for each in told] == [(5, True)] * 2
    at_the_pilot = stored(tmp_path / "pilot", timed_plan(**{**CAPPED, "most_processes": 4}))
    assert at_the_pilot.labels.str.contains(Label.PROCESSES_CAPPED).all()


def test_a_run_whose_decision_is_lost_is_incomplete_until_it_is_made_again(capped: Path) -> None:
    """Though all jobs have records: without it the report could not say that processes were capped."""
    made, file = timed_plan(**CAPPED), rule_decisions.file_of(capped, SERIES)
    assert run_folder.read(str(capped)).incomplete is None
    before = rule_decisions.read(capped, made)
    rule_decisions.write(capped, before[SERIES].model_copy(update={"ended": False}))
    assert f"{SERIES} was not decided" in str(run_folder.read(str(capped)).incomplete)
    file.unlink()
    assert run_folder.read(str(capped)).missing == []
    assert f"{SERIES} was not decided" in str(run_folder.read(str(capped)).incomplete)
    done = command_line("report", capped, "--format", "csv")
    assert done.returncode == 4
    assert f"was not decided; all its jobs have records: `modbench resume {capped}` decides." in done.stderr
    measured_here(capped)
    ended(capped)
    api.resume(str(capped), Lines)
    assert rule_decisions.read(capped, made) == before


@pytest.mark.parametrize(
    ("effort", "settings", "words"),
    [
        ("draft", {"detectable": 0.02}, "draft effort .*fixed number"),
        ("standard", {"processes": 5, "pilot_processes": 6}, "processes are set"),
    ],
)
def test_a_setting_of_a_pilot_that_is_not_there_is_refused(
    effort: str, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        override(load_suite("quick"), Overrides(effort=effort, settings=settings))
