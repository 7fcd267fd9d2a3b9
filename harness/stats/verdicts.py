"""Compares two of anything: numbers of processes (blocks, rounds, seeds) become an effect with its interval, and a verdict.

The only judge of two variants in one metric. The sides took turns in the same processes (*interleaved*), in processes that
took turns block by block (*alternating*), or in rounds of one process (*within*); or each has processes of its own
(*independent*), whose times have an effect, but no verdict. Effects of times are on the log scale, oriented so that above 0 the
new side is better; of losses they are new minus base. `clock` chooses between wall and CPU time before any verdict is known.
The rules, and what others would cost: docs/method-timing.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from modbench.harness.core.contracts import Estimand
from modbench.harness.core.labels import Label
from modbench.harness.stats import effects, noise, power
from modbench.harness.stats.effects import LEVEL, POWER, Effect
from modbench.harness.stats.interim import FEWEST, ONE, Analysis
from modbench.harness.stats.power import Bools, Ends
from modbench.harness.stats.reason import Reason, both

# Verdicts on two sides.
BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"
# Significantly different, but whether by more than the margin is not shown.
BETTER_OPEN, WORSE_OPEN = SIZE_OPEN = "better_open", "worse_open"
# Those that say that the two sides differ.
APART = (BETTER, WORSE, *SIZE_OPEN)
MIRRORED = {BETTER: WORSE, WORSE: BETTER, BETTER_OPEN: WORSE_OPEN, WORSE_OPEN: BETTER_OPEN}
# Results of a limit.
PASS, FAIL = "pass", "fail"

How: TypeAlias = Literal["interleaved", "alternating", "within", "independent"]
Kind: TypeAlias = Literal["time", "count", "loss"]
Direction: TypeAlias = Literal["lower", "higher", "neither"]

# Whether CPU time stands for the work is not known: it decides nothing, but may contradict.
NOT_RECORDED = Reason("waits_not_recorded")
SEVERAL_THREADS = Reason("several_threads")
NOT_TICKED = Reason("clock_did_not_tick")


class ByClock(NamedTuple):
    """Numbers of one side by one clock.

    Attributes:
        own: by the metric's estimand, of each process, block or seed. Of times the logarithm, relative to the variant that each
            process timed in every block, whose own number is 0; of counts the only number.
        other: by the other estimand of a time (mean or median); empty where there is none.
        rounds: of a single process the number of each round.
    """

    own: Mapping[int, float]
    other: Mapping[int, float] = {}
    rounds: Mapping[float, float] = {}


class Side(NamedTuple):
    """Numbers of one side.

    Attributes:
        wall: by wall time; of what is no time, all there is.
        cpu: by CPU time, of the processes in which its clock moved; None where it does not count.
    """

    wall: ByClock
    cpu: ByClock | None = None


@dataclass(frozen=True)
class Seen:
    """What checks found of either side, and of the machine meanwhile.

    Attributes:
        noisy: share of the blocks in which something was.
        unfit: why no verdict may rest on CPU time; None where it may.
        least: the margin of a verdict by CPU time, where it must be larger than that by wall time.
        withheld: why no verdict may be given, whatever the numbers are.
        unsure: verdicts that may not be given, and why: a lower bound may be more.
        control: an A/A control in the same processes: where the same code differs from itself, nothing else is decided.
    """

    noisy: float = 0.0
    unfit: Reason | None = NOT_RECORDED
    least: float | None = None
    withheld: Reason | None = None
    unsure: tuple[frozenset[str], Reason] | None = None
    control: Contrast | None = None


class GridPoint(NamedTuple):
    """Where an interval lies.

    Attributes:
        inside: the 90 % interval inside the margin.
        above: the 95 % interval above what matters.
        below: below what matters.
        off_0: on one side of 0.
    """

    inside: bool | Bools
    above: bool | Bools
    below: bool | Bools
    off_0: bool | Bools


@dataclass(frozen=True)
class Rule:
    """What is asked of two sides.

    Attributes:
        kind: what the numbers are.
        margin: the largest difference that does not matter: a share; of losses a difference, 0 where none is named.
        better: which direction is; of times and counts where that is a ratio, a higher one is better after `better`.
        analysis: which interim analysis it is.
        by_cpu: whether CPU time decides in any case.
        estimand: what the effect of a time is of.
    """

    kind: Kind = "time"
    margin: float = 0.02
    better: Direction = "lower"
    analysis: Analysis = ONE
    by_cpu: bool = False
    estimand: Estimand = "median"

    @property
    def edge(self) -> float:
        """The margin on the scale of the effect."""
        return self.margin if self.kind == "loss" else math.log1p(self.margin)

    def lies(self, ends: Ends) -> GridPoint:
        """Say where an interval lies, or many do: above 0 the new side is better."""
        # Of a loss any difference matters.
        beyond = 0.0 if self.kind == "loss" else self.edge
        inside = (-self.edge < ends.low90) & (ends.high90 < self.edge)
        return GridPoint(inside, ends.low > beyond, ends.high < -beyond, (ends.low > 0) | (ends.high < 0))

    def decides(self, ends: Ends) -> bool | Bools:
        """Whether an interval decides: it excludes 0, or lies inside the margin."""
        place = self.lies(ends)
        return place.inside | place.off_0

    def sizes(self, ends: Ends) -> bool | Bools:
        """Whether an interval says how large the effect is against the margin."""
        place = self.lies(ends)
        return place.inside | place.above | place.below


class Estimates(NamedTuple):
    """What one clock says.

    Attributes:
        effect: by the estimand of the metric. The verdict is on it.
        other: by the other one; None where there is none.
        apart: other minus effect.
    """

    effect: Effect
    other: Effect | None = None
    apart: Effect | None = None


@dataclass(frozen=True)
class Contrast:
    """How a new side compares with its base.

    Attributes:
        how: how the two took turns.
        rule: what was asked.
        seen: what checks found.
        wall: by wall time; of what is no time, all there is.
        cpu: by CPU time; None where that is not known.
        gap: the effect by wall time minus that by CPU time.
        verdict: one of this module's; None where there may be none: no direction is better, or the sides took no turns.
        by_cpu: whether it is by CPU time.
        noisy: whether the noise leaves no clock to decide by.
        tail: whether the two estimands disagree.
        reason: why it is by CPU time, withheld, or not possible.
        p_adjusted: p-value of no difference among all contrasts of its family (Holm); None where there is none.
        family: how many contrasts that has.
        counts: two numbers that were counted, the first of which is the larger where the new side is better; None of samples.
    """

    how: How
    rule: Rule
    seen: Seen
    wall: Estimates
    cpu: Estimates | None = None
    gap: Effect | None = None
    verdict: str | None = None
    by_cpu: bool = False
    noisy: bool = False
    tail: bool = False
    reason: Reason | None = None
    p_adjusted: float | None = None
    family: int = 1
    counts: tuple[float, float] | None = None

    @property
    def estimates(self) -> Estimates:
        """By the clock that decides."""
        return self.cpu if self.by_cpu and self.cpu is not None else self.wall

    @property
    def effect(self) -> Effect:
        """The effect that the verdict is on."""
        return self.estimates.effect

    @property
    def ratio(self) -> tuple[float, float | None, float | None]:
        """Of a time the speed-up over the base, with its 95 % interval."""
        return self.effect.ratio

    @property
    def fooled(self) -> bool:
        """Whether the A/A control came out different from itself, so that nothing is decided."""
        return self.seen.control is not None and self.seen.control.verdict in APART

    @property
    def decided(self) -> bool:
        """Whether more processes would not change what is said."""
        return self.verdict in {BETTER, WORSE, EQUIVALENT} or self.seen.withheld is not None

    @property
    def labels(self) -> list[Label]:
        """What must be said beside it."""
        times = self.rule.kind == "time"
        known = {
            Label.NOT_ALTERNATED: times and self.how == "independent",
            Label.NOISY: self.noisy,
            Label.BY_CPU: self.by_cpu,
            Label.TAIL: self.tail,
        }
        return [label for label, holds in known.items() if holds]

    @property
    def among(self) -> bool:
        """Whether the interval excludes no difference, and the family of contrasts alone leaves it open."""
        return self.effect.excludes_0 and self.p_adjusted is not None and self.p_adjusted > 1 - LEVEL

    @property
    def open(self) -> Reason | None:
        """Why it is inconclusive, and how many more processes would decide it; None where it is not, or a check decided."""
        checked = self.noisy or self.fooled or self.seen.withheld is not None
        if self.verdict != INCONCLUSIVE or checked or self.counts is not None:
            return None
        if self.among:
            assert self.p_adjusted is not None
            return Reason("not_significant_among", n=self.family, p=self.p_adjusted)
        if self.how == "within" and self.effect.low is None:
            return self.effect.reason
        if self.how == "within":  # short of the margin of its CPU time, rounds do not help
            return None if self.by_cpu else Reason("more_rounds")
        return Reason("single_process") if self.effect.sd is None else self._advice

    @property
    def _advice(self) -> Reason:
        """How many more processes would decide it."""
        n, most = self.needed, power.MOST
        if self.rule.kind == "loss":
            return Reason("no_seeds_decide", most=most) if n is None else Reason("seeds_decide", n=n)
        what = "blocks" if self.how == "alternating" else "processes"
        return Reason("none_decide", most=most, what=what) if n is None else Reason("decides", n=n, what=what)

    @property
    def disagreement(self) -> Reason | None:
        """What the two estimands say where they disagree; None where they do not."""
        if not self.tail or self.estimates.other is None:
            return None
        own, other = (math.exp(each.value) for each in (self.effect, self.estimates.other))
        medians, means = (own, other) if self.rule.estimand == "median" else (other, own)
        return Reason("tail", medians=medians, means=means)

    @property
    def needed(self) -> int | None:
        """How many processes (blocks, seeds), more than were made, would decide it if all is as estimated; None: over 1,000."""
        return self.would_decide(self.rule.sizes if self.verdict in SIZE_OPEN else self.rule.decides)

    def would_decide(
        self,
        asked: power.Asked,
        *,
        analyses: int | None = None,
        wanted: float = POWER,
        least: int | None = None,
        most: int = power.MOST,
    ) -> int | None:
        """Return how many fresh processes (blocks, seeds) decide a question, if all is as estimated; None: over `most`.

        Args:
            asked: the question, of intervals that lie above 0 where the new side is better.
            analyses: of their plan; None: as many as of this one.
            wanted: the power.
            least: the result is not less; None: than one more than were made.
            most: nor more.
        """
        effect, freedom = _oriented(self), 1.0
        least = max(FEWEST, effect.n + 1) if least is None else least
        if effect.sd is None:
            return least
        if self.how == "independent" and effect.n >= FEWEST:
            freedom = effect.freedom / (effect.n - 1)
        return power.fewest(
            asked,
            effect.value,
            effect.sd,
            freedom=freedom,
            analyses=analyses or len(self.rule.analysis.fractions),
            wanted=wanted,
            least=least,
            most=most,
        )


def contrast(base: Side, new: Side, how: How, rule: Rule, seen: Seen | None = None) -> Contrast:
    """Compare a new side with its base, as the only contrast of its family.

    Args:
        base: numbers of what it is compared with.
        new: numbers of the new side.
        how: how the two took turns; but for *independent* they are compared process by process, in those that both have.
        rule: what is asked.
        seen: what checks found; None: nothing.

    Raises:
        ValueError: if the two share no process.
    """
    seen = seen or Seen()
    wall = _estimates(base.wall, new.wall, how, rule)
    if rule.kind != "time" or base.cpu is None or new.cpu is None:
        unfit = seen.unfit if rule.kind != "time" or seen.unfit not in {None, NOT_RECORDED} else SEVERAL_THREADS
        return together([Contrast(how, rule, replace(seen, unfit=unfit), wall)])[0]
    if base.wall.own.keys() & new.wall.own.keys() - (base.cpu.own.keys() & new.cpu.own.keys()):
        return together([Contrast(how, rule, replace(seen, unfit=NOT_TICKED), wall)])[0]
    cpu = _estimates(base.cpu, new.cpu, how, rule)
    gap = _estimates(minus(base.wall, base.cpu)._replace(other={}), minus(new.wall, new.cpu), how, rule).effect
    return together([Contrast(how, rule, seen, wall, cpu, gap)])[0]


def minus(wall: ByClock, cpu: ByClock) -> ByClock:
    """Return numbers minus others, process by process: how far two clocks, or two sides, lie apart."""

    def apart(mine: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
        return {key: mine[key] - theirs[key] for key in mine if key in theirs}

    rounds = {key: value - cpu.rounds[key] for key, value in wall.rounds.items() if key in cpu.rounds}
    return ByClock(apart(wall.own, cpu.own), apart(wall.other, cpu.other), rounds)


def _estimates(base: ByClock, new: ByClock, how: How, rule: Rule) -> Estimates:
    """What one clock says; of times and rates above 0 where the new side is better."""
    sign = -1 if rule.kind == "loss" else 1
    if how == "independent":
        mine, theirs = (base, new) if sign > 0 else (new, base)
        effect = effects.welch([*mine.own.values()], [*theirs.own.values()], rule.analysis)
        if not (base.other and new.other):
            return Estimates(effect)
        other = effects.welch([*mine.other.values()], [*theirs.other.values()])
        tail, their_tail = ([side.other[key] - side.own[key] for key in side.own] for side in (mine, theirs))
        return Estimates(effect, other, effects.welch(tail, their_tail))
    shared = [key for key in new.own if key in base.own]
    if not shared:
        raise ValueError("the two sides share no process")
    values = [sign * (base.own[key] - new.own[key]) for key in shared]
    rounds = [sign * (base.rounds[key] - new.rounds[key]) for key in sorted(base.rounds.keys() & new.rounds.keys())]
    if how == "within":
        effect = effects.over_rounds(rounds)
    else:
        effect = effects.over_processes(values, rounds if len(values) == 1 and rounds else None, rule.analysis)
    if not (base.other and new.other):
        return Estimates(effect)
    others = [sign * (base.other[key] - new.other[key]) for key in shared]
    apart = [other - value for other, value in zip(others, values, strict=True)]
    return Estimates(effect, effects.over_processes(others), effects.over_processes(apart))


def estimated(effect: Effect, rule: Rule, how: How = "independent", seen: Seen | None = None) -> Contrast:
    """Judge an effect that a test of its own has estimated, such as the exact one of two shares.

    Args:
        effect: of a loss new minus base, else above 0 where the new side is better.
        rule: what is asked.
        how: how the two sides took turns.
        seen: what checks found; None: nothing.
    """
    return together([Contrast(how, rule, seen or Seen(), Estimates(effect))])[0]


def counted(base: float, new: float, rule: Rule, seen: Seen | None = None) -> Contrast:
    """Compare two numbers that were counted, not sampled: their ratio, above 1 better, is known exactly.

    Args:
        base: of what it is compared with, at least 0.
        new: of the new side.
        rule: what is asked; its kind is `count`.
        seen: what checks found; None: nothing.
    """
    more, less = (base, new) if rule.better == "lower" else (new, base)
    value = 0.0 if more == less else math.inf if not less else -math.inf if not more else math.log(more / less)
    return together([Contrast("interleaved", rule, seen or Seen(), Estimates(Effect(value)), counts=(more, less))])[0]


def together(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Judge contrasts as one family: any false difference among them has at most the level's probability (Holm)."""
    wall = effects.adjusted({i: p for i, each in enumerate(contrasts) if (p := each.wall.effect.p) is not None})
    cpu = effects.adjusted(
        {i: p for i, each in enumerate(contrasts) if each.cpu is not None and (p := each.cpu.effect.p) is not None}
    )
    return [_judged(each, wall.get(i), cpu.get(i), len(wall)) for i, each in enumerate(contrasts)]


