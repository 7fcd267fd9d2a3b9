"""Warnings about times: what else moved them, and whether the clock can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, median, stdev

from modbench.harness.core.labels import Label
from modbench.harness.core.units import about, human, percent
from modbench.harness.domain.evidence import Evidence, warning
from modbench.harness.domain.notes import CountNotes
from modbench.harness.registry import catalogue
from modbench.harness.stats import effects, noise, paired
from modbench.harness.stats.noise import Columns

# Below this share of noisy blocks the median is not affected.
MOST_NOISY = 0.2
# Of a spread between inputs. A report has some sixty cells, of which hardly one may be called so by chance.
SPREAD_LEVEL, LEAST_SPREAD = 0.001, 0.01
# How much more FLOP/s than its anchor a model may reach: a leaner block of equal FLOPs was 1.12 to 1.38 times as fast.
FACTOR = 1.5
# Time of an operator, whatever it computes: of small shapes most of the time is this, which FLOPs do not explain.
OPERATOR_S = 15e-6
# Labels that explain nothing about speed.
SILENT = frozenset({Label.FASTER, Label.UNCHECKED, Label.NOISY, Label.NOT_AUTOREGRESSIVE, Label.SAW_FUTURE, Label.SAME})
# A change of the anchor's time below this is of no interest, and one that processes make more often than this is none.
LEAST_CHANGE, CHANGE_LEVEL = 0.05, 0.01
# Fewest processes from which their spread is estimated.
FEWEST = 3


@warning("Look for caches that are still filling or compilation that is still running; raise `rounds`.")
def not_steady(evidence: Evidence) -> str | None:
    """The variant was still getting faster or slower relative to the baseline beside it when it was measured."""
    return f"not steady: {evidence.drift}" if evidence.drift else None


@warning("Keep the machine idle, or use the CPU-time ratio; `modbench doctor` measures how noisy this machine is.")
def noisy(evidence: Evidence) -> str | None:
    """Samples were noisy: by preemption, garbage collection, steal time, throttling or another process."""
    if not evidence.timed or not evidence.outcomes:
        return None
    share = fmean(each.noisy[evidence.case.id] for each in evidence.processes)
    if share <= MOST_NOISY:
        return None
    marks = (noise.causes(each.variants[evidence.case.id], each.blocks) for each in evidence.processes)
    found = noise.counted(chain.from_iterable(marks))
    return (
        f"{about(share)} of its blocks were noisy ({', '.join(f'{cause}: {n} samples' for cause, n in found.items())})"
    )


@warning("Shapes or flags change between calls: measure one length per process, or mark the shapes as dynamic.")
def recompiled(evidence: Evidence) -> str | None:
    """Code was compiled inside the timed region."""
    times = sum(value > 0 for outcome in evidence.outcomes for value in outcome.samples.get("recompiles", ()))
    return f"{times} samples include the compilation of a new graph" if times else None


@warning("Time it on inputs like yours: here an untrained model routed random tokens.", Label.INPUT_DEPENDENT)
def input_dependent(evidence: Evidence) -> str | None:
    """The time depends on the input: one number stands for a distribution over inputs."""
    case = evidence.case.id
    if not evidence.timed or any("input" not in each.variants[case] for each in evidence.processes):
        return None
    processes = [(each.of_blocks(case), each.inputs(case)) for each in evidence.beside]
    spread = effects.input_spread(processes) if processes else None
    if spread is None or spread.p >= SPREAD_LEVEL or spread.sd < LEAST_SPREAD:
        return None
    over = f"standard deviation over {spread.inputs}, p = {spread.p:.1g}"
    return f"its time differs by ±{percent(spread.sd)} between inputs ({over})"


@warning(
    "Raise `most_processes`, accept a wider confidence interval, or look for what makes processes differ (`modbench doctor`).",
    Label.PROCESSES_CAPPED,
)
def capped_processes(evidence: Evidence) -> str | None:
    """The pilot asked for more processes than were allowed."""
    decided = evidence.decision
    if decided is None or decided.sd is None or not decided.capped:
        return None
    return (
        f"the pilot asked for {decided.asked_in_words} processes to detect {percent(decided.detectable)}, but only "
        f"{decided.made} were allowed: processes differ by {percent(decided.sd)}"
    )


def _theoretical(evidence: Evidence) -> float | None:
    """FLOPs of the baseline over those of the case; None where one of them is unknown or a lower bound."""
    sides = (evidence.anchor_counted, evidence.counted)
    theirs, mine = (
        getattr(side, evidence.metric.theoretical, None) if evidence.metric.theoretical else None for side in sides
    )
    if not theirs or not mine or any(side.operators and side.operators.unknown for side in sides):
        return None
    return float(theirs / mine)


def _least_ratio(evidence: Evidence) -> float | None:
    """The lower end of the interval of baseline over case; None where there is no interval."""
    processes, anchor = dict(enumerate(evidence.beside)), evidence.beside[0].anchor
    numbers = paired.between(processes, evidence.case.id, anchor, one_thread=False, averaged=False)
    if not numbers.effects():
        return None
    low = effects.over_processes(numbers.effects(), numbers.within() if len(processes) == 1 else None).low
    return None if low is None else math.exp(low)


def _operators(counted: CountNotes) -> int:
    """Calls of operators in a forward pass, products aside."""
    return sum(counted.operators.cheap.values()) if counted.operators else 0


def _explained(evidence: Evidence) -> bool:
    """Whether another label says why."""
    doubts = catalogue.usable("warnings").values()
    return any(each.label and each.label not in SILENT and each.check(evidence) for each in doubts)


@warning(
    "Find out what it does not compute: a cache, a shortcut, work that the counter cannot see, or a leaner block.",
    Label.FASTER,
)
def faster_than_flops(evidence: Evidence) -> str | None:
    """It is faster than its FLOPs explain, and no other label says why."""
    theoretical = _theoretical(evidence)
    if not evidence.timed or theoretical is None or not evidence.beside or not evidence.anchor_s:
        return None
    ratio = _least_ratio(evidence)
    if ratio is None or ratio <= 1:
        return None
    calls = _operators(evidence.anchor_counted) * (3 if evidence.metric.workload == "train_step" else 1)
    launching = min(1.0, OPERATOR_S * calls / evidence.anchor_s)
    if ratio * (1 - launching) <= FACTOR * theoretical or _explained(evidence):
        return None
    return f"at least {ratio:.2f} times as fast as its baseline, where FLOPs promise {theoretical:.2f} times"


@dataclass(frozen=True)
class Changed:
    """The baseline takes another time where the user's code is loaded.

    Attributes:
        ratio: its time beside the user's code, over its time without it.
        low: what one more process beside the user's code would take at least, over the same, with a probability of 99 %.
        high: at most.
        processes: processes beside the user's code.
    """

    ratio: float
    low: float
    high: float
    processes: int


# Columns that tell what a thread waited for.
WAITS = frozenset({"cpu_s", "wait_s", "others_s", "blocked_s"})


def log_times(processes: Sequence[Columns], *, one_thread: bool) -> list[float]:
    """Logarithms of the median time of a call in each process, without the waiting for processors that other programs had.

    That is CPU time, and what the thread waited otherwise: asleep, for a lock, or while another thread of its process ran. Where
    it is not recorded, and where several threads work, it is wall time.

    Args:
        processes: samples of a variant.
        one_thread: whether one thread does all the work.
    """
    known = one_thread and all(each.keys() >= WAITS and all(each["cpu_s"]) for each in processes)
    return [math.log(median(_own_s(each) if known else each["wall_s"])) for each in processes]


def _own_s(samples: Columns) -> list[float]:
    waits = zip(samples["blocked_s"], samples["wait_s"], samples["others_s"], _watched_s(samples), strict=True)
    shares = [(blocked + min(wait, others)) / watched for blocked, wait, others, watched in waits]
    calls = zip(samples["cpu_s"], samples["wall_s"], shares, strict=True)
    return [cpu + wall * share for cpu, wall, share in calls]


def _watched_s(samples: Columns) -> Sequence[float]:
    """Seconds of each sample in which witnesses watched: of a part of a call, or a step of many, more than it took."""
    return samples.get("sample_s") or [
        wall * calls for wall, calls in zip(samples["wall_s"], samples["calls"], strict=True)
    ]


def _others_share(samples: Columns) -> float:
    """CPU time of other threads of the process while a variant was timed, over the variant's own; 0 where it is not recorded."""
    if not samples.keys() >= WAITS:
        return 0.0
    times = zip(samples["cpu_s"], samples["wall_s"], _watched_s(samples), strict=True)
    own_s = sum(cpu / wall * watched for cpu, wall, watched in times)
    return sum(samples["others_s"]) / own_s if own_s else 0.0


