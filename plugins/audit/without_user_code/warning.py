"""Warning that a user's file changed what its process does: the baseline takes another time beside it than without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from modbench.extend import Columns, Evidence, Label, WithoutUserCodeFinding, about, effects, human, warning

# A change of the baseline's time below this is of no interest, and one that processes make more often than this is none.
LEAST_CHANGE, CHANGE_LEVEL = 0.05, 0.01
# Fewest processes from which their spread is estimated.
FEWEST = 3


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
        beside: logarithms of the baseline's time in each process beside the user's code.
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
    timed = [each for each in evidence.processes if each.baseline in each.variants]
    alone = _alone(evidence, timed[0].baseline) if timed else None
    if alone is None:
        return None
    processes = [*(each.variants[each.baseline] for each in timed), alone]
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
            f"while {timed[0].baseline} computes in the same process as the user's code, other threads of its process run for "
            f"{about(share)} of the time, and for {about(here)} without it ({mine}, alone {theirs})"
        )
    spread = found.ratio / found.low
    return (
        f"{timed[0].baseline} takes {found.ratio:.3g} times as long in processes with the user's code as in one without it "
        f"({mine}, alone {theirs}); as its {found.processes} processes differ, {1 / spread:.3g} to {spread:.3g} times are "
        "expected"
    )


def _alone(evidence: Evidence, baseline: str) -> Columns | None:
    """Samples of the baseline in the process without the user's code; None where there was none, or it failed there."""
    key = evidence.metric.source or evidence.metric.key
    found = (each.samples.get(key, {}) for each in evidence.findings if isinstance(each, WithoutUserCodeFinding))
    return next((variants[baseline] for variants in found if baseline in variants), None)
