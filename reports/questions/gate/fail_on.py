"""What `gate --fail-on` names: checks with limits, in three tiers by what their evidence needs.

`exact`: counted numbers, which are the same on any machine. `timed`: times, which only processes that took turns compare
(`modbench ab`). `loss`: losses and accuracies, compared seed by seed. A check that is not named is reported and fails nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError, shown, unknown
from modbench.harness.core.units import parse_share
from modbench.harness.registry import catalogue
from modbench.reports.blocks import Estimate, Listed, Sentence, Value

FLAG = "--fail-on"
EXAMPLE = "flops:0%,larger:1%,loss:0.5%"
# The checks of `modbench ab`; the second judges times by CPU time, whatever was noisy.
SLOWER, CPU = "slower", "cpu"
# The check of a case's labels, which stands for the metric in the one finding about them.
LABELS = "labels"
ALTERNATED = (SLOWER, CPU)
# Memory that holds libraries too, which differ between machines: counted, but not a property of the code alone.
OF_THE_MACHINE = frozenset({"memory/rss_peak"})
NEITHER = "neither run measured it: add it to the metrics of the suite"


@dataclass(frozen=True)
class Check:
    """A check that `--fail-on` can name.

    Attributes:
        tier: `exact`, `timed` or `loss`.
        limited: whether it takes a limit.
        above_0: whether the limit must lie above 0: samples never exclude a change of exactly 0.
    """

    tier: str
    limited: bool = True
    above_0: bool = False


CHECKS: dict[str, Check] = {
    "flops": Check("exact"),
    "larger": Check("exact"),
    "breaks": Check("exact", limited=False),
    "syncs": Check("exact", limited=False),
    LABELS: Check("exact", limited=False),
    SLOWER: Check("timed", above_0=True),
    CPU: Check("timed", above_0=True),
    "energy": Check("timed", above_0=True),
    "loss": Check("loss"),
    "accuracy": Check("loss"),
}


@dataclass(frozen=True)
class FailOn:
    """The checks that were named, with their limits as shares; None for a check that takes none."""

    limits: Mapping[str, Fraction | None]

    @property
    def written(self) -> Listed:
        """The checks as they are typed: `slower:2%,breaks`."""
        return Listed([written(word, limit) for word, limit in self.limits.items()], ",")


def written(word: str, limit: Fraction | None) -> Value:
    """A check as it is typed: `slower:2%`."""
    percent = Estimate(float(100 * (limit or 0)), kind="count")
    return word if limit is None else Sentence("{word}:{limit}%", word=word, limit=percent)


def parse(given: Sequence[str]) -> FailOn:
    """Read the values of `--fail-on`: `slower:2%,larger:1%,breaks`.

    Raises:
        UsageError: if a check is unknown, named twice, or its limit is missing or not a share that it can take.
    """
    limits: dict[str, Fraction | None] = {}
    for part in (part.strip() for value in given for part in value.split(",")):
        if not part:
            raise UsageError(f"{FLAG} has an empty check. Join checks by single commas, such as {EXAMPLE}.")
        word, colon, text = (each.strip() for each in part.partition(":"))
        if word not in CHECKS:
            raise unknown(f"check in {FLAG}", word, CHECKS)
        if word in limits:
            raise UsageError(f"{FLAG} names {word} twice. Give each check one limit, such as {EXAMPLE}.")
        limits[word] = _limit(word, text, given=bool(colon))
    return FailOn(limits)


def _limit(word: str, text: str, *, given: bool) -> Fraction | None:
    check = CHECKS[word]
    if not check.limited:
        if given:
            raise UsageError(f"{FLAG} {shown(f'{word}:{text}')}: {word} takes no limit, any more fail. Write {word}.")
        return None
    if not text:
        raise UsageError(f"{FLAG} {word} has no limit. Write the share that may pass, such as {word}:2%.")
    share = parse_share(text, f"{FLAG} {word}")
    if check.above_0 and not share:
        raise UsageError(
            f"{FLAG} {shown(f'{word}:{text}')} is not above 0%: samples never exclude a change of exactly 0. Write {word}:2%."
        )
    return share


def check_of(metric: Metric) -> str | None:
    """Return the check that judges a metric, named or not; None if none does: it is reported alone."""
    made_in = catalogue.pass_of(metric)
    kinds = {
        "energy": metric.unit == "J",
        "slower": made_in.times or metric.unit == "s",
        "loss": metric.unit in {"nat", "bit/B"},
        "accuracy": made_in.samples == "seeds",
        "flops": metric.unit == "FLOP",
        "larger": metric.unit == "B" or metric.key.startswith("memory/"),
        "breaks": metric.key == "graph_breaks/forward",
        "syncs": metric.key.startswith("syncs/"),
    }
    return None if metric.better == "neither" else next((word for word, holds in kinds.items() if holds), None)


@dataclass(frozen=True)
class Rules:
    """By which limits a gate judges.

    Attributes:
        margin: the largest change that does not matter, as a share, where no check has a limit of its own.
        fail_on: the checks that were named; None: every metric counts and is judged by the margin.
    """

    margin: float
    fail_on: FailOn | None = None

    def named(self, check: str | None) -> bool:
        """Whether the gate fails on this check."""
        return self.fail_on is None or check in self.fail_on.limits

    def limits(self, check: str | None) -> tuple[Fraction, Fraction]:
        """Return the largest change for the worse that passes this check, as a share, and that beyond which a loss fails.

        A loss without a limit of its own fails by any rise that is shown.
        """
        if self.fail_on is None or check is None or check not in self.fail_on.limits:
            return Fraction(str(self.margin)), Fraction(0)
        own = self.fail_on.limits[check] or Fraction(0)
        return own, own
