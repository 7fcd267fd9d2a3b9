"""`ab commands`: two commands in turn, by wall time, CPU time and memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Annotated, Any, Literal

from pydantic import Field

from modbench.commands._output import say
from modbench.commands.ab import folder as ab_folder
from modbench.commands.ab import one_command
from modbench.commands.ab.compared import SideFailsError
from modbench.commands.ab.loop import Asked
from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.printable import masked_command
from modbench.harness.core.units import human_duration, parse_duration
from modbench.harness.execution import command
from modbench.harness.execution.unit import ENDLESS_S
from modbench.harness.machine import certificate, environment
from modbench.harness.results.json_files import parse, unsealed, write_sealed
from modbench.harness.stats import contamination
from modbench.harness.stats.contrast import NOT_RECORDED, NOT_TICKED, Seen
from modbench.harness.stats.paired import MOST_BLOCKED, MOST_OTHERS
from modbench.harness.stats.reason import Reason
from modbench.reports.questions.ab import Effects, Measured

SCRIPT = Path(one_command.__file__).resolve()
SIDES = {"A": "base", "B": "new"}
# Bytes of a file up to which its content says whether it is still the same; of a larger one its size and time.
MOST_READ = 2**24
# Lines at the end of a log that are shown.
TAIL = 10
# What a shell would do something with, unless it is in single quotes; and a word that sets a variable.
OF_SHELL, ASSIGNS = re.compile(r"^[();<>|&]+$|^[^']*[$`]"), re.compile(r"\w+=")
Seconds = Annotated[float, Field(ge=0)]


class Process(Frozen):
    """What one process took: see `one_command.py`.

    Attributes:
        wall_s: from its start to its end.
        cpu_s: of the process and of those that it waited for.
        main_s: CPU time of its first thread; None where the system does not tell.
        delay_s: how long that thread waited for a processor.
        rss_bytes: most memory of the largest of these processes.
        tree_bytes: most memory of all of them together.
        tree_why: why that is not known.
        code: exit code.
    """

    wall_s: Annotated[float, Field(gt=0)]
    cpu_s: Seconds
    main_s: Seconds | None
    delay_s: Seconds | None
    rss_bytes: int
    tree_bytes: int | None
    tree_why: str | None
    code: int


class Block(Frozen):
    """What `block<n>.json` holds: four processes in their order."""

    order: Literal["ABBA", "BAAB"]
    processes: tuple[Process, Process, Process, Process]

    def of(self, side: str) -> list[Process]:
        """The two processes of a side, `A` or `B`."""
        return [each for letter, each in zip(self.order, self.processes, strict=True) if letter == side]


@dataclass
class Commands:
    """Two commands that take turns (a `Compared`).

    Attributes:
        sides: as typed.
        words: of both.
        folder: of the blocks.
        limit_s: seconds that one process may take.
    """

    sides: tuple[str, str]
    words: tuple[Sequence[str], Sequence[str]]
    folder: Path
    limit_s: float

    def __post_init__(self) -> None:
        self._read = list[Block]()

    def prepare(self) -> None:
        """Run both once, uncounted, where nothing was measured yet: to see that they run, and to fill the caches."""
        if not self.finished():
            for side in "AB":
                self._run(side)

    def measure(self, number: int, order: str) -> None:
        """Run four processes, one after the other."""
        made = Block(order=order, processes=tuple(self._run(side) for side in order))  # type: ignore[arg-type]  # it checks them
        write_sealed(self._file(number), made.model_dump_json())

    def finished(self) -> int:
        """How many blocks are there."""
        while (file := self._file(len(self._read))).exists():
            self._read.append(parse(Block, unsealed(file), file))
        return len(self._read)

    def rows(self) -> list[Measured]:
        """Wall time, which is judged; CPU time and memory beside it."""
        self.finished()
        cpu = all(each.cpu_s for block in self._read for each in block.processes)
        clocks = ("wall_s", "cpu_s") if cpu else ("wall_s",)
        by_clock, alike = ([dict(enumerate(self._logs(clock, of))) for clock in clocks] for of in (_effect, _control))
        wall = Measured(
            "wall time",
            "wall_s",
            blocks=Effects(*by_clock),
            control=Effects(*alike),
            seen=Seen(self._disturbed, self._unfit),
            **self._typical("wall_s"),
        )
        own = Effects(by_clock[1]) if cpu else None
        found = [wall, Measured("CPU time", "cpu_s", blocks=own, judged=False, **self._typical("cpu_s"))]
        for name, key in (("peak memory", "rss_bytes"), ("memory of all", "tree_bytes")):
            why = next((why for block in self._read for each in block.processes if (why := each.tree_why)), None)
            lacks = {"why": why or "unknown"} if key == "tree_bytes" and not self._known(key) else self._typical(key)
            found.append(Measured(name, key, unit="B", judged=False, **lacks))
        return found

    def _logs(self, clock: str, of: Callable[[Sequence[float], Sequence[float]], float]) -> Iterator[float]:
        """A number of each block, made of the log times of the base's processes and those of the new side's."""
        for block in self._read:
            yield of(*([math.log(getattr(each, clock)) for each in block.of(side)] for side in "AB"))

    def _known(self, key: str) -> bool:
        return all(getattr(each, key) for block in self._read for each in block.processes)

    def _typical(self, key: str) -> dict[str, Any]:
        """The geometric mean of each side, so that their quotient is the mean effect."""
        values = [[getattr(each, key) for block in self._read for each in block.of(side)] for side in "AB"]
        base, new = (geometric_mean(each) if each and all(each) else None for each in values)
        return {"base_value": base, "new_value": new}

    @property
    def _disturbed(self) -> float:
        """Share of the blocks in which a process waited for a processor."""
        late = [
            any((each.delay_s or 0.0) > contamination.SHARE * each.wall_s for each in block.processes)
            for block in self._read
        ]
        return fmean(late) if late else 0.0

    @property
    def _unfit(self) -> Reason | None:
        """Why CPU time does not stand for the work of both: several threads or processes did it, or they waited of themselves."""
        for side in "AB":
            made = [each for block in self._read for each in block.of(side)]
            if any(each.main_s is None for each in made):
                return NOT_RECORDED
            cpu_s, main_s = sum(each.cpu_s for each in made), sum(each.main_s or 0.0 for each in made)
            waited_s = sum(each.wall_s - each.cpu_s - (each.delay_s or 0.0) for each in made)
            if not cpu_s:
                return NOT_TICKED
            if (others := 1 - main_s / cpu_s) > MOST_OTHERS:
                return Reason("other_processes", share=others)
            if (waits := waited_s / cpu_s) > MOST_BLOCKED:
                return Reason("command_waits", share=waits)
        return None

    def _file(self, number: int) -> Path:
        return self.folder / f"block{number}.json"

    def _run(self, side: str) -> Process:
        """Run the command of a side once.

        Raises:
            UsageError: if the base fails.
            SideFailsError: if the new side does.
        """
        name, log = SIDES[side], self.folder / f"{SIDES[side]}.log"
        told, tell = os.pipe()
        words = [sys.executable, "-I", "-S", str(SCRIPT), str(tell), *self.words[side == "B"]]
        try:
            with command.started(words, os.environ, log, self.limit_s, passed=[tell]) as running:
                os.close(tell)
                running.join(self.limit_s)
                hung = running.running
            answer = os.read(told, 2**16)
        except KeyboardInterrupt:
            log.unlink(missing_ok=True)
            raise
        finally:
            os.close(told)
        found: dict[str, Any] = json.loads(answer) if answer else {"code": running.exitcode}
        why: str | None = found["error"] if "error" in found else _ended(found["code"])
        if hung:
            why = f"it passed --timeout {human_duration(self.limit_s)} and was ended"
        if why is None:
            log.unlink(missing_ok=True)
            return Process.model_validate(found)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        for line in said:
            say(f"{name} | {line}", sys.stderr)
        why += f": {said[-1][:200]}" if said else ""
        if side == "B":
            raise SideFailsError(f"{why} ({log})")
        raise UsageError(f"the base fails, so that nothing can be compared: {why} ({log})")


def _ended(code: Any) -> str | None:  # noqa: ANN401  # of JSON
    """How a command failed; None if it did not."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


