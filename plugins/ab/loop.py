"""The loop of `modbench ab`: blocks in turn until every row is decided or the time is over. It knows neither suites nor commands.

How many blocks there will be, and at which of them they are analysed, is fixed after the first one, before any effect is looked
at, and kept with the seed of the orders: a command that goes on goes on with the same plan.
"""

from __future__ import annotations

import math
import random
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Self, TextIO

from pydantic import Field

from modbench.extend import (
    DamagedError,
    Frozen,
    IncompleteError,
    UnfitError,
    counted,
    escaped,
    human_duration,
    interim,
    parse_stored,
    plain,
    unsealed,
    verdicts,
    write_sealed,
)
from modbench.plugins.ab import folder, question
from modbench.plugins.ab.compared import Compared, SideFailsError, fails
from modbench.plugins.ab.question import Result, Row

MOST = question.MOST_BLOCKS
# Seconds that a first analysis is given beyond what the first block took: others may take longer.
SLACK = 1.1
# Seconds between two lines where standard error is no terminal.
LINE_S = 10.0


class Plan(Frozen):
    """What `plan.json` holds.

    Attributes:
        seed: of the orders.
        total: blocks at the last analysis; 0: not known yet.
        analysed: how many blocks there were at each analysis until now.
    """

    seed: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0, le=MOST)] = 0
    analysed: tuple[int, ...] = ()

    def draws(self, blocks: int) -> list[tuple[str, int]]:
        """The order of each of so many blocks, and the direction in which its A/A control counts."""
        drawn = random.Random(self.seed)  # noqa: S311  # no secret
        return [(drawn.choice(("ABBA", "BAAB")), drawn.choice((1, -1))) for _ in range(blocks)]


