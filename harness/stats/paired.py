"""Two arms of one comparison, from raw samples: the numbers of each process by both clocks, and what was disturbed.

Wall time is what a user waits for, and what a busy machine disturbs. CPU time is what the thread ran: waiting for a processor
does not touch it. It sees no other waiting either, no other thread and no GPU, so that it stands for wall time only where one
thread did the work and did not wait of itself (`unfit`).

The median of block effects (`effects.beside`) answers for a typical call. If one call in ten stalls, or six of sixteen
inputs cost four times as much, the median does not move and the mean does, which decides throughput. In the mean effect, the
log-ratio of mean times in a launch, every input has the same weight, over all samples that nothing outside the model disturbed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, NamedTuple

from modbench.harness.core.contracts import Estimand
from modbench.harness.stats import contamination, effects
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.contrast import (
    NOT_RECORDED,
    SEVERAL_THREADS,
    ByClock,
    Contrast,
    Rule,
    Seen,
    Side,
    contrast,
    minus,
)
from modbench.harness.stats.memo import remembered
from modbench.harness.stats.reason import Reason

# CPU time of other threads, and waiting of its own, up to these shares of an arm's CPU time move no verdict.
MOST_OTHERS, MOST_BLOCKED = 0.02, contamination.SHARE


class _Block(NamedTuple):
    """An arm's samples in one block: the input that they share, their number, sum and variance."""

    input: float
    n: int
    total: float
    variance: float


@remembered
def _blocks(samples: Columns, column: str) -> dict[float, _Block]:
    inputs = samples.get("input")
    values: dict[float, list[float]] = {}
    of: dict[float, float] = {}
    for i, (block, value) in enumerate(zip(samples.get("block", ()), samples.get(column, ()), strict=True)):
        values.setdefault(block, []).append(value)
        of[block] = inputs[i] if inputs else 0.0
    return {block: _Block(of[block], len(each), sum(each), _variance(each)) for block, each in values.items()}


def _variance(values: list[float]) -> float:
    """Variance, 0 of one value; `statistics.variance`, which is exact, takes a hundred times as long."""
    if len(values) < 2:
        return 0.0
    if len(values) == 2:  # as most blocks have; the same to the bit
        mean = (values[0] + values[1]) / 2
        return (values[0] - mean) ** 2 + (values[1] - mean) ** 2
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def log_mean(samples: Columns, column: str = "wall_s", blocks: Collection[float] | None = None) -> float:
    """Log of the mean over inputs of the mean time at each input.

    The log of a noisy mean is too low by half its relative variance; this is added, estimated from the samples of one block,
    which share their input.

    Args:
        samples: an arm's samples; without a column `input` all have the same weight.
        column: what is averaged.
        blocks: the blocks that count; None: all.
    """
    known = _blocks(samples, column)
    chosen = list(known.values()) if blocks is None else [known[block] for block in sorted(blocks) if block in known]
    visits = Counter[float]()
    for block in chosen:
        visits[block.input] += block.n
    weights = [1 / (len(visits) * visits[block.input]) for block in chosen]
    mean = sum(block.total * weight for block, weight in zip(chosen, weights, strict=True))
    noise = sum(block.variance * block.n * weight**2 for block, weight in zip(chosen, weights, strict=True))
    return math.log(mean) + noise / mean**2 / 2


def undisturbed_log_mean(samples: Columns, column: str, blocks: Columns) -> float:
    """The same over undisturbed samples; over all where an input has no undisturbed one."""
    clean = contamination.clean(samples, blocks)
    whole = clean.get("block") and _visited(clean, column) == _visited(samples, column)
    return log_mean(clean if whole else samples, column)


