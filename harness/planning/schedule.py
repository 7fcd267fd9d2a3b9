"""From comparisons to units of work: which process measures what, and how long each is expected to take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from modbench.harness.core import catalogue
from modbench.harness.core.case import ARMS_PER_BLOCK, Case, Comparison, UnitOfWork
from modbench.harness.core.contracts import Metric, Pass, Text
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.planning.suite import Suite
from modbench.harness.planning.training_units import training_units
from modbench.harness.planning.unit_maker import Maker

# One unit per comparison: FLOPs of a forward pass that its work is worth, per case.
WHOLE: dict[Pass, float] = {"inspect": 3.0, "memory": 9.0, "fit": 300.0}
# Counting takes a while whatever the size: FLOPs that it is worth, per case.
COUNTING = 3e10
# One unit per case, in a process of its own.
SINGLE: dict[Pass, float] = {"rss": 15.0, "compile": 100.0}


def units_of_work(suite: Suite, comparisons: Sequence[Comparison], text: Text | None) -> Iterator[UnitOfWork]:
    """Everything that a run will do, in order."""
    known = catalogue.metrics()
    made = Maker(suite, text)
    asked = {
        comparison: [known[key] for key in sorted(catalogue.needed(comparison.metrics))] for comparison in comparisons
    }
    yield from _peaks(made, asked)
    for comparison, metrics in asked.items():
        of_training = any(metric.made_in in {"train", "rates"} for metric in metrics)
        # Always counted: the ideal of every other metric needs FLOPs.
        flops = sum(COUNTING + 6 * _forward(comparison, case) for case in comparison.arms)
        yield made.unit(f"count-{'train-' if of_training else ''}{comparison.label}", comparison, "count", flops)
    launches, _ = suite.protocol_size
    timed = [
        (comparison, made_in, group)
        for comparison in comparisons
        for made_in, group in dict.fromkeys(
            (metric.made_in, metric.group)
            for metric in _in_order(comparison, known)
            if metric.made_in in {"time", "energy"}
        )
    ]
    # Launches of one comparison lie far apart in time, so that one slow minute cannot meet them all.
    for launch, (comparison, made_in, group) in itertools.product(range(launches), timed):
        if made_in == "energy" and launch and comparison.place.device == "cpu":
            continue  # one record of why there is none is enough
        name = f"{made_in}-{group}-{comparison.place.label}-launch{launch}"
        flops = _timed_flops(comparison, group, suite)
        yield made.unit(name, comparison, made_in, flops, workload=group, launch=launch)
    for comparison, metrics in asked.items():
        yield from _rest(made, comparison, metrics)


def _in_order(comparison: Comparison, known: dict[str, Metric]) -> Iterator[Metric]:
    """Metrics as they were asked for, each derived one's source in its place."""
    for key in comparison.metrics:
        yield known[known[key].source or key]


def _peaks(made: Maker, asked: dict[Comparison, list[Metric]]) -> Iterator[UnitOfWork]:
    """The machine's own peak, once per number format, where a metric is a share of it."""
    seen = set()
    for comparison, metrics in asked.items():
        place = comparison.place
        if any(metric.needs_peak for metric in metrics) and place.dtype not in seen:
            seen.add(place.dtype)
            yield made.unit(f"peak-{place.dtype}-{place.device}", comparison, "peak", 60e9)


def _rest(made: Maker, comparison: Comparison, metrics: Sequence[Metric]) -> Iterator[UnitOfWork]:
    where, passes = comparison.label, {metric.made_in for metric in metrics}
    forward = sum(_forward(comparison, case) for case in comparison.arms)
    for made_in, worth in WHOLE.items():
        if made_in in passes:
            yield made.unit(f"{made_in}-{where}", comparison, made_in, worth * forward)
    for made_in, worth in SINGLE.items():
        # What was compiled before makes the next compilation warm: a process for each.
        apart = {metric.group for metric in metrics if metric.made_in == "compile"} if made_in == "compile" else {""}
        for case, group in itertools.product(comparison.arms if made_in in passes else (), sorted(apart)):
            one = comparison.model_copy(update={"arms": (case,)})
            name = f"{made_in}-{group}{'-' * bool(group)}{case.id}"
            yield made.unit(name, one, made_in, worth * _forward(comparison, case), workload=group)
    yield from training_units(made, comparison, passes)


def _forward(comparison: Comparison, case: Case) -> float:
    """Forward FLOPs; a user's model is guessed to cost what the anchor does."""
    cost = case_cost(case) or case_cost(comparison.arms[0])
    return cost.forward if cost else 1e9


def _timed_flops(comparison: Comparison, group: str, suite: Suite) -> float:
    _, rounds = suite.protocol_size
    anchor, *others = (_forward(comparison, case) for case in comparison.arms)
    per_round = 2 * (anchor * -(-len(others) // ARMS_PER_BLOCK) + sum(others))
    warm_up = suite.warm_up_calls * (anchor + sum(others))
    workload = group.partition("-")[0]
    # A decode step reads all weights for few tokens: on a CPU about 20 times slower by the FLOP.
    step = 20 * suite.decode.tokens / comparison.place.seq_len
    share = {"train_step": 3.0, "decode": step}.get(workload, 1.0)
    prefills = (anchor + sum(others)) if workload == "decode" else 0.0
    return share * (rounds * per_round + warm_up) + prefills
