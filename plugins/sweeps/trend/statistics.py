"""The difference of two variants over training budgets: its slope with an interval, where it is 0, and what it would be beyond.

At each budget each variant has two neighbouring sizes, both trained with the same seeds. With a curvature c, found apart from
them, a parabola goes through the two losses of a seed, over the logarithm x of the size. Its lowest place is that of the mean
losses, for all seeds, and every seed has its loss there. So the seed is the unit, whatever its four losses have in common.
The error of the place changes nothing to first order; to second order it lowers the loss by its variance times c, which is
added back. The error of c is common to all budgets, and each variant has a curvature of its own.

The text is a second sample: all runs are judged on the same windows. Each block of windows has a difference of its own at every
budget, from the same weights, and the spread of blocks adds to the variance of whatever is made of the differences.

Slopes are unweighted least squares over the logarithm of the budget, so that no budget counts more for having more seeds.

Few seeds know their standard deviation badly: a budget whose seeds happen to lie close together would make every interval too
narrow. So all budgets share one pooled standard deviation, unless Bartlett's test at 1 % speaks against it (Bartlett 1937).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import special

from modbench.extend import Line, welch_freedom
from modbench.plugins.sweeps.joint_fit import LEAST_BEND, Estimate, JointFit, Run

LEVEL = 0.95
# Level at which budgets are told to differ in their standard deviations.
UNEQUAL_LEVEL = 0.01
# Level at which a budget is told to lie off the line through the others.
OFF_LEVEL = 0.01
FEWEST_SEEDS = 3
FEWEST_BUDGETS = 2
# How far beyond its two sizes an optimum may lie, in distances between them: further out a parabola is a guess.
BEYOND = 1.0
# How far beyond them, in such distances, it may lie without other sizes being taken.
CLOSE = 0.25
# New seeds that show whether it does.
FIRST_SEEDS = 2
# Parameters of the best model grow with this power of the budget (Hoffmann et al. 2022).
GROWTH = 0.5
# Degrees of freedom that a fit must leave each variant for a curvature of its own: with less, its error is unknown.
FEWEST_FREEDOM = 8.0

Outcome: TypeAlias = Literal["both ends", "one end", "one sign", "none", "inconclusive"]


class Tried(NamedTuple):
    """A run of the sweep.

    Attributes:
        variant: its variant.
        flops: its budget.
        place: logarithm of its size.
        seed: of the run.
        loss: held-out, in nats.
    """

    variant: str
    flops: float
    place: float
    seed: int
    loss: float


@dataclass(frozen=True)
class Sizes:
    """Two sizes of a variant at a budget.

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
    """Two variants at a budget, with the same seeds.

    Attributes:
        flops: training FLOPs of a run.
        mine: the variant.
        theirs: the baseline.
    """

    flops: float
    mine: Sizes
    theirs: Sizes

    @property
    def seeds(self) -> int:
        """Seeds of each variant and size."""
        return len(self.mine.losses_S2)


@dataclass(frozen=True)
class Bend:
    """The curvature of a variant's losses over the logarithm of its size, as the sweep found it.

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
    """The budget at which the difference is 0. It takes a line that was tested, and both signs shown.

    Attributes:
        outcome: `both ends`: the line differs significantly from 0 at both ends of the budgets, with opposite signs, and the
            interval lies within them; `one end`: the line differs significantly from 0 at one end, and a budget's own seeds show
            the other sign; `one sign`: the line differs significantly from 0 at one end, and nothing shows the other sign: there
            may be no crossing; `none`: the line has one sign at all budgets; `inconclusive`: it differs significantly from 0 at
            neither end, or it was not shown to be straight, which takes three budgets.
        flops: the estimate; None without a crossing, or where the line crosses beyond the budgets.
        low: lower end of the interval; None: below the budgets. For `one sign`: up to there the sign is known.
        high: upper end; None: above the budgets. For `one sign`: from there on the sign is known.
    """

    outcome: Outcome
    flops: float | None = None
    low: float | None = None
    high: float | None = None


def curves(tried: Sequence[Tried]) -> dict[str, JointFit]:
    """Fit the losses of each variant over its sizes: a curve for every budget, all of one curvature.

    Where that leaves a variant too few degrees of freedom, all variants have one curvature. A seed at one budget has nothing
    in common with the same seed at another: it trains for other steps.
    """
    budgets = sorted({each.flops for each in tried})
    runs: dict[str, list[Run]] = {}
    for each in tried:
        seed = each.seed * len(budgets) + budgets.index(each.flops)
        runs.setdefault(each.variant, []).append(Run(curve_of(each.variant, each.flops), each.place, seed, each.loss))
    found = {variant: JointFit(own, shared_bend=True) for variant, own in runs.items()}
    if all(each.residual is not None and each.residual.freedom >= FEWEST_FREEDOM for each in found.values()):
        return found
    return dict.fromkeys(runs, JointFit([run for own in runs.values() for run in own], shared_bend=True))


def curve_of(variant: str, flops: float) -> str:
    """Name of a variant's curve at a budget."""
    return f"{variant} at {flops!r}"


