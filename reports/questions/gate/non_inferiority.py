"""The gate's rules: what passes, what is worse, what cannot be told, and how many launches would tell. Knows no run.

A test of non-inferiority (docs/method-gate.md). A comparison *passes* where a slowdown above the margin is excluded, each at 5 %:
a gate passes only where all of them do, so no correction is needed (an intersection-union test). It is *worse* where a slowdown
above the margin is shown, at 5 % over all times of the gate, or all losses (Holm). All else is *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, special

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.sample_size import MOST, fewest, power
from modbench.reports.model import Estimate, Finding

ALPHA = 0.05
COMPARED = frozenset({"pass", "better", "worse"})
# What stands for the metric in the one finding about a case's labels, and is its check.
LABELS = "labels"
# Shares of gates of identical code that pass at the launches that a gate asks for: the first that asks for more than were made.
PASSING = (0.8, 0.95, 0.99)


@dataclass(frozen=True)
class Change:
    """How one estimate changed between two runs, oriented so that above 0 is better.

    Attributes:
        value: the change; of times, of their logarithms.
        se: its standard error.
        df: degrees of freedom of that error.
        excludes: the change for the worse that must be excluded to pass, as a number above 0.
        alarms: the change for the worse that must be exceeded to be worse.
        spread: standard deviation of the change between two single launches; None where launches do not decide it.
        alike: names the changes that have about this spread: of one metric and place, typical calls or means.
        family: what it is corrected together with: `times` or `seeds`. Three seeds have little to give away to 34 times.
    """

    value: float
    se: float
    df: float
    excludes: float
    alarms: float
    spread: float | None = None
    alike: str = ""
    family: str = "times"

    @property
    def ends(self) -> tuple[float, float]:
        """The 90 % interval: its lower end excludes what lies below at 5 %."""
        half = float(special.stdtrit(self.df, 1 - ALPHA)) * self.se if self.se else 0.0
        return self.value - half, self.value + half

    @property
    def ratio(self) -> Estimate:
        """Of logarithms, the ratio with its interval."""
        return ratio(*(math.exp(each) for each in (self.value, *self.ends)))

    @property
    def passes(self) -> bool:
        """Whether a change for the worse beyond the margin is excluded."""
        return self.ends[0] > -self.excludes

    @property
    def p_worse(self) -> float:
        """One-sided p-value of no change for the worse beyond what alarms."""
        return self._below(self.value + self.alarms)

    @property
    def p_better(self) -> float:
        """One-sided p-value of no change for the better beyond what alarms."""
        return self._below(self.alarms - self.value)

    def _below(self, distance: float) -> float:
        if self.se == 0:
            return 0.0 if distance < 0 else 1.0
        return float(special.stdtr(self.df, distance / self.se))


@dataclass(frozen=True)
class GateFinding(Finding):
    """How one metric of one case changed: a finding whose verdict is judged from changes.

    Its verdict is `pass`, `worse`, `better`, `cannot tell`, or `not compared`, which counts neither for nor against; `typical` is
    the ratio of new to old, above 1 better, or the difference of a loss, with a 90 % interval; `needed` the launches in each run
    that would decide a *cannot tell*.

    Attributes:
        what: case id.
        metric: metric key, or `LABELS`.
        p: p-value of no slowdown above the margin, adjusted for all of its kind (Holm); None for counts.
        changes: what it is judged by; empty where it is not judged by intervals.
    """

    what: str
    p: float | None = None
    changes: tuple[Change, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether it holds what both runs measured against each other, decided or not."""
        return self.verdict in COMPARED or (self.verdict == "cannot tell" and self.typical.value is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        mean = self.mean or Estimate(None)
        told: dict[str, Any] = {"case": self.what, "metric": self.metric, "verdict": self.verdict}
        told |= {"change": self.typical.value, "low": self.typical.low, "high": self.typical.high}
        told |= {"mean_change": mean.value, "mean_low": mean.low, "mean_high": mean.high}
        return told | {"p": self.p, "launches": self.needed, "reason": self.reason}


def ratio(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    """Return a ratio of new to old: its value, and the ends of its 90 % interval where it has one."""
    return Estimate(value, low, high, kind="ratio", level=1 - 2 * ALPHA)


def welch(now: Effect, before: Effect, margin: float) -> Change | None:
    """Compare two runs' effects, whose launches are independent samples with variances of their own (Welch-Satterthwaite).

    Args:
        now: over the launches of the new run, on the log scale.
        before: over those of the old one.
        margin: the largest slowdown that does not matter, as a share.

    Returns:
        None where either has no interval over launches.
    """
    errors = [_standard_error(effect) for effect in (now, before)]
    if errors[0] is None or errors[1] is None:
        return None
    edge = math.log1p(margin)
    spread = math.sqrt(errors[0] ** 2 * now.n + errors[1] ** 2 * before.n)
    parts = [error**4 / (effect.n - 1) for error, effect in ((errors[0], now), (errors[1], before))]
    df = (errors[0] ** 2 + errors[1] ** 2) ** 2 / sum(parts) if sum(parts) else now.n + before.n - 2.0
    return Change(now.value - before.value, math.hypot(errors[0], errors[1]), df, edge, edge, spread)


def _standard_error(effect: Effect) -> float | None:
    """Return what the interval stands on; None for one launch or two, whose intervals say nothing about others."""
    if effect.n < 3 or effect.low90 is None or effect.high90 is None:
        return None
    return (effect.high90 - effect.low90) / 2 / effects.t_quantile(0.95, effect.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that one false finding among all of them is as rare as the level says (Holm)."""
    adjusted, least, n = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, i in enumerate(sorted(range(n), key=p_values.__getitem__)):
        least = max(least, min(1.0, (n - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def judge(findings: Sequence[GateFinding]) -> list[GateFinding]:
    """Return the findings with verdicts on those that hold changes: all changes of one must pass, and one alone can alarm."""
    judged = list(findings)
    for family in ("times", "seeds"):
        places = [i for i, each in enumerate(findings) if any(change.family == family for change in each.changes)]
        worse = iter(holm([change.p_worse for i in places for change in findings[i].changes]))
        better = holm([max(change.p_better for change in findings[i].changes) for i in places])
        for i, p_better in zip(places, better, strict=True):
            p_worse = min(next(worse) for _ in findings[i].changes)
            judged[i] = replace(findings[i], verdict=_verdict(findings[i], p_worse, p_better), p=p_worse)
    return judged


def _verdict(finding: GateFinding, p_worse: float, p_better: float) -> str:
    if p_worse <= ALPHA:
        return "worse"
    if not all(change.passes for change in finding.changes):
        return "cannot tell"
    return "better" if p_better <= ALPHA else "pass"


# --- how many launches would decide what it could not tell


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


def with_launches(findings: Sequence[GateFinding]) -> tuple[list[GateFinding], Asked]:
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
        told.append(replace(finding, needed=launches))
    return told, whole


def _sampled(finding: GateFinding) -> list[Change]:
    """Return the changes that more launches make more certain."""
    return [change for change in finding.changes if change.spread is not None]


def launches_to_pass(timed: Sequence[GateFinding]) -> Asked:
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
        found = fewest(all_pass, share)
        if found is None or found > made:
            return Asked(found, share, len(timed))
    return Asked(min(2 * made, MOST), PASSING[-1], len(timed))


def _kinds(timed: Sequence[GateFinding]) -> list[list[Change]]:
    """Group the changes whose spreads may be alike."""
    kinds: dict[str, list[Change]] = {}
    for finding in timed:
        for change in _sampled(finding):
            kinds.setdefault(change.alike, []).append(change)
    return list(kinds.values())


def launches_to_show(change: Change, family: int) -> int | None:
    """Return the launches in each run at which a slowdown as large as this is shown with 80 % power; None: over 1,000."""
    distance, spread = np.array([-change.value - change.alarms]), np.array([change.spread or 0.0])
    return fewest(lambda n: float(_found(distance, spread, n, ALPHA / family)[0]))


def _found(distances: np.ndarray, spreads: np.ndarray, launches: int, alpha: float) -> np.ndarray:
    """Return the probabilities that a one-sided t-test finds these distances."""
    with np.errstate(divide="ignore"):  # without a spread it is certain
        return power(distances * math.sqrt(launches) / spreads, 2 * (launches - 1), alpha)


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