def _effect(base: Sequence[float], new: Sequence[float]) -> float:
    return fmean(base) - fmean(new)


def _control(base: Sequence[float], _: Sequence[float]) -> float:
    return base[0] - base[1]


def words_of(text: str, *, shell: bool) -> list[str]:
    """The words of a command as it is typed.

    Raises:
        UsageError: if there are none, a quote is not closed, or it needs a shell.
    """
    try:
        words = shlex.split(text)
        parts = shlex.shlex(text, punctuation_chars=True)
        parts.whitespace_split = True
        typed = [*parts]
    except ValueError as error:
        raise UsageError(f"{shown(text)} is no command: {error}.") from None
    if not words:
        raise UsageError("a command is empty. Write: modbench ab commands 'python old.py' 'python new.py'")
    if shell:
        return ["/bin/sh", "-c", text]
    needs = next((each for each in typed if OF_SHELL.search(each)), None) or (ASSIGNS.match(words[0]) and words[0])
    if needs:
        raise UsageError(f"{shown(text)} needs a shell for {shown(needs)}: add --shell, or put it in quotes.")
    return words


def request(words: Sequence[Sequence[str]], typed: Sequence[str]) -> dict[str, Any]:
    """What makes two comparisons the same: the commands, the files that they name, where they run, and the machine."""
    files = dict[str, str]()
    for text in typed:
        for word in shlex.split(text):
            file = Path(shutil.which(word) or word)
            if file.is_file():
                files[str(file)] = _digest(file)
    machine = certificate.fingerprint(environment.collect(), "cpu", 0)
    commands = [masked_command([*each]) for each in words]
    return {"commands": commands, "files": files, "folder": str(Path.cwd()), "machine": machine}


def _digest(file: Path) -> str:
    about = file.stat()
    if about.st_size > MOST_READ:
        return f"{about.st_size} {about.st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def commands(
    typed: tuple[str, str], asked: Asked, *, shell: bool, timeout: str | None, out: str | None
) -> Iterator[Commands]:
    """Two commands as they are typed, the base first.

    Raises:
        UsageError: if one is no command, or the folder cannot be used.
    """
    words = words_of(typed[0], shell=shell), words_of(typed[1], shell=shell)
    limit_s = ENDLESS_S if timeout is None else parse_duration(timeout, "--timeout")
    sides = shlex.join(masked_command(shlex.split(typed[0]))), shlex.join(masked_command(shlex.split(typed[1])))
    with ab_folder.held("commands", out, request(words, typed) | asked.same() | {"timeout": timeout}) as folder:
        yield Commands(sides, words, folder, limit_s)
