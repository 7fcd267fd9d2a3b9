"""A command as a process that is held like a unit's: it ends with this process and at its limit, and its log is bounded."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from modbench.harness.domain.case import Case
from modbench.harness.execution import worker
from modbench.harness.execution.launch.local import variables
from modbench.harness.execution.log_supervisor import LogSupervisor
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.process import parent_death
from modbench.harness.registry.lookup import with_facts

# Files by which a function that is called and its caller talk: the cases, and a line of JSON for each answer.
CASES, ANSWERS = "asked.json", "answered.jsonl"


@dataclass(frozen=True)
class Command:
    """A command that runs."""

    running: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its number, which is that of its group too."""
        return self.running.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.running.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.running.wait(timeout)

    def kill(self) -> None:
        """Kill it alone."""
        self.running.kill()


@contextlib.contextmanager
def started(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    supervisor: LogSupervisor,
    limit_s: float,
    *,
    folder: Path | None = None,
    passed: Sequence[int] = (),
) -> Iterator[Command]:
    """Start a command; at the end of the `with` block it is ended, with all that it started.

    Args:
        words: the command line.
        environment: its variables.
        log: a new file that takes what it prints.
        supervisor: ends it where this process cannot.
        limit_s: seconds after which it is ended if this process has not done so: whoever starts it waits for no longer.
        folder: where it runs; None: here.
        passed: file descriptors that it gets, by the same numbers.
    """

    def make(mark: str, alarm_s: float, out: Connection | None) -> Command:
        with contextlib.ExitStack() as opened:
            return Command(
                subprocess.Popen(  # noqa: S603  # what the caller names
                    parent_death.tied(words, alarm_s),
                    env={**environment, parent_death.MARK: mark},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=opened.enter_context(log.open("wb")) if out is None else out.fileno(),
                    stderr=subprocess.STDOUT,
                    pass_fds=passed,
                    start_new_session=out is not None,
                )
            )

    running = supervisor.start(str(log), log, limit_s, make)
    try:
        yield running
    finally:
        supervisor.stop(str(log), running)


def call_on_cases(
    function: Callable[..., None],
    cases: Sequence[Case],
    folder: Path,
    supervisor: LogSupervisor,
    limit_s: float,
    *,
    threads: int | None,
    **values: object,
) -> str | None:
    """Call a function of ours in a process of its own; returns how that ended, or None if it took too long.

    What it finds, it leaves in the folder (`answers`): it may end at any time.

    Args:
        function: called with the folder's path and the values; finds the cases there (`given_cases`).
        cases: what it is about.
        folder: takes its log too.
        supervisor: ends it where this process cannot.
        limit_s: seconds after which it is ended.
        threads: of torch; None: as many as torch takes.
        **values: arguments that `repr` can write.
    """
    (folder / CASES).write_text(json.dumps([case.model_dump(mode="json") for case in cases]), encoding="utf-8")
    call = functools.partial(function, str(folder), **values)
    ended = call_in_process(call, folder / "process.log", supervisor, limit_s, threads)
    return None if ended is None else ended[1]


def call_in_process(
    call: functools.partial[None], log: Path, supervisor: LogSupervisor, limit_s: float, threads: int | None
) -> tuple[int | None, str] | None:
    """Make a call of a function of ours in a process of its own: its exit code and last words; None if it took too long.

    `repr` writes what it is called with; the other arguments are as of `call_on_cases`.
    """
    module, name = call.func.__module__, call.func.__name__
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import make_call; from {module} import {name}; "
    code += f"make_call({name}, *{call.args!r}, **{call.keywords!r})"
    seen = worker_environment(os.environ) | {"PYTHONSAFEPATH": "1"} | (variables(threads) if threads else {})
    with started([sys.executable, "-c", code], seen, log, supervisor, limit_s) as running:
        running.join(limit_s)
        if running.is_alive():
            return None
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    return running.exitcode, said.rpartition("\n")[2] or f"exit code {running.exitcode}"


def make_call(function: Callable[..., None], *given: object, **values: object) -> NoReturn:
    """Make a call of `call_in_process`, and end its process."""

    def call() -> int:
        function(*given, **values)
        return 0

    worker.ending(call)


def answers(folder: Path) -> list[Any]:
    """What a function that was called left in the folder."""
    file = folder / ANSWERS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def given_cases(folder: str) -> list[Case]:
    """The cases that a function was called with."""
    return [
        with_facts(Case.model_validate(each)) for each in json.loads((Path(folder) / CASES).read_text(encoding="utf-8"))
    ]


@contextlib.contextmanager
def answering(folder: str) -> Iterator[Callable[[object], None]]:
    """Yield a function that leaves an answer in the folder at once."""
    with (Path(folder) / ANSWERS).open("w", encoding="utf-8") as file:

        def answer(found: object) -> None:
            file.write(json.dumps(found) + "\n")
            file.flush()

        yield answer
