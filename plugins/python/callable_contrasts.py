"""Callables that were timed side by side: how each compares with the baseline, its own time, and what made it noisy.

Of one process alone, its rounds are the units of evidence, for want of others. They share its memory layout, its hash seed and
its caches, by which processes of the same code differ. The interval says how exactly this process was measured, not where another
would land; whoever shows it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from statistics import fmean, median

from modbench.extend import (
    INCONCLUSIVE,
    SIZE_OPEN,
    Contrast,
    Process,
    Reason,
    Rule,
    both,
    contrast,
    effects,
    noise,
    paired,
    together,
)
from modbench.plugins.python.callables import TimingProcess
from modbench.plugins.python.threads import crowded, working_threads

# Differences below this are of no practical interest, unless a user says otherwise.
MARGIN = 0.02
# Of identical code in one long process, CPU time differed by up to 1.4 % in 3 of 7 comparisons: alone it decides beyond this.
CPU_MARGIN = 0.05
ONE_PROCESS, UNSTEADY, DIFFERS = "one process", "not steady", "baseline differs from itself"


@dataclass(frozen=True)
class Beside:
    """A callable beside the baseline.

    Attributes:
        contrast: how the two compare.
        verdict: that of the contrast.
        reason: why it is inconclusive, or decided by CPU time; None where neither.
        labels: `one process`, `noisy`, `by CPU time`, `tail`, `not steady`, `baseline differs from itself`.
    """

    contrast: Contrast
    verdict: str | None
    reason: Reason | None
    labels: tuple[str, ...]

    @property
    def doubtful(self) -> bool:
        """Whether noise kept it from being decided."""
        return self.verdict in {INCONCLUSIVE, *SIZE_OPEN} and self.contrast.seen.noisy > noise.MOST


def beside_baseline(
    timing_processes: Sequence[TimingProcess],
    margin: float = MARGIN,
    *,
    escaped: Mapping[str, str] | None = None,
    withheld: Mapping[str, str] | None = None,
) -> dict[str, Beside]:
    """Compare every callable with the baseline, as one family; where the A/A control differs, nothing is decided.

    With one process the rounds are the evidence, and every result is labelled `one process`; from three on the processes are, as
    in a run.

    Args:
        timing_processes: one for each process, of the same callables.
        margin: of practical interest, as a share.
        escaped: name to why a callable's work may be done where the time of its thread does not see it.
        withheld: name to why a callable's time is not that of its work: of either side, it leaves the two inconclusive.
    """
    base, aa_control = timing_processes[0].baseline, timing_processes[0].aa_control
    processes = {i: Process(each.samples, base, each.blocks) for i, each in enumerate(timing_processes)}

    def compared(name: str, control: Contrast | None = None) -> Contrast:
        pair = paired.between(processes, name, base, one_thread=all(each.one_thread for each in timing_processes))
        unfit, why_withheld = (_said(of or {}, name, base) for of in (escaped, withheld))
        seen = replace(pair.seen, unfit=unfit or pair.seen.unfit, withheld=why_withheld, control=control)
        if len(timing_processes) > 1:
            return contrast(pair.base, pair.new, "interleaved", Rule(margin=margin), seen)
        # Processes of the same code differ in CPU time, too: one alone decides beyond what that makes.
        return contrast(pair.base, pair.new, "within", Rule(margin=margin), replace(seen, least=CPU_MARGIN))

    control = None if aa_control is None else compared(aa_control)
    names = [name for name in timing_processes[0].samples if name not in {base, aa_control}]
    found = dict(zip(names, together([compared(name, control) for name in names]), strict=True))
    if aa_control is not None and control is not None:
        found[aa_control] = control
    return {name: _told(each, _drift(timing_processes, name, base)) for name, each in found.items()}


def _said(of: Mapping[str, str], *names: str) -> Reason | None:
    """What is said of the first of these names of which something is."""
    return next((Reason("said", said=of[name]) for name in names if name in of), None)


def _drift(timing_processes: Sequence[TimingProcess], *names: str) -> str | None:
    """How one of these callables drifted; None: none did."""
    return next((each.unsteady[name] for each in timing_processes for name in names if name in each.unsteady), None)


def _told(found: Contrast, drift: str | None) -> Beside:
    """A contrast with what must be said beside it."""
    labels = [ONE_PROCESS, *found.labels] if found.how == "within" else [*found.labels]
    labels += [label for label, holds in {UNSTEADY: drift is not None, DIFFERS: found.fooled}.items() if holds]
    reason = found.reason if found.fooled else reduce(both, _reasons(found))
    if reason is None and drift is not None:
        reason = Reason("said", said=drift)
    return Beside(found, found.verdict, reason, tuple(map(str, labels)))


def _reasons(found: Contrast) -> Iterator[Reason | None]:
    """Why it is by CPU time, why it is inconclusive and what would decide it, and what the two estimands say."""
    margin, least = found.rule.margin, found.seen.least or 0.0
    yield found.reason
    if found.by_cpu and least > margin:
        yield Reason("one process: judged beyond {least}", least=least)
    if found.verdict in SIZE_OPEN:
        yield Reason("significantly different, but not shown to be by more than the margin, {margin}", margin=margin)
    else:
        yield found.open
    yield found.disagreement


def _logs_of_rounds(process: Process, name: str) -> list[float]:
    """The log times of a callable by round: of the baseline its own, of another the baseline's median plus its effect."""
    of_baseline, beside = process.logs(process.baseline).tolist(), process.of_blocks(name).tolist()
    return [median(of_baseline) + effect for effect in beside] or [*of_baseline]


@dataclass(frozen=True)
class OwnTime:
    """Seconds of a call.

    Attributes:
        median_s: of a call; of several processes their geometric mean.
        low_s: lower end of the 95 % interval; None where there is none.
        high_s: upper end.
        mean_s: mean of all calls.
        spread: robust standard deviation between rounds, as a share.
        noisy: share of the rounds in which a witness saw noise.
        n: samples.
        reason: why there is no interval, or what it does not hold.
    """

    median_s: float
    low_s: float | None
    high_s: float | None
    mean_s: float
    spread: float
    noisy: float
    n: int
    reason: Reason | None


def own_time(timing_processes: Sequence[TimingProcess], name: str) -> OwnTime:
    """The time of a callable over processes; over the rounds of a single one.

    It is the baseline's, changed by the effect of the callable beside it, so that the quotient of two times is their ratio.
    """
    processes = [Process(each.samples, each.baseline, each.blocks) for each in timing_processes]
    rounds = [each.logs(name).tolist() for each in processes]
    beside = [_logs_of_rounds(each, name) for each in processes]
    effect = (
        effects.over_rounds(beside[0]) if len(timing_processes) == 1 else effects.over_processes([*map(median, beside)])
    )
    walls = [wall for each in timing_processes for wall in each.samples[name]["wall_s"]]
    return OwnTime(
        math.exp(effect.value),
        None if effect.low is None else math.exp(effect.low),
        None if effect.high is None else math.exp(effect.high),
        fmean(walls),
        fmean(effects.robust_sd(each) for each in rounds),
        fmean(each.noisy[name] for each in processes),
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


def noise_causes(timing_processes: Sequence[TimingProcess], names: Iterable[str]) -> tuple[str, ...]:
    """What made these callables noisy, most frequent first; empty: nothing did."""
    marks = [
        mark
        for name in names
        for each in timing_processes
        if name in each.samples
        for mark in noise.causes(each.samples[name], each.blocks)
    ]
    return tuple(dict.fromkeys(_WORDS.get(cause, cause) for cause in noise.counted(marks)))


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
