"""A training unit whose ranks are on two nodes of a real Slurm: the losses of one node, also after an early end; one record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from slurm_stubs import Quiet, folder_at, lines, units_of, work
from slurm_watching import beside, hows, hurry, record, starts, tell, until
from test_ranks import planned as on_ranks

from modbench.harness.core import files
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import Record
from modbench.harness.execution import runner
from modbench.harness.execution.launch import slurm
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.phase import Run, Slots
from modbench.harness.execution.slurm.options import parse
from modbench.harness.execution.slurm.submitting import groups
from modbench.harness.planning.plan import Plan
from modbench.harness.results import attempts, run_folder
from modbench.harness.results.sealed_records import read_record


def planned(here: Path) -> Plan:
    made = on_ranks("dense", here, ranks=2)
    return made.model_copy(update={"units": tuple(unit for unit in made.units if unit.made_in == "train")})


def trained(here: Path, name: str, made: Plan, *options: str) -> Record:
    folder = run_folder.create(str(here / name), "ranks")
    folder.write_run(made, {}, [], files.now())
    with mock.patch.object(slurm, "GRACE_S", 1.0):
        runner.run(made, folder, launcher="slurm", options=("--partition=both", "--mem=2000", *options))
    return read_record(folder.record(made.units[0]), made.units[0])


def loss(record: Record) -> float:
    (found,) = (outcome for outcome in record.outcomes if outcome.metric == "loss/val")
    assert found.status == "ok", found.reason
    return float(found.samples["value"][0])


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_ranks_on_two_nodes_find_the_losses_of_one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path
    monkeypatch.chdir(here)
    made = planned(here)
    two = trained(here, "two", made, "--nodes=2")
    (unit,) = made.units
    (sent,) = attempts.submissions(here / "two")
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=1"} <= set(sent.options)
    notes = attempts.place(here / "two", sent.token)

    def events() -> list[str]:
        return [json.loads(line)["event"] for line in (notes / "0.node1.jsonl").read_text().splitlines()]

    until(lambda: events() == ["start", "end"])  # the other node may write its end after the run's
    assert two.environment is not None
    assert two.environment.ranks == 2
    folder = run_folder.create(str(here / "one"), "ranks")
    folder.write_run(made, {}, [], files.now())
    Run(LocalLauncher(cold=True, threads=1), folder, Quiet()).phase(Slots((unit,), 1, ranks=2), {unit.name: 300.0})
    assert loss(read_record(folder.record(unit), unit)) == loss(two)


def shared() -> UnitOfWork:
    """A training unit of two ranks."""
    unit = units_of("train")[0]
    assert unit.protocol.train is not None
    train = unit.protocol.train.model_copy(update={"ranks": 2})
    return unit.model_copy(update={"protocol": unit.protocol.model_copy(update={"train": train})})


ON_BOTH = ("--partition=both", "--nodes=2")


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_job_on_two_nodes_that_is_told_of_its_end_stops_on_both_and_goes_back_into_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, unit = folder_at(tmp_path / "run"), shared()
    monkeypatch.setenv("STUB_SECONDS", "60")

    def signal() -> None:
        until(lambda: starts(folder)[unit.name] == 2)  # one on each node
        time.sleep(0.3)
        tell(folder, unit, "scancel", "--signal=USR2")
        hurry(folder, unit, 4)

    beside(signal)
    work([unit], folder, *ON_BOTH, "--time=2")
    until(lambda: hows(folder, unit) == ["time limit", "done"])
    assert sorted(file.name for file in folder.path.glob("*.kept*")) == [f"{unit.name}.kept{node}" for node in (0, 1)]
    assert lines(folder.path / "ends") == [unit.name]


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_rank_that_dies_on_another_node_ends_the_unit_with_one_record_that_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, unit = folder_at(tmp_path / "run"), shared()
    for name, value in (("STUB_SECONDS", "60"), ("STUB_DIES", unit.name), ("STUB_DIES_ON", "1")):
        monkeypatch.setenv(name, value)
    work([unit], folder, *ON_BOTH)
    died: Any = record(folder, unit)["died"]
    assert str(died["reason"]).endswith(" SIGSEGV")
    assert hows(folder, unit) == ["failed"]
    assert starts(folder)[unit.name] == 2


def test_ranks_that_cannot_be_divided_among_the_nodes_are_refused() -> None:
    unit = shared()
    for words, said in (
        (["--nodes=3"], r"--nodes=3: train\.ranks = 2 cannot be divided among 3 nodes evenly\. Use --nodes=1 or 2\."),
        (["-N", "2-4"], r"--nodes=2-4: .* a whole number of nodes"),
    ):
        with pytest.raises(UsageError, match=said) as refused:
            groups([unit], 1, parse(words))
        assert refused.value.exit_code == 2
    single = units_of("train")[0]
    (alone, _), (both, _) = groups([single, unit], 1, parse(["--nodes=2"]))
    assert (alone.nodes, both.nodes) == (1, 2)
