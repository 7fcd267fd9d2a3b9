"""The difference of two arms over training budgets: its slope with an interval, where it is 0, and what it would be beyond.

At each budget each arm has two neighbouring sizes, both trained with the same seeds. With a curvature c, found apart from them, a
parabola goes through the two losses of a seed, over the logarithm x of the size. Its lowest place is that of the mean losses, for
all seeds, and every seed has its loss there. So the seed is the unit, whatever its four losses have in common. The error of the
place changes nothing to first order; to second order it lowers the loss by its variance times c, which is added back. The error
of c is common to all budgets, and each arm has a curvature of its own.

The text is a second sample: all runs are judged on the same windows. Each block of windows has a difference of its own at every
budget, from the same weights, and the spread of blocks adds to the variance of whatever is made of the differences.

Slopes are unweighted least squares over the logarithm of the budget, so that no budget counts more for having more seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import special

from modbench.harness.stats.fieller import Line
from modbench.harness.stats.group_sequential import welch_freedom
from modbench.harness.stats.joint_fit import LEAST_BEND, Estimate, JointFit, Run

LEVEL = 0.95
FEWEST_SEEDS = 3
FEWEST_BUDGETS = 2
# How far beyond its two sizes an optimum may lie, in distances between them: further out a parabola is a guess.
BEYOND = 1.0
# How far beyond them, in such distances, it may lie without other sizes being taken.
CLOSE = 0.25
# Fresh seeds that show whether it does.
FIRST_SEEDS = 2
# Parameters of the best model grow with this power of the budget (Hoffmann et al. 2022).
GROWTH = 0.5
# Degrees of freedom that a fit must leave each arm for a curvature of its own: with less, its error is unknown.
FEWEST_FREEDOM = 8.0

Outcome: TypeAlias = Literal["both ends", "one end", "none", "cannot tell"]


class Tried(NamedTuple):
    """A run of the sweep.

    Attributes:
        arm: its arm.
        flops: its budget.
        place: logarithm of its size.
        seed: of the run.
        loss: held-out, in nats.
    """

    arm: str
    flops: float
    place: float
    seed: int
    loss: float


@dataclass(frozen=True)
class Sizes:
    """Two sizes of an arm at a budget.

    Attributes:
        low: logarithm of the smaller size.
        high: of the larger one.
        losses_S2: of each seed, in nats.
        blocks_SB2: the same on each block of the text; None where that is not known.
    """

    low: float
    high: float
    losses_S2: np.ndarray
    blocks_SB2: np.ndarray | None = None

    @property
    def chord(self) -> float:
        """Slope of the mean losses from the smaller to the larger size."""
        small, large = self.losses_S2.mean(0)
        return float(large - small) / (self.high - self.low)

    def place(self, bend: float) -> float:
        """Where the parabola through the mean losses is lowest, as a logarithm of the size."""
        return (self.low + self.high) / 2 - self.chord / (2 * bend)

    def is_near(self, bend: float) -> bool:
        """Whether the optimum lies between the sizes, or not far beyond them."""
        apart = BEYOND * (self.high - self.low)
        return self.low - apart <= self.place(bend) <= self.high + apart

    def share(self, bend: float) -> float:
        """Share of the way from the smaller to the larger size at which the optimum lies."""
        return (self.place(bend) - self.low) / (self.high - self.low)

    def product(self, bend: float) -> float:
        """What the parabola lies below its chord at the optimum, in units of the curvature."""
        place = self.place(bend)
        return (place - self.low) * (self.high - place)

    def lowest(self, values_x2: np.ndarray, bend: float) -> np.ndarray:
        """The loss at the optimum from losses at the two sizes, whose last axis is theirs."""
        share = self.share(bend)
        return (1 - share) * values_x2[..., 0] + share * values_x2[..., 1] - bend * self.product(bend)

    def raised(self, bend: float) -> float:
        """By how much the lowest point of the means lies too low: variance of the chord over 4 c."""
        seeds = len(self.losses_S2)
        if seeds < 2:
            return 0.0
        chord_S = (self.losses_S2[:, 1] - self.losses_S2[:, 0]) / (self.high - self.low)
        return float(chord_S.var(ddof=1)) / seeds / (4 * bend)


@dataclass(frozen=True)
class Budget:
    """Two arms at a budget, with the same seeds.

    Attributes:
        flops: training FLOPs of a run.
        mine: the arm.
        theirs: the anchor.
    """

    flops: float
    mine: Sizes
    theirs: Sizes

    @property
    def seeds(self) -> int:
        """Seeds of each arm and size."""
        return len(self.mine.losses_S2)


@dataclass(frozen=True)
class Bend:
    """The curvature of an arm's losses over the logarithm of its size, as the sweep found it.

    Attributes:
        value: c, in nats.
        error: its standard error.
        freedom: degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float


