"""`ab commands`: two commands in turn, by wall time, CPU time and memory."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    Figure,
    Frozen,
    Reason,
    Seen,
    Sentence,
    UsageError,
    certificate,
    counted,
    environment,
    human_duration,
    masked_command,
    noise,
    parse_duration,
    parse_stored,
    plain,
    ratio,
    say,
    sha256_of,
    shown,
    start_command,
    unsealed,
    write_sealed,
)
from modbench.plugins.ab import cards, one_command
from modbench.plugins.ab import folder as ab_folder
from modbench.plugins.ab.compared import Asked, fails
from modbench.plugins.ab.flags import AbFlags
from modbench.plugins.ab.printed import Better, NoNumberError, Reads, new_text, number_of, state_of, value_of
from modbench.plugins.ab.question import Effects, Row, effects
from modbench.plugins.ab.to_target import Point, Reached, reached

SCRIPT = Path(one_command.__file__).resolve()
SIDES = {"A": "base", "B": "new"}
# Lines at the end of a log that are shown.
TAIL = 10
# What a command has in place of the number of its run, the same in both commands of a pair.
SEED = "{seed}"
SAME = Reason("said", said="it is the same in all runs of a side: write {seed} in both commands, where a seed is given")
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
        energy_J: of the cards that it saw; None where none tells.
        sm_mhz: their mean clock.
        values: what was read of the run, by name.
        points: of the curve that it printed; None: none is read.
    """

    wall_s: Annotated[float, Field(gt=0)]
    cpu_s: Seconds
    main_s: Seconds | None
    delay_s: Seconds | None
    rss_bytes: int
    tree_bytes: int | None
    tree_why: str | None
    code: int
    energy_J: float | None = None  # the unit's own spelling
    sm_mhz: float | None = None
    values: Mapping[str, float] = Field(default_factory=dict)
    points: tuple[Point, ...] | None = None


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
        reads: what is read of each run.
    """

    sides: tuple[str, str]
    words: tuple[Sequence[str], Sequence[str]]
    asked: Asked
    folder: Path
    limit_s: float
    reads: Reads = field(default_factory=Reads)

    @property
    def target(self) -> str:
        """The value that each run is to reach, in words; empty: none."""
        return "" if self.reads.target is None else self.reads.target.written

    @functools.cached_property
    def cards(self) -> list[str]:
        """The cards that the commands see."""
        return cards.seen()

    def prepare(self) -> None:
        """Run both once, uncounted, where nothing was measured yet: to see that they run, and to fill the caches.

        Raises:
            UsageError: if no run reaches the target.
        """
        if ab_folder.blocks(self.folder):
            return
        first = [self._run(side, 0) for side in "AB"]
        target = self.reads.target
        if target is None:
            return
        found = [reached(each.points or (), target) for each in first]
        if all(each.steps is None for each in found):
            base, new = (f"{each.best:.4g}" for each in found)
            raise UsageError(
                f"neither command reaches {target.written} in its first run: the curve of the base gets to {base}, that of "
                f"the new side to {new}. Name a target that they reach, or let them run longer."
            )

    def measure(self, number: int, order: str) -> None:
        """Run four processes, one after the other: the first of each side with one seed, the second with the next."""
        seeds = [2 * number + order[:at].count(side) for at, side in enumerate(order)]
        made = Block(order=order, processes=tuple(map(self._run, order, seeds)))  # type: ignore[arg-type]  # it checks them
        write_sealed(ab_folder.block(self.folder, number), made.model_dump_json())

    def rows(self) -> list[Row]:
        """The rows of all finished blocks."""
        return self.compare(self._finished())

    def drawn(self) -> list[Figure]:
        """The curves, if there is a target."""
        if self.reads.target is None:
            return []
        from modbench.plugins.ab import curves  # matplotlib takes half a second

        base, new = ([each.points or () for block in self._finished() for each in block[at : at + 2]] for at in (0, 2))
        return curves.figures((base, new), self.reads.target) if base else []

    def _finished(self) -> list[list[Process]]:
        """Of each finished block the two processes of the base, then those of the new side."""
        files = [ab_folder.block(self.folder, number) for number in range(ab_folder.blocks(self.folder))]
        return [parse_stored(Block, unsealed(file), file).by_side for file in files]

    def compare(self, blocks: Sequence[Sequence[Process]]) -> list[Row]:
        """Return time, which is judged: to the target if there is one; values, judged too; all else beside it.

        Args:
            blocks: of each the two processes of the base, then those of the new side.
        """
        seen = Seen(fmean(any(map(_late, block)) for block in blocks), _unfit(blocks))
        took = [[(each.wall_s, each.cpu_s) for each in block] for block in blocks]
        rows = [] if self.reads.target is None else self._to_target(blocks, seen)
        rows.append(_times("wall time", "wall_s", took, seen, judged=not rows))
        rows += [_value(blocks, each.name, each.better) for each in self.reads.values]
        why = next((each.tree_why or "unknown" for block in blocks for each in block if not each.tree_bytes), None)
        own, whole = (
            [[getattr(each, key) for each in block] for block in blocks] for key in ("rss_bytes", "tree_bytes")
        )
        return [
            *rows,
            _times(
                "CPU time", "cpu_s", [[(each.cpu_s, None) for each in block] for block in blocks], seen, judged=False
            ),
            Row("peak memory", "rss_bytes", unit="B", judged=False, **_typical(own)),
            Row("memory of all", "tree_bytes", unit="B", judged=False, why=why, **_typical(whole)),
            *_of_cards(blocks),
        ]

    def _to_target(self, blocks: Sequence[Sequence[Process]], seen: Seen) -> list[Row]:
        """Time to the target, and what it is made of: the time of a step and how many there are; or how many runs reached it."""
        target = self.reads.target
        assert target is not None
        found = [[reached(each.points or (), target) for each in block] for block in blocks]
        step_s = [[(each.step_s, each.step_cpu_s) for each in block] for block in found]
        per_step = _times("time per step", "step_s", step_s, seen, judged=False)
        name = "time to target"
        if any(each.steps is None for block in found for each in block):
            return [Row(name, "target_s", why=_censored(blocks, found)), per_step]
        took = [[(each.wall_s or 0.0, each.cpu_s) for each in block] for block in found]
        steps = [[(each.steps or 0.0, None) for each in block] for block in found]
        return [
            _times(name, "target_s", took, seen),
            _times("steps to target", "steps", steps, Seen(), judged=False, unit=""),
            per_step,
        ]

    def _read(
        self, printed: Mapping[str, Any], seed: int, before: Mapping[str, tuple[int, bytes] | None]
    ) -> dict[str, Any]:
        """The values and the curve of a run that has ended.

        Raises:
            NoNumberError: if one is missing.
        """
        values = dict[str, float]()
        for each in self.reads.values:
            file = each.file and _seeded(each.file, seed)
            written = new_text(Path(file), before[file]) if file else None
            values[each.name] = value_of(each, printed["values"], written)
        return {"values": values, "points": None if self.reads.target is None else _points(printed["points"])}

    def _run(self, side: str, seed: int) -> Process:
        """Run the command of a side once, with a seed.

        Raises:
            UsageError: if the base fails.
            SideFailsError: if the new side does.
        """
        name, log = SIDES[side], self.folder / f"{SIDES[side]}.log"
        search = self.reads.search
        seen = os.environ if self.reads.target is None else {**os.environ, "PYTHONUNBUFFERED": "1"}
        files = {_seeded(each.file, seed) for each in self.reads.values if each.file}
        before = {file: state_of(Path(file)) for file in files}
        with tempfile.TemporaryFile() as answer:
            command = [_seeded(word, seed) for word in self.words[side == "B"]]
            given = [str(answer.fileno()), json.dumps(search) if search else "", *command]
            words = [sys.executable, "-I", "-S", str(SCRIPT), *given]
            with start_command(words, seen, log, self.limit_s, passed=[answer.fileno()]) as running:
                with cards.watched(self.cards) as watch:
                    watch.join(running, self.limit_s)
                hung = running.running
            answer.seek(0)
            found = json.loads(answer.read() or "{}")
        why = found.get("error") or _ended(found.get("code", running.exitcode))
        if hung:
            why = f"it passed --timeout {human_duration(self.limit_s)} and was ended"
        printed = found.pop("printed", None) or {"values": {}, "points": []}
        if why is None:
            found |= watch.took()
            try:
                found |= self._read(printed, seed, before)
            except NoNumberError as error:
                why = str(error)
        if why is None:
            log.unlink()
            return Process.model_validate(found)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        for line in said:
            say(f"{name} | {line}", sys.stderr)
        why += f": {said[-1][:200]}" if said else ""
        raise fails(f"{why} ({log})", new=side == "B")


def _seeded(text: str, seed: int) -> str:
    return text.replace(SEED, str(seed))


def _times(
    what: str,
    metric: str,
    took: Sequence[Sequence[tuple[float, float | None]]],
    seen: Seen,
    *,
    judged: bool = True,
    unit: str = "s",
) -> Row:
    """A row of what is compared as a ratio.

    Args:
        what: its name.
        metric: its key.
        took: of each block the four processes' numbers by wall time, and by CPU time if that is known.
        seen: what checks found.
        judged: whether it gets a verdict.
        unit: of the numbers.
    """
    wall, cpu = ([[each[clock] for each in block] for block in took] for clock in (0, 1))
    if not all(all(block) for block in wall):  # a clock that did not tick
        return Row(what, metric, unit=unit, judged=False)
    logs = [[[[math.log(each)] for each in block if each] for block in clock if all(block)] for clock in (wall, cpu)]
    own, control = effects(logs[0], logs[1] if len(logs[1]) == len(wall) else None)
    return Row(what, metric, own, control, seen, unit=unit, judged=judged, timed=unit == "s", **_typical(wall))


def _typical(blocks: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """The geometric mean of each side, so that their quotient is the mean effect; nothing where a number is missing."""
    base, new = ([each for block in blocks for each in block[at : at + 2] if each] for at in (0, 2))
    if len(base) + len(new) < 4 * len(blocks):
        return {}
    return {"base_value": geometric_mean(base), "new_value": geometric_mean(new)}


def _value(blocks: Sequence[Sequence[Process]], name: str, better: Better) -> Row:
    """A row of a value: each block has two pairs, and both runs of a pair have the same seed."""
    of = [[each.values[name] for each in block] for block in blocks]
    pairs = [(block[at], block[at + 2]) for block in of for at in (0, 1)]
    base, new = zip(*pairs, strict=True)
    same = SAME if len({*base}) == len({*new}) == 1 else None
    apart = {pair: one - other for pair, (one, other) in enumerate(pairs)}
    row = Row(name, name, Effects(apart), None, Seen(withheld=same), fmean(base), fmean(new), unit="")
    return replace(row, timed=False, better=better, a_block=2)


def _of_cards(blocks: Sequence[Sequence[Process]]) -> Iterator[Row]:
    """Rows of what the driver of the cards told of every run."""
    energy = [[each.energy_J for each in block] for block in blocks]
    if _typical(energy):
        spent = [[(each or 0.0, None) for each in block] for block in energy]
        yield _times("energy of the GPUs", "energy_J", spent, Seen(), judged=False, unit="J")
    clocks = [[None if each.sm_mhz is None else 1e6 * each.sm_mhz for each in block] for block in blocks]
    if _typical(clocks):
        yield Row("clock of the GPUs", "sm_hz", unit="Hz", judged=False, **_typical(clocks))


def _points(found: Sequence[Sequence[Any]]) -> tuple[Point, ...]:
    """The curve of a run.

    Raises:
        NoNumberError: if there is none.
    """
    if len(found) > one_command.MOST_POINTS:
        raise NoNumberError(f"its curve has more than {one_command.MOST_POINTS:,} points")
    made = list[Point]()
    for *words, wall_s, cpu_s in found:
        step, value = map(number_of, words)
        if step is None or value is None:
            raise NoNumberError(
                f"its curve has {shown(words[1])} at step {shown(words[0])}, which are no finite numbers"
            )
        made.append(Point(step, value, wall_s, cpu_s))
    if len({each.step for each in made}) < 2:
        raise NoNumberError(f"it prints {counted(len(made), 'point')} of --curve, and a curve has two or more")
    return tuple(made)


def _censored(blocks: Sequence[Sequence[Process]], found: Sequence[Sequence[Reached]]) -> str:
    """What can be said where some run did not reach the target: how many did, and how far the ratio is bounded."""
    sides = [[each for block in found for each in block[at : at + 2]] for at in (0, 2)]
    reach = [sum(each.steps is not None for each in side) for side in sides]
    said = (
        f"{reach[0]} of {len(sides[0])} runs of the base reached it, and {reach[1]} of {len(sides[1])} of the new side"
    )
    if all(n < len(side) for n, side in zip(reach, sides, strict=True)):
        return said
    ran = [[each.wall_s for block in blocks for each in block[at : at + 2]] for at in (0, 2)]
    took = [
        geometric_mean([one.wall_s or longest for one, longest in zip(side, longest, strict=True)])
        for side, longest in zip(sides, ran, strict=True)
    ]
    word = "more" if reach[0] < len(sides[0]) else "less"
    return f"{said}; base over new in these runs is {word} than {ratio(took[0] / took[1])}"


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
def commands(
    typed: tuple[str, str], flags: AbFlags, read: Reads, *, shell: bool = False, timeout: str | None = None
) -> Iterator[Commands]:
    """Two commands as they are typed, the base first.

    Args:
        typed: both.
        flags: of the comparison.
        read: what is read of each run.
        shell: whether a shell runs them.
        timeout: longest time of a run, as typed.

    Raises:
        UsageError: if one is no command, or the folder cannot be used.
    """
    asked = flags.asked(values=[each.name for each in read.values])
    base, new = (words_of(text, shell=shell) for text in typed)
    if (SEED in typed[0]) is not (SEED in typed[1]):
        raise UsageError(f"one command has {SEED} and the other has not: both runs of a pair take the same seed.")
    limit_s = LONGEST_S if timeout is None else parse_duration(timeout, "--timeout")
    sides = shlex.join(masked_command(shlex.split(typed[0]))), shlex.join(masked_command(shlex.split(typed[1])))
    wanted = request((base, new), typed) | {"timeout": timeout, "reads": read.model_dump(mode="json")}
    with ab_folder.held("commands", flags.out, ab_folder.Sides(kind="commands", words=sides), asked, wanted) as folder:
        yield Commands(sides, (base, new), asked, folder, limit_s, read)