@remembered
def mean_beside(side: Columns, anchor: Columns, blocks: Columns, column: str = "wall_s") -> float | None:
    """Log-ratio of the mean times of a variant and its anchor in one launch, positive where the variant took longer.

    From undisturbed samples in blocks that have some of both; from all samples where an input would be lost.

    Args:
        side: the variant's samples.
        anchor: the anchor's samples.
        blocks: what witnesses saw of the blocks.
        column: what is averaged.

    Returns:
        None where the two share no block.
    """
    for mine, theirs in ((contamination.clean(side, blocks), contamination.clean(anchor, blocks)), (side, anchor)):
        shared = _blocks(mine, column).keys() & _blocks(theirs, column).keys()
        if shared and (mine is side or _visited(mine, column, shared) == _visited(side, column)):
            return log_mean(mine, column, shared) - log_mean(theirs, column, shared)
    return None


def _visited(samples: Columns, column: str, chosen: Collection[float] | None = None) -> set[float]:
    """Inputs (or blocks, where inputs have no column) that these blocks visited; None: all blocks."""
    known = _blocks(samples, column)
    blocks = known if chosen is None else chosen
    return {known[block].input for block in blocks} if samples.get("input") else set(blocks)


@dataclass(frozen=True)
class LaunchSamples:
    """Samples of a pair in one launch.

    Attributes:
        case: samples of the case; None if it is the anchor.
        baseline: samples of the arm that it is compared with; None if it is the anchor.
        anchor: samples of the arm that was in every block.
        blocks: what witnesses saw of the blocks.
    """

    case: Columns | None
    baseline: Columns | None
    anchor: Columns
    blocks: Columns


class Numbers(NamedTuple):
    """What a pair's samples say of each side, and of the machine meanwhile: what `contrast.contrast` takes."""

    base: Side
    new: Side
    seen: Seen

    def contrast(self, rule: Rule | None = None) -> Contrast:
        """Compare the two as the only contrast of its family."""
        return contrast(self.base, self.new, "interleaved", rule or Rule(), self.seen)

    def within(self) -> list[float]:
        """The effects of the rounds of a single process, above 0 where the case is better."""
        base, new = self.base.wall.rounds, self.new.wall.rounds
        return [base[key] - new[key] for key in new if key in base]

    def shifted(self, by: float) -> Numbers:
        """Return numbers whose effect is larger by a known amount: of a rate, which has no other estimand than its own."""

        def shift(clock: ByClock) -> ByClock:
            return ByClock({key: value + by for key, value in clock.own.items()})

        base = Side(shift(self.base.wall), self.base.cpu and shift(self.base.cpu))
        new = (each and ByClock(each.own) for each in self.new)
        return Numbers(base, Side(*new), self.seen)  # type: ignore[arg-type]

    def effects(self, *, by_cpu: bool = False) -> list[float]:
        """The effect of each process, above 0 where the case is better; none by CPU time where that does not count."""
        base, new = (side.cpu if by_cpu else side.wall for side in (self.base, self.new))
        return (
            [] if base is None or new is None else [base.own[key] - new.own[key] for key in new.own if key in base.own]
        )


def numbers(
    launches: Sequence[LaunchSamples],
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
    estimand: Estimand = "median",
) -> Numbers:
    """Return the numbers of a pair, each side's against the anchor of its blocks, process by process.

    Args:
        launches: at least one, whose arms share blocks with their anchor.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
        estimand: what the effect is of: medians over blocks, or means.
    """
    base, new = (
        Side(
            _by_clock(launches, name, column, estimand, averaged=averaged),
            _by_clock(launches, name, "cpu_s", estimand, averaged=averaged) if one_thread else None,
        )
        for name in ("baseline", "case")
    )
    return Numbers(base, new, Seen(_disturbed(launches), unfit(_sides(launches)) if one_thread else SEVERAL_THREADS))


