"""The gate's rules: what passes, what is worse, what cannot be told, and what would tell. Knows no run folder.

A test of non-inferiority (docs/method-gate.md). A comparison *passes* where a slowdown above the margin is excluded, each at 5 %:
a gate passes only where all of them do, so no correction is needed (an intersection-union test). It is *worse* where a slowdown
above the margin is shown, at 5 % over all times of the gate, or all losses (Holm). All else is *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import optimize, special

from modbench.harness.core.grouped import grouped
from modbench.harness.stats import time_to_detect
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.group_sequential import welch_freedom
from modbench.harness.stats.sample_size import MOST, Floats, fewest, power
from modbench.harness.stats.time_to_detect import Decision, Spread
from modbench.reports.model import Estimate, Finding, Value
from modbench.reports.questions.gate.run_spread import NONE, RunSpread, standard_error

ALPHA = 0.05
COMPARED = frozenset({"pass", "better", "worse"})
# What stands for the metric in the one finding about a case's labels, and is its check.
LABELS = "labels"
NO_RATIO = Estimate(None)
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
        launches: made in each run; of two numbers, the one with which two runs would have the same error.
        runs: how much runs differ, which is a part of the error.
        alike: names the changes that have about this spread: of one metric and place, typical calls or means.
        family: what it is corrected together with: `times` or `seeds`. Three seeds have little to give away to 34 times.
    """

    value: float
    se: float
    df: float
    excludes: float
    alarms: float
    spread: float | None = None
    launches: float = 0.0
    runs: RunSpread = NONE
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
        check: the check of `--fail-on` that it belongs to; None: no check judges the metric.
        by_cpu: whether CPU time is judged, not wall time.
        p: p-value of no slowdown above the margin, adjusted for all of its kind (Holm); None for counts.
        changes: what it is judged by; empty where it is not judged by intervals.
    """

    what: str
    check: str | None = None
    by_cpu: bool = False
    p: float | None = None
    changes: tuple[Change, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether it holds what both runs measured against each other, decided or not."""
        return self.verdict in COMPARED or (self.verdict == "cannot tell" and self.typical.value is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`."""
        mean = self.mean or Estimate(None)
        told: dict[str, Any] = {"case": self.what, "metric": self.metric, "verdict": self.verdict}
        told |= {"change": self.typical.value, "low": self.typical.low, "high": self.typical.high}
        told |= {"mean_change": mean.value, "mean_low": mean.low, "mean_high": mean.high, "by_cpu": self.by_cpu}
        sampled = [change.runs for change in self.changes if change.spread is not None]
        runs = max(sampled, key=lambda each: each.sd, default=None)
        told |= {"run_sd": runs and runs.share, "runs": runs and runs.runs}
        return told | {"p": self.p, "launches": self.needed, "reason": self.reason}


def unnamed(
    verdict: str,
    reason: Value,
    *,
    typical: Estimate = NO_RATIO,
    mean: Estimate | None = None,
    changes: tuple[Change, ...] = (),
    by_cpu: bool = False,
) -> GateFinding:
    """Return a finding without its case, metric and check, which are named where it is yielded."""
    return GateFinding("", verdict=verdict, reason=reason, typical=typical, other=mean, changes=changes, by_cpu=by_cpu)


def ratio(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    """Return a ratio of new to old: its value, and the ends of its 90 % interval where it has one."""
    return Estimate(value, low, high, kind="ratio", level=1 - 2 * ALPHA)


def welch(now: Effect, before: Effect, margin: float, runs: RunSpread = NONE) -> Change | None:
    """Compare two runs' effects, whose launches are independent samples with variances of their own (Welch-Satterthwaite).

    The variance between runs is added for each of the two. One that was measured from runs holds what their launches made, which
    is not added again: only what the launches of a run make beyond that.

    Args:
        now: over the launches of the new run, on the log scale.
        before: over those of the old one.
        margin: the largest slowdown that does not matter, as a share.
        runs: how much runs of the same code differ.

    Returns:
        None where either has no interval over launches.
    """
    errors = [standard_error(effect) for effect in (now, before)]
    if errors[0] is None or errors[1] is None:
        return None
    edge = math.log1p(margin)
    own = [(error**2, effect.n) for error, effect in ((errors[0], now), (errors[1], before))]
    spread = math.sqrt(sum(variance * n for variance, n in own))
    whole = sum(variance for variance, _ in own)
    launches = spread**2 / whole if whole else min(now.n, before.n)
    parts = [2 * runs.sd**2, *(max(0.0, variance - runs.of_launches) for variance, _ in own)]
    df = welch_freedom(parts, [runs.df, *(n - 1 for _, n in own)])
    return Change(now.value - before.value, math.sqrt(sum(parts)), df, edge, edge, spread, launches, runs)


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


# --- what would decide what it could not tell


@dataclass(frozen=True)
class Asked:
    """What a gate asks for where it cannot tell: launches and rounds, and the margins that need no more.

    Attributes:
        launches: of each run, at what takes least time; None: over 1,000, or launches decide nothing here.
        rounds: of each of these launches; None: as many as were made.
        seconds: that each of these runs takes; None: not known.
        as_made: launches of each run, of as many rounds as were made.
        passing: share of gates of identical code in which all cases then pass.
        cases: timed cases that must pass.
        usable: by check, the smallest limit at which all of its cases pass identical code in 80 % of gates of two such runs.
    """

    launches: int | None = None
    rounds: int | None = None
    seconds: float | None = None
    as_made: int | None = None
    passing: float = PASSING[0]
    cases: int = 0
    usable: Mapping[str, float] = field(default_factory=dict)


def with_launches(
    findings: Sequence[GateFinding], cost: Spread | None = None, rounds: int = 0
) -> tuple[list[GateFinding], Asked]:
    """Add to each *cannot tell* the launches in each run that would decide it, and return what the whole gate asks for.

    Where the estimate lies within the margin: the launches at which the whole gate passes identical code. Where it lies beyond:
    those at which a slowdown as large as estimated is shown with 80 % power.
    """
    timed = [finding for finding in findings if _sampled(finding)]
    whole = replace(launches_to_pass(timed, cost, rounds), usable=usable(timed))
    family = sum(change.family == "times" for finding in findings for change in finding.changes)
    told = []
    for finding in findings:
        launches = None
        if finding.verdict == "cannot tell" and _sampled(finding):
            slowest = min(finding.changes, key=lambda change: change.value)
            beyond = slowest.value < -slowest.alarms
            launches = launches_to_show(slowest, family) if beyond else whole.as_made
        told.append(replace(finding, needed=launches))
    return told, whole


def _sampled(finding: GateFinding) -> list[Change]:
    """Return the changes that launches make more certain."""
    return [change for change in finding.changes if change.spread is not None]


def launches_to_pass(timed: Sequence[GateFinding], cost: Spread | None = None, rounds: int = 0) -> Asked:
    """Return the launches in each run, more than were made, at which all of these pass, if nothing changed.

    Changes are taken as independent. They share an anchor, so that more gates pass than this says, never fewer.
    """
    family = _Family(timed)
    if not family.changes:
        return Asked()
    edges, made = np.array([each.excludes for each in family.changes]), round(family.launches.max())

    def all_pass(launches: int, share: float = 1.0) -> float:
        return float(np.prod(family.found(edges, launches, ALPHA, share)))

    def cheapest(passing: float) -> Decision | None:
        if cost is None or not (as_made := cost.launch_sd(rounds)):
            return None
        shares = {each: (cost.launch_sd(each) / as_made) ** 2 for each in time_to_detect.ROUNDS}
        return time_to_detect.cheapest(cost, lambda each: fewest(lambda n: all_pass(n, shares[each]), passing))

    for passing in PASSING:
        found = fewest(all_pass, passing)
        if found is None or found > made:
            break
    else:
        found = min(2 * made, MOST)
    best = cheapest(passing)
    if best is None:
        return Asked(found, None, None, found, passing, len(timed))
    return Asked(best.launches, best.rounds, best.seconds, found, passing, len(timed))


def launches_to_show(change: Change, family: int) -> int | None:
    """Return the launches in each run at which a slowdown as large as this is shown with 80 % power; None: over 1,000."""
    alone, distance = _Family([GateFinding("", changes=(change,))]), np.array([-change.value - change.alarms])
    return fewest(lambda n: float(alone.found(distance, n, ALPHA / family)[0]))


def usable(timed: Sequence[GateFinding]) -> dict[str, float]:
    """Return by check the smallest limit at which its cases pass identical code in 80 % of gates of runs like these two.

    In tenths of a percent, rounded up; a check whose limit would have to be 100 % or more is left out.
    """
    found, least, most = {}, 1e-6, math.log(2)
    for check in dict.fromkeys(finding.check for finding in timed if finding.check):
        family = _Family([finding for finding in timed if finding.check == check])

        def short(edge: float, family: _Family = family) -> float:
            return float(np.prod(family.found(np.array(edge), family.launches, ALPHA))) - PASSING[0]

        if short(most) > 0:
            edge = float(optimize.brentq(short, least, most)) if short(least) < 0 else least
            found[check] = math.ceil(math.expm1(edge) * 1000) / 1000
    return found


class _Family:
    """Changes with what is known of their errors: spreads of one kind are moved towards each other first."""

    def __init__(self, timed: Sequence[GateFinding]) -> None:
        kinds = grouped((change.alike, change) for finding in timed for change in _sampled(finding))
        self.changes = [change for kind in kinds.values() for change in kind]
        variances = [
            shrunk([(each.spread or 0.0) ** 2 for each in kind], [2 * (each.launches - 1) for each in kind])
            for kind in kinds.values()
        ]
        self.variances = np.concatenate([*variances, np.zeros(0)])
        self.launches = np.array([each.launches for each in self.changes])
        runs = [each.runs for each in self.changes]
        self.of_runs = np.array([2 * each.sd**2 for each in runs])
        self.df, self.of_launches = (np.array([getattr(each, name) for each in runs]) for name in ("df", "of_launches"))

    def found(self, distances: Floats, launches: float | Floats, alpha: float, share: float = 1.0) -> Floats:
        """Return the probabilities that one-sided t-tests find these distances, at so many launches in each run.

        Args:
            distances: from the true change.
            launches: of each run.
            alpha: level of each test.
            share: the launches' variance, as a share of that of the launches as they were made.
        """
        own = np.maximum(0, self.variances * share / (2 * launches) - self.of_launches)
        whole = self.of_runs + 2 * own
        with np.errstate(divide="ignore", invalid="ignore"):  # without a spread it is certain
            df = whole**2 / (self.of_runs**2 / self.df + 2 * own**2 / (launches - 1))
            return power(distances / np.sqrt(whole), np.where(whole > 0, df, self.df), alpha)


def shrunk(variances: Sequence[float], df: Sequence[float]) -> np.ndarray:
    """Move variances from few launches towards what all of them share, as far as they scatter no more than chance (Smyth 2004).

    The largest of 34 estimates from five launches is three times the truth by chance; it would ask for three times the launches.
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
