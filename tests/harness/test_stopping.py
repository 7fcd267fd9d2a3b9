"""Signals: the first Ctrl-C lets running jobs end in good order, everything else stops now, and all say what is kept."""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_launcher import FakeLauncher
from present import present

from modbench import api
from modbench.harness.core.errors import IncompleteError, ModbenchError
from modbench.harness.domain.case import Job
from modbench.harness.execution import runner, stopping
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.execution.stopping import Stop
from modbench.harness.machine.process import graceful_stop
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.record_files import write_record
from modbench.harness.results.run_folder import RunFolder
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record
from modbench.progress_bar import Lines

QUIET = SimpleNamespace(started=lambda _: None, tick=lambda: None, ended=lambda _: None, added=lambda *_: None)


@pytest.fixture
def made() -> Plan:
    return planted_plan("smoke", metrics=["latency/forward"])


class Noting(FakeLauncher):
    """Notes what is asked of it; its units leave their records when they are waited for, if they leave any."""

    def __init__(self, *, is_remote: bool = False, exitcode: int = 0, writes: bool = True) -> None:
        self.is_remote, self.exitcode, self.writes = is_remote, exitcode, writes
        self.events: list[str] = []
        self.on_wait: Any = lambda: None
        self.waits, self.ends_at = 0, 1  # the call of `wait` by which jobs have ended

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        self.events.append("start")
        return super().start(job, folder, timeout_s)

    def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:
        del timeout_s
        self.on_wait()
        self.waits += 1
        if self.waits < self.ends_at:
            return []
        for handle in handles:
            if self.writes:
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


def run(made: Plan, folder: RunFolder, launcher: Noting, stop: Stop, at_once: int = 1) -> None:
    limits = {job.name: 9.0 for job in made.jobs}
    Run(launcher, folder, QUIET, stop=stop).phase(Slots(made.jobs, at_once), limits)


def test_the_first_interrupt_finishes_what_runs_and_starts_nothing_else(made: Plan, tmp_path: Path) -> None:
    folder, launcher, told = run_folder.create(str(tmp_path / "run"), "s"), Noting(), []
    stop = Stop(lambda: told.append(1))
    launcher.on_wait = lambda: stop.take(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(made, folder, launcher, stop)
    assert launcher.events == ["start", "end"]
    assert told == [1]
    assert len(list(folder.jobs.iterdir())) == 1
    assert stop.cause == "SIGINT"


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), (signal.SIGHUP,)])
def test_other_signals_stop_now(numbers: tuple[int, ...], made: Plan, tmp_path: Path) -> None:
    """The workers that run are ended, without a record; signals that come meanwhile change nothing."""
    folder, launcher, stop = run_folder.create(str(tmp_path / "run"), "s"), Noting(), Stop()

    def signalled() -> None:
        for number in numbers:
            stop.take(number)

    launcher.on_wait = signalled
    with pytest.raises(KeyboardInterrupt):
        run(made, folder, launcher, stop, at_once=3)
    assert launcher.events == ["start"] * 3 + ["end"] * 3
    assert not list(folder.jobs.iterdir())
    stop.take(signal.SIGINT)
    assert stop.cause == signal.Signals(numbers[-1]).name


def test_an_interrupt_in_the_last_job_loses_nothing(made: Plan, tmp_path: Path) -> None:
    folder, launcher, stop = run_folder.create(str(tmp_path / "run"), "s"), Noting(), Stop()
    launcher.on_wait = lambda: stop.take(signal.SIGINT)
    run(made, folder, launcher, stop, at_once=len(made.jobs))  # all run: all end with a record, and there is no rest
    assert len(list(folder.jobs.iterdir())) == len(made.jobs)


def test_training_jobs_are_asked_once_and_come_back_without_a_record(tmp_path: Path) -> None:
    trained = planted_plan("smoke", metrics=["loss/val"])
    jobs = tuple(job for job in trained.jobs if job.made_in == "train")
    folder, stop = run_folder.create(str(tmp_path / "run"), "s"), Stop()
    launcher = Noting(exitcode=graceful_stop.Stopped.exit_code, writes=False)
    launcher.on_wait = lambda: setattr(stop, "finishing", True)
    launcher.ends_at = 2
    with pytest.raises(KeyboardInterrupt):
        Run(launcher, folder, QUIET, stop=stop).phase(Slots(jobs, 2), {job.name: 9.0 for job in jobs})
    assert launcher.events == ["start", "start", "ask", "ask", "end", "end"]
    assert not list(folder.jobs.iterdir()), "no failure is recorded of a job that did as it was asked"


