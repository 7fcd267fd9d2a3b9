"""Two arms of one comparison, from raw samples: typical and mean effect by both clocks, and what was disturbed.

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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeAlias

from modbench.harness.stats import contamination, effects
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.memo import remembered
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import NOT_RECORDED, Disturbed, Estimates, Judged, judge

# Which samples count, given those of an arm and what witnesses saw of the blocks.
Choose: TypeAlias = Callable[[Columns, Columns], Columns]
# An estimate from undisturbed samples needs this share of a launch's blocks, in this share of the launches (at least three).
LEAST_CLEAN = 0.25
FEWEST_LAUNCHES = 3
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
        effect: of a typical call: the median over blocks, from all samples.
        cpu: the typical effect in CPU time of the thread; None where that is not comparable (several threads, a GPU).
        clean: the typical effect from undisturbed samples alone; None where there are too few.
        disturbed: share of the case's or baseline's blocks with a disturbed sample.
        mean: the effect on mean times, every input with the same weight; None where samples have no mean, such as quantiles.
        apart: mean minus typical effect, launch by launch; None where there is no mean.
        cpu_mean: as `mean`, in CPU time.
        cpu_apart: as `apart`, in CPU time.
        unfit: why no verdict may rest on CPU time; None where it may.
    """

    effect: Effect
    cpu: Effect | None
    clean: Effect | None
    disturbed: float
    mean: Effect | None = None
    apart: Effect | None = None
    cpu_mean: Effect | None = None
    cpu_apart: Effect | None = None
    unfit: Reason | None = NOT_RECORDED

    @property
    def wall(self) -> Estimates:
        """By wall time."""
        return Estimates(self.effect, self.mean, self.apart)

    @property
    def by_cpu(self) -> Estimates | None:
        """By CPU time; None where it is not comparable."""
        return None if self.cpu is None else Estimates(self.cpu, self.cpu_mean, self.cpu_apart)

    def judged(self, margin: float) -> Judged:
        """Judge the pair as the only one of its family."""
        return judge(self.wall, margin, Disturbed(self.disturbed, self.clean, self.by_cpu, self.unfit))


def compare(
    launches: Sequence[LaunchSamples], *, column: str = "wall_s", one_thread: bool, averaged: bool = True
) -> Paired:
    """Compare the arms in each launch, through the anchor of their blocks; then combine the launches.

    Args:
        launches: at least one, whose arms share blocks with their anchor.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
    """
    effect = _over(launches, column, every)
    assert effect is not None, "an arm and its anchor share every round"
    cpu = _over(launches, "cpu_s", ticked) if one_thread else None
    mean, apart = _means(launches, column) if averaged else (None, None)
    cpu_mean, cpu_apart = _means(launches, "cpu_s") if averaged and cpu is not None else (None, None)
    return Paired(
        effect,
        cpu,
        _over(launches, column, contamination.clean, share=LEAST_CLEAN),
        _disturbed(launches),
        mean,
        apart,
        cpu_mean,
        cpu_apart,
        SEVERAL_THREADS if not one_thread else NOT_TICKED if cpu is None else unfit(_sides(launches)),
    )


def compare_pairs(
    one: Sequence[LaunchSamples],
    other: Sequence[LaunchSamples],
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
) -> Paired:
    """Compare the ratio of one pair with that of another, launch by launch: above 0 the first pair's is larger.

    What drifts between launches cancels, as in a pair. There is no estimate from undisturbed samples alone.

    Args:
        one: launches of a pair.
        other: the same launches of another pair.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
    """

    def apart(clock: str, of: Callable[[Sequence[LaunchSamples], str], list[float]]) -> list[float]:
        return [mine - theirs for mine, theirs in zip(of(one, clock), of(other, clock), strict=True)]

    def by(clock: str) -> tuple[Effect, Effect | None, Effect | None]:
        typical = apart(clock, launch_effects)
        if not averaged:
            return effects.over_launches(typical), None, None
        mean = apart(clock, launch_means)
        differ = [late - middle for late, middle in zip(mean, typical, strict=True)]
        return effects.over_launches(typical), effects.over_launches(mean), effects.over_launches(differ)

    effect, mean, differ = by(column)
    ticks = one_thread and all(in_launch(each, "cpu_s", ticked) is not None for each in (*one, *other))
    cpu, cpu_mean, cpu_differ = by("cpu_s") if ticks else (None, None, None)
    why = SEVERAL_THREADS if not one_thread else NOT_TICKED if cpu is None else None
    return Paired(
        effect,
        cpu,
        None,
        max(_disturbed(one), _disturbed(other)),
        mean,
        differ,
        cpu_mean,
        cpu_differ,
        why or unfit(_sides(one)) or unfit(_sides(other)),
    )


def _means(launches: Sequence[LaunchSamples], column: str) -> tuple[Effect | None, Effect | None]:
    """The effect on mean times, and how far it lies from the typical one."""
    means = launch_means(launches, column)
    apart = [mean - typical for mean, typical in zip(means, launch_effects(launches, column), strict=bool(means))]
    return (effects.over_launches(means), effects.over_launches(apart)) if means else (None, None)


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


def launch_effects(launches: Sequence[LaunchSamples], column: str = "wall_s") -> list[float]:
    """The effect of each launch, oriented so that above 0 the case is better (lower)."""
    found = [effects.pair_in_launch(each.case, each.baseline, each.anchor, column) for each in launches]
    return [-launch.effect for launch in found if launch is not None]


def launch_means(launches: Sequence[LaunchSamples], column: str = "wall_s") -> list[float]:
    """The effect on mean times of each launch, oriented in the same way."""
    found = (mean_in_launch(each.case, each.baseline, each.anchor, each.blocks, column) for each in launches)
    return [-effect for effect in found if effect is not None]


def every(samples: Columns, _blocks: Columns) -> Columns:
    """All samples."""
    return samples


def ticked(samples: Columns, _blocks: Columns) -> Columns:
    """Samples whose CPU time was seen: a clock of coarse steps does not move in a short call."""
    return samples if all(samples.get("cpu_s", ())) else {}


def in_launch(launch: LaunchSamples, column: str, choose: Choose) -> effects.Launch | None:
    """The effect in a launch, from the samples that `choose` keeps; None where it keeps none of a side."""
    arm, base = (None if side is None else choose(side, launch.blocks) for side in (launch.case, launch.baseline))
    anchor = choose(launch.anchor, launch.blocks)
    if any(side is not None and not side.get(column) for side in (arm, base, anchor)):
        return None
    return effects.pair_in_launch(arm, base, anchor, column)


def _over(launches: Sequence[LaunchSamples], column: str, choose: Choose, *, share: float = 0.0) -> Effect | None:
    """The effect over launches, from the samples that `choose` keeps; None where too few launches keep that share of blocks."""
    found = []
    for launch in launches:
        effect = in_launch(launch, column, choose)
        samples = launch.case or launch.baseline or launch.anchor
        if effect is not None and len(effect.within) >= share * len(set(samples["block"])):
            found.append(effect)
    if len(found) < max(min(FEWEST_LAUNCHES, len(launches)), share * len(launches)):
        return None
    within = [-value for value in found[0].within] if len(found) == 1 else None
    return effects.over_launches([-each.effect for each in found], within=within)


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
