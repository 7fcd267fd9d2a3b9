"""`gate --paired`: both sides are measured in turn, and looked at until the gate is decided or the budget is spent."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict

from modbench.commands._flags import PairedFlags
from modbench.commands._paired import measure
from modbench.commands._paired.measure import Compared, Goal
from modbench.commands._paired.sides import SideFailsError
from modbench.harness.core.errors import IncompleteError, UsageError, shown
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.units import counted, human_duration, parse_duration
from modbench.harness.execution.stopping import interrupt_on_end
from modbench.harness.results import run_folder
from modbench.harness.results.json_files import DamagedError, parse, unsealed, write_sealed
from modbench.harness.stats import gate_looks
from modbench.reports.questions.gate import paired_gate
from modbench.reports.questions.gate.fail_on import PAIRED, FailOn
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.tables.outcomes import Tables
from modbench.reports.writers.number_format import plain

BUDGET = "10min"
# Blocks from which the duration of one is taken.
PILOT = 2
# In the folder of the comparison: how many blocks were planned, and at how many it was looked at.
PLAN = "looks.json"


def gate_paired(
    words: Sequence[str], checks: FailOn | None, margin: float | None, given: PairedFlags, budget: str | None
) -> Gate:
    """Measure two revisions, or two builds of a model, until it is decided whether the second is slower.

    A second side that does not run is worse.

    Raises:
        UsageError: if the words name nothing that can be compared, a check is not one of times, or the first side does not run.
        IncompleteError: if it was interrupted; finished blocks are kept.
    """
    start = time.monotonic()
    sides = _sides(words, given.models)
    _check(checks, 1.0)  # before anything is planned; the margin may be the suite's, which is not read yet
    asked_s = parse_duration(budget or BUDGET, "--budget", "90s, 10min or 1h")
    interrupt_on_end()
    asked = measure.request(sides, words[-1], given, only=bool(given.models))
    named = _check(checks, asked.margin if margin is None else margin)
    looking = _Looking(named, asked_s, start)
    try:
        done = measure.measure(replace(asked, amount=f"{plain(named.written)} {budget or BUDGET}"), looking.wanted)
    except IncompleteError as error:
        raise IncompleteError(f"{error}{looking.lacking()}") from None
    except SideFailsError as error:
        if not error.second:
            raise
        return paired_gate.fails(str(error), named)
    found = looking.result(done)
    if found.base_fails is not None and not found.compared:
        raise UsageError(f"the base {done.sides[0]}: {plain(found.base_fails)}")
    return found


def _sides(words: Sequence[str], models: Sequence[str]) -> tuple[str, ...]:
    """The two revisions; none where two builds are compared."""
    if len(words) == 3:
        return tuple(words[:2])
    if len(words) != 1 or len(models) != 2:
        raise UsageError(
            "--paired takes two revisions and a suite, `gate --paired main HEAD quick`; or a suite and two builds, "
            "`gate --paired quick --model old.py:build --model new.py:build`."
        )
    if len(set(models)) == 1:
        raise UsageError(
            f"--paired compares two builds, and {shown(models[0])} is named twice. Name a copy, or two revisions of it."
        )
    return ()


def _check(checks: FailOn | None, margin: float) -> FailOn:
    """The one check, with its limit.

    Raises:
        UsageError: if there are several, or one that no time answers.
    """
    if checks is None:
        if not margin:
            raise UsageError("the margin is 0: samples never exclude a change of exactly 0. Write --fail-on slower:2%.")
        return FailOn({"slower": Fraction(str(margin))})
    other = [word for word in checks.limits if word not in PAIRED]
    if other:
        raise UsageError(
            f"--paired compares times: --fail-on slower:2% or cpu:2%. {other[0]} is not one: see gate RUN --against BASE."
        )
    if len(checks.limits) > 1:
        raise UsageError(
            f"--paired takes one check, not {plain(checks.written)}: one clock decides. Write --fail-on slower:2%."
        )
    return checks


class _Plan(Frozen):
    """The content of `looks.json`.

    Attributes:
        total: blocks that were planned.
        looks: the number of blocks at each look until now.
    """

    total: Annotated[int, Strict(), Field(ge=gate_looks.FEWEST, le=gate_looks.MOST)]
    looks: list[Annotated[int, Strict(), Field(ge=gate_looks.FEWEST)]]

    def foreign(self, blocks: int) -> Iterator[str]:
        """Yield what a gate with so many finished blocks cannot have written."""
        if blocks > self.total:
            yield f"damaged at total: {self.total}, where {blocks} blocks are finished"
        if self.looks != sorted({*self.looks}):
            yield "damaged at looks: each look has more blocks than the one before"
        if self.looks and self.looks[-1] > blocks:
            yield f"damaged at looks: a look at {self.looks[-1]} blocks, where {blocks} are finished"
        for number in gate_looks.schedule(self.total):
            if number < blocks and number not in self.looks:
                yield f"damaged at looks: no look at {number} of {self.total} blocks, where {blocks} are finished"


def _stored(file: Path, done: Compared) -> _Plan | None:
    """The plan of a comparison; None if it has none yet.

    Raises:
        DamagedError: if it is no plan of these blocks, or was removed: nothing else says at how many blocks it was looked.
    """
    before = len(done.blocks) - len(done.block_s)
    if not file.exists() and before < gate_looks.FEWEST:
        return None
    try:
        stored = parse(_Plan, unsealed(file), file)
        problem = next(stored.foreign(len(done.blocks)), None)
    except FileNotFoundError:
        why: object = f"missing, where {before} blocks are finished"
    except DamagedError as error:
        why = error.problem
    else:
        if problem is None:
            return stored
        why = problem
    raise DamagedError(file, f"{why}. Measure into a new folder")


@dataclass
class _Looking:
    """Looks at the blocks while they are made.

    Attributes:
        check: what is asked.
        budget_s: the longest time to measure.
        start: when the command began, on the monotonic clock.
        total: blocks that were planned, fixed once two are there; 0: not yet.
        looks: the number of blocks at each look until now.
        tables: of each block, read once.
        prepared: of the runs that prepared the sides.
        fixed_s: seconds before the first block.
        block_s: seconds that each block took that was made now.
        found: what was found last.
    """

    check: FailOn
    budget_s: float
    start: float
    total: int = 0
    looks: list[int] = field(default_factory=list)
    tables: list[list[Tables]] = field(default_factory=list)
    prepared: list[Tables] = field(default_factory=list)
    fixed_s: float = 0.0
    block_s: list[float] = field(default_factory=list)
    found: Gate | None = None

    def wanted(self, done: Compared) -> Goal:
        """How many blocks there shall be: no more than there are where it is decided, or the time is over."""
        number, spent_s = len(done.blocks), time.monotonic() - self.start
        if number == 0:
            return Goal(PILOT)
        self._read(done)
        self.block_s = done.block_s
        if len(done.block_s) == 1:
            self.fixed_s = spent_s - done.block_s[0]
        late = bool(done.block_s) and spent_s + done.block_s[-1] > self.budget_s
        if not self.total and not self._plan(done, spent_s, late=late):
            return Goal(number + 1 if self.found is None else number)
        ahead = [each for each in gate_looks.schedule(self.total) if each > max(self.looks, default=0)]
        if number >= gate_looks.FEWEST and number not in self.looks and (late or not ahead or number >= ahead[0]):
            self.looks.append(number)
            self._keep(done.folder)
        if number in self.looks:
            self.found = self._look(done)
            if self.found.verdict != "cannot tell" or not self.found.blocks or not self.found.blocks.left:
                return Goal(number)
        if late or number >= self.total:
            self.found = self.found if number in self.looks else self._too_few(done, number)
            return Goal(number)
        return Goal(next((each for each in ahead if each > number), self.total), self.total)

    def result(self, done: Compared) -> Gate:
        """What the blocks say in the end, also where the last launch of what was left died."""
        made = self.found.blocks.made if self.found is not None and self.found.blocks else 0
        if self.found is None or made < len(done.blocks):
            self._read(done)
            self.found = self._nothing_left(done)
        return self.found

    def lacking(self) -> str:
        """What a first look needs, as the end of a message; empty where there was one, or no block was made."""
        if self.looks or not self.block_s:
            return ""
        each_s = statistics.fmean(self.block_s)
        needed_s = self.fixed_s + (gate_looks.FEWEST + 1) * each_s
        longer = f": --budget {math.ceil(needed_s / 60)}min, or fewer cases (-k, --seq-len)"
        return (
            f" A look needs {gate_looks.FEWEST} blocks, of {human_duration(each_s)} each here"
            f"{longer if needed_s > self.budget_s else ''}."
        )

    def _read(self, done: Compared) -> None:
        self.prepared = [Tables(run_folder.read(str(path))) for path in done.prepared]
        self.tables += [
            [Tables(run_folder.read(str(path))) for path in block] for block in done.blocks[len(self.tables) :]
        ]

    def _plan(self, done: Compared, spent_s: float, *, late: bool) -> bool:
        """Fix the number of blocks, by the time that two take; whether there is a plan.

        Without one, `found` says why there is nothing to plan, or is None where two blocks are not there yet, or none was
        timed by this command.
        """
        number, stored = len(done.blocks), _stored(done.folder / PLAN, done)
        if stored is not None:
            self.total, self.looks = stored.total, stored.looks
            return True
        first = self._look(done)
        if first.verdict == "worse" or first.unfit:
            self.found = first
            return False
        if not first.blocks or not first.blocks.timed:
            self.found = self._nothing_left(done)
            return False
        if not done.block_s or (number < PILOT and not late):
            return False
        each_s = statistics.fmean(done.block_s)
        held = math.floor(max(0.0, self.budget_s - spent_s) / each_s) if each_s else gate_looks.MOST
        total = min(number + held, gate_looks.MOST)
        if total < gate_looks.FEWEST:
            self.found = self._too_few(done, total)
            return False
        self.total = total
        self._keep(done.folder)
        return True

    def _too_few(self, done: Compared, held: int) -> Gate:
        """The result where the budget holds too few blocks to look at."""
        said = f"--budget {human_duration(self.budget_s)} holds {counted(held, 'block')}.{self.lacking()}"
        return replace(self._look(done), said=(said,))

    def _nothing_left(self, done: Compared) -> Gate:
        """The result where no case has a time any more that counts on both sides."""
        found, made = self._look(done), counted(len(done.blocks), "block")
        said = f"it ended after {made}: nothing is left to time. Mend what is named, or wait until the machine is quieter; then "
        return replace(found, said=(f"{said}measure into a new folder.",)) if found.verdict == "cannot tell" else found

    def _keep(self, folder: Path) -> None:
        write_sealed(folder / PLAN, _Plan(total=self.total, looks=self.looks).model_dump_json())

    def _look(self, done: Compared) -> Gate:
        looks = self.looks if len(done.blocks) in self.looks else []
        found = paired_gate.look(self.tables, self.prepared, done.sides, self.check, looks, self.total)
        assert found.blocks is not None, "it was judged by blocks"
        each_s = statistics.fmean(done.block_s) if done.block_s else None
        return replace(found, blocks=replace(found.blocks, block_s=each_s, fixed_s=self.fixed_s))
