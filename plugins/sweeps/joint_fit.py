"""One least-squares fit over all runs of a sweep: the loss of every variant over its size, with an offset of each seed.

loss = a + b x + c x² + offset of the seed, with a, b and c of the variant and x the logarithm of its size from the middle. A seed
has one offset for all variants that were trained with it, so that what it does to all of them alike blurs no difference. Within
variants that are linked by common seeds the offsets add up to 0: only then are they and the heights of the curves separate. A
variant of two sizes gets a line, one of a single size its height; with `shared_bend` all have one c, and two sizes are enough.

What is left over is the spread of a run. Each variant has its own where it has enough degrees of freedom, since variants differ
in it by up to twice, else all have one. An interval adds up the variances of what it is made of, with Welch's degrees of freedom.
That of an optimum's place is Fieller's: all places at which the slope may be 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from modbench.extend import ERROR_LEVEL as LEVEL
from modbench.extend import Line, Reason, quantile, welch_freedom

# Below this a variant's own spread is too uncertain, and all share one.
LEAST_FREEDOM = 4.0
# Residuals with fewer degrees of freedom make no interval.
FEWEST_FREEDOM = 2.0
# At or below this a curve does not open upwards: rounding alone may leave as much.
LEAST_BEND = 1e-12

FLAT = Reason("the curve does not open upwards")
SMALLER = Reason("the optimum is beyond the smallest size")
LARGER = Reason("the optimum is beyond the largest size")


def too_few(sizes: int) -> Reason:
    """Why so many sizes have no curve."""
    return Reason("{n:size is|sizes are} too few for a parabola", n=sizes)


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a loss over seeds.

    Attributes:
        sd: in nats.
        freedom: degrees of freedom behind it.
    """

    sd: float
    freedom: float


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        variant: whose curve it is on.
        x: natural logarithm of the size.
        seed: of the run.
        loss: held-out, in nats.
    """

    variant: str
    x: float
    seed: int
    loss: float


@dataclass(frozen=True)
class Estimate:
    """A number of the fit.

    Attributes:
        value: the estimate.
        low: lower end of its 95 % interval; None: open, or none.
        high: upper end.
        error: standard error; None where the runs leave nothing over to measure a spread.
    """

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Optimum:
    """The lowest point of a variant's curve.

    Attributes:
        place: natural logarithm of the size.
        loss: in nats; its interval covers other seeds.
    """

    place: Estimate
    loss: Estimate


class JointFit:
    """The fit.

    Args:
        runs: all runs of one budget.
        shared_bend: whether all variants have the same curvature.

    Attributes:
        variants: whose curves it has.
        seeds: that were seen.
        residual: deviation of a run from its curve and its seed's offset; None where nothing is left over.
        over_seeds: deviation between runs of one variant with different seeds: of the residual and the seeds' offsets
            together. It plans a comparison of variants that are not paired; pairs by seed have sqrt(2) times the residual
            one.

    Raises:
        ValueError: without runs.
    """

    def __init__(self, runs: Sequence[Run], *, shared_bend: bool = False) -> None:
        if not runs:
            raise ValueError("a fit needs runs")
        self._runs = tuple(runs)
        self.variants = sorted({run.variant for run in runs})
        self.seeds = sorted({run.seed for run in runs})
        self._middle = float(np.mean(sorted({run.x for run in runs})))
        self._sizes = {v: sorted({run.x for run in runs if run.variant == v}) for v in self.variants}
        self._columns = self._named(shared_bend=shared_bend)
        self._groups = linked(runs)
        design_RC = np.array([self._row(run) for run in runs])
        self._offsets = sum(len(group) - 1 for group in self._groups)
        loss_R = np.array([run.loss for run in runs])
        # Columns differ by orders of magnitude where sizes are close; the pseudo-inverse is of those scaled to length 1.
        length_C = np.linalg.norm(design_RC, axis=0)
        length_C[length_C == 0] = 1.0
        self._weights_CR = np.linalg.pinv(design_RC / length_C, rcond=1e-10) / length_C[:, None]
        self._found_C = self._weights_CR @ loss_R
        left_R = loss_R - design_RC @ self._found_C
        free_R = 1 - np.einsum("rc,cr->r", design_RC, self._weights_CR)
        self.residual = _spread(left_R, free_R)
        self._of = np.array([self.variants.index(run.variant) for run in runs])
        own = [_spread(left_R[self._of == i], free_R[self._of == i]) for i in range(len(self.variants))]
        enough = [each for each in own if each is not None and each.freedom >= LEAST_FREEDOM]
        self._own = enough if len(enough) == len(own) else None
        self._seeds_seen, self._seed_variance = self._between_seeds()
        self.over_seeds = self._over_seeds()

    def spread(self, variant: str) -> Spread | None:
        """Return the deviation of a variant's run from its curve: its own where every variant has enough runs, else all's."""
        return self.residual if self._own is None else self._own[self.variants.index(variant)]

    @property
    def bend(self) -> Estimate | None:
        """Curvature that all variants share: loss = … + bend x²; None where each has its own, or none has three sizes."""
        column = self._columns.get((None, "c"))
        return None if column is None else self._estimate(np.eye(len(self._found_C))[column])

    def vertex(self, variant: str) -> float | None:
        """Return the place of a curve's lowest point, also beyond its sizes; None where it does not open upwards."""
        b, c = (self._at(variant, name) for name in "bc")
        if b is None or c is None or self._found_C[c] <= LEAST_BEND:
            return None
        return float(-self._found_C[b] / (2 * self._found_C[c])) + self._middle

    def optimum(self, variant: str) -> Optimum | Reason:
        """Return the lowest point of a variant's curve, or the reason why there is none."""
        sizes = self._sizes[variant]
        if self._at(variant, "c") is None or len(sizes) < 2:
            return too_few(len(sizes))
        place = self.vertex(variant)
        if place is None:
            return FLAT
        b, c = (float(self._found_C[self._at(variant, name)]) for name in "bc")
        if not sizes[0] <= place <= sizes[-1]:
            return SMALLER if place < sizes[0] else LARGER
        return Optimum(self._place(variant, b, c), self._loss(variant, place))

    def difference(self, variant: str, other: str) -> Estimate | None:
        """Return the loss at a variant's optimum minus that at another's; None where one has none."""
        mine, theirs = self.optimum(variant), self.optimum(other)
        if isinstance(mine, Reason) or isinstance(theirs, Reason):
            return None
        gradient_C = self._point(variant, mine.place.value) - self._point(other, theirs.place.value)
        return self._estimate(gradient_C)

    def apart(self, variant: str, x: float, other: str, other_x: float) -> Estimate:
        """Return the loss of a variant at a size minus that of another at its own; the offsets of seeds cancel."""
        return self._estimate(self._point(variant, x) - self._point(other, other_x))

    def predicted(self, variant: str) -> dict[float, Estimate]:
        """Return the loss that the curve has at each size that was trained, by the logarithm of the size."""
        return {x: self._loss(variant, x) for x in self._sizes[variant]}

    def best(self, variant: str) -> float:
        """Return the trained size with the lowest predicted loss, as a logarithm: the one to confirm."""
        losses = self.predicted(variant)
        return min(losses, key=lambda x: losses[x].value)

    def _named(self, *, shared_bend: bool) -> dict[tuple[str | None, str], int]:
        """The column of each coefficient; a variant's curve has as many as its sizes can tell."""
        names: list[tuple[str | None, str]] = []
        for variant in self.variants:
            names += [(variant, name) for name in "abc"[: len(self._sizes[variant])] if name != "c" or not shared_bend]
        if shared_bend and any(len(sizes) > 2 for sizes in self._sizes.values()):
            names.append((None, "c"))
        return {name: column for column, name in enumerate(names)}

    def _at(self, variant: str, name: str) -> int | None:
        return self._columns.get((variant, name), self._columns.get((None, name)))

    def _curve(self, variant: str, x: float) -> np.ndarray:
        """The row of the design without the seed."""
        row_K, from_middle = np.zeros(len(self._columns)), x - self._middle
        for name, value in zip("abc", (1.0, from_middle, from_middle**2), strict=True):
            column = self._at(variant, name)
            if column is not None:
                row_K[column] = value
        return row_K

    def _row(self, run: Run) -> np.ndarray:
        """The row of a run: its curve, and its seed's offset, the last of each group being minus all others."""
        parts = [self._curve(run.variant, run.x)]
        for group in self._groups:
            offset = np.zeros(len(group) - 1)
            if run.seed == group[-1]:
                offset[:] = -1
            elif run.seed in group:
                offset[group.index(run.seed)] = 1
            parts.append(offset)
        return np.concatenate(parts)

    def _point(self, variant: str, x: float) -> np.ndarray:
        """The row of a curve's point, at the mean of its seeds."""
        return np.concatenate([self._curve(variant, x), np.zeros(self._offsets)])

    def _variance(self, one_C: np.ndarray, other_C: np.ndarray) -> list[float]:
        """Covariance of two combinations of the coefficients, in parts by the spread that they come from."""
        products_R = (one_C @ self._weights_CR) * (other_C @ self._weights_CR)
        if self._own is None:
            return [float(products_R.sum()) * (self.residual.sd**2 if self.residual else 0.0)]
        return [float(products_R[self._of == i].sum()) * each.sd**2 for i, each in enumerate(self._own)]

    def _freedoms(self) -> list[float]:
        assert self.residual is not None
        return [self.residual.freedom] if self._own is None else [each.freedom for each in self._own]

    def _estimate(self, gradient_C: np.ndarray, *, seeds: float = 0.0) -> Estimate:
        """A combination of the coefficients; `seeds`: variance of the mean of the seeds' offsets, if it counts."""
        value = float(gradient_C @ self._found_C)
        if not self._measured():
            return Estimate(value)
        parts, freedoms = [*self._variance(gradient_C, gradient_C)], self._freedoms()
        if seeds:
            parts, freedoms = [*parts, seeds], [*freedoms, len(self.seeds) - 1]
        error = math.sqrt(sum(parts))
        half = quantile(1 - LEVEL / 2, welch_freedom(parts, freedoms)) * error
        return Estimate(value, value - half, value + half, error)

    def _measured(self) -> bool:
        """Whether there is a spread over seeds at all."""
        return self.residual is not None and self.residual.freedom >= FEWEST_FREEDOM and len(self.seeds) > 1

    def _loss(self, variant: str, x: float) -> Estimate:
        # At an optimum the slope is 0: an error of its place does not count, to first order. The offsets come in as they are
        # seen, noise of the runs included: cut at 0 without it, intervals held the truth in 93 % instead of 95 %.
        return self._estimate(self._point(variant, x), seeds=self._seeds_seen / len(self.seeds))

    def _place(self, variant: str, b: float, c: float) -> Estimate:
        """The place of the optimum, with Fieller's interval; an end outside all reason is open."""
        at = -b / (2 * c)
        value = at + self._middle
        if not self._measured():
            return Estimate(value)
        unit_CC = np.eye(len(self._found_C))
        slope_C, bend_C = unit_CC[self._at(variant, "b")], 2 * unit_CC[self._at(variant, "c")]
        along_C = slope_C + at * bend_C
        parts = self._variance(along_C, along_C)
        quantile = float(special.stdtrit(welch_freedom(parts, self._freedoms()), LEVEL / 2))
        error = math.sqrt(sum(parts)) / (2 * c)
        variances = (sum(self._variance(*both)) for both in ((slope_C, slope_C), (slope_C, bend_C), (bend_C, bend_C)))
        found = Line(b, 2 * c, *variances).interval(quantile)  # open where the curve may not bend at all
        low, high = (None, None) if found is None else (end + self._middle for end in found)
        return Estimate(value, low, high, error)

    def _between_seeds(self) -> tuple[float, float]:
        """Variance of the seeds' offsets as they are seen, and without what the residuals put into it, at least 0."""
        if not self._offsets:
            return 0.0, 0.0
        found = noise = 0.0
        first = len(self._columns)
        for group in self._groups:
            free = len(group) - 1
            # The offsets of a group from its free columns.
            code_SF = np.vstack([np.eye(free), -np.ones((1, free))])
            offset_S = code_SF @ self._found_C[first : first + free]
            found += float(offset_S @ offset_S)
            for row_F in code_SF:
                gradient_C = np.zeros(len(self._found_C))
                gradient_C[first : first + free] = row_F
                noise += sum(self._variance(gradient_C, gradient_C))
            first += free
        return found / self._offsets, max(0.0, (found - noise) / self._offsets)

    def _over_seeds(self) -> Spread | None:
        if self.residual is None:
            return None
        parts, freedoms = [self.residual.sd**2], [self.residual.freedom]
        if self._seed_variance:
            parts, freedoms = [*parts, self._seed_variance], [*freedoms, self._offsets]
        return Spread(math.sqrt(sum(parts)), welch_freedom(parts, freedoms))


def linked(runs: Sequence[Run]) -> list[list[int]]:
    """Return the seeds in groups: two are in one if a variant has both, or a chain of variants links them."""
    groups: list[set[int]] = []
    for variant in {run.variant for run in runs}:
        together = {run.seed for run in runs if run.variant == variant}
        apart = [group for group in groups if not group & together]
        groups = [*apart, together.union(*(group for group in groups if group & together))]
    return sorted(sorted(group) for group in groups)


def _spread(left_R: np.ndarray, free_R: np.ndarray) -> Spread | None:
    """The deviation behind residuals, given the share of each that the fit left free."""
    freedom = round(float(free_R.sum()), 6)  # 2 may come out as 1.9999999999999998, which must decide nothing
    if not freedom:
        return None
    return Spread(math.sqrt(float(left_R @ left_R) / freedom), freedom)
