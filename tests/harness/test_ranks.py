"""Training jobs that several ranks share: planned, started with torchrun, and ended with the code of the rank that failed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from present import present
from small_runs import folder_of, small_plan

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Job
from modbench.harness.execution import ranks, runner
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.limits import Limits
from modbench.harness.machine.process import graceful_stop
from modbench.harness.machine.process.torchrun import ALONE, Ranks
from modbench.harness.planning.plan import Plan
from modbench.harness.results.workspace import Workspace


def planned(model: str, here: Path, **train: Any) -> Plan:
    (here / "text.txt").write_text("abc " * 500)
    train = {"seq_len": 8, "batch_size": 4, "steps": 4, "val_tokens": 64, **train}
    return small_plan(["loss/val"], model, effort="draft", train=train, corpus="text.txt")


def training(made: Plan) -> Job:
    return next(job for job in made.jobs if job.made_in == "train")


@pytest.mark.slow
def test_ranks_that_are_asked_end_at_a_checkpoint(here: Path) -> None:
    """When the first rank has written it, however slow its disk is: torchrun ends all ranks with the first that ends."""
    made = planned("own.py:slow_to_save", here, ranks=2, steps=100_000, checkpoint_s=600.0)
    folder, job = folder_of(made, here), training(made)
    launcher, place = LocalLauncher(cold=True, threads=1), Workspace(folder.path, job.name)
    handle = launcher.start(job, folder, 3000.0)
    while not place.progress.exists() and handle.running:
        launcher.wait([handle], 0.1)
    launcher.ask(handle)
    while handle.running:
        launcher.wait([handle], 1.0)
    launcher.end(handle)
    assert handle.exitcode == graceful_stop.Stopped.exit_code
    assert place.checkpoint.exists()
    assert not folder.record(job).exists()


def test_jobs_with_ranks_come_last_and_have_cores_for_all(here: Path) -> None:
    made = planned("dense", here, ranks=2)
    by_pass = {job.made_in: (slots.at_once, slots.ranks) for slots in runner.phases(made, 8) for job in slots.jobs}
    assert by_pass["train"] == (4, 2)
    assert by_pass["count"] == (8, 1)
    alone = planned("dense", here)
    assert {slots.ranks for slots in runner.phases(alone, 8)} == {1}
    on_card = made.model_copy(update={"device": "cuda"})
    assert {slots.at_once for slots in runner.phases(on_card, 8)} == {1}
    job, single = training(made), training(made).model_copy(update={"protocol": alone.jobs[-1].protocol})
    assert Limits(made).limit(job) >= Limits(made).limit(single)


@pytest.mark.parametrize(
    ("train", "said"),
    [({"ranks": 3}, "batch_size 4 .*3 ranks"), ({"ranks": 2, "accumulate": 4}, "batch_size 4 .*2 ranks, 4 pieces")],
)
def test_what_ranks_cannot_share_is_refused(train: dict[str, int], said: str, here: Path) -> None:
    with pytest.raises(UsageError, match=said):
        planned("dense", here, **train)


def test_ranks_are_as_many_as_were_planned(here: Path) -> None:
    train = present(training(planned("dense", here, ranks=2)).protocol.train)
    Ranks(1, 4).check(train)  # two machines
    with pytest.raises(UsageError, match=r"train\.ranks 2"):
        ALONE.check(train)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([1, -signal.SIGSEGV, -signal.SIGTERM], -signal.SIGSEGV),
        ([1, -signal.SIGKILL], -signal.SIGKILL),
        ([1, 77, -signal.SIGTERM], 77),
        ([75, 75], 75),
        ([-signal.SIGTERM, 1], 1),
        ([-signal.SIGTERM], -signal.SIGTERM),
    ],
)
def test_the_code_that_says_most_is_that_of_the_job(codes: list[int], said: int) -> None:
    assert ranks.cause(codes) == said