@dataclass(frozen=True)
class Crossing:
    """The budget at which the difference is 0.

    Attributes:
        outcome: `both ends`: its interval lies within the budgets; `one end`: one end does; `none`: the difference has one
            sign at all of them; `cannot tell`: it is told from 0 at neither end, or the differences are on no straight line.
        flops: the estimate; None where the line does not cross within the budgets.
        low: lower end of the interval; None: below the budgets.
        high: upper end; None: above the budgets.
    """

    outcome: Outcome
    flops: float | None = None
    low: float | None = None
    high: float | None = None


def curves(tried: Sequence[Tried]) -> dict[str, JointFit]:
    """Fit the losses of each arm over its sizes: a curve for every budget, all of one curvature.

    Where that leaves an arm too few degrees of freedom, all arms have one curvature. A seed at one budget has nothing in common
    with the same seed at another: it trains for other steps.
    """
    budgets = sorted({each.flops for each in tried})
    runs: dict[str, list[Run]] = {}
    for each in tried:
        seed = each.seed * len(budgets) + budgets.index(each.flops)
        runs.setdefault(each.arm, []).append(Run(curve_of(each.arm, each.flops), each.place, seed, each.loss))
    found = {arm: JointFit(own, shared_bend=True) for arm, own in runs.items()}
    if all(each.residual is not None and each.residual.freedom >= FEWEST_FREEDOM for each in found.values()):
        return found
    return dict.fromkeys(runs, JointFit([run for own in runs.values() for run in own], shared_bend=True))


def curve_of(arm: str, flops: float) -> str:
    """Name of an arm's curve at a budget."""
    return f"{arm} at {flops!r}"


def bend_of(fitted: JointFit) -> Bend | None:
    """The curvature of an arm, from its runs in the sweep; None where it is not above 0, or nothing tells its error."""
    found = fitted.bend
    if found is None or found.error is None or fitted.residual is None or found.value <= LEAST_BEND:
        return None
    return Bend(found.value, found.error, fitted.residual.freedom)


def pairs(fitted: JointFit, arm: str, places: Mapping[float, Sequence[float]]) -> dict[float, int] | None:
    """Choose two neighbouring sizes at each budget: those whose middle is nearest to the optimum.

    At a budget that was not explored the optimum is that of the explored ones, moved by the growth of the best size.

    Args:
        fitted: the arm's curves.
        arm: its name.
        places: logarithms of the sizes at every budget, ascending.

    Returns:
        Index of the smaller size by budget; None where no curve opens upwards.
    """
    explored = {flops: curve for flops in places if (curve := curve_of(arm, flops)) in fitted.variants}
    found = {flops: place for flops, curve in explored.items() if (place := fitted.vertex(curve)) is not None}
    if not found:
        return None
    chosen = {}
    for budget, sizes in places.items():
        moved = [place + GROWTH * math.log(budget / there) for there, place in found.items()]
        place = found.get(budget, sum(moved) / len(moved))
        middles = [(low + high) / 2 for low, high in itertools.pairwise(sizes)]
        chosen[budget] = min(range(len(middles)), key=lambda i: abs(middles[i] - place))
    return chosen


def step(first: Sizes, bend: Bend | None) -> int:
    """Return where the optimum lies by the first fresh seeds: 0 between the two sizes or close by, 1 above, -1 below.

    The sweep's few seeds may have placed it wrongly, and a budget that was not explored has no optimum of its own.
    """
    if bend is None:
        return 0
    place, close = first.place(bend.value), CLOSE * (first.high - first.low)
    return (place > first.high + close) - (place < first.low - close)