def _judged(asked: Contrast, p_wall: float | None, p_cpu: float | None, family: int) -> Contrast:
    """One contrast of a family, by the clock that decides."""
    by_cpu, noisy, reason = clock(asked)
    found = replace(
        asked,
        by_cpu=by_cpu,
        noisy=noisy,
        reason=reason,
        p_adjusted=p_cpu if by_cpu else p_wall,
        family=family,
        tail=False,
    )
    seen, rule = asked.seen, asked.rule
    if seen.withheld is not None:
        return replace(found, verdict=INCONCLUSIVE, reason=seen.withheld)
    if not _judgeable(found):
        return replace(found, verdict=None)
    if seen.control is not None and found.fooled:  # this machine cannot tell the sides apart now
        noisy, found = True, replace(found, reason=Reason("baseline_differs", ratio=seen.control.ratio))
    if noisy:
        return replace(found, verdict=INCONCLUSIVE)
    margin = max(rule.margin, seen.least or 0.0) if by_cpu else rule.margin
    used = rule if margin == rule.margin else replace(rule, margin=margin)
    word = _of_counts(*asked.counts, margin) if asked.counts else verdict(found.effect, used, found.p_adjusted)
    if margin > rule.margin and word not in {BETTER, WORSE}:
        undecided = Reason("cpu_undecided_beyond", ratio=found.ratio, least=margin)
        return replace(found, verdict=INCONCLUSIVE, reason=both(reason, undecided))
    if seen.unsure is not None and word in seen.unsure[0]:
        return replace(found, verdict=INCONCLUSIVE, reason=seen.unsure[1])
    return replace(found, verdict=word, tail=_disagree(found.estimates, used))