def bend_of(fitted: JointFit) -> Bend | None:
    """The curvature of a variant, from its runs in the sweep; None where it is not above 0, or nothing tells its error."""
    found = fitted.bend
    if found is None or found.error is None or fitted.residual is None or found.value <= LEAST_BEND:
        return None
    return Bend(found.value, found.error, fitted.residual.freedom)


def pairs(fitted: JointFit, variant: str, places: Mapping[float, Sequence[float]]) -> dict[float, int] | None:
    """Choose two neighbouring sizes at each budget: those whose middle is nearest to the optimum.

    At a budget that was not explored the optimum is that of the explored ones, moved by the growth of the best size.

    Args:
        fitted: the variant's curves.
        variant: its name.
        places: logarithms of the sizes at every budget, ascending.

    Returns:
        Index of the smaller size by budget; None where no curve opens upwards.
    """
    explored = {flops: curve for flops in places if (curve := curve_of(variant, flops)) in fitted.variants}
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
    """Return where the optimum lies by the first new seeds: 0 between the two sizes or close by, 1 above, -1 below.

    The sweep's few seeds may have placed it wrongly, and a budget that was not explored has no optimum of its own.
    """
    if bend is None:
        return 0
    place, close = first.place(bend.value), CLOSE * (first.high - first.low)
    return (place > first.high + close) - (place < first.low - close)


def unequal(variances: Sequence[float] | np.ndarray, freedoms: Sequence[float] | np.ndarray) -> float:
    """Return the p-value of Bartlett's test that samples have one variance; small where they differ. 1 for a single sample.

    Args:
        variances: of each sample.
        freedoms: degrees of freedom of each.
    """
    variance_K, freedom_K = np.asarray(variances, float), np.asarray(freedoms, float)
    whole, more = float(freedom_K.sum()), len(freedom_K) - 1
    pooled = float(freedom_K @ variance_K) / whole
    if not more or not pooled:
        return 1.0
    with np.errstate(divide="ignore"):  # a sample that does not vary at all has another variance than one that does
        apart = whole * math.log(pooled) - float(freedom_K @ np.log(variance_K))
    corrected = 1 + (float((1 / freedom_K).sum()) - 1 / whole) / (3 * more)
    return float(special.chdtrc(more, max(0.0, apart / corrected)))


