"""The gate's rules: what passes, what is worse, what cannot be told. Knows no run.

A test of non-inferiority (docs/method-gate.md). A comparison *passes* where a slowdown above the margin is excluded, each at 5 %:
a gate passes only where all of them do, so no correction is needed (an intersection-union test). It is *worse* where a slowdown
above the margin is shown, at 5 % over all times of the gate, or all losses (Holm). All else is *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scipy import special

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect

ALPHA = 0.05
COMPARED = frozenset({"pass", "better", "worse"})
# What stands for the metric in the one finding about a case's labels, and is its check.
LABELS = "labels"


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
    def ratio(self) -> tuple[float, float, float]:
        """Of logarithms, the ratio and the ends of its interval."""
        low, high = self.ends
        return math.exp(self.value), math.exp(low), math.exp(high)

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
class Finding:
    """How one metric of one case changed.

    Attributes:
        case: case id.
        metric: metric key, or `LABELS`.
        verdict: `pass`, `worse`, `better`, `cannot tell`, or `not compared`, which counts neither for nor against.
        change: ratio of new to old, above 1 better (for a loss the difference); None if there is none.
        low: lower end of the 90 % interval; None for counts.
        high: upper end; None for counts.
        mean_change: the same for mean times, where they were estimated; `change` is of typical calls.
        mean_low: lower end of its interval.
        mean_high: upper end.
        p: p-value of no slowdown above the margin, adjusted for all of its kind (Holm); None for counts.
        launches: launches in each run that would decide a *cannot tell*; None where launches would not, or not even 1,000.
        reason: why there is no verdict, or what the change is of.
    """

    case: str
    metric: str
    verdict: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    mean_change: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None
    p: float | None = None
    launches: int | None = None
    reason: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether it holds what both runs measured against each other, decided or not."""
        return self.verdict in COMPARED or (self.verdict == "cannot tell" and self.change is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        told = asdict(self)
        del told["changes"]
        return told


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


def judge(findings: Sequence[Finding]) -> list[Finding]:
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


def _verdict(finding: Finding, p_worse: float, p_better: float) -> str:
    if p_worse <= ALPHA:
        return "worse"
    if not all(change.passes for change in finding.changes):
        return "cannot tell"
    return "better" if p_better <= ALPHA else "pass"