class Trend:
    """The differences of an arm and the anchor over budgets.

    Args:
        budgets: at least one, each with two seeds or more.
        mine: the arm's curvature, the same at all budgets.
        theirs: the anchor's; equal to the arm's where both are one.

    Attributes:
        budgets: ascending.
        differences: the arm's loss minus the anchor's at each budget, in nats, each at its own optimum; below 0 it is better.

    Raises:
        ValueError: without budgets, or where a curvature is not above 0.
    """

    def __init__(self, budgets: Sequence[Budget], mine: Bend, theirs: Bend) -> None:
        if not budgets or min(mine.value, theirs.value) <= 0:
            raise ValueError("a trend needs budgets, and curvatures above 0")
        self.budgets = sorted(budgets, key=lambda each: each.flops)
        self.bends = mine, theirs
        sides = [(each.mine, each.theirs) for each in self.budgets]
        of_seeds = [self._apart(arm.losses_S2, anchor.losses_S2, (arm, anchor)) for arm, anchor in sides]
        raised = [mine_.raised(mine.value) - theirs_.raised(theirs.value) for mine_, theirs_ in sides]
        self._values = np.array([each.mean() for each in of_seeds]) + raised
        self._variances = [float(each.var(ddof=1)) / len(each) for each in of_seeds]
        self._freedoms = [float(len(each) - 1) for each in of_seeds]
        self._of_bends = np.array([[-a.product(mine.value), b.product(theirs.value)] for a, b in sides])
        self._text_KB = self._blocks(sides)
        logs = np.log([each.flops for each in self.budgets])
        self._middle = float(logs.mean())
        self._from_middle = logs - self._middle
        self.differences = [self._estimate(row) for row in np.eye(len(self.budgets))]

    def _apart(self, mine_x2: np.ndarray, theirs_x2: np.ndarray, sides: tuple[Sizes, Sizes]) -> np.ndarray:
        """The arm's values at its optimum minus the anchor's at its own."""
        (arm, anchor), (mine, theirs) = sides, self.bends
        found: np.ndarray = arm.lowest(mine_x2, mine.value) - anchor.lowest(theirs_x2, theirs.value)
        return found

    def _blocks(self, sides: Sequence[tuple[Sizes, Sizes]]) -> np.ndarray | None:
        """The difference on each block of the text, at each budget; None where a run does not have its blocks."""
        rows = []
        for both in sides:
            arm, anchor = (side.blocks_SB2 for side in both)
            if arm is None or anchor is None:
                return None
            rows.append(self._apart(arm.mean(0), anchor.mean(0), both))
        return np.array(rows) if len({len(row) for row in rows}) == 1 else None

    @property
    def _has_one_bend(self) -> bool:
        return self.bends[0] == self.bends[1]

    @property
    def has_text(self) -> bool:
        """Whether the error of the text is in the intervals."""
        return self._text_KB is not None

    @property
    def near(self) -> list[bool]:
        """Whether both arms' optima lie near their two sizes, at each budget."""
        mine, theirs = self.bends
        return [each.mine.is_near(mine.value) and each.theirs.is_near(theirs.value) for each in self.budgets]

    def lowest(self, budget: int) -> tuple[float, float]:
        """Loss of the arm and of the anchor at their optima, at a budget by its index."""
        each, (mine, theirs) = self.budgets[budget], self.bends
        sides = ((each.mine, mine.value), (each.theirs, theirs.value))
        arm, anchor = (float(side.lowest(side.losses_S2, c).mean()) + side.raised(c) for side, c in sides)
        return arm, anchor

    @property
    def slope(self) -> Estimate | None:
        """Change of the difference with an e-fold of the budget, in nats; None from one budget."""
        return self._estimate(self._slope_weights()) if len(self.budgets) >= FEWEST_BUDGETS else None

    @property
    def bent(self) -> Estimate | None:
        """Curvature of the differences over the logarithm of the budget; straight where its interval holds 0; None from two."""
        if len(self.budgets) <= FEWEST_BUDGETS:
            return None
        squares = np.stack([np.ones_like(self._from_middle), self._from_middle, self._from_middle**2], axis=1)
        return self._estimate(np.linalg.pinv(squares)[2])

    @property
    def is_straight(self) -> bool | None:
        """Whether nothing speaks against a straight line at 5 %; None where two budgets cannot tell."""
        found = self.bent
        if found is None or found.low is None or found.high is None:
            return None
        return found.low <= 0 <= found.high

    def at(self, flops: float) -> Estimate | None:
        """The line's difference at a budget."""
        return self._estimate(self._at_weights(flops)) if len(self.budgets) >= FEWEST_BUDGETS else None

    def crossing(self) -> Crossing:
        """Where the line is 0, by Fieller's interval, as far as the budgets reach."""
        ends = [
            estimate for each in (self.budgets[0], self.budgets[-1]) if (estimate := self.at(each.flops)) is not None
        ]
        if len(ends) < 2 or any(end.low is None for end in ends) or self.is_straight is False:
            return Crossing("cannot tell")
        told = [end.low > 0 or end.high < 0 for end in ends]  # type: ignore[operator]  # both ends, as tested
        if all(told) and (ends[0].value > 0) == (ends[1].value > 0):
            return Crossing("none")
        if not any(told):
            return Crossing("cannot tell", self._root())
        low = self._end(0) if told[0] else None
        high = self._end(-1) if told[1] else None
        return Crossing("both ends" if all(told) else "one end", self._root(), low, high)

    def _root(self) -> float | None:
        """The budget at which the line is 0; None where that is not among the budgets."""
        first, last = (self._at_weights(self.budgets[i].flops) @ self._values for i in (0, -1))
        if first * last > 0 or first == last:
            return None
        return self._between(0, float(first / (first - last)))

    def _between(self, start: int, share: float) -> float:
        """The budget that lies a share of the way, in the logarithm, from one end of the budgets to the other."""
        here, there = self.budgets[start].flops, self.budgets[-1 - start].flops
        return here * float((there / here) ** share)

    def _end(self, start: int) -> float:
        """The budget at which the line's interval reaches 0, coming from an end of the budgets at which it does not hold it."""
        here_K, there_K = (self._at_weights(self.budgets[i].flops) for i in (start, -1 - start))
        along_K = there_K - here_K
        variances = (sum(self._parts(*both)) for both in ((here_K, here_K), (here_K, along_K), (along_K, along_K)))
        line = Line(float(here_K @ self._values), float(along_K @ self._values), *variances)

        def quantile(share: float) -> float:
            at_K = here_K + share * along_K
            return _quantile(self._freedom(self._parts(at_K, at_K)))

        return self._between(start, line.reached(quantile, 1 if line.start < 0 else -1))

    def forecast(self, flops: float, seeds: int) -> Estimate | None:
        """The difference that so many seeds of each arm and size will find at another budget, if it goes on along the line.

        The interval holds what is measured, not only the true difference. Seeds are taken to spread as at the largest budget,
        and the text as it does there.
        """
        row_K = self._at_weights(flops) if len(self.budgets) >= FEWEST_BUDGETS else None
        if row_K is None or self._lacks_spread():
            return None
        parts, freedoms = self._parts(row_K, row_K), self._all_freedoms()
        last = np.eye(len(self.budgets))[-1]
        parts.append(self._variances[-1] * self.budgets[-1].seeds / seeds)
        freedoms.append(self._freedoms[-1])
        if self._text_KB is not None:
            parts.append(self._text(last, last))
            freedoms.append(self._text_KB.shape[1] - 1.0)
        value, error = float(row_K @ self._values), math.sqrt(sum(parts))
        margin = _quantile(welch_freedom(parts, freedoms)) * error
        return Estimate(value, value - margin, value + margin, error)

    def seeds_for(self, half_width: float) -> float | None:
        """Times as many seeds with which the slope's interval would be this wide on each side; None where they cannot do it."""
        found = self.slope
        if found is None or found.low is None or found.high is None:
            return None
        slope_K = self._slope_weights()
        of_seeds = sum(each * each * variance for each, variance in zip(slope_K, self._variances, strict=True))
        rest = sum(self._parts(slope_K, slope_K)) - of_seeds
        wanted = (half_width / _quantile(math.inf)) ** 2 - rest
        return of_seeds / wanted if wanted > 0 else None

    def _slope_weights(self) -> np.ndarray:
        return self._from_middle / float(self._from_middle @ self._from_middle)

    def _at_weights(self, flops: float) -> np.ndarray:
        return 1 / len(self.budgets) + (math.log(flops) - self._middle) * self._slope_weights()

    def _text(self, one_K: np.ndarray, other_K: np.ndarray) -> float:
        assert self._text_KB is not None
        one_B, other_B = one_K @ self._text_KB, other_K @ self._text_KB
        blocks = len(one_B)
        return float((one_B - one_B.mean()) @ (other_B - other_B.mean())) / (blocks - 1) / blocks if blocks > 1 else 0.0

    def _parts(self, one_K: np.ndarray, other_K: np.ndarray) -> list[float]:
        """Covariance of two combinations of the differences, in parts: seeds of each budget, each curvature, the text."""
        parts = [float(a * b) * variance for a, b, variance in zip(one_K, other_K, self._variances, strict=True)]
        one_A, other_A = one_K @ self._of_bends, other_K @ self._of_bends
        if self._has_one_bend:
            one_A, other_A = one_A.sum(keepdims=True), other_A.sum(keepdims=True)
        parts += [float(a * b) * bend.error**2 for a, b, bend in zip(one_A, other_A, self.bends, strict=False)]
        if self._text_KB is not None:
            parts.append(self._text(one_K, other_K))
        return parts

    def _all_freedoms(self) -> list[float]:
        return [
            *self._freedoms,
            *(bend.freedom for bend in self.bends[: 1 if self._has_one_bend else 2]),
            *([self._text_KB.shape[1] - 1.0] if self._text_KB is not None else []),
        ]

    def _freedom(self, parts: list[float]) -> float:
        return welch_freedom(parts, self._all_freedoms())

    def _lacks_spread(self) -> bool:
        return min(each.seeds for each in self.budgets) < FEWEST_SEEDS

    def _estimate(self, row_K: np.ndarray) -> Estimate:
        value = float(row_K @ self._values)
        used = [each.seeds for each, weight in zip(self.budgets, row_K, strict=True) if weight]
        if min(used, default=0) < FEWEST_SEEDS:
            return Estimate(value)
        parts = self._parts(row_K, row_K)
        error = math.sqrt(sum(parts))
        margin = _quantile(self._freedom(parts)) * error
        return Estimate(value, value - margin, value + margin, error)


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(min(freedom, 1e9), (1 + LEVEL) / 2))