def _judgeable(found: Contrast) -> bool:
    """Whether there is a better side, and the numbers can show one: not times that took no turns, nor one or two seeds."""
    kind = found.rule.kind
    alternated = kind != "time" or found.how != "independent"
    return found.rule.better != "neither" and alternated and (kind != "loss" or found.effect.low is not None)


def verdict(effect: Effect, rule: Rule, p_adjusted: float | None) -> str:
    """The verdict on an effect that has an interval.

    EQUIVALENT: the 90 % interval lies inside the margin (two one-sided tests at 5 %). BETTER and WORSE: the 95 % interval lies
    beyond the margin; of a loss beyond 0, since any difference matters. BETTER_OPEN and WORSE_OPEN: it excludes 0, but does not
    lie beyond the margin. INCONCLUSIVE: none of these, or a difference that is not significant among its family.

    Args:
        effect: the effect.
        rule: what is asked.
        p_adjusted: p-value of no difference, adjusted for the family.
    """
    sign = -1 if rule.kind == "loss" and rule.better == "lower" else 1
    oriented = effect if sign > 0 else effect.mirrored()
    low, high, low90, high90 = oriented.low, oriented.high, oriented.low90, oriented.high90
    if low is None or high is None or oriented.p is None:  # no interval, or one within a single process
        return INCONCLUSIVE
    # An exact test of two shares has no 90 % interval.
    place = rule.lies(Ends(low, high, math.nan if low90 is None else low90, math.nan if high90 is None else high90))
    if place.inside:
        return EQUIVALENT
    if p_adjusted is not None and p_adjusted > 1 - LEVEL:
        return INCONCLUSIVE
    if place.above:
        return BETTER
    if place.below:
        return WORSE
    return INCONCLUSIVE if not place.off_0 else BETTER_OPEN if low > 0 else WORSE_OPEN