def test_jobs_elsewhere_go_on(made: Plan, tmp_path: Path) -> None:
    folder, launcher, stop = run_folder.create(str(tmp_path / "run"), "s"), Noting(is_remote=True), Stop()
    launcher.on_wait, launcher.ends_at = lambda: stop.take(signal.SIGINT), 9
    with pytest.raises(KeyboardInterrupt):
        run(made, folder, launcher, stop, at_once=len(made.jobs))
    assert launcher.events == ["start"] * len(made.jobs) + [f"leave {len(made.jobs)}"]
    assert stop.left == "Jobs go on. "


def test_a_job_that_cannot_write_ends_the_run(made: Plan, tmp_path: Path) -> None:
    """No failure is written for it: it runs again when the run is resumed."""
    folder = run_folder.create(str(tmp_path / "run"), "s")
    launcher = Noting(exitcode=graceful_stop.CannotWrite.exit_code, writes=False)
    with pytest.raises(ModbenchError, match="disk is full") as error:
        run(made, folder, launcher, Stop())
    assert error.value.exit_code == 3
    assert not list(folder.jobs.iterdir())


def test_signals_are_handled_inside_the_block_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with stopping.signals(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.finishing
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # workers are ended in peace
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_inside_a_finalizer_is_not_lost(
    made: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python drops what a finalizer raises, and prints it with a traceback: the run ends all the same, and nothing is printed."""
    folder, launcher, stop = run_folder.create(str(tmp_path / "run"), "s"), Noting(), Stop()
    launcher.ends_at = 99

    def signalled() -> None:
        weakref.finalize(Noting(), signal.raise_signal, signal.SIGTERM)  # at once: nothing else holds it

    launcher.on_wait = signalled
    with stopping.signals(stop), pytest.raises(KeyboardInterrupt):
        run(made, folder, launcher, stop)
    assert launcher.events == ["start", "end"]
    assert launcher.waits == 1
    assert capsys.readouterr().err == ""


def test_other_errors_of_finalizers_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    with stopping.signals(Stop()):
        weakref.finalize(Noting(), divmod, 1, 0)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_ignored_hang_up_stays_ignored() -> None:
    """`nohup modbench run …` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.signals(Stop()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
        stopping.interrupt_on_end()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_finished_run_is_not_interrupted_while_it_prints() -> None:
    """What it prints may wait for a reader for ever: the third signal ends it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        stopping.interrupt_on_end()
        for number in numbers:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        with stopping.signals(Stop()):
            stopping.finished()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def test_without_a_main_thread_signals_are_left_alone() -> None:
    found: list[bool] = []

    def inside() -> None:
        with stopping.signals(Stop()):
            found.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [True]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker that takes the question, and has not been asked yet."""
    assert graceful_stop.STOP_SIGNAL is not None
    before = signal.getsignal(graceful_stop.STOP_SIGNAL)
    monkeypatch.setattr(graceful_stop, "_requested", False)
    graceful_stop.listen()
    yield
    signal.signal(graceful_stop.STOP_SIGNAL, before)


@pytest.mark.usefixtures("asked")
def test_a_worker_hears_the_question() -> None:
    assert not graceful_stop.stop_requested()
    signal.raise_signal(present(graceful_stop.STOP_SIGNAL))
    assert graceful_stop.stop_requested()


@pytest.mark.parametrize(("cause", "words"), [("SIGHUP", "interrupted by SIGHUP"), ("", "interrupted. ")])
def test_what_is_kept_is_said(
    cause: str, words: str, made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, stop: Stop, **__: Any) -> None:
        stop.cause = cause
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    folder = run_folder.create(str(tmp_path / "run"), "s")
    with pytest.raises(IncompleteError, match=words):
        api.run(made, folder, command=[], progress=Lines())
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "a.pt").touch()
    assert not (folder.path / "lock.json").exists()
    with pytest.raises(IncompleteError, match="Finished jobs and checkpoints"):
        api.resume(str(folder.path), Lines)