def numbers_of_pairs(one: Numbers, other: Numbers) -> Numbers:
    """Return two pairs as the sides of a contrast of their ratios: above 0 that of `one` is larger.

    What drifts between processes cancels, as in a pair.
    """

    def difference(pair: Numbers) -> Side:
        cpu = minus(pair.new.cpu, pair.base.cpu) if pair.new.cpu is not None and pair.base.cpu is not None else None
        return Side(minus(pair.new.wall, pair.base.wall), cpu)

    disturbed, unfit = max(one.seen.disturbed, other.seen.disturbed), one.seen.unfit or other.seen.unfit
    return Numbers(difference(other), difference(one), replace(one.seen, disturbed=disturbed, unfit=unfit))


def _by_clock(
    launches: Sequence[LaunchSamples],
    name: Literal["case", "baseline"],
    column: str,
    estimand: Estimand,
    *,
    averaged: bool,
) -> ByClock:
    """The numbers of a side in each process in which both share blocks with the anchor."""
    medians, means, rounds = dict[int, float](), dict[int, float](), dict[float, float]()
    for number, each in enumerate(launches):
        sides = [side for side in (each.case, each.baseline) if side is not None]
        if column == "cpu_s" and not all(map(ticked, [*sides, each.anchor])):
            continue
        found = [effects.beside(side, each.anchor, column) for side in sides]
        if any(one is None for one in found):
            continue
        mine: Columns | None = getattr(each, name)
        own = None if mine is None else effects.beside(mine, each.anchor, column)
        medians[number] = own.median if own else 0.0
        if averaged:
            means[number] = (mine is not None and mean_beside(mine, each.anchor, each.blocks, column)) or 0.0
        if len(launches) == 1:
            rounds = own.rounds if own else dict.fromkeys((key for one in found if one for key in one.rounds), 0.0)
    if estimand == "mean":
        return ByClock(means, medians)
    return ByClock(medians, means, rounds)


def unfit(sides: Iterable[Sequence[Columns]]) -> Reason | None:
    """Why the CPU time of the thread does not stand for what the arms take; None where it does.

    Args:
        sides: the samples of each arm in all launches.
    """
    for side in sides:
        cpu_s = sum(cpu * calls for each in side for cpu, calls in zip(each["cpu_s"], each["calls"], strict=True))
        for name, most in (("others_s", MOST_OTHERS), ("blocked_s", MOST_BLOCKED)):
            if not all(name in each for each in side):
                return NOT_RECORDED
            share = sum(sum(each[name]) for each in side) / cpu_s
            if share > most:
                return Reason("other_threads", share=share) if name == "others_s" else Reason("waits", share=share)
    return None


def _sides(launches: Sequence[LaunchSamples]) -> Iterator[list[Columns]]:
    """The samples of case, baseline and anchor, each over all launches."""
    for name in ("case", "baseline", "anchor"):
        side = [each for launch in launches if (each := getattr(launch, name)) is not None]
        if side:
            yield side


def ticked(samples: Columns) -> bool:
    """Whether its CPU time was seen in every sample: a clock of coarse steps does not move in a short call."""
    return bool(samples.get("cpu_s")) and all(samples["cpu_s"])


def _disturbed(launches: Sequence[LaunchSamples]) -> float:
    """Share of blocks, of either arm, in which one of its samples or of the anchor's was disturbed."""
    if not any(
        _bad_blocks(side, launch.blocks)
        for launch in launches
        for side in (launch.case, launch.baseline, launch.anchor)
        if side is not None
    ):
        return 0.0
    blocks: dict[tuple[int, float], bool] = {}
    for number, launch in enumerate(launches):
        anchor = _bad_blocks(launch.anchor, launch.blocks)
        for side in (launch.case, launch.baseline):
            if side is not None:
                bad = _bad_blocks(side, launch.blocks) | anchor
                for block in side["block"]:
                    blocks[number, block] = blocks.get((number, block), False) or block in bad
    return sum(blocks.values()) / len(blocks) if blocks else 0.0


@remembered
def _bad_blocks(samples: Columns, blocks: Columns) -> set[float]:
    marks = contamination.causes(samples, blocks)
    if not any(marks):
        return set()
    return {block for block, mark in zip(samples["block"], marks, strict=True) if mark}
