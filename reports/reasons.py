"""The words of reasons, which statistics hand on as codes and numbers (`harness/stats/reason.py`)."""

from __future__ import annotations

from typing import NamedTuple, overload

from modbench.harness.stats.reason import Given, Reason
from modbench.reports.model import Estimate, Kind, Sentence, Value
from modbench.reports.writers.number_format import plain


class Words(NamedTuple):
    """Words with `{names}`, as of a `Sentence`, and what the numbers are that stand there; a whole number needs no kind."""

    words: str
    kinds: dict[str, Kind]


def _of(words: str, **kinds: Kind) -> Words:
    return Words(words, kinds)


# A number of the kind `setting` has no commas: it is what somebody would type.
WORDS = {
    "both": _of("{one}; {other}"),
    "said": _of("{said}"),  # by a record or a label, which hold words
    # Of a number: why it has no interval, or what that does not hold.
    "few_values": _of("{n} is too few for an interval; three give one"),
    "few_blocks": _of("one launch of {n} blocks: too few for an interval"),
    "few_rounds": _of("{n} rounds are too few for an interval; {needed} give one"),
    "few_seeds": _of("{n:seed}: three give an interval"),
    "few_launches": _of("{n:launch|launches}: three give an interval"),
    "few_launches_of_each": _of("an interval needs three launches of each"),
    "within_launch": _of("within-launch only: says nothing about other launches"),
    "within_process": _of("one process: the interval does not hold what differs between processes"),
    "within_seed": _of("binomial, over {n} questions of one seed: says nothing about another seed", n="setting"),
    "no_interval": _of("there is no interval"),
    "smoke": _of("smoke effort: no claims"),
    # Of a verdict: what disturbed it, and whether CPU time counts.
    "disturbed": _of("{share} of the blocks were disturbed", share="about"),
    "clocks_differ": _of("the ratio by wall time is {gap} that by CPU time", gap="fine ratio"),
    "by_cpu": _of("by CPU time, since {why}"),
    "cpu_undecided_beyond": _of("CPU time, {ratio}, does not decide beyond {least}", ratio="fine ratio", least="share"),
    "cpu_does_not_count": _of("CPU time does not count: {why}"),
    "cpu_not_recorded": _of("it was not recorded"),
    "waits_not_recorded": _of("whether an arm waits of itself, or other threads work, was not recorded"),
    "several_threads": _of("several threads or a GPU do the work"),
    "clock_did_not_tick": _of("its clock did not tick in a call this short"),
    "other_threads": _of("other threads work beside an arm's own, for {share} of its CPU time", share="about"),
    "other_processes": _of("other threads or processes do {share} of the work", share="about"),
    "command_waits": _of("a command waits of itself, for {share} of its CPU time", share="about"),
    "waits": _of("an arm waits of itself, for {share} of its CPU time", share="about"),
    # Of two sides: why no time of them is claimed.
    "not_its_work": _of("the {side} side {labels}: its time is not that of its work"),
    "machine_unfit": _of("times cannot be compared here. {said}. `modbench doctor` tells more"),
    # Of a verdict: why it is open, and what would decide it.
    "decides": _of("{n} {what} would probably decide it", n="setting"),
    "none_decide": _of("not even {most} {what} would decide it", most="setting"),
    "seeds_decide": _of("{n} seeds would probably tell it from none", n="setting"),
    "no_seeds_decide": _of("not even {most} seeds would tell it from none", most="setting"),
    "not_significant_among": _of("not significant among {n} comparisons (Holm p {p})", p="p"),
    "single_launch": _of("a single launch gives no verdict"),
    "lower_bound": _of("a lower bound: with all FLOPs counted it may be another verdict"),
    "not_alternated": _of("not alternated: the two sides took no turns"),
    "more_rounds": _of("more rounds may decide it"),
    "not_significant": _of("not significant among all that were compared"),
    "margin_is_open": _of("a difference, but whether by more than {margin} is open", margin="share"),
    "tail": _of("medians and means disagree: {medians} against {means}", medians="rough ratio", means="rough ratio"),
    "one_process_beyond": _of("one process: judged beyond {least}", least="share"),
    "baseline_differs": _of("the baseline, timed twice, differs from itself: {ratio}", ratio="fine ratio"),
    "slower_at_first": _of("slower at first ({ratio}), not when measured again", ratio="ratio"),
    "not_steady": _of("slower, but not steady: {why}"),
    "drifts": _of(
        "relative to the anchor it drifted by {change} in a launch, the mean over {launches} "
        "(Mann-Kendall, pooled, p = {p})",
        change="change",
        p="p",
    ),
    # Of a line of break-even.
    "no_points": _of("no point of the axis has a number"),
    "falls": _of(
        "the ratio falls: {first} at {first_at}, {last} at {last_at}",
        first="rough ratio",
        last="rough ratio",
        first_at="count",
        last_at="count",
    ),
    # Of an effective speed-up.
    "one_dense_size": _of("a dense ladder needs two sizes"),
    "larger_is_no_better": _of("a larger dense model has no lower loss"),
    "equal_cost": _of("the dense models cost the same in it"),
    "better_is_not_dearer": _of("the dense models of lower loss do not cost more in it"),
    "seeds_leave_it_open": _of(
        "the seeds do not narrow it down: it may lie anywhere on the dense ladder, or beyond either end"
    ),
    "loss_does_not_fall": _of("the loss does not fall with compute by more than its spread"),
    "loss_hardly_falls": _of("the loss hardly falls with compute: no amount of it makes up for the difference"),
    "no_smaller_budget": _of("the anchor was trained with no smaller budget: [isoflop] anchor_budgets names some"),
    "few_anchor_runs": _of("the sweep left too few runs of the anchor to tell how its loss falls with compute"),
    # Of the optimum of a curve.
    "few_sizes": _of("{n:size is|sizes are} too few for a parabola"),
    "curve_opens_downwards": _of("the curve does not open upwards"),
    "optimum_is_smaller": _of("the optimum is beyond the smallest size"),
    "optimum_is_larger": _of("the optimum is beyond the largest size"),
    # Of a task.
    "look": _of("look {number} of {looks} at the seeds: interval and p-value allow for all of them"),
    "counted": _of("all or nothing: {solved} of {n} seeds solved it (solved.csv)"),
}


@overload
def sentence(reason: Reason) -> Sentence: ...
@overload
def sentence(reason: Reason | None) -> Sentence | None: ...
def sentence(reason: Reason | None) -> Sentence | None:
    """Return a reason as a sentence without its full stop; None where there is none."""
    if reason is None:
        return None
    words, kinds = WORDS[reason.code]
    return Sentence(words, **{name: _value(given, kinds.get(name)) for name, given in reason.given.items()})


def _value(given: Given, kind: Kind | None) -> Value:
    if isinstance(given, Reason):
        return sentence(given)
    if isinstance(given, str) or kind is None:
        assert isinstance(given, str | int), "any other number has a kind"
        return given
    return Estimate(*given, kind=kind) if isinstance(given, tuple) else Estimate(given, kind=kind)


@overload
def in_words(reason: Reason) -> str: ...
@overload
def in_words(reason: Reason | None) -> str | None: ...
def in_words(reason: Reason | None) -> str | None:
    """Write a reason on one line; None where there is none."""
    return None if reason is None else plain(sentence(reason))
