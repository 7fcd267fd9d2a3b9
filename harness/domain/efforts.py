"""Efforts: how many launches and rounds a preset makes, how a pilot goes on from there, and how long arms are warmed up."""

from __future__ import annotations

from typing import Literal, NamedTuple

Effort = Literal["smoke", "draft", "standard", "rigorous"]

# Launches and rounds of each effort. A launch is the unit of evidence; a round visits every arm. Many short launches tell more
# than few long ones: launches of the same code differ, and rounds of one launch cannot show by how much. From standard up the
# launches are a pilot. Of eight: from six, the interval of two arms alone covered less than 93 % (tests/bench/launch_power.py).
EFFORTS: dict[Effort, tuple[int, int]] = {
    "smoke": (1, 3),
    "draft": (10, 6),
    "standard": (8, 8),
    "rigorous": (10, 16),
}


class TwoStage(NamedTuple):
    """How a pilot decides the number of launches: the most that it may ask for, and what they shall be able to detect."""

    most_launches: int
    mde: float


# Efforts whose launches above are a pilot. At 1 %, a true +3 % is called worse in 80 % of runs at a margin of 2 %.
TWO_STAGE: dict[Effort, TwoStage] = {"standard": TwoStage(24, 0.01), "rigorous": TwoStage(40, 0.005)}
# Fewest launches of a pilot from which their spread is estimated.
FEWEST_PILOT = 4


class WarmUp(NamedTuple):
    """Calls of every arm, and the least seconds of all arms together on a CPU."""

    calls: int
    seconds: float


# After two calls arms are no further apart than later (tests/bench/launch_cost.py --settle). Cold processes, whose libraries
# start too, get one call more. Whether it was enough is tested: the drift over all launches.
WARM_UPS: dict[Effort, WarmUp] = {
    "smoke": WarmUp(1, 0.0),
    "draft": WarmUp(2, 0.1),
    "standard": WarmUp(3, 0.25),
    "rigorous": WarmUp(3, 0.25),
}
