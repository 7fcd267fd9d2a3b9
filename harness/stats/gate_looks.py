"""Is a change slower than the margin allows? Effects that arrive block by block are looked at several times.

A case *passes* where its repeated 90 % interval (Jennison & Turnbull 1989) excludes a slowdown beyond the margin, which costs 5 %
over all looks. All cases must pass at one look, so that no correction is needed (an intersection-union test). A case is *worse*
where that interval lies beyond the margin, at 5 % over all looks and all cases: Holm's procedure at each look, with the boundary
of each step (Ye, Li, Liu & Yao 2013). The boundaries are those of `alpha_spending`, as t quantiles.

How many blocks there will be is fixed before any effect is looked at. A look may come at any number of blocks, as long as the
effects have no say in it (Lan & DeMets 1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from modbench.harness.stats import alpha_spending, group_sequential, sample_size
from modbench.harness.stats.sample_size import Floats

ALPHA = 0.05
# Looks at even distances; a first one with fewer blocks could stop for nothing.
LOOKS, FIRST = 20, 5
FEWEST = FIRST
# Blocks beyond which no plan goes: they would decide what nobody asks.
MOST = 400
# A group-sequential plan takes this many times the blocks of a single look (`tests/bench/paired_power.py`).
OF_LOOKS = 1.1
# Blocks from which it is asked whether they depend on each other, and the correlation of neighbours above which they do.
SERIAL_FROM, SERIAL = 20, 0.3
# Of blocks that are advised: the probability of a decision, as a mean over what the estimates leave open. Followed, such advice
# decides in over 80 % of gates but for changes next to the margin, which no plan decides (`tests/bench/paired_power.py`).
ASSURED = 0.75
# Quantiles of what an estimate leaves open.
_BINS = 32

Word = Literal["pass", "worse", "cannot tell"]


@dataclass(frozen=True)
class Looked:
    """One case at a look, on the log scale, above 0 where the change is faster.

    Attributes:
        value: mean over blocks.
        low: lower end of the repeated 90 % interval.
        high: upper end.
        sd: standard deviation between blocks.
        n: blocks.
        word: the verdict.
        serial: correlation of blocks that follow one another, where it is so high that the interval cannot be trusted; else None.
    """

    value: float
    low: float
    high: float
    sd: float
    n: int
    word: Word
    serial: float | None = None

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)


def schedule(total: int) -> tuple[int, ...]:
    """Return the number of blocks at each look.

    Args:
        total: blocks at the last look.

    Raises:
        ValueError: with fewer than five blocks.
    """
    if total < FEWEST:
        raise ValueError(f"{total} blocks make no plan: at least {FEWEST} are needed")
    return group_sequential.schedule(total, LOOKS, FIRST)


def look(cases: Sequence[Sequence[float]], edges: Sequence[float], looks: Sequence[int], total: int) -> list[Looked]:
    """Look at the effects so far.

    Args:
        cases: of each case the effects of its blocks, on the log scale, above 0 where the change is faster.
        edges: of each case the largest slowdown that does not matter, on the same scale, above 0.
        looks: the number of blocks at every look until now, this one included.
        total: blocks that were planned.

    Raises:
        ValueError: where the blocks are fewer than five, or not those of this look.
    """
    if looks[-1] < FEWEST or any(len(values) != looks[-1] for values in cases):
        raise ValueError(f"a look at {looks[-1]} blocks needs as many of each case, and at least {FEWEST}")
    if not cases:
        return []
    fractions = [number / total for number in looks]
    every = np.asarray(cases, dtype=float)
    values_C = every.mean(axis=1)
    sds_C = every.std(axis=1, ddof=1)
    errors_C = sds_C / math.sqrt(looks[-1])

    def boundary(alpha: float) -> float:
        level = group_sequential.guarded(2 * alpha, total, LOOKS)
        return alpha_spending.boundaries(fractions, level)[-1]

    worse = _holm(values_C, errors_C, np.asarray(edges), looks[-1] - 1, boundary)
    wide = boundary(ALPHA)
    found = []
    for number, (value, error, sd) in enumerate(zip(values_C.tolist(), errors_C.tolist(), sds_C.tolist(), strict=True)):
        low, high = group_sequential.ends(value, error, looks[-1] - 1, wide)
        passes = low > -edges[number]
        word: Word = "worse" if number in worse else "pass" if passes else "cannot tell"
        correlation = serial(every[number])
        dependent = looks[-1] >= SERIAL_FROM and correlation > most_serial(looks[-1], len(cases))
        word, shown = ("cannot tell", correlation) if dependent else (word, None)
        found.append(Looked(value, low, high, sd, looks[-1], word, shown))
    return found


def serial(values_N: Floats) -> float:
    """Return the correlation of blocks with those that follow them (lag 1); 0 where nothing varies.

    A machine that is slow for minutes makes neighbours alike. The interval counts each as evidence of its own, and is too narrow.
    """
    rest_N = values_N - values_N.mean()
    whole = float(rest_N @ rest_N)
    return float(rest_N[:-1] @ rest_N[1:]) / whole if whole else 0.0


def most_serial(n: int, cases: int) -> float:
    """Return the correlation above which blocks depend on each other: `SERIAL`, or more where chance reaches that in some case.

    In 5 % of looks at independent blocks one of the cases exceeds it (normal approximation, Moran 1948).
    """
    error = (n - 2) / (n * math.sqrt(n - 1))
    return max(SERIAL, -1 / n - float(special.ndtri(ALPHA / cases)) * error)


def _holm(
    values_C: Floats, errors_C: Floats, edges_C: Floats, freedom: int, boundary: Callable[[float], float]
) -> set[int]:
    """The cases whose slowdown beyond the margin is shown, all of them together at 5 % (Holm)."""
    excess_C = -values_C - edges_C
    with np.errstate(divide="ignore", invalid="ignore"):
        t_C = np.where(errors_C > 0, excess_C / errors_C, np.sign(excess_C) * np.inf)
    worse = set[int]()
    for rank, number in enumerate(np.argsort(-t_C, kind="stable").tolist()):
        critical = -special.stdtrit(freedom, boundary(ALPHA / (len(t_C) - rank)) / 2)
        if not t_C[number] > critical:
            break
        worse.add(number)
    return worse


def blocks_needed(cases: Sequence[Looked], edges: Sequence[float]) -> int | None:
    """Return how many blocks would probably decide: all cases pass, or one is shown to be worse.

    Distances from the margin are taken from the estimates, smaller and larger by what their errors leave open: the probability of
    a decision is the mean over that (assurance; O'Hagan, Stevens & Campbell 2005).

    Args:
        cases: at the last look, at which something was left open.
        edges: of each case the largest slowdown that does not matter, on the log scale.

    Returns:
        More than there are; None: over `MOST`, which no plan makes.
    """
    made = cases[0].n
    error_B = special.stdtrit(made - 1, (np.arange(_BINS) + 0.5) / _BINS)

    def decided(n: int) -> float:
        passes, none_worse = 1.0, 1.0
        for case, edge in zip(cases, edges, strict=True):
            distance_B = case.value + edge + case.error * error_B
            passes *= _shown(distance_B, case.sd, n, ALPHA)
            none_worse *= 1 - _shown(-distance_B, case.sd, n, ALPHA / len(cases))
        return passes + 1 - none_worse

    found = sample_size.fewest(decided, ASSURED, least=made + 1, most=math.floor(MOST / OF_LOOKS))
    return None if found is None else math.ceil(OF_LOOKS * found)


def _shown(distance_B: Floats, sd: float, n: int, alpha: float) -> float:
    """The mean probability that the mean of n blocks shows what lies at these distances."""
    if sd <= 0:
        return float((distance_B > 0).mean())
    return float(sample_size.power(distance_B * math.sqrt(n) / sd, n - 1, alpha).mean())
