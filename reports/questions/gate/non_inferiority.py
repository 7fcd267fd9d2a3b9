"""The gate's rules: what passes, what is worse, and what cannot be told. Knows no run folder.

A test of non-inferiority (docs/method-gate.md). A comparison *passes* where a change for the worse above the margin is excluded,
each at 5 %: a gate passes only where all of them do, so no correction is needed (an intersection-union test). It is *worse* where
one above the margin is shown, at 5 % over all losses of the gate (Holm). All else is *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy import special

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect, welch_freedom
from modbench.reports.model import Estimate, Finding, Value

ALPHA = 0.05
COMPARED = frozenset({"pass", "better", "worse"})
# What stands for the metric in the one finding about a case's labels, and is its check.
LABELS = "labels"
# In place of a verdict on a time of two runs: their processes took no turns, and how much two visits to a machine differ, no
# launch of either shows.
NOT_ALTERNATED = "not alternated"
NO_RATIO = Estimate(None)


@dataclass(frozen=True)
class Change:
    """How one estimate changed between two runs, oriented so that above 0 is better.

    Attributes:
        value: the change; of times, of their logarithms.
        se: its standard error.
        df: degrees of freedom of that error.
        excludes: the change for the worse that must be excluded to pass, as a number above 0.
        alarms: the change for the worse that must be exceeded to be worse.
        spread: standard deviation of the change between two single launches; None where launches did not make it.
    """

    value: float
    se: float
    df: float
    excludes: float
    alarms: float
    spread: float | None = None

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

    Its verdict is `pass`, `worse`, `better` or `cannot tell`; `not compared` and `NOT_ALTERNATED` count neither for nor against.
    `typical` is the ratio of new to old, above 1 better, or the difference of a loss, with a 90 % interval.

    Attributes:
        what: case id.
        metric: metric key, or `LABELS`.
        check: the check of `--fail-on` that it belongs to; None: no check judges the metric.
        by_cpu: whether CPU time is judged, not wall time.
        p: p-value of no change for the worse above the margin, adjusted for all of them (Holm); None for counts.
        judged_by: the change that it is judged by; None where it is not judged by an interval.
        withheld: whether a check found that the number is not that of the work: no evidence is missing that more would bring.
    """

    what: str
    check: str | None = None
    by_cpu: bool = False
    p: float | None = None
    judged_by: Change | None = None
    withheld: bool = False

    @property
    def compared(self) -> bool:
        """Whether it holds what both runs measured against each other, decided or not."""
        open_ = self.verdict == "cannot tell" and self.typical.value is not None and not self.withheld
        return self.verdict in COMPARED or open_

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`."""
        told: dict[str, Any] = {"case": self.what, "metric": self.metric, "verdict": self.verdict}
        told |= {"change": self.typical.value, "low": self.typical.low, "high": self.typical.high}
        return told | {
            "by_cpu": self.by_cpu,
            "p": self.p,
            "labels": list(self.labels),
            "before_labels": list(self.against_labels),
            "reason": self.reason,
        }


def unnamed(
    verdict: str,
    reason: Value,
    *,
    typical: Estimate = NO_RATIO,
    judged_by: Change | None = None,
) -> GateFinding:
    """Return a finding without its case, metric and check, which are named where it is yielded."""
    return GateFinding("", verdict=verdict, reason=reason, typical=typical, judged_by=judged_by)


def ratio(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    """Return a ratio of new to old: its value, and the ends of its 90 % interval where it has one."""
    return Estimate(value, low, high, kind="ratio", level=1 - 2 * ALPHA)


def welch(now: Effect, before: Effect) -> Change | None:
    """Compare two effects whose launches are independent samples with variances of their own (Welch-Satterthwaite).

    Args:
        now: over its launches, on the log scale.
        before: likewise.

    Returns:
        None where either has no interval over launches.
    """
    errors = [_standard_error(effect) for effect in (now, before)]
    if errors[0] is None or errors[1] is None:
        return None
    own = [(errors[0] ** 2, now.n), (errors[1] ** 2, before.n)]
    df = welch_freedom([variance for variance, _ in own], [n - 1 for _, n in own])
    spread = math.sqrt(sum(variance * n for variance, n in own))
    return Change(now.value - before.value, math.sqrt(sum(variance for variance, _ in own)), df, 0.0, 0.0, spread)


def _standard_error(effect: Effect) -> float | None:
    """Return what the interval stands on; None for one launch or two, whose intervals say nothing about others."""
    if effect.n < 3 or effect.low90 is None or effect.high90 is None:
        return None
    return (effect.high90 - effect.low90) / 2 / effects.t_quantile(0.95, effect.n)


def judge(findings: Sequence[GateFinding]) -> list[GateFinding]:
    """Return the findings with verdicts on those that are judged by a change."""
    judged = list(findings)
    changes = {i: each.judged_by for i, each in enumerate(findings) if each.judged_by is not None}
    worse = effects.adjusted({i: change.p_worse for i, change in changes.items()})
    better = effects.adjusted({i: change.p_better for i, change in changes.items()})
    for i, change in changes.items():
        judged[i] = replace(findings[i], verdict=_verdict(change, worse[i], better[i]), p=worse[i])
    return judged


def _verdict(change: Change, p_worse: float, p_better: float) -> str:
    if p_worse <= ALPHA:
        return "worse"
    if not change.passes:
        return "cannot tell"
    return "better" if p_better <= ALPHA else "pass"
