"""What disturbed the rounds of callables, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modbench.harness.stats import contamination
from modbench.harness.timing.callables import Launch
from modbench.harness.timing.threads import crowded, working_threads

CORES = "another program used the cores"
# What people see of a cause; the others are said as they are.
_WORDS = {
    "preempted": CORES,
    "stolen by other guests": CORES,
    "recompiled": "torch compiled again",
}


def said(launches: Sequence[Launch], names: Iterable[str]) -> tuple[str, ...]:
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
    return verdict == "contaminated" or (verdict in {"inconclusive", "different"} and share > contamination.MOST)
