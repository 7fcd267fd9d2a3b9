"""The words of reasons, which statistics hand on as codes and numbers (`harness/stats/reason.py`)."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

from modbench.harness.stats.reason import Given, Reason
from modbench.reports.blocks import Estimate, Kind, Sentence, Value
from modbench.reports.markup.number_format import plain

# What the numbers are that stand there; a whole number is a count.
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("share", "least", "margin"), "share"),
    **dict.fromkeys(("gap", "ratio", "medians", "means", "first", "last"), "ratio"),
    **dict.fromkeys(("first_at", "last_at"), "count"),
    "change": "difference",
    "p": "p",
}
# Words of each code, with `{names}` as of a `Sentence`. A reason of a plug-in's has such words as its code.
WORDS = {
    "both": "{one}; {other}",
    "said": "{said}",  # by a record or a label, which hold words
    # Of a number: why it has no interval, or what that does not hold.
    "few_values": "{n} is too few for an interval; three give one",
    "few_blocks": "one process of {n} blocks: too few for an interval",
    "few_rounds": "{n} rounds are too few for an interval; {needed} give one",
    "few_processes": "{n:process|processes}: three give an interval",
    "few_processes_of_each": "an interval needs three processes of each",
    "one_process": "of one process: says nothing about others",
    "within_process": "one process: the interval does not hold what differs between processes",
    "no_interval": "there is no interval",
    # Of a verdict: what disturbed it, and whether CPU time counts.
    "noisy": "{share} of the blocks are noisy",
    "clocks_differ": "wall time and CPU time disagree (one speed-up over the other: {gap})",
    "by_cpu": "judged by CPU time: {why}",
    "cpu_undecided_beyond": "by CPU time {ratio}, which is inconclusive beyond {least}",
    "cpu_does_not_count": "CPU time does not count: {why}",
    "cpu_not_recorded": "it was not recorded",
    "waits_not_recorded": "whether it waits of itself, or other threads work, was not recorded",
    "several_threads": "several threads or a GPU do the work",
    "clock_did_not_tick": "its clock did not tick in a call this short",
    "other_threads": "other threads work for it, {share} of its CPU time",
    "waits": "it waits of itself, {share} of its CPU time",
    # Of a verdict: why it is open, and what would decide it.
    "decides": "about {n} {what} decide it",
    "none_decide": "{most} {what} do not decide it",
    "seeds_decide": "about {n} seeds decide it",
    "no_seeds_decide": "{most} seeds do not decide it",
    "not_significant_among": "not significant among {n} comparisons (Holm p {p})",
    "single_process": "one process gives no verdict",
    "lower_bound": "a lower bound: with all FLOPs counted the verdict may be another",
    "not_alternated": "not alternated: the two sides took no turns",
    "more_rounds": "more rounds may decide it",
    "tail": "medians and means disagree: {medians} against {means}",
    "baseline_differs": "the baseline, timed twice, differs from itself: {ratio}",
    "drifts": (
        "relative to the baseline it drifted by {change} in a process, the mean over {processes} (Mann-Kendall, "
        "pooled, p = {p})"
    ),
    # Of a line of break-even.
    "no_points": "no point of the axis has a number",
    "falls": "the speed-up falls: {first} at {first_at}, {last} at {last_at}",
    # Of one of several analyses.
    "look": "interim analysis {number} of {looks}: interval and p-value allow for all of them",
}


@overload
def sentence(reason: Reason) -> Sentence: ...
@overload
def sentence(reason: Reason | None) -> Sentence | None: ...
def sentence(reason: Reason | None) -> Sentence | None:
    """Return a reason as a sentence without its full stop; None where there is none."""
    if reason is None:
        return None
    return Sentence(
        WORDS.get(reason.code, reason.code), **{name: _value(name, given) for name, given in reason.given.items()}
    )


def _value(name: str, given: Given) -> Value:
    if isinstance(given, Reason):
        return sentence(given)
    if isinstance(given, str | int):
        return given
    ends = Estimate(*given) if isinstance(given, tuple) else Estimate(given)
    return replace(ends, kind=KINDS[name], unit="%")  # the unit of a difference


def in_words(reason: Reason | None) -> str | None:
    """Write a reason on one line; None where there is none."""
    return None if reason is None else plain(sentence(reason))
