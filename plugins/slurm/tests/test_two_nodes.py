"""A training job whose ranks are on two nodes of a real Slurm: the losses of one node, also after an early end; one record."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock

import pytest
import slurm_stubs
from present import present
from quiet import Quiet, folder_at
from slurm_stubs import lines, work
from slurm_watching import beside, died, hurry, starts, tell, until
from test_ranks import planned as on_ranks

from modbench.harness.core import atomic_files
from modbench.harness.domain.records import Record
from modbench.harness.execution import runner
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.record_files import read_record
from modbench.plugins.slurm import launcher as slurm
from modbench.plugins.slurm.submitting import submissions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


def planned(here: Path) -> Plan:
    made = on_ranks("dense", here, ranks=2)
    return made.model_copy(update={"jobs": tuple(job for job in made.jobs if job.made_in == "train")})


def trained(here: Path, name: str, made: Plan, *options: str) -> Record:
    folder = run_folder.create(str(here / name), "ranks")
    folder.write_run(made, {}, [], atomic_files.now())
    with mock.patch.object(slurm, "GRACE_S", 1.0):
        runner.run(made, folder, launcher="slurm", options=("--partition=both", "--mem=2000", *options))
    return read_record(folder.record(made.jobs[0]), made.jobs[0])


def loss(record: Record) -> float:
    (found,) = (outcome for outcome in record.outcomes if outcome.metric == "loss/val")
    assert found.status == "ok", found.reason
    return float(found.samples["value"][0])


def test_ranks_on_two_nodes_find_the_losses_of_one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path
    monkeypatch.chdir(here)
    made = planned(here)
    two = trained(here, "two", made, "--nodes=2")
    (job,) = made.jobs
    assert len(submissions(here / "two")) == 1
    assert present(two.environment).ranks == 2
    folder = run_folder.create(str(here / "one"), "ranks")
    folder.write_run(made, {}, [], atomic_files.now())
    Run(LocalLauncher(cold=True, threads=1), folder, Quiet()).phase(Slots((job,), 1, ranks=2), {job.name: 300.0})
    assert loss(read_record(folder.record(job), job)) == loss(two)


ON_BOTH = ("--partition=both", "--nodes=2")


def test_a_job_on_two_nodes_that_is_told_of_its_end_stops_and_goes_back_into_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job = folder_at(tmp_path / "run"), slurm_stubs.on_ranks(2)
    monkeypatch.setenv("STUB_SECONDS", "60")

    def signal() -> None:
        until(lambda: starts(folder)[job.name] == 2)  # one on each node
        time.sleep(0.3)  # the stubs hear their signal
        tell(folder, job, "scancel", "--signal=USR2")
        hurry(folder, job, 4)

    beside(signal)
    work([job], folder, *ON_BOTH, "--time=10", grace_s=60.0)
    assert not died(folder, job)
    assert starts(folder)[job.name] in {3, 4}  # the second node may come when the first has left a record
    assert lines(folder.path / "ends") == [job.name]
    assert len(submissions(folder.path)) == 1


def test_a_rank_that_dies_on_another_node_ends_the_job_with_one_record_that_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job = folder_at(tmp_path / "run"), slurm_stubs.on_ranks(2)
    for name, value in (("STUB_SECONDS", "60"), ("STUB_DIES", job.name), ("STUB_DIES_ON", "1")):
        monkeypatch.setenv(name, value)
    work([job], folder, *ON_BOTH)
    assert died(folder, job).endswith(" SIGSEGV")
    assert starts(folder)[job.name] == 2