def changed(beside: Sequence[float], without: float) -> Changed | None:
    """Whether a process without the user's code differs from those beside it by more than these do from one another.

    It does where it lies outside the interval in which one more of them would lie (a prediction interval of Student's t), and by
    more than `LEAST_CHANGE`.

    Args:
        beside: logarithms of the anchor's time in each process beside the user's code.
        without: the same of the process without it.
    """
    n = len(beside)
    if n < FEWEST:
        return None
    mean = fmean(beside)
    half = effects.t_quantile(1 - CHANGE_LEVEL / 2, n) * stdev(beside) * math.sqrt(1 + 1 / n)
    apart = mean - without
    if abs(apart) <= max(half, math.log1p(LEAST_CHANGE)):
        return None
    return Changed(math.exp(apart), math.exp(apart - half), math.exp(apart + half), n)


@warning(
    "Find what your file, or a package that it imports, changes for its whole process: a function of torch that it "
    "replaces, a thread that it starts. If it changes nothing, the machine did meanwhile: measure again.",
    Label.PROCESS_CHANGED,
)
def process_changed(evidence: Evidence) -> str | None:
    """The baseline takes another time in the process that the user's code is loaded in: it changed what the process does."""
    alone = evidence.without_own
    if alone is None:
        return None
    timed = [each for each in evidence.processes if each.anchor in each.variants]
    processes = [*(each.variants[each.anchor] for each in timed), alone.samples]
    one_thread = evidence.case.grid_point.one_thread
    *known, without = log_times(processes, one_thread=one_thread)
    if not known:
        return None
    mine, theirs = (human(math.exp(each), "s") for each in (fmean(known), without))
    found = changed(known, without)
    if found is None:
        *shares, here = map(_others_share, processes)
        share = median(shares)
        if not one_thread or share - here <= LEAST_CHANGE:
            return None
        return (
            f"while {timed[0].anchor} computes in the same process as the user's code, other threads of its process run for "
            f"{about(share)} of the time, and for {about(here)} without it ({mine}, alone {theirs})"
        )
    spread = found.ratio / found.low
    return (
        f"{timed[0].anchor} takes {found.ratio:.3g} times as long in processes with the user's code as in one without it "
        f"({mine}, alone {theirs}); as its {found.processes} processes differ, {1 / spread:.3g} to {spread:.3g} times are "
        "expected"
    )