class Trend:
    """The differences of a variant and the baseline over budgets.

    Args:
        budgets: at least one, each with two seeds or more.
        mine: the variant's curvature, the same at all budgets.
        theirs: the baseline's; equal to the variant's where both are one.

    Attributes:
        budgets: ascending.
        spreads: standard deviation over seeds at each budget, in nats, of the difference of one seed.
        spread: the same of all budgets, pooled.
        has_one_spread: whether the pooled one is in every interval; else each budget has its own.
        differences: the variant's loss minus the baseline's at each budget, in nats, each at its own optimum; below 0 is better.

    Raises:
        ValueError: without budgets, or where a curvature is not above 0.
    """

    def __init__(self, budgets: Sequence[Budget], mine: Bend, theirs: Bend) -> None:
        if not budgets or min(mine.value, theirs.value) <= 0:
            raise ValueError("a trend needs budgets, and curvatures above 0")
        self.budgets = sorted(budgets, key=lambda each: each.flops)
        self.bends = mine, theirs
        sides = [(each.mine, each.theirs) for each in self.budgets]
        of_seeds = [self._apart(variant.losses_S2, anchor.losses_S2, (variant, anchor)) for variant, anchor in sides]
        raised = [mine_.raised(mine.value) - theirs_.raised(theirs.value) for mine_, theirs_ in sides]
        self._values = np.array([each.mean() for each in of_seeds]) + raised
        own_K = np.array([float(each.var(ddof=1)) for each in of_seeds])
        self._seeds_K = np.array([len(each) for each in of_seeds])
        pooled = float((self._seeds_K - 1) @ own_K) / float((self._seeds_K - 1).sum())
        self.has_one_spread = unequal(own_K, self._seeds_K - 1) >= UNEQUAL_LEVEL
        self.spreads, self.spread = [math.sqrt(each) for each in own_K], math.sqrt(pooled)
        self._variance_K = np.full_like(own_K, pooled) if self.has_one_spread else own_K
        self._of_bends = np.array([[-a.product(mine.value), b.product(theirs.value)] for a, b in sides])
        self._text_KB = self._blocks(sides)
        self._logs_K = np.log([each.flops for each in self.budgets])
        self._from_middle = self._logs_K - self._logs_K.mean()
        self.differences = [self._estimate(row) for row in np.eye(len(self.budgets))]

    def _apart(self, mine_x2: np.ndarray, theirs_x2: np.ndarray, sides: tuple[Sizes, Sizes]) -> np.ndarray:
        """The variant's values at its optimum minus the baseline's at its own."""
        (variant, anchor), (mine, theirs) = sides, self.bends
        found: np.ndarray = variant.lowest(mine_x2, mine.value) - anchor.lowest(theirs_x2, theirs.value)
        return found

    def _blocks(self, sides: Sequence[tuple[Sizes, Sizes]]) -> np.ndarray | None:
        """The difference on each block of the text, at each budget; None where a run does not have its blocks."""
        rows = []
        for both in sides:
            variant, anchor = (side.blocks_SB2 for side in both)
            if variant is None or anchor is None:
                return None
            rows.append(self._apart(variant.mean(0), anchor.mean(0), both))
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
        """Whether both variants' optima lie near their two sizes, at each budget."""
        mine, theirs = self.bends
        return [each.mine.is_near(mine.value) and each.theirs.is_near(theirs.value) for each in self.budgets]

    def lowest(self, budget: int) -> tuple[float, float]:
        """Loss of the variant and of the baseline at their optima, at a budget by its index."""
        each, (mine, theirs) = self.budgets[budget], self.bends
        sides = ((each.mine, mine.value), (each.theirs, theirs.value))
        variant, anchor = (float(side.lowest(side.losses_S2, c).mean()) + side.raised(c) for side, c in sides)
        return variant, anchor

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
    def off_line(self) -> tuple[int, Estimate] | None:
        """The budget, by its index, that is told at 1 % from the line through the others, and how far above it lies.

        Of several it is the one that differs most. None where there is none, or fewer than three others, through which any two
        points would make a line.
        """
        found = []
        for i, budget in enumerate(self.budgets if len(self.budgets) > FEWEST_BUDGETS + 1 else ()):
            others_K = np.arange(len(self.budgets)) != i
            row_K = np.eye(len(self.budgets))[i]
            row_K[others_K] -= _at_weights(self._logs_K[others_K], math.log(budget.flops))
            apart = self._estimate(row_K, 1 - OFF_LEVEL)
            if apart.error and sign(apart):
                found.append((i, apart))
        return max(found, key=lambda each: abs(each[1].value) / (each[1].error or 1.0), default=None)

    @property
    def is_straight(self) -> bool | None:
        """Whether nothing speaks against a straight line: no bend at 5 %, no budget off it at 1 %; None of two budgets."""
        found = self.bent
        if found is None or found.low is None or found.high is None:
            return None
        return found.low <= 0 <= found.high and self.off_line is None

    def at(self, flops: float) -> Estimate | None:
        """The line's difference at a budget."""
        return self._estimate(self._at_weights(flops)) if len(self.budgets) >= FEWEST_BUDGETS else None

    def crossing(self) -> Crossing:
        """Where the line is 0, by Fieller's interval, as far as the budgets reach."""
        ends = [found for each in (self.budgets[0], self.budgets[-1]) if (found := self.at(each.flops)) is not None]
        signs = [sign(found) for found in ends]
        if not self.is_straight or not any(signs):
            return Crossing("inconclusive")
        if all(signs):
            if signs[0] == signs[1]:
                return Crossing("none")
            return Crossing("both ends", self._root(), self._end(0), self._end(-1))
        low, high = (self._end(end) if told else None for end, told in zip((0, -1), signs, strict=True))
        beyond = [
            sign(found)
            for budget, found in zip(self.budgets, self.differences, strict=True)
            if budget.flops < (high or 0.0) or budget.flops > (low or math.inf)
        ]
        if -sum(signs) in beyond:
            return Crossing("one end", self._root(), low, high)
        return Crossing("one sign", None, low, high)

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
        """The difference that so many seeds of each variant and size will find at another budget, if it goes on along the line.

        The interval holds what is measured, not only the true difference. Seeds are taken to spread as at all budgets, or where
        these differ as at the largest, and the text as it does there.
        """
        row_K = self._at_weights(flops) if len(self.budgets) >= FEWEST_BUDGETS else None
        if row_K is None or self._lacks_spread():
            return None
        last = np.eye(len(self.budgets))[-1]
        # What is measured has the spread that the line's error is made of: one part, whose degrees of freedom count once.
        parts = [*self._of_seeds(row_K**2 / self._seeds_K + last / seeds), *self._of_others(row_K, row_K)]
        freedoms = self._all_freedoms()
        if self._text_KB is not None:
            parts.append(self._text(last, last))
            freedoms.append(self._text_KB.shape[1] - 1.0)
        value, error = float(row_K @ self._values), math.sqrt(sum(parts))
        margin = _quantile(welch_freedom(parts, freedoms)) * error
        return Estimate(value, value - margin, value + margin, error)

    def _slope_weights(self) -> np.ndarray:
        weights_K: np.ndarray = self._from_middle / float(self._from_middle @ self._from_middle)
        return weights_K

    def _at_weights(self, flops: float) -> np.ndarray:
        return _at_weights(self._logs_K, math.log(flops))

    def _text(self, one_K: np.ndarray, other_K: np.ndarray) -> float:
        assert self._text_KB is not None
        one_B, other_B = one_K @ self._text_KB, other_K @ self._text_KB
        blocks = len(one_B)
        return float((one_B - one_B.mean()) @ (other_B - other_B.mean())) / (blocks - 1) / blocks if blocks > 1 else 0.0

    def _parts(self, one_K: np.ndarray, other_K: np.ndarray) -> list[float]:
        """Covariance of two combinations of the differences, in parts: the seeds, each curvature, the text."""
        return [*self._of_seeds(one_K * other_K / self._seeds_K), *self._of_others(one_K, other_K)]

    def _of_seeds(self, times_K: np.ndarray) -> list[float]:
        """So many times the variance of a seed at each budget: one part for each estimate of it."""
        parts_K = times_K * self._variance_K
        return [float(parts_K.sum())] if self.has_one_spread else [float(each) for each in parts_K]

    def _of_others(self, one_K: np.ndarray, other_K: np.ndarray) -> list[float]:
        """Covariance of two combinations by what seeds have in common, in parts: each curvature, the text."""
        one_A, other_A = one_K @ self._of_bends, other_K @ self._of_bends
        if self._has_one_bend:
            one_A, other_A = one_A.sum(keepdims=True), other_A.sum(keepdims=True)
        parts = [float(a * b) * bend.error**2 for a, b, bend in zip(one_A, other_A, self.bends, strict=False)]
        if self._text_KB is not None:
            parts.append(self._text(one_K, other_K))
        return parts

    def _all_freedoms(self) -> list[float]:
        freedom_K = self._seeds_K - 1.0
        return [
            *([float(freedom_K.sum())] if self.has_one_spread else map(float, freedom_K)),
            *(bend.freedom for bend in self.bends[: 1 if self._has_one_bend else 2]),
            *([self._text_KB.shape[1] - 1.0] if self._text_KB is not None else []),
        ]

    def _freedom(self, parts: list[float]) -> float:
        return welch_freedom(parts, self._all_freedoms())

    def _lacks_spread(self) -> bool:
        return min(each.seeds for each in self.budgets) < FEWEST_SEEDS

    def _estimate(self, row_K: np.ndarray, level: float = LEVEL) -> Estimate:
        value = float(row_K @ self._values)
        used = [each.seeds for each, weight in zip(self.budgets, row_K, strict=True) if weight]
        if min(used, default=0) < FEWEST_SEEDS:
            return Estimate(value)
        parts = self._parts(row_K, row_K)
        error = math.sqrt(sum(parts))
        margin = _quantile(self._freedom(parts), level) * error
        return Estimate(value, value - margin, value + margin, error)


def sign(found: Estimate) -> int:
    """Return the sign that an interval shows, 1 or -1; 0 where it holds 0 or there is none."""
    if found.low is None or found.high is None:
        return 0
    return (found.low > 0) - (found.high < 0)


def _at_weights(logs_K: np.ndarray, log: float) -> np.ndarray:
    """What each of some differences counts in their line at a place."""
    away_K = logs_K - logs_K.mean()
    weights_K: np.ndarray = 1 / len(logs_K) + (log - logs_K.mean()) * away_K / (away_K @ away_K)
    return weights_K


def _quantile(freedom: float, level: float = LEVEL) -> float:
    return float(special.stdtrit(min(freedom, 1e9), (1 + level) / 2))