def _of_counts(more: float, less: float, margin: float) -> str:
    """The verdict on two counts, the larger of which is better for the new side."""
    if not less or not more:
        return EQUIVALENT if less == more else WORSE if less else BETTER
    ratio = more / less
    return BETTER if ratio > 1 + margin else WORSE if ratio < 1 / (1 + margin) else EQUIVALENT


def _disagree(estimates: Estimates, rule: Rule) -> bool:
    """Whether medians and means differ by more than the margin, and give two verdicts."""
    if estimates.other is None or estimates.apart is None or not estimates.apart.excludes_0:
        return False
    apart = abs(estimates.apart.value) > rule.edge
    return apart and verdict(estimates.other, rule, None) != verdict(estimates.effect, rule, None)


class Clock(NamedTuple):
    """The clock that decides.

    Attributes:
        by_cpu: whether that is CPU time.
        noisy: whether no clock can decide.
        reason: why it is not wall time; None where it is.
    """

    by_cpu: bool = False
    noisy: bool = False
    reason: Reason | None = None


def clock(asked: Contrast) -> Clock:
    """Choose the clock, before any verdict is known.

    Wall time decides where CPU time agrees with it (`_agree`). Where it does not, something besides the work moved wall time, and
    CPU time decides, if it stands for the work. If it does not stand for the work, there is no second clock: wall time decides
    unless over half of the blocks were noisy. Where it is not known whether it does, nothing decides.
    """
    seen, cpu, gap = asked.seen, asked.cpu, asked.gap
    if asked.rule.by_cpu:
        why = seen.unfit if seen.unfit is not None or cpu is not None else Reason("cpu_not_recorded")
        return Clock(by_cpu=True) if why is None else Clock(noisy=True, reason=Reason("cpu_does_not_count", why=why))
    stands = cpu is not None and seen.unfit is None
    if gap is not None and gap.low is not None:
        if _agree(gap, asked.rule.edge, at_zero=stands and (seen.least or 0.0) <= asked.rule.margin):
            return Clock()
        differ = Reason("clocks_differ", gap=gap.ratio)
        if stands:
            return Clock(by_cpu=True, reason=Reason("by_cpu", why=differ))
        if seen.unfit == NOT_RECORDED:
            return Clock(noisy=True, reason=both(differ, Reason("cpu_does_not_count", why=seen.unfit)))
    if asked.rule.kind != "time" or seen.noisy <= noise.MOST:
        return Clock()
    why = Reason("cpu_does_not_count", why=seen.unfit or Reason("cpu_not_recorded"))
    return Clock(noisy=True, reason=both(Reason("noisy", share=seen.noisy), why))


