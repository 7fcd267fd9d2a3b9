"""Two arms of one comparison, from raw samples: typical and mean effect over launches, CPU time, and what was disturbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modbench.harness.stats import contamination, effects, mean_effects, verdicts
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.memo import remembered

# An estimate from undisturbed samples needs this share of a launch's blocks, in this share of the launches (at least three).
LEAST_CLEAN = 0.25
FEWEST_LAUNCHES = 3


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
    """

    effect: Effect
    cpu: Effect | None
    clean: Effect | None
    disturbed: float
    mean: Effect | None = None
    apart: Effect | None = None

    def contaminated(self) -> str | None:
        """Why wall time supports no claim here, and the effect in CPU time; or None."""
        found = verdicts.contaminated(self.effect, self.clean, self.disturbed)
        if found is None or self.cpu is None:
            return found
        ends = ""
        if self.cpu.low is not None and self.cpu.high is not None:
            ends = f" [{math.exp(self.cpu.low):.3f}–{math.exp(self.cpu.high):.3f}]"
        return f"{found}; CPU time, which waiting does not touch, says {math.exp(self.cpu.value):.3f}×{ends}"


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
    effect = _over(launches, column, _all)
    assert effect is not None, "an arm and its anchor share every round"
    means = launch_means(launches, column) if averaged else []
    apart = [mean - typical for mean, typical in zip(means, launch_effects(launches, column), strict=bool(means))]
    return Paired(
        effect,
        _over(launches, "cpu_s", _ticked) if one_thread else None,
        _over(launches, column, contamination.clean, share=LEAST_CLEAN),
        _disturbed(launches),
        effects.over_launches(means) if means else None,
        effects.over_launches(apart) if means else None,
    )


def launch_effects(launches: Sequence[LaunchSamples], column: str = "wall_s") -> list[float]:
    """The effect of each launch, oriented so that above 0 the case is better (lower)."""
    found = [effects.pair_in_launch(each.case, each.baseline, each.anchor, column) for each in launches]
    return [-launch.effect for launch in found if launch is not None]


def launch_means(launches: Sequence[LaunchSamples], column: str = "wall_s") -> list[float]:
    """The effect on mean times of each launch, oriented in the same way."""
    found = (mean_effects.in_launch(each.case, each.baseline, each.anchor, each.blocks, column) for each in launches)
    return [-effect for effect in found if effect is not None]


def _all(samples: Columns, _blocks: Columns) -> Columns:
    return samples


def _ticked(samples: Columns, _blocks: Columns) -> Columns:
    """Samples whose CPU time was seen: a clock of coarse steps does not move in a short call."""
    return samples if all(samples.get("cpu_s", ())) else {}


def _over(
    launches: Sequence[LaunchSamples], column: str, choose: Callable[[Columns, Columns], Columns], *, share: float = 0.0
) -> Effect | None:
    """The effect over launches, from the samples that `choose` keeps; None where too few launches keep that share of blocks."""
    found = []
    for launch in launches:
        arm, base = (None if side is None else choose(side, launch.blocks) for side in (launch.case, launch.baseline))
        anchor = choose(launch.anchor, launch.blocks)
        if any(side is not None and not side.get(column) for side in (arm, base, anchor)):
            continue
        effect = effects.pair_in_launch(arm, base, anchor, column)
        every = launch.case or launch.baseline or launch.anchor
        if effect is not None and len(effect.within) >= share * len(set(every["block"])):
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
