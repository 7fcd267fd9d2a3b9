"""A command as a process that is held like a job's: it ends with this process and at its limit, and its log is bounded."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from modbench.harness.domain.case import Case
from modbench.harness.execution import worker
from modbench.harness.execution.launchers.local import variables
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.machine.process import child
from modbench.harness.machine.process.child import Child
from modbench.harness.registry.case_facts import with_facts

# Files by which a function that is called and its caller talk: the cases, and a line of JSON for each answer.
CASES, ANSWERS = "asked.json", "answered.jsonl"


class Command:
    """A command as a process that can be held."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running, self.pid = running, running.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._running.poll()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running.wait(timeout)

    def kill(self) -> None:
        """Kill it alone."""
        self._running.kill()


@contextlib.contextmanager
def started(
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    limit_s: float,
    *,
    folder: Path | None = None,
    passed: Sequence[int] = (),
) -> Iterator[Child]:
    """Start a command; at the end of the `with` block it is ended, with its process group.

    Args:
        words: the command line.
        environment: its variables.
        log: a new file that takes what it prints.
        limit_s: seconds after which it is ended if this process has not done so: whoever starts it waits for no longer.
        folder: where it runs; None: here.
        passed: file descriptors that it gets, by the same numbers.
    """

    def make(prints: Connection) -> Command:
        return Command(
            subprocess.Popen(  # noqa: S603  # what the caller names
                child.tied(words),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=prints.fileno(),
                stderr=subprocess.STDOUT,
                pass_fds=passed,
                start_new_session=True,
            )
        )

    running = child.start(make, log, limit_s)
    try:
        yield running
    finally:
        running.end()


def call_on_cases(
    function: Callable[..., None],
    cases: Sequence[Case],
    folder: Path,
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
        limit_s: seconds after which it is ended.
        threads: of torch; None: as many as torch takes.
        **values: arguments that `repr` can write.
    """
    (folder / CASES).write_text(json.dumps([case.model_dump(mode="json") for case in cases]), encoding="utf-8")
    call = functools.partial(function, str(folder), **values)
    ended = call_in_process(call, folder / "process.log", limit_s, threads)
    return None if ended is None else ended[1]


def call_in_process(
    call: functools.partial[None], log: Path, limit_s: float, threads: int | None
) -> tuple[int | None, str] | None:
    """Make a call of a function of ours in a process of its own: its exit code and last words; None if it took too long.

    `repr` writes what it is called with; the other arguments are as of `call_on_cases`.
    """
    module, name = call.func.__module__, call.func.__name__
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import make_call; from {module} import {name}; "
    code += f"make_call({name}, *{call.args!r}, **{call.keywords!r})"
    seen = worker_environment(os.environ) | {"PYTHONSAFEPATH": "1"} | (variables(threads) if threads else {})
    with started([sys.executable, "-c", code], seen, log, limit_s) as running:
        running.join(limit_s)
        if running.running:
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