# Clocks agree if the 95 % interval of their gap lies inside the first share of the margin; and if it holds 0, or lies inside the
# second one. A gap that is shown moves wall time: at the margin's edge, it would make *worse* of an effect that is not.
CLOSE, TINY = 1 / 2, 1 / 10


def _agree(gap: Effect, edge: float, *, at_zero: bool) -> bool:
    """Whether the two clocks agree; without `at_zero`, where CPU time could not decide instead, a shown gap may be larger."""
    if gap.low is None or gap.high is None:
        return False
    widest = max(-gap.low, gap.high)
    return widest < CLOSE * edge and (not at_zero or not gap.excludes_0 or widest < TINY * edge)


@dataclass(frozen=True)
class Limited:
    """A contrast held to a limit: is the new side worse by more than that?

    Attributes:
        contrast: what is held to it.
        word: PASS: a larger change for the worse is excluded at 5 %. FAIL: one is shown, at 5 % over all contrasts that were held
            to limits together (Holm). INCONCLUSIVE: neither.
        p: p-value of no change beyond the limit, adjusted; None of counts.
        reason: why neither can be said whatever the interval is.
        edges: the largest change for the worse that passes, and beyond which it fails, on the scale of the effect.
    """

    contrast: Contrast
    word: str
    p: float | None = None
    reason: Reason | None = None
    edges: tuple[float, float] = (0.0, 0.0)

    @property
    def not_excluded(self) -> float | None:
        """Of a time the largest slowdown that the 90 % interval does not exclude, as a share; below 0 for a gain."""
        low = self.contrast.effect.low90
        return None if low is None else math.expm1(-low)

    @property
    def needed(self) -> int | None:
        """How many processes (blocks, seeds), more than were made, would decide it if all is as estimated; None: over 1,000."""
        passes, fails = self.edges
        return self.contrast.would_decide(lambda ends: (ends.low90 > -passes) | (ends.high90 < -fails))


