"""`ab commands`: two commands in turn, by wall time, CPU time and memory."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Annotated, Any, Literal

from pydantic import Field

from modbench.extend import (
    LONGEST_S,
    MOST_BLOCKED,
    MOST_OTHERS,
    NOT_RECORDED,
    NOT_TICKED,
    Estimate,
    Frozen,
    Reason,
    Seen,
    Sentence,
    UsageError,
    certificate,
    environment,
    human_duration,
    masked_command,
    noise,
    parse_duration,
    parse_stored,
    plain,
    say,
    sha256_of,
    shown,
    start_command,
    unsealed,
    write_sealed,
)
from modbench.plugins.ab import folder as ab_folder
from modbench.plugins.ab import one_command
from modbench.plugins.ab.compared import Asked, fails
from modbench.plugins.ab.flags import AbFlags
from modbench.plugins.ab.question import Effects, Row, effects

SCRIPT = Path(one_command.__file__).resolve()
SIDES = {"A": "base", "B": "new"}
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
    """What the file of a block holds: four processes in their order."""

    order: Literal["ABBA", "BAAB"]
    processes: tuple[Process, Process, Process, Process]

    @property
    def by_side(self) -> list[Process]:
        """The two processes of the base, then those of the new side."""
        made = zip(self.order, self.processes, strict=True)
        return [process for _, process in sorted(made, key=lambda each: each[0])]


@dataclass
class Commands:
    """Two commands that take turns (a `Compared`).

    Attributes:
        sides: as typed.
        words: of both.
        asked: of the comparison.
        folder: of the blocks.
        limit_s: seconds that one process may take.
    """

    sides: tuple[str, str]
    words: tuple[Sequence[str], Sequence[str]]
    asked: Asked
    folder: Path
    limit_s: float

    def prepare(self) -> None:
        """Run both once, uncounted, where nothing was measured yet: to see that they run, and to fill the caches."""
        if not ab_folder.blocks(self.folder):
            for side in "AB":
                self._run(side)

    def measure(self, number: int, order: str) -> None:
        """Run four processes, one after the other."""
        made = Block(order=order, processes=tuple(self._run(side) for side in order))  # type: ignore[arg-type]  # it checks them
        write_sealed(ab_folder.block(self.folder, number), made.model_dump_json())

    def rows(self) -> list[Row]:
        """Wall time, which is judged; CPU time and memory beside it."""
        files = [ab_folder.block(self.folder, number) for number in range(ab_folder.blocks(self.folder))]
        blocks = [parse_stored(Block, unsealed(file), file).by_side for file in files]
        processes = [each for block in blocks for each in block]

        def logs(key: str) -> list[list[list[float]]]:
            return [[[math.log(getattr(each, key))] for each in block] for block in blocks]

        def typical(key: str) -> dict[str, Any]:
            """The geometric mean of each side, so that their quotient is the mean effect."""
            if not all(getattr(each, key) for each in processes):
                return {}
            base, new = ([getattr(each, key) for block in blocks for each in block[i : i + 2]] for i in (0, 2))
            return {"base_value": geometric_mean(base), "new_value": geometric_mean(new)}

        own, control = effects(logs("wall_s"), logs("cpu_s") if typical("cpu_s") else None)
        seen = Seen(fmean(any(map(_late, block)) for block in blocks), _unfit(blocks))
        cpu = None if own.cpu is None else Effects(own.cpu)
        why = next((each.tree_why or "unknown" for each in processes if not each.tree_bytes), None)
        return [
            Row("wall time", "wall_s", own, control, seen, **typical("wall_s")),
            Row("CPU time", "cpu_s", cpu, judged=False, **typical("cpu_s")),
            Row("peak memory", "rss_bytes", unit="B", judged=False, **typical("rss_bytes")),
            Row("memory of all", "tree_bytes", unit="B", judged=False, why=why, **typical("tree_bytes")),
        ]

    def _run(self, side: str) -> Process:
        """Run the command of a side once.

        Raises:
            UsageError: if the base fails.
            SideFailsError: if the new side does.
        """
        name, log = SIDES[side], self.folder / f"{SIDES[side]}.log"
        told, tell = os.pipe()
        words = [sys.executable, "-I", "-S", str(SCRIPT), str(tell), *self.words[side == "B"]]
        with os.fdopen(told) as answer:
            try:
                with start_command(words, os.environ, log, self.limit_s, passed=[tell]) as running:
                    running.join(self.limit_s)
                    hung = running.running
            finally:
                os.close(tell)
            found = json.loads(answer.read() or "{}")
        why = found.get("error") or _ended(found.get("code", running.exitcode))
        if hung:
            why = f"it passed --timeout {human_duration(self.limit_s)} and was ended"
        if why is None:
            log.unlink()
            return Process.model_validate(found)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        for line in said:
            say(f"{name} | {line}", sys.stderr)
        why += f": {said[-1][:200]}" if said else ""
        raise fails(f"{why} ({log})", new=side == "B")


def _late(process: Process) -> bool:
    """Whether a process waited long for a processor."""
    return (process.delay_s or 0.0) > noise.SHARE * process.wall_s


def _unfit(blocks: Sequence[Sequence[Process]]) -> Reason | None:
    """Why CPU time does not stand for the work of both: several threads or processes did it, or they waited of themselves."""
    for i in (0, 2):
        made = [each for block in blocks for each in block[i : i + 2]]
        if any(each.main_s is None for each in made):
            return NOT_RECORDED
        cpu_s, main_s = sum(each.cpu_s for each in made), sum(each.main_s or 0.0 for each in made)
        waited_s = sum(each.wall_s - each.cpu_s - (each.delay_s or 0.0) for each in made)
        if not cpu_s:
            return NOT_TICKED
        if (others := 1 - main_s / cpu_s) > MOST_OTHERS:
            return _of_share("other threads or processes do {share} of the work", others)
        if (waits := waited_s / cpu_s) > MOST_BLOCKED:
            return _of_share("it waits of itself, {share} of its CPU time", waits)
    return None


def _of_share(words: str, share: float) -> Reason:
    return Reason("said", said=plain(Sentence(words, share=Estimate(share, kind="share", unit="%"))))


def _ended(code: Any) -> str | None:  # noqa: ANN401  # of JSON
    """How a command failed; None if it did not."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


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
    named = [Path(shutil.which(word) or word) for text in typed for word in shlex.split(text)]
    files = {str(file): digest for file in named if (digest := sha256_of(file))}
    machine = certificate.fingerprint(environment.collect(), "cpu", 0)
    commands = [masked_command([*each]) for each in words]
    return {"commands": commands, "files": files, "folder": str(Path.cwd()), "machine": machine}


@contextlib.contextmanager
def commands(typed: tuple[str, str], flags: AbFlags, *, shell: bool, timeout: str | None) -> Iterator[Commands]:
    """Two commands as they are typed, the base first.

    Raises:
        UsageError: if one is no command, or the folder cannot be used.
    """
    asked = flags.asked()
    base, new = (words_of(text, shell=shell) for text in typed)
    limit_s = LONGEST_S if timeout is None else parse_duration(timeout, "--timeout")
    sides = shlex.join(masked_command(shlex.split(typed[0]))), shlex.join(masked_command(shlex.split(typed[1])))
    wanted = request((base, new), typed) | {"timeout": timeout}
    with ab_folder.held("commands", flags.out, ab_folder.Sides(kind="commands", words=sides), asked, wanted) as folder:
        yield Commands(sides, (base, new), asked, folder, limit_s)
