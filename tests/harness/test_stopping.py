"""Signals: the first Ctrl-C lets running jobs end in good order, everything else stops now."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_launcher import FakeLauncher
from present import present
from quiet import Quiet

from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.case import Job
from modbench.harness.execution import stopping
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.execution.stopping import Stop
from modbench.harness.machine.process import graceful_stop
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.record_files import write_record
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return run_folder.create(str(tmp_path / "run"), "s")


class Noting(FakeLauncher):
    """Notes what is asked of it; jobs that end well leave their records.

    Args:
        on_wait: called at every wait.
        ends_at: the wait by which jobs have ended.
        exitcode: of the jobs.
        is_remote: whether they run elsewhere.
    """

    def __init__(
        self,
        on_wait: Callable[[], object] = lambda: None,
        ends_at: int = 1,
        exitcode: int = 0,
        *,
        is_remote: bool = False,
    ) -> None:
        self.on_wait, self.ends_at, self.exitcode, self.is_remote = on_wait, ends_at, exitcode, is_remote
        self.events: list[str] = []
        self.waits = 0

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        self.events.append("start")
        return super().start(job, folder, timeout_s)

    def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:
        del timeout_s
        self.on_wait()
        self.waits += 1
        if self.waits < self.ends_at:
            return []
        for handle in handles if self.exitcode == 0 else ():
            write_record(handle.record, planted_record(handle.job, PlantedTrouble()))
        return list(handles)

    def ask(self, handle: Any) -> None:
        del handle
        self.events.append("ask")

    def end(self, handle: Any) -> None:
        del handle
        self.events.append("end")

    def leave(self, handles: list[Any]) -> str:
        self.events.append(f"leave {len(handles)}")
        return "Jobs go on. "


def run(launcher: Noting, folder: RunFolder, stop: Stop, jobs: Sequence[Job], at_once: int) -> None:
    Run(launcher, folder, Quiet(), stop=stop).phase(Slots(tuple(jobs), at_once), {job.name: 9.0 for job in jobs})


NOW = "start start start end end end"
STOPPED = {"exitcode": graceful_stop.Stopped.exit_code, "ends_at": 2}


@pytest.mark.parametrize(
    ("numbers", "at_once", "jobs", "events", "records"),
    [
        pytest.param([signal.SIGINT], 1, {}, "start end", 1, id="what runs is finished, and nothing else starts"),
        pytest.param([signal.SIGINT] * 2, 3, {}, NOW, 0, id="the second ends all now"),
        pytest.param([signal.SIGTERM], 3, {}, NOW, 0, id="SIGTERM ends all now"),
        pytest.param([signal.SIGHUP], 3, {}, NOW, 0, id="SIGHUP ends all now"),
        # No failure is recorded of a job that did as it was asked.
        pytest.param([signal.SIGINT], 2, STOPPED, "start start ask ask end end", 0, id="training is asked once"),
        pytest.param(
            [signal.SIGINT], 2, {"is_remote": True, "ends_at": 9}, "start start leave 2", 0, id="jobs elsewhere go on"
        ),
    ],
)
def test_a_signal_stops_a_run(
    numbers: list[signal.Signals], at_once: int, jobs: dict[str, Any], events: str, records: int, folder: RunFolder
) -> None:
    heard: list[int] = []
    stop, coming = Stop(lambda: heard.append(1)), [*numbers]

    def signalled() -> None:
        while coming:
            stop.take(coming.pop(0))

    launcher = Noting(signalled, **jobs)
    made = planted_plan("smoke", metrics=["loss/val" if jobs is STOPPED else "latency/forward"]).jobs
    with pytest.raises(KeyboardInterrupt):
        run(launcher, folder, stop, [job for job in made if job.made_in == "train"] or made, at_once)
    assert " ".join(launcher.events) == events
    assert len(list(folder.jobs.iterdir())) == records
    assert heard == [1] * (signal.SIGINT in numbers)
    assert stop.left == ("Jobs go on. " if launcher.is_remote else "")
    if stop.ending:
        with contextlib.suppress(KeyboardInterrupt):
            stop.take(signal.SIGINT)
    assert stop.cause == numbers[-1].name, "workers are ended in peace"


@pytest.fixture
def made() -> Plan:
    return planted_plan("smoke", metrics=["latency/forward"])


def test_an_interrupt_in_the_last_job_loses_nothing(made: Plan, folder: RunFolder) -> None:
    stop = Stop()
    launcher = Noting(lambda: None if stop.finishing else stop.take(signal.SIGINT))
    run(launcher, folder, stop, made.jobs, len(made.jobs))  # all run: all end with a record, and there is no rest
    assert len(list(folder.jobs.iterdir())) == len(made.jobs)


def test_a_job_that_cannot_write_ends_the_run(made: Plan, folder: RunFolder) -> None:
    """No failure is written for it: it runs again when the run is resumed."""
    launcher = Noting(exitcode=graceful_stop.CannotWrite.exit_code)
    with pytest.raises(ModbenchError, match="disk is full") as error:
        run(launcher, folder, Stop(), made.jobs, 1)
    assert error.value.exit_code == 3
    assert not list(folder.jobs.iterdir())


def interrupts(number: int) -> bool:
    """Whether a signal interrupts what runs."""
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        return True
    return False


def test_signals_are_handled_inside_the_block_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with stopping.signals(stop):
        assert not interrupts(signal.SIGINT)
        assert stop.finishing
        assert interrupts(signal.SIGTERM)
        assert not interrupts(signal.SIGTERM), "workers are ended in peace"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def _restored() -> Iterator[None]:
    """Every signal does afterwards what it did before."""
    numbers = (*NUMBERS, present(graceful_stop.STOP_SIGNAL))
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, known in before.items():
        signal.signal(number, known)


@pytest.mark.usefixtures("_restored")
def test_an_ignored_hang_up_stays_ignored() -> None:
    """`nohup modbench run …` outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping.signals(Stop()):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    stopping.interrupt_on_end()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("_restored")
def test_a_worker_hears_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graceful_stop, "_requested", False)
    graceful_stop.listen()
    assert not graceful_stop.stop_requested()
    signal.raise_signal(present(graceful_stop.STOP_SIGNAL))
    assert graceful_stop.stop_requested()
