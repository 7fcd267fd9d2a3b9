"""Verdicts on callables that were timed side by side, by the statistics of a run; and the time of one by itself.

Of one process alone, its rounds are the units of evidence, for want of others. They share its memory layout, its hash seed and
its caches, by which processes of the same code differ. The interval says how exactly this process was measured, not where another
would land; whoever shows it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from modbench.harness.core.errors import unknown
from modbench.harness.core.labels import Label
from modbench.harness.stats import block_effects, contamination, effects, paired, sample_size, verdicts
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.paired import LaunchSamples, Paired
from modbench.harness.stats.reason import Reason, both
from modbench.harness.stats.verdicts import Estimates
from modbench.harness.timing.callables import Launch
from modbench.harness.timing.threads import crowded, working_threads

FEWEST_ROUNDS = 6
# Of identical code in one long process, CPU time differed by up to 1.4 % in 3 of 7 comparisons: alone it decides beyond this.
CPU_MARGIN = 0.05


def over_rounds(values: Sequence[float]) -> Effect:
    """Median of the effects of rounds, with order-statistic intervals and a sign test: no shape of noise is assumed.

    Args:
        values: one log-effect per round, at least one.
    """
    wide, narrow = effects.median_interval(values), effects.median_interval(values, 0.9)
    if wide is None or narrow is None:
        return Effect(median(values), n=1, reason=Reason("few_rounds", n=len(values), needed=FEWEST_ROUNDS))
    return Effect(median(values), *wide, *narrow, p=_sign_test(values), n=1, reason=Reason("within_process"))


def of_pair(launch: LaunchSamples, pair: Paired) -> Paired:
    """The pair of a single launch, with its rounds as the units of evidence."""
    wall, cpu = (paired.within(launch, column) for column in ("wall_s", "cpu_s"))
    by_wall = pair.wall._replace(effect=over_rounds(wall))
    if pair.cpu is None:
        return replace(pair, wall=by_wall)
    gap = over_rounds([mine - theirs for mine, theirs in zip(wall, cpu, strict=True)])
    return replace(pair, wall=by_wall, cpu=pair.cpu._replace(effect=over_rounds(cpu)), gap=gap)


def _sign_test(values: Sequence[float]) -> float:
    """Two-sided p-value of a median of 0."""
    above, below = (sum(value * sign > 0 for value in values) for sign in (1, -1))
    orders: int = 2 ** (above + below)
    tail = sum(math.comb(above + below, k) for k in range(min(above, below) + 1)) / orders
    return min(1.0, 2 * tail)


# Differences below this are of no practical interest, unless a user says otherwise.
MARGIN = 0.02
ONE_PROCESS, UNSTEADY, DIFFERS = "one process", "not steady", "baseline differs from itself"


@dataclass(frozen=True)
class Judged:
    """One callable against the baseline.

    Attributes:
        name: of the callable.
        baseline: of what it is compared with.
        effect: log-ratio of medians, above 0 where the callable is faster; `reason` says what its interval lacks.
        mean_ratio: ratio of mean times, baseline over callable.
        disturbed: share of blocks in which a witness saw a disturbance.
        verdict: `better`, `worse`, `equivalent`, `different` or `inconclusive`.
        reason: why it is undecided, or decided by CPU time; None where neither.
        labels: `one process`, `not steady`, `tail`, `contaminated`, `by CPU time`, `baseline differs from
            itself`.
        cpu: the same in CPU time; None where that is not known.
    """

    name: str
    baseline: str
    effect: Effect
    mean_ratio: float
    disturbed: float
    verdict: str
    reason: Reason | None = None
    labels: tuple[str, ...] = ()
    cpu: Effect | None = None

    @property
    def decided(self) -> Effect:
        """The effect that the verdict is on: in wall time, or in CPU time."""
        return self.cpu if self.cpu is not None and Label.BY_CPU in self.labels else self.effect

    @property
    def ratio(self) -> float:
        """Time of the baseline over the callable's, as the verdict has it: above 1 the callable is faster."""
        return math.exp(self.decided.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the ratio; None where there is none."""
        return ends(self.decided)


def ends(effect: Effect) -> tuple[float, float] | None:
    """The 95 % interval of the ratio of an effect; None where there is none."""
    return None if effect.low is None or effect.high is None else (math.exp(effect.low), math.exp(effect.high))


def judge(
    launches: Sequence[Launch],
    *,
    baseline: str | None = None,
    margin: float = MARGIN,
    escaped: Mapping[str, str] | None = None,
) -> dict[str, Judged]:
    """Judge every callable but the baseline, the baseline's twin among them.

    With one launch the rounds are the evidence, and every result is labelled `one process`; from three on the launches are, as
    in a run. Where the twin differs from the baseline, nothing else is decided.

    Args:
        launches: one per process, of the same callables.
        baseline: what the others are compared with; None: the callable that was in every block.
        margin: of practical interest, as a share.
        escaped: name to why a callable's work may be done where the time of its thread does not see it.

    Raises:
        UsageError: if there is no such baseline.
    """
    first = launches[0]
    base = first.baseline if baseline is None else baseline
    if base not in first.samples:
        raise unknown("baseline", base, first.samples)
    pairs = {name: _pair(launches, name, base) for name in first.samples if name != base}
    others = [pair for name, pair in pairs.items() if name != first.twin]
    p_values = _adjusted([pair.wall for pair in others]) | _adjusted([pair.cpu for pair in others])
    for name, pair in pairs.items():
        said = next((escaped[each] for each in (name, base) if escaped and each in escaped), None)
        pairs[name] = replace(pair, unfit=Reason("said", said=said) if said else pair.unfit)
    found = {name: _judged(launches, name, base, pair, margin, p_values) for name, pair in pairs.items()}
    twin = found.get(first.twin or "")
    if twin is None or twin.verdict in {"equivalent", "inconclusive"}:
        return found
    why = Reason("baseline_differs", name=base, ratio=twin.ratio)
    return {
        name: each
        if each is twin
        else replace(each, verdict="inconclusive", reason=why, labels=(*each.labels, DIFFERS))
        for name, each in found.items()
    }


def _adjusted(found: Sequence[Estimates | None]) -> dict[int, float]:
    """Adjusted p-values of the effects of one clock, by the identity of the effect."""
    known = (each.effect for each in found if each is not None)
    return effects.adjusted({id(effect): effect.p for effect in known if effect.p is not None})


def _pair(launches: Sequence[Launch], name: str, base: str) -> Paired:
    """A callable against the baseline, over launches; over the rounds of a single one."""
    samples = [
        LaunchSamples(
            each.samples[name] if name != each.baseline else None,
            each.samples[base] if base != each.baseline else None,
            each.samples[each.baseline],
            each.blocks,
        )
        for each in launches
    ]
    pair = paired.compare(samples, one_thread=all(each.one_thread for each in launches))
    return pair if len(launches) > 1 else of_pair(samples[0], pair)


def _judged(
    launches: Sequence[Launch], name: str, base: str, pair: Paired, margin: float, p_values: Mapping[int, float]
) -> Judged:
    alone = len(launches) == 1
    labels = [ONE_PROCESS] if alone else []
    assert pair.wall.other is not None, "calls have a mean"
    wall, cpu = (each and each._replace(p=p_values.get(id(each.effect))) for each in (pair.wall, pair.cpu))
    assert wall is not None
    # Processes of the same code differ in CPU time, too: one alone decides beyond what that makes.
    least = CPU_MARGIN if alone else None
    known = pair.evidence._replace(cpu=cpu, unfit=pair.unfit, least=least)
    seen = verdicts.judge(wall, margin, known)
    word, reason = seen.word, seen.reason
    deciding = cpu if seen.by_cpu and cpu is not None else wall
    if seen.by_cpu:
        labels.append(Label.BY_CPU)
        if least is not None and least > margin:
            reason = both(reason, Reason("one_process_beyond", least=least))
    if seen.noisy:
        labels.append(Label.CONTAMINATED)
    elif word in {"inconclusive", "different"}:
        open_ = Reason("margin_is_open", margin=margin)
        why = open_ if word == "different" else _undecided(deciding, margin, len(launches))
        reason = both(reason, None if seen.by_cpu and alone else why)
    if seen.tail:
        labels.append(Label.TAIL)
        assert deciding.other is not None
        medians, means = (math.exp(each.value) for each in (deciding.effect, deciding.other))
        reason = both(reason, Reason("tail", medians=medians, means=means))
    drifted = next((each.unsteady[arm] for each in launches for arm in (name, base) if arm in each.unsteady), None)
    if drifted:
        labels.append(UNSTEADY)
        reason = reason or Reason("said", said=drifted)
    mean_ratio, by_cpu = math.exp(pair.wall.other.value), None if pair.cpu is None else pair.cpu.effect
    said = tuple(map(str, labels))
    return Judged(name, base, pair.effect, mean_ratio, pair.disturbed, word, reason, said, by_cpu)


def _undecided(clock: Estimates, margin: float, launches: int) -> Reason:
    """Why a pair is inconclusive, and what would decide it."""
    effect = clock.effect
    if effect.low is None or effect.high is None:
        return effect.reason or Reason("no_interval")
    if not effect.low <= 0 <= effect.high:
        return Reason("not_significant")
    if launches == 1:
        return Reason("more_rounds")
    return sample_size.would_decide(effect, margin)


def _beside_baseline(launch: Launch, name: str) -> Iterator[float]:
    """The log times of a callable by round: of the baseline its own, of another a typical one of the baseline plus its effect."""
    anchor = launch.samples[launch.baseline]
    of_anchor = block_effects.log_means(anchor).values()
    found = None if name == launch.baseline else effects.pair_in_launch(launch.samples[name], None, anchor)
    yield from of_anchor if found is None else (median(of_anchor) + effect for effect in found.within)


@dataclass(frozen=True)
class OwnTime:
    """Seconds of a call.

    Attributes:
        median_s: of a typical call; of several launches their geometric mean.
        low_s: lower end of the 95 % interval; None where there is none.
        high_s: upper end.
        mean_s: mean of all calls.
        spread: robust standard deviation between rounds, as a share.
        disturbed: share of the rounds in which a witness saw a disturbance.
        n: samples.
        reason: why there is no interval, or what it does not hold.
    """

    median_s: float
    low_s: float | None
    high_s: float | None
    mean_s: float
    spread: float
    disturbed: float
    n: int
    reason: Reason | None


def own_time(launches: Sequence[Launch], name: str) -> OwnTime:
    """The time of a callable over launches; over the rounds of a single one.

    It is the baseline's, changed by the effect of the callable beside it, so that the quotient of two times is their ratio.
    """
    rounds = [list(block_effects.log_means(each.samples[name]).values()) for each in launches]
    beside = [list(_beside_baseline(each, name)) for each in launches]
    effect = over_rounds(beside[0]) if len(launches) == 1 else effects.over_launches([median(each) for each in beside])
    walls = [wall for each in launches for wall in each.samples[name]["wall_s"]]
    return OwnTime(
        math.exp(effect.value),
        None if effect.low is None else math.exp(effect.low),
        None if effect.high is None else math.exp(effect.high),
        fmean(walls),
        fmean(block_effects.spread(each) for each in rounds),
        fmean(contamination.share_of_blocks(each.samples[name], each.blocks) for each in launches),
        len(walls),
        effect.reason,
    )


CORES = "another program used the cores"
# What people see of a cause; the others are said as they are.
_WORDS = {
    "preempted": CORES,
    "stolen by other guests": CORES,
    "recompiled": "torch compiled again",
}


def disturbances(launches: Sequence[Launch], names: Iterable[str]) -> tuple[str, ...]:
    """What disturbed these callables, most frequent first; empty: nothing did."""
    marks = [
        mark
        for name in names
        for each in launches
        if name in each.samples
        for mark in contamination.causes(each.samples[name], each.blocks)
    ]
    return tuple(dict.fromkeys(_WORDS.get(cause, cause) for cause in contamination.counted(marks)))


def remedy(
    causes: Iterable[str], device: str, what: str = "use threads=1 here, torch.set_num_threads(1), or start Python"
) -> str | None:
    """What would help: fewer threads, where several waited for a core; None: nothing is known to.

    Args:
        causes: what `said` found.
        device: where the work was done.
        what: the ways to have one thread, the last of which is to start something.
    """
    if device != "cpu" or working_threads() == 1 or CORES not in causes:
        return None
    return f"{crowded()}: {what} with OMP_NUM_THREADS=1"


def doubtful(verdict: str | None, share: float) -> bool:
    """Whether a disturbance kept a comparison from being decided.

    Args:
        verdict: on a callable.
        share: of its blocks in which something was disturbed.
    """
    return verdict in {"inconclusive", "different"} and share > contamination.MOST