@dataclass
class Loop:
    """Measures and judges.

    Attributes:
        compared: the two that take turns.
        clock: time in s.
        tell: takes the line about the progress.
        block_s: seconds that each block took that was made now.
        fixed_s: seconds before the first one.
    """

    compared: Compared
    clock: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = lambda _: None
    fixed_s: float = 0.0

    def __post_init__(self) -> None:
        self.asked = self.compared.asked
        self.block_s = list[float]()
        self.file = self.compared.folder / folder.KEPT
        self._keep(self._stored())
        self.start = self.clock()

    def run(self) -> Result:
        """Measure blocks until every row is decided, or the time or the blocks are over.

        Raises:
            UsageError: if the base fails.
            UnfitError: if the time does not hold a first analysis.
            IncompleteError: if it was interrupted; finished blocks are kept.
        """
        try:
            while (result := self._analysed()) is None:
                self._measure()
        except SideFailsError as error:
            failed = Row("run", "run", why=str(error), lacking="new")
            return self._judged([failed])
        except KeyboardInterrupt:
            if not self.finished:
                raise
            kept = f"{counted(self.finished, 'block')} kept in {self.compared.folder}"
            raise IncompleteError(f"interrupted. {kept}: the same command continues.") from None
        return result

    @property
    def each_s(self) -> float | None:
        """Seconds that a block takes; None where none was made now."""
        return fmean(self.block_s) if self.block_s else None

    @property
    def held(self) -> int:
        """How many more blocks the time holds, if they take as long as those before, or as the last one."""
        if self.asked.max_time_s is None or not self.block_s:
            return MOST
        left_s = self.asked.max_time_s - (self.clock() - self.start)
        return max(0, math.floor(left_s / max(fmean(self.block_s), self.block_s[-1])))

    @property
    def finished(self) -> int:
        """How many blocks there are."""
        return folder.blocks(self.compared.folder)

    def _measure(self) -> None:
        number = self.finished
        if not self.block_s:
            self.compared.prepare()
            self.fixed_s = self.clock() - self.start
        began = self.clock()
        self.compared.measure(number, self.plan.draws(number + 1)[number][0])
        self.block_s.append(self.clock() - began)

    def _analysed(self) -> Result | None:
        """The result, if nothing more is to be measured."""
        number = self.finished
        if not self.plan.total and self.block_s:
            self._fix_total(number)
        if not self.plan.total:
            return None
        ended = folder.ended(self.compared.folder)
        over = (bool(self.block_s) and not self.held) if ended is None else ended.over
        over = over or number >= self.plan.total
        if over and number < interim.FEWEST:
            raise UnfitError(self._too_short(number))
        planned, measured = interim.schedule(self.plan.total), self.compared.rows()
        if number not in self.plan.analysed and (number in planned or over):
            self._keep(self.plan.model_copy(update={"analysed": (*self.plan.analysed, number)}))
        if number in self.plan.analysed:
            # Where the time is over, this is the last analysis, however many blocks were planned.
            ahead = () if over else tuple(each for each in planned if each > number)
            analysis = interim.analysis_at(len(self.plan.analysed), (*self.plan.analysed, *ahead))
            result = self._judged(measured, analysis, ended)
            if ended is None and (over or result.decided):
                folder.finish(self.compared.folder, over=over, each_s=self.each_s, fixed_s=self.fixed_s)
            if ended is not None or over or result.decided:
                return result
        so_far = self._judged(measured)
        if not so_far.compared:
            return self._nothing_left(so_far)
        self.tell(plain(question.progress(so_far, (self.each_s or 0.0) * (self.plan.total - number))))
        return None

    def _nothing_left(self, result: Result) -> Result:
        """The result where no row has a number on both sides any more.

        Raises:
            UsageError: if the base fails, and the new side does not.
        """
        why = next((row.why for row in result.rows if row.lacking == "base"), None)
        if why is not None and result.verdict != verdicts.FAIL:
            raise fails(plain(why), new=False)
        return result

    def _fix_total(self, number: int) -> None:
        """Fix the number of blocks by the time that the first one took."""
        if number + self.held < interim.FEWEST:
            raise UnfitError(self._too_short(number + self.held))
        self._keep(self.plan.model_copy(update={"total": min(MOST, self.asked.blocks or number + self.held)}))

    def _too_short(self, blocks: int) -> str:
        """What a first analysis needs."""
        needed_s = self.fixed_s + SLACK * interim.FEWEST * (self.each_s or 0.0)
        longer = f"{math.ceil(needed_s)}s" if needed_s < 100 else f"{math.ceil(needed_s / 60)}min"
        return (
            f"--max-time {human_duration(self.asked.max_time_s or 0.0)} holds {counted(blocks, 'block')} of "
            f"{human_duration(self.each_s or 0.0)}, and an analysis needs {interim.FEWEST}: --max-time {longer} would do. "
            f"Nothing more was measured; {counted(self.finished, 'block')} kept."
        )

    def _judged(
        self, measured: Sequence[Row], analysis: interim.Analysis = interim.ONE, ended: folder.Ended | None = None
    ) -> Result:
        """The result so far; by default with the intervals of a single analysis."""
        number, asked = self.finished, self.asked
        signs = dict(enumerate(sign for _, sign in self.plan.draws(number)))
        rows = question.judge(measured, asked.margin, asked.fail_on, analysis, signs)
        took = (self.each_s, self.fixed_s) if ended is None else (ended.each_s, ended.fixed_s)
        known = (number, self.plan.total, str(self.compared.folder), *took)
        compared = self.compared
        found = Result(compared.sides, rows, asked.margin, asked.fail_on, *known, drawn=compared.drawn)
        return replace(found, target=compared.target)

    def _keep(self, plan: Plan) -> None:
        self.plan = plan
        write_sealed(self.file, plan.model_dump_json())

    def _stored(self) -> Plan:
        """The plan of the folder; a new one where nothing was measured yet.

        Raises:
            DamagedError: if it is damaged or was removed, where there are blocks: nothing else says how often they were analysed.
        """
        if self.file.exists():
            return parse_stored(Plan, unsealed(self.file), self.file)
        if self.finished:
            raise DamagedError(self.file, "missing, where blocks are finished. Measure into a new folder")
        return Plan(seed=secrets.randbelow(2**32))


class Line:
    """The line about the progress: written over on a terminal, and removed at the end; elsewhere a new one in a while."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock, self.last = stream or sys.stderr, clock, -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream.isatty():
            self._write("\r\033[K")

    def show(self, said: str) -> None:
        """Show it."""
        said = escaped(said, lines=False)
        if self.stream.isatty():
            self._write(f"\r\033[K{said[: shutil.get_terminal_size().columns - 1]}")
        elif self.clock() - self.last >= LINE_S:
            self._write(f"{said}\n")
            self.last = self.clock()

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