def limited(
    contrasts: Sequence[Contrast], limits: Sequence[Fraction | float], beyond: Sequence[float] | None = None
) -> list[Limited]:
    """Hold contrasts to limits, together.

    All of them must pass, so that *pass* needs no correction (an intersection-union test); any of them may fail, which Holm's
    procedure corrects for.

    Args:
        contrasts: as `contrast` made them.
        limits: of each the largest change for the worse that passes, on the scale of its margin; of counts as a fraction, so that
            1 % more than 100 is 101, which no rounding makes too much.
        beyond: of each the change for the worse beyond which it fails; None: the limits.
    """
    fails = limits if beyond is None else beyond
    why = {i: _unjudged(each) for i, each in enumerate(contrasts)}
    p = effects.adjusted(
        {
            i: _p_worse(each, float(fails[i]))
            for i, each in enumerate(contrasts)
            if why[i] is None and each.counts is None
        }
    )
    found = list[Limited]()
    for i, each in enumerate(contrasts):
        reason, limit = why[i], limits[i]
        if reason is not None:
            found.append(Limited(each, INCONCLUSIVE, reason=reason))
        elif each.counts is not None:
            more, less = map(Fraction, each.counts)
            found.append(Limited(each, FAIL if less > more * (1 + Fraction(limit)) else PASS))
        else:
            low = _oriented(each).low90
            assert low is not None
            passes, beyond_it = (_edge(each, float(share)) for share in (limit, fails[i]))
            word = FAIL if p[i] <= 1 - LEVEL else PASS if low > -passes else INCONCLUSIVE
            found.append(Limited(each, word, p[i], edges=(passes, beyond_it)))
    return found


def _unjudged(each: Contrast) -> Reason | None:
    """Why no limit can be held to it, whatever its interval is; None where one can."""
    if each.verdict is None:
        return Reason("not_alternated") if each.rule.kind == "time" else each.effect.reason or Reason("no_interval")
    if each.noisy or each.seen.withheld is not None or each.fooled:
        return each.reason
    if each.counts is None and each.effect.error is None:
        return each.effect.reason or Reason("no_interval")
    return None


def _oriented(each: Contrast) -> Effect:
    """Its effect, above 0 where the new side is better."""
    return each.effect.mirrored() if each.rule.kind == "loss" and each.rule.better == "lower" else each.effect


def _edge(each: Contrast, limit: float) -> float:
    return limit if each.rule.kind == "loss" else math.log1p(limit)


def _p_worse(each: Contrast, limit: float) -> float:
    """One-sided p-value of no change for the worse beyond a limit."""
    effect = _oriented(each)
    assert effect.error is not None
    p = effects.t_below(effect.value + _edge(each, limit), effect.error, effect.freedom)
    return each.rule.analysis.repeated(2 * p) / 2
