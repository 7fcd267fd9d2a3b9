"""What the Slurm launcher decides about jobs: on a cluster that says what a test says."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from slurm_stubs import TOKEN, folder_at, stub_plan, submission

from modbench.harness.core.errors import UsageError
from modbench.harness.execution import ranks
from modbench.harness.execution.launch import slurm
from modbench.harness.execution.launch.slurm import SlurmLauncher
from modbench.harness.execution.slurm import job, queue
from modbench.harness.results import attempts


def slurm_launcher(place: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmLauncher:
    """A launcher on a cluster that knows nothing but what a test says."""
    for name in ("require", "refuse_unknown"):
        monkeypatch.setattr(queue, name, lambda *_: None)
    monkeypatch.setattr(slurm, "refuse_without_submitit", lambda: None)
    monkeypatch.setattr(queue, "largest_array", lambda: 100)
    monkeypatch.setattr(slurm, "GRACE_S", 0.0)
    launcher = SlurmLauncher(cold=True, threads=1)
    launcher._folder = folder_at(place)
    return launcher


def test_a_job_without_its_work_is_cancelled_and_its_units_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, made, cancelled = slurm_launcher(tmp_path, monkeypatch), submission(tmp_path), list[str]()
    (attempts.place(tmp_path, TOKEN) / "7_1_submitted.pkl").touch()
    queued = {(made.name, task): ("7", "PENDING") for task in (0, 1)}
    monkeypatch.setattr(queue, "states", lambda _: queued)
    monkeypatch.setattr(queue, "cancel", cancelled.append)
    assert launcher._at_large() == {"b": (made, 1)}
    assert cancelled == ["7_0"]
    assert attempts.is_void(tmp_path, TOKEN, 0)


def test_restarts_by_jobs_and_by_the_submitter_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, unit = slurm_launcher(tmp_path, monkeypatch), stub_plan(trains=False).units[0]
    made = submission(tmp_path).model_copy(update={"tasks": ((unit.name,),)})
    handle = slurm.SlurmHandle(unit, tmp_path / "none", 1.0, made)
    line = {"event": "start", "unit": unit.name, "job": "7", "restart": 1, "host": "n1"}
    attempts.note(tmp_path, TOKEN, 0, line)
    assert not launcher._lost(handle, "TIMEOUT", None)
    assert (handle.tries, launcher._waiting) == (2, [handle])
    handle.submission = made
    assert launcher._lost(handle, "TIMEOUT", None)  # four starts, three of them again
    assert handle.died is not None
    assert "after 4 starts" in handle.died.reason


def test_who_leaves_is_told_how_to_come_back_and_how_to_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, unit = slurm_launcher(tmp_path, monkeypatch), stub_plan(trains=False).units[0]
    handle = slurm.SlurmHandle(unit, tmp_path / "none", 1.0)
    assert launcher.leave([handle]).startswith("No job was submitted.")
    handle.submission = submission(tmp_path)
    said = launcher.leave([handle])
    assert said.startswith("1 job ")
    assert f"`modbench resume {tmp_path}`" in said
    assert "`scancel 7` cancels them" in said


def test_a_record_is_taken_when_its_job_has_written_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, unit = slurm_launcher(tmp_path, monkeypatch), stub_plan(trains=False).units[0]
    made = submission(tmp_path).model_copy(update={"tasks": ((unit.name,),)})
    handle = slurm.SlurmHandle(unit, folder_at(tmp_path).record(unit), 1.0, made)
    handle.record.write_text("{}")
    monkeypatch.setattr(queue, "states", lambda _: {(made.name, 0): ("7", "RUNNING")})
    line = {"unit": unit.name, "job": "7", "restart": 0}
    attempts.note(tmp_path, TOKEN, 0, {**line, "event": "start", "host": "n1"})
    assert launcher.wait([handle], 0.0) == []
    assert handle.begun
    attempts.note(tmp_path, TOKEN, 0, {**line, "event": "end", "how": "done"})
    assert launcher.wait([handle], 0.0) == [handle]


def test_nodes_tell_each_other_how_their_ranks_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submission(tmp_path)
    first, second = (job.Nodes(tmp_path, TOKEN, 0, ("7_0", 1), 2, this) for this in (0, 1))

    def ends(node: int, code: int, restart: int = 1) -> None:
        line = {"event": "end", "unit": "a", "job": "7_0", "restart": restart, "how": "done", "exitcode": code}
        attempts.note(tmp_path, TOKEN, 0, line, node=node)

    ends(1, -9, restart=0)  # before the job was requeued
    assert first.codes() == second.codes() == [None]
    assert not first.given_up()
    ends(1, 0)
    assert not first.given_up()  # its ranks are done, and the first one evaluates
    monkeypatch.setattr(job, "REST_S", 0.0)
    assert first.code(1) == 1
    assert not second.given_up()
    ends(0, 1)
    assert second.given_up()
    second.wait_for_first()


def test_ranks_whose_peers_are_gone_are_ended_with_the_code_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission(tmp_path)
    first = job.Nodes(tmp_path, TOKEN, 0, ("7_0", 0), 2, 0)
    line = {"event": "end", "unit": "a", "job": "7_0", "restart": 0, "how": "done", "exitcode": -9}
    attempts.note(tmp_path, TOKEN, 0, line, node=1)
    assert not first.given_up()  # they have a while to see it themselves
    monkeypatch.setattr(job, "REST_S", 0.0)
    assert first.given_up()
    assert first.code(None) == first.code(1) == -9


def test_torchrun_is_told_of_the_other_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import run

    told: list[Any] = []
    monkeypatch.setattr(run, "run", told.append)
    unit = next(unit for unit in stub_plan().units if unit.made_in == "train")
    assert unit.protocol.train is not None
    train = unit.protocol.train.model_copy(update={"ranks": 8})
    unit = unit.model_copy(update={"protocol": unit.protocol.model_copy(update={"train": train})})
    before = signal.getsignal(signal.SIGUSR1)
    try:
        ranks.start(unit, folder_at(tmp_path))
        monkeypatch.setenv(ranks.NODES, ranks.Nodes(2, 1, "10.0.0.1", 17_000).as_variable())
        ranks.start(unit, folder_at(tmp_path))
    finally:
        signal.signal(signal.SIGUSR1, before)
    alone, second = told
    assert (alone.standalone, alone.nproc_per_node) == (True, "8")
    assert (second.nnodes, second.node_rank, second.nproc_per_node) == ("2", 1, "4")
    assert (second.master_addr, second.master_port, second.standalone) == ("10.0.0.1", 17_000, False)


def test_nothing_is_appended_through_a_hard_link(tmp_path: Path) -> None:
    """A hard link in a stranger's folder may be the name of a file outside."""
    submission(tmp_path)
    attempts.note(tmp_path, TOKEN, 0, {"event": "start"}, seen=True)
    file = next(tmp_path.rglob("seen.jsonl"))
    (tmp_path / "victim").hardlink_to(file)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="is a hard link"):
        attempts.note(tmp_path, TOKEN, 0, {"event": "end"}, seen=True)
    assert file.read_bytes() == before
