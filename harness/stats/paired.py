"""Two arms of one comparison, from raw samples: median and mean effect by both clocks, and what was disturbed.

Wall time is what a user waits for, and what a busy machine disturbs. CPU time is what the thread ran: waiting for a processor
does not touch it. It sees no other waiting either, no other thread and no GPU, so that it stands for wall time only where one
thread did the work and did not wait of itself (`unfit`).

The median of block effects (`effects.pair_in_launch`) answers for a typical call. If one call in ten stalls, or six of sixteen
inputs cost four times as much, the median does not move and the mean does, which decides throughput. In the mean effect, the
log-ratio of mean times in a launch, every input has the same weight, over all samples that nothing outside the model disturbed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from modbench.harness.core.contracts import Estimand
from modbench.harness.stats import contamination, effects
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.memo import remembered
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import NOT_RECORDED, Disturbed, Estimates, Judged, judge

# CPU time of other threads, and waiting of its own, up to these shares of an arm's CPU time move no verdict.
MOST_OTHERS, MOST_BLOCKED = 0.02, contamination.SHARE
SEVERAL_THREADS = Reason("several_threads")
NOT_TICKED = Reason("clock_did_not_tick")


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


def mean_in_launch(
    arm: Columns | None, base: Columns | None, anchor: Columns, blocks: Columns, column: str = "wall_s"
) -> float | None:
    """Log-ratio of the mean times of two arms in one launch, each against the anchor in its own blocks.

    Args:
        arm: the arm's samples; None if it is the anchor.
        base: the base's samples; None if it is the anchor.
        anchor: the anchor's samples.
        blocks: what witnesses saw of the blocks.
        column: what is averaged.

    Returns:
        Positive where the arm took longer; None where one shares no block with the anchor.
    """
    sides = [None if side is None else _against(side, anchor, blocks, column) for side in (arm, base)]
    if (arm is not None and sides[0] is None) or (base is not None and sides[1] is None):
        return None
    return (sides[0] or 0.0) - (sides[1] or 0.0)


@remembered
def _against(arm: Columns, anchor: Columns, blocks: Columns, column: str) -> float | None:
    """From undisturbed samples in blocks that have some of both; from all samples where an input would be lost."""
    for mine, theirs in ((contamination.clean(arm, blocks), contamination.clean(anchor, blocks)), (arm, anchor)):
        shared = _blocks(mine, column).keys() & _blocks(theirs, column).keys()
        if shared and (mine is arm or _visited(mine, column, shared) == _visited(arm, column)):
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


@dataclass(frozen=True)
class Paired:
    """A pair over its launches, on the log scale, oriented so that above 0 the case is better (lower).

    Attributes:
        wall: by wall time.
        cpu: by CPU time of the thread; None where that is not comparable (several threads, a GPU).
        gap: the effect by wall time minus that by CPU time, launch by launch; None where there is no CPU time.
        disturbed: share of the case's or baseline's blocks with a disturbed sample.
        unfit: why no verdict may rest on CPU time; None where it may.
    """

    wall: Estimates
    cpu: Estimates | None
    gap: Effect | None
    disturbed: float
    unfit: Reason | None = NOT_RECORDED

    @property
    def effect(self) -> Effect:
        """By wall time."""
        return self.wall.effect

    @property
    def evidence(self) -> Disturbed:
        """What `verdicts.judge` is given beside `wall`."""
        return Disturbed(self.disturbed, self.cpu, self.gap, self.unfit)

    def judged(self, margin: float) -> Judged:
        """Judge the pair as the only one of its family."""
        return judge(self.wall, margin, self.evidence)


class _Launch(NamedTuple):
    """The effects in a launch by one clock, above 0 where the case is better: of medians, of means, and of each block."""

    median: float
    mean: float | None
    within: tuple[float, ...]

    def by(self, estimand: Estimand) -> float:
        """The effect by an estimand."""
        if estimand == "median":
            return self.median
        assert self.mean is not None, "quantiles are compared by their medians"
        return self.mean


def compare(
    launches: Sequence[LaunchSamples],
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
    estimand: Estimand = "median",
) -> Paired:
    """Compare the arms in each launch, through the anchor of their blocks; then combine the launches.

    Args:
        launches: at least one, whose arms share blocks with their anchor.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
        estimand: what the effect is of: medians over blocks, or means.
    """
    wall = _by_clock(launches, column, averaged=averaged)
    cpu = _by_clock(launches, "cpu_s", averaged=averaged) if one_thread else None
    return _paired(wall, cpu, estimand, _disturbed(launches), [launches])


def compare_pairs(
    one: Sequence[LaunchSamples],
    other: Sequence[LaunchSamples],
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
    estimand: Estimand = "median",
) -> Paired:
    """Compare the ratio of one pair with that of another, launch by launch: above 0 the first pair's is larger.

    What drifts between launches cancels, as in a pair.

    Args:
        one: launches of a pair.
        other: the same launches of another pair.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
        estimand: what the effect is of: medians over blocks, or means.
    """

    def apart(clock: str) -> list[_Launch | None]:
        both = zip(*(_by_clock(each, clock, averaged=averaged) for each in (one, other)), strict=True)
        return [None if mine is None or theirs is None else _minus(mine, theirs) for mine, theirs in both]

    cpu = apart("cpu_s") if one_thread else None
    return _paired(apart(column), cpu, estimand, max(_disturbed(one), _disturbed(other)), [one, other])


def _paired(
    wall: Sequence[_Launch | None],
    cpu: Sequence[_Launch | None] | None,
    estimand: Estimand,
    disturbed: float,
    pairs: Sequence[Sequence[LaunchSamples]],
) -> Paired:
    by_wall = _estimates(wall, estimand)
    assert by_wall is not None, "an arm and its anchor share every round"
    if cpu is None:
        return Paired(by_wall, None, None, disturbed, SEVERAL_THREADS)
    both = [(mine, theirs) for mine, theirs in zip(wall, cpu, strict=True) if mine is not None and theirs is not None]
    if len(both) < sum(each is not None for each in wall):
        return Paired(by_wall, None, None, disturbed, NOT_TICKED)
    gap = _estimates([_minus(*each) for each in both], estimand)
    sides = (side for launches in pairs for side in _sides(launches))
    return Paired(by_wall, _estimates(cpu, estimand), gap and gap.effect, disturbed, unfit(sides))


def _by_clock(launches: Sequence[LaunchSamples], column: str, *, averaged: bool) -> list[_Launch | None]:
    """The effects of each launch; None where the clock did not tick in each of its calls, or a side shares no block."""
    found = list[_Launch | None]()
    for each in launches:
        sides = [side for side in (each.case, each.baseline, each.anchor) if side is not None]
        known = column != "cpu_s" or all(map(ticked, sides))
        launch = effects.pair_in_launch(each.case, each.baseline, each.anchor, column) if known else None
        if launch is None:
            found.append(None)
            continue
        mean = mean_in_launch(each.case, each.baseline, each.anchor, each.blocks, column) if averaged else None
        within = tuple(-value for value in launch.within)
        found.append(_Launch(-launch.effect, None if mean is None else -mean, within))
    return found


def _minus(one: _Launch, other: _Launch) -> _Launch:
    mean = None if one.mean is None or other.mean is None else one.mean - other.mean
    within = tuple(mine - theirs for mine, theirs in zip(one.within, other.within, strict=False))
    return _Launch(one.median - other.median, mean, within)


def _estimates(launches: Sequence[_Launch | None], estimand: Estimand) -> Estimates | None:
    """The effects over launches by an estimand, and by the other one; None of none."""
    found = [each for each in launches if each is not None]
    if not found:
        return None
    within = found[0].within if len(found) == 1 and estimand == "median" else None
    effect = effects.over_launches([each.by(estimand) for each in found], within=within)
    if any(each.mean is None for each in found):
        return Estimates(effect)
    other: Estimand = "mean" if estimand == "median" else "median"
    apart = effects.over_launches([each.by(other) - each.by(estimand) for each in found])
    return Estimates(effect, effects.over_launches([each.by(other) for each in found]), apart)


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


def launch_effects(
    launches: Sequence[LaunchSamples], column: str = "wall_s", estimand: Estimand = "median"
) -> list[float]:
    """The effect of each launch, oriented so that above 0 the case is better (lower)."""
    found = _by_clock(launches, column, averaged=estimand == "mean")
    return [launch.by(estimand) for launch in found if launch is not None]


def ticked(samples: Columns) -> bool:
    """Whether its CPU time was seen in every sample: a clock of coarse steps does not move in a short call."""
    return bool(samples.get("cpu_s")) and all(samples["cpu_s"])


def within(launch: LaunchSamples, column: str) -> tuple[float, ...]:
    """The effects of the blocks of a launch, above 0 where the case is better; empty where the clock did not tick."""
    (found,) = _by_clock([launch], column, averaged=False)
    return () if found is None else found.within


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
