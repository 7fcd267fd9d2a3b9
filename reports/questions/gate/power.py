"""How many launches would decide what a gate could not tell."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats

from modbench.harness.stats.effects import POWER
from modbench.reports.questions.gate.non_inferiority import ALPHA, Change, Finding

# Shares of gates of identical code that pass at the launches that a gate asks for: the first that asks for more than were made.
PASSING = (0.8, 0.95, 0.99)
MOST_LAUNCHES = 1000
# A shift of so many standard errors is found with certainty; the noncentral t cannot be computed far beyond.
CERTAIN = 30.0


@dataclass(frozen=True)
class Asked:
    """What a gate asks for where it cannot tell.

    Attributes:
        launches: of each run; None: over 1,000, or launches decide nothing here.
        passing: share of gates of identical code in which all cases then pass.
        cases: timed cases that must pass.
    """

    launches: int | None = None
    passing: float = PASSING[0]
    cases: int = 0


def with_launches(findings: Sequence[Finding]) -> tuple[list[Finding], Asked]:
    """Add to each *cannot tell* the launches in each run that would decide it, and return those for the whole gate.

    Where the estimate lies within the margin: the launches at which the whole gate passes identical code. Where it lies beyond:
    those at which a slowdown as large as estimated is shown with 80 % power.
    """
    whole = launches_to_pass([finding for finding in findings if _sampled(finding)])
    family = sum(change.family == "times" for finding in findings for change in finding.changes)
    told = []
    for finding in findings:
        launches = None
        if finding.verdict == "cannot tell" and _sampled(finding):
            slowest = min(finding.changes, key=lambda change: change.value)
            beyond = slowest.value < -slowest.alarms
            launches = launches_to_show(slowest, family) if beyond else whole.launches
        told.append(replace(finding, launches=launches))
    return told, whole


def _sampled(finding: Finding) -> list[Change]:
    """Return the changes that more launches make more certain."""
    return [change for change in finding.changes if change.spread is not None]


def launches_to_pass(timed: Sequence[Finding]) -> Asked:
    """Return the launches in each run, more than were made, at which all of these pass, if nothing changed.

    Changes are taken as independent. They share an anchor, so that more gates pass than this says, never fewer.
    """
    kinds = _kinds(timed)
    changes = [change for kind in kinds for change in kind]
    if not changes:
        return Asked()
    variances = [shrunk([(each.spread or 0.0) ** 2 for each in kind], [each.df for each in kind]) for kind in kinds]
    spreads, edges = np.sqrt(np.concatenate(variances)), np.array([each.excludes for each in changes])
    made = max((round((each.spread / each.se) ** 2) for each in changes if each.spread and each.se), default=0)

    def all_pass(launches: int) -> float:
        return float(np.prod(_found(edges, spreads, launches, ALPHA)))

    for share in PASSING:
        found = _fewest(all_pass, share)
        if found is None or found > made:
            return Asked(found, share, len(timed))
    return Asked(min(2 * made, MOST_LAUNCHES), PASSING[-1], len(timed))


def _kinds(timed: Sequence[Finding]) -> list[list[Change]]:
    """Group the changes whose spreads may be alike."""
    kinds: dict[str, list[Change]] = {}
    for finding in timed:
        for change in _sampled(finding):
            kinds.setdefault(change.alike, []).append(change)
    return list(kinds.values())


def launches_to_show(change: Change, family: int) -> int | None:
    """Return the launches in each run at which a slowdown as large as this is shown with 80 % power; None: over 1,000."""
    distance, spread = np.array([-change.value - change.alarms]), np.array([change.spread or 0.0])
    return _fewest(lambda n: float(_found(distance, spread, n, ALPHA / family)[0]), POWER)


def _found(distances: np.ndarray, spreads: np.ndarray, launches: int, alpha: float) -> np.ndarray:
    """Return the probabilities that a one-sided t-test finds these distances."""
    df = 2 * (launches - 1)
    errors = np.maximum(spreads / math.sqrt(launches), distances / CERTAIN)
    return np.asarray(stats.nct.sf(stats.t.ppf(1 - alpha, df), df, distances / errors))


def _fewest(chance: Callable[[int], float], wanted: float) -> int | None:
    """Return the fewest launches with at least the wanted chance, which grows with them."""
    numbers = range(3, MOST_LAUNCHES + 1)
    place = bisect.bisect_left(numbers, True, key=lambda n: chance(n) >= wanted)
    return numbers[place] if place < len(numbers) else None


def shrunk(variances: Sequence[float], df: Sequence[float]) -> np.ndarray:
    """Move variances from few launches towards what all of them share, as far as they scatter no more than chance (Smyth 2004).

    The largest of 34 estimates from five launches is three times the truth by chance; it would ask for three times the launches.

    Args:
        variances: estimates.
        df: their degrees of freedom.
    """
    found, half = np.array(variances), np.array(df) / 2
    known = found > 0
    if known.sum() < 2:
        return found
    logs = np.log(found[known]) - special.digamma(half[known]) + np.log(half[known])
    excess = float(np.var(logs, ddof=1) - special.polygamma(1, half[known]).mean())
    if excess <= special.polygamma(1, 1e4):
        return np.where(known, math.exp(logs.mean()), found)
    prior = optimize.brentq(lambda x: float(special.polygamma(1, x)) - excess, 1e-6, 1e4 + 1)
    shared = math.exp(logs.mean() + special.digamma(prior) - math.log(prior))
    return np.where(known, (prior * shared + half * found) / (prior + half), found)
