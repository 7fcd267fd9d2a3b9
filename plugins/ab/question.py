"""The result of `modbench ab`: is the new side slower than the base? By blocks in which both took turns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from statistics import median
from typing import Any, Literal, NamedTuple, Protocol

from modbench.extend import (
    ALTERNATED,
    CPU,
    ONE,
    TIMED,
    Analysis,
    Block,
    ByClock,
    Case,
    Code,
    Contrast,
    Direction,
    Estimate,
    FailOn,
    Label,
    Limited,
    Listed,
    Note,
    Page,
    PageSection,
    Rule,
    Seen,
    Sentence,
    Side,
    Table,
    Value,
    alike,
    columns_of,
    human_duration,
    reasons,
    verdict_words,
    verdicts,
)
from modbench.extend import (
    REPORT_FILE as PAGE,
)

# Rows and remarks that are printed: with them all lines fit on a screen. JSON has all.
MOST_ROWS, MOST_REMARKS = 11, 6
# Rows that the first line names one by one.
MOST_NAMED = 3
# Blocks beyond which no plan goes: they would decide what nobody asks.
MOST_BLOCKS = 400
FILE = "modbench ab … --json"
# The processes of a block; those of the base come first, whatever their order was.
NAMES = ("base1", "base2", "new1", "new2")


class Effects(NamedTuple):
    """The effect of each block on the log scale, by the block's number from 0.

    Attributes:
        wall: by wall time; above 0 where the new side (of a control: the second process of the base) is faster.
        cpu: by CPU time; None where that was not measured, or did not tick.
    """

    wall: Mapping[int, float]
    cpu: Mapping[int, float] | None = None

    def contrast(self, rule: Rule, seen: Seen | None, signs: Mapping[int, int] | None = None) -> Contrast:
        """Compare the two sides by these effects, each times its sign."""
        clocks = [clock for clock in (self.wall, self.cpu) if clock is not None]
        base = Side(*(ByClock(dict.fromkeys(clock, 0.0)) for clock in clocks))
        new = [{block: -value * (signs or {}).get(block, 1) for block, value in clock.items()} for clock in clocks]
        return verdicts.contrast(base, Side(*map(ByClock, new)), "alternating", rule, seen)


class Compares(Protocol):
    """What can be compared: effects of blocks, or numbers of two sides that have nothing in common."""

    def contrast(self, rule: Rule, seen: Seen | None, signs: Mapping[int, int] | None = None, /) -> Contrast:
        """Compare the two sides."""


Logs = Sequence[Sequence[Sequence[float]]]


def effects(wall: Logs, cpu: Logs | None) -> tuple[Effects, Effects]:
    """The effects of the blocks, and those of the base against itself.

    Args:
        wall: log times by block, process (in the order of `NAMES`) and round.
        cpu: the same by CPU time; None where that does not count.
    """
    own, control = list[dict[int, float]](), list[dict[int, float]]()
    for clock in (wall, cpu) if cpu is not None else (wall,):
        rounds = [list(zip(*four, strict=True)) for four in clock]
        pairs = [[(first + second) / 2 - (one + other) / 2 for first, second, one, other in each] for each in rounds]
        own.append(dict(enumerate(map(median, pairs))))
        control.append(dict(enumerate(median(first - second for first, second, *_ in each) for each in rounds)))
    return Effects(*own), Effects(*control)


@dataclass(frozen=True)
class Row:
    """One case in one metric: its numbers, and what is judged of them.

    Attributes:
        what: the case, or the name of the row.
        metric: key of the metric.
        blocks: mean log time of the base's two processes minus that of the new side's two; None where there are no effects.
        alike: the A/A control: log time of the base's first process in a block minus that of its second.
        seen: what checks found of either side, without the control; None: nothing.
        base_value: the base's median or mean value in `unit`; None where there is none.
        new_value: the new side's.
        unit: of both values.
        new_labels: warnings about the new side.
        base_labels: those about the base.
        why: why there are no numbers; None: there are.
        lacking: the side that fails, so that there are none; None: neither, or that is not known.
        judged: whether the row gets a verdict; False: its numbers are only reported.
        timed: whether it is of a time.
        better: of a value that is compared by its difference which direction is; None: it is compared as a ratio.
        a_block: how many effects a block has.
        contrast: how the sides compare, with the A/A control in `seen`; None where there are no effects.
        limited: what `--fail-on` says of it; None where nothing was asked, or there is nothing to hold to a limit.
        check: the result of `--fail-on`: a new side that fails now fails it, asked or not; None: nothing can be said against it.
    """

    what: Case | str
    metric: str
    blocks: Compares | None = None
    alike: Effects | None = None
    seen: Seen | None = None
    base_value: float | None = None
    new_value: float | None = None
    unit: str = "s"
    new_labels: tuple[Label, ...] = ()
    base_labels: tuple[Label, ...] = ()
    why: Value = None
    lacking: Literal["base", "new"] | None = None
    judged: bool = True
    timed: bool = True
    better: Direction | None = None
    a_block: int = 1
    contrast: Contrast | None = None
    limited: Limited | None = None
    check: str | None = None

    @property
    def verdict(self) -> str | None:
        """How the sides compare; None where nothing is claimed."""
        return self.contrast.verdict if self.contrast is not None and self.judged else None

    @property
    def open(self) -> bool:
        """Whether more blocks may decide it."""
        if self.verdict is None:
            return False
        assert self.contrast is not None
        if self.limited is not None:
            return self.limited.word == verdicts.INCONCLUSIVE and self.contrast.seen.withheld is None
        return not self.contrast.decided

    @property
    def needed(self) -> int | None:
        """How many blocks would probably decide what is open; None: nothing is, or too many."""
        asked = self.limited or self.contrast
        n = asked.needed if asked is not None and self.open else None
        return None if n is None else math.ceil(n / self.a_block)

    @property
    def ratio(self) -> Estimate:
        """Base ÷ new, with its interval where it is known; of numbers that are only reported their quotient.

        Of values that are compared by their difference it is new - base.
        """
        if self.contrast is not None and self.better is not None:
            n = self.contrast.effect.n if self.contrast.effect.n > 1 else None
            return Estimate.of_interval(self.contrast.effect, "difference", self.unit, n)
        if self.contrast is not None:
            return Estimate(*self.contrast.ratio, "ratio", self.unit, n=self.contrast.effect.n)
        if not (self.base_value and self.new_value):
            return Estimate(None)
        return Estimate(self.base_value / self.new_value, kind="ratio", unit=self.unit)

    @property
    def control(self) -> Contrast | None:
        """The A/A control; None where there is none."""
        return None if self.contrast is None else self.contrast.seen.control

    @property
    def fooled(self) -> bool:
        """Whether the base came out different from itself."""
        return self.contrast is not None and self.contrast.fooled

    @property
    def reason(self) -> Value:
        """Why there is no number or no verdict, or why CPU time decides."""
        if self.contrast is None:
            return self.why
        why = self.limited.reason if self.limited is not None else None
        return reasons.sentence(why or self.contrast.reason or self.contrast.open)

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`: ratios, above 1 the new side is faster; differences are new - base."""
        found, own = self.contrast, self.control
        what = self.what.id if isinstance(self.what, Case) else self.what
        told: dict[str, Any] = {"what": what, "metric": self.metric, "verdict": self.verdict, "check": self.check}
        told |= {"reason": self.reason, "fails": self.lacking}
        told |= {"unit": self.unit, "base": self.base_value, "new": self.new_value}
        control = Estimate(None) if own is None else Estimate(*own.ratio, "ratio")
        name = "ratio" if self.better is None else "difference"
        told |= columns_of(self.ratio, name, "") | columns_of(control, "control_ratio", "control_ratio_")
        told |= {"control_verdict": own and own.verdict, "blocks": (self.ratio.n or 0) // self.a_block if found else 0}
        told |= {"by_cpu": bool(found and found.by_cpu), "p_adjusted": found and found.p_adjusted}
        told |= {"not_excluded": self.limited and self.limited.not_excluded, "needed": self.needed}
        return told | {"labels": [*self.labels], "base_labels": [*self.base_labels]}

    @property
    def labels(self) -> list[Label]:
        """Warnings about the new side, and what must be said beside the verdict."""
        return [*self.new_labels, *(self.contrast.labels if self.contrast is not None else ())]


@dataclass(frozen=True)
class Result:
    """All rows of a comparison.

    Attributes:
        sides: both sides in words, the base first.
        rows: one for each case and metric of either side.
        margin: differences below this are of no practical interest.
        fail_on: the check of `--fail-on`, with its limit; None: none was asked.
        blocks: how many there are.
        planned: how many there would be without a decision.
        folder: where they are kept.
        block_s: seconds that one takes; None where none was made now.
        fixed_s: seconds before the first one.
        how: how stored values are compared; None: the sides took turns.
        target: what each run is to reach; empty: nothing.
        drawn: makes the figures of the HTML report.
        noun: what there are several of; empty where more of them would not help.
    """

    sides: tuple[str, str]
    rows: Sequence[Row]
    margin: float
    fail_on: FailOn | None = None
    blocks: int = 0
    planned: int = 0
    folder: str = ""
    block_s: float | None = None
    fixed_s: float = 0.0
    how: Sentence | None = None
    noun: str = "block"
    target: str = ""
    drawn: Callable[[], Sequence[Block]] = tuple

    @cached_property
    def judged(self) -> list[Row]:
        """Rows that have a verdict, or of which one side fails."""
        return [row for row in self.rows if row.judged and (row.contrast is not None or row.lacking)]

    @property
    def decided(self) -> bool:
        """Whether more blocks would not change the answer: one row that fails, fails the check."""
        failed = self.fail_on is not None and self.verdict == verdicts.FAIL
        return failed or not self.open

    @property
    def open(self) -> list[Row]:
        """Rows that more blocks may decide; with checks only those that are checked."""
        return [row for row in self.rows if row.open and (self.fail_on is None or row.limited is not None)]

    @property
    def compared(self) -> list[Row]:
        """Rows that have a ratio and can have a verdict."""
        return [row for row in self.judged if row.contrast is not None]

    @property
    def worst(self) -> Row | None:
        """The row in which the new side is slowest; None where there is no ratio."""
        ratios = [row for row in self.compared if row.better is None]
        return min(ratios, key=lambda row: row.ratio.value or 0.0, default=None)

    @property
    def verdict(self) -> str | None:
        """The result of `--fail-on`, or that the new side fails; None where neither was asked nor happened."""
        checks = {row.check for row in self.rows}
        if verdicts.FAIL in checks or self.fail_on is None:
            return verdicts.FAIL if verdicts.FAIL in checks else None
        open_ = verdicts.INCONCLUSIVE in checks or not self.compared
        return verdicts.INCONCLUSIVE if open_ else verdicts.PASS

    def exit_code(self, *, allow_inconclusive: bool = False) -> int:
        """Return 0, 1 (the check fails, or the new side does) or 5 (inconclusive; without a check where that is every row).

        Args:
            allow_inconclusive: return 0 instead of 5 where something was compared.
        """
        if self.verdict == verdicts.FAIL:
            return 1
        words = {row.verdict for row in self.compared}
        fooled = any(row.fooled for row in self.rows)
        open_ = fooled or words <= {verdicts.INCONCLUSIVE} if self.verdict is None else self.verdict != verdicts.PASS
        return 5 if open_ and not (allow_inconclusive and self.compared) else 0

    def as_dict(self, *, allow_inconclusive: bool = False) -> dict[str, Any]:
        """Return data for `--json`."""
        told: dict[str, Any] = {"verdict": self.verdict, "sides": [*self.sides], "target": self.target or None}
        told |= {"margin": self.margin}
        told |= {"fail_on": self.fail_on and self.fail_on.written, "blocks": self.blocks, "planned": self.planned}
        told |= {"block_s": self.block_s, "folder": self.folder}
        told |= {"exit_code": self.exit_code(allow_inconclusive=allow_inconclusive)}
        return told | {"rows": [row.as_dict() for row in self.rows]}


def judge(
    rows: Sequence[Row],
    margin: float,
    fail_on: FailOn | None = None,
    analysis: Analysis = ONE,
    signs: Mapping[int, int] | None = None,
) -> list[Row]:
    """Judge all rows as one family, and their A/A controls as another.

    Args:
        rows: the rows, not yet judged.
        margin: the largest difference that does not matter, as a share.
        fail_on: the check, with the largest slowdown that passes; None: there is none.
        analysis: which analysis of the plan it is.
        signs: of each block in which direction its control counts, as it was drawn: a drift then looks like no difference.
    """
    limits = {} if fail_on is None else fail_on.limits

    def limit_of(row: Row) -> Fraction | float | None:
        """The largest change for the worse that passes, on the scale of its effect; None: none is asked of it."""
        if row.better is None:
            return next((limits[each] for each in ALTERNATED if each in limits), None)
        share = limits.get(row.metric)
        return None if share is None else float(share) * abs(row.base_value or 0.0)

    def rule_of(row: Row) -> Rule:
        if row.better is None:
            return Rule("time", margin, "lower", analysis, by_cpu=CPU in limits)
        effects_of = replace(analysis, total=analysis.total * row.a_block)
        return Rule("loss", float(limit_of(row) or 0.0), row.better, effects_of)

    found = {i: each.blocks for i, each in enumerate(rows) if each.blocks is not None}
    family = [i for i in found if rows[i].judged]
    alike = {i: own.contrast(rule_of(rows[i]), None, signs) for i in family if (own := rows[i].alike) is not None}
    controls = dict(zip(alike, verdicts.together([*alike.values()]), strict=True))
    seen = {i: replace(rows[i].seen or Seen(), control=controls.get(i)) for i in family}
    made = {i: effects.contrast(rule_of(rows[i]), seen.get(i)) for i, effects in found.items()}
    made |= zip(family, verdicts.together([made[i] for i in family]), strict=True)
    asked = {i: limit for i in family if (limit := limit_of(rows[i])) is not None}
    held = dict(zip(asked, verdicts.limited([made[i] for i in asked], [*asked.values()]), strict=True))
    told = (replace(each, contrast=made.get(i), limited=held.get(i)) for i, each in enumerate(rows))
    return [replace(each, check=_check(each, asked=limit_of(each) is not None)) for each in told]


def _check(row: Row, *, asked: bool) -> str | None:
    """The result of `--fail-on` for a row: where the base has no number there is nothing to compare with."""
    if row.lacking == "new":
        return verdicts.FAIL
    if not asked or not row.judged or row.lacking == "base":
        return None
    return verdicts.INCONCLUSIVE if row.limited is None else row.limited.word


# --- what is printed


def headline(found: Result) -> Sentence:
    """Say how many checks fail, are inconclusive, or pass; without a check, how the new side compares with the base."""
    if found.fail_on is None:
        return _compared(found)
    words, checked = "{verdict}: {n} of {all:check} ({checks})", [row for row in found.judged if row.check is not None]
    n = sum(row.check == found.verdict for row in checked)
    return Sentence(words, verdict=found.verdict, n=n, all=len(checked), checks=found.fail_on.written)


def _compared(found: Result) -> Sentence:
    """How the new side compares with the base: of a few rows with names one by one, of many how many have each verdict."""
    told = [row for row in found.rows if row.judged]
    counts = Counter("fails" if row.lacking == "new" else _verdict(row) for row in found.judged)
    if len(told) == len(counts) == 1 and found.worst is not None:
        return Sentence("new over base: {word}, {ratio}", word=_verdict(told[0]), ratio=told[0].ratio)
    if 0 < len(told) <= MOST_NAMED and not any(isinstance(row.what, Case) or row.lacking for row in told):
        words = {True: "{row}: {why}", False: "{row} {word}, {ratio}"}
        each = [
            Sentence(words[row.contrast is None], row=row.what, why=row.why, word=_verdict(row), ratio=row.ratio)
            for row in told
        ]
        return Sentence("{each}", each=Listed(each, "; "))
    each = [Sentence("{n} {word}", n=n, word=word) for word, n in counts.most_common()]
    return Sentence("new over base: {each}", each=Listed(each) if counts else "nothing was compared")


def table(found: Result) -> Table:
    """One row for each case and metric that has a number, what fails and the slowest first where not all are printed.

    Of bytes the new side's share of the base's is printed.
    """
    shown = [row for row in found.rows if row.base_value is not None or row.contrast is not None]
    if len(shown) > MOST_ROWS:
        shown.sort(key=lambda row: (not row.judged, row.check != verdicts.FAIL, row.ratio.value or math.inf))
    cells = list[tuple[Value, ...]]()
    for row in shown:
        values = (None if each is None else Estimate(each, unit=row.unit) for each in (row.base_value, row.new_value))
        cells.append((named(row, found), *values, row.ratio, _word(row)))
    return Table("comparison", ("", "base", "new", "new over base", "verdict"), cells, file=FILE).first(MOST_ROWS)


def _word(row: Row) -> Value:
    """The result of the check, with the slowdown that an inconclusive one does not exclude, else the verdict."""
    if not row.judged:
        return ""
    most = row.limited.not_excluded if row.limited is not None and row.open and row.better is None else None
    by_cpu = row.contrast is not None and row.contrast.by_cpu
    words = "{word}" + " ≤ {most} slower" * (most is not None) + ", by CPU" * by_cpu
    return Sentence(words, word=row.check or _verdict(row), most=Estimate(most, kind="share"))


def _verdict(row: Row) -> str:
    if row.contrast is not None and Label.NOT_ALTERNATED in row.contrast.labels:
        return Label.NOT_ALTERNATED
    return verdict_words(row.verdict, timed=row.timed)


def named(row: Row, found: Result) -> Value:
    """The row's name: the case with its length, and the metric where there are several."""
    if not isinstance(row.what, Case):
        return row.what
    at, several = row.what.grid_point, len({each.metric for each in found.judged}) > 1
    words = "{case}, T = {T}" + ", B = {B}" * (at.batch_size > 1) + ", {metric}" * several
    return Sentence(words, case=row.what, T=at.seq_len, B=at.batch_size, metric=TIMED.get(row.metric, row.metric))


def rows(found: Result) -> Iterator[tuple[str, Value]]:
    """Yield with a word each the sides, the target, how sure the table is, doubts, what would decide, and where the report is."""
    yield from zip(("base", "new"), map(Code, found.sides), strict=True)
    if found.target:
        yield "target", found.target
    if found.how is not None:
        yield "sure", found.how
    else:
        yield "sure", _took_turns(found)
    doubts = alike((why, (why, named(row, found))) for row in found.rows for why in _whys(row))
    for those in doubts[:MOST_REMARKS]:
        (why, name), more = those[0], len(those) - 1
        yield "doubt", Sentence("{row}" + " and {n} more" * (more > 0) + ": {why}", row=name, n=more, why=why)
    if len(doubts) > MOST_REMARKS:
        yield "doubt", Sentence("and {n} more: --json", n=len(doubts) - MOST_REMARKS)
    if found.open and found.noun:
        yield "next", advice(found)
    if found.folder:
        yield "report", Code(f"{found.folder}/{PAGE}")


def _took_turns(found: Result) -> Sentence:
    """How the sides took turns, and the A/A control."""
    controls = [row.control for row in found.judged if row.control is not None]
    words = "{n:block} in turn, 95 % confidence intervals over blocks, equivalence margin {margin}"
    words += "; values in {pairs} pairs of runs" if any(row.a_block > 1 for row in found.rows) else ""
    if controls:
        words += "; A/A control " + ("{own}" if len(controls) == 1 else "differs in {fooled} of {all}")
    own = Estimate(*controls[0].ratio, "ratio") if controls else None
    fooled, margin = sum(row.fooled for row in found.rows), Estimate(found.margin, kind="share")
    pairs = 2 * found.blocks
    return Sentence(words, n=found.blocks, margin=margin, pairs=pairs, own=own, fooled=fooled, all=len(controls))


def details(found: Result) -> list[Block]:
    """Return the table, and what stands below it, for a page."""
    notes = [Note(Sentence("{word}: {said}", word=word, said=said)) for word, said in rows(found)]
    return [table(found), *notes]


def _whys(row: Row) -> Iterator[Value]:
    """Yield why a row has no number or no verdict, and the labels of either side."""
    if row.why is not None and (row.judged or isinstance(row.what, Case)):
        yield Sentence("not compared: {why}", why=row.why)
    elif row.contrast is not None and row.contrast.reason is not None and row.judged:
        yield "the base differs from itself" if row.fooled else reasons.sentence(row.contrast.reason)
    for side, labels in (("base", row.base_labels), ("new", row.new_labels)):
        if labels:
            yield Sentence("{side}: {labels}", side=side, labels=Listed([*labels]))


def advice(found: Result) -> Sentence:
    """Say which time would probably decide what is open."""
    n = max(row.needed or MOST_BLOCKS + 1 for row in found.open)
    if n > MOST_BLOCKS:
        return Sentence(f"more than {{n:{found.noun}}} would be needed", n=MOST_BLOCKS)
    minutes = None if found.block_s is None else math.ceil((found.fixed_s + n * found.block_s) / 60)
    words = f"{{n:{found.noun}}} in all" + (", --max-time {minutes}min, would" if minutes else " would")
    return Sentence(words + " probably decide it", n=n, minutes=minutes)


def progress(found: Result, left_s: float) -> Sentence:
    """One line while blocks are measured: blocks, what is left, and the row in which the new side is slowest."""
    words, worst = "[block {done} of {planned}, {left} left] {row}: {ratio}", found.worst
    row, ratio = ("", None) if worst is None else (named(worst, found), worst.ratio)
    return Sentence(words, done=found.blocks, planned=found.planned, left=human_duration(left_s), row=row, ratio=ratio)


def page_of(found: Result, command: Sequence[str]) -> Page:
    """Return the HTML page of two sides that took turns."""
    base, new = found.sides
    return Page(
        headline(found),
        Sentence("{new} over {base}", base=base, new=new),
        command,
        [
            PageSection("Result", [*details(found)]),
            *([PageSection("Curves", drawn)] if (drawn := found.drawn()) else []),
        ],
    )
