"""Turns comparisons into units of work: each pass that is needed gives its units (`Pass.units`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from modbench.harness.core import catalogue
from modbench.harness.core.case import Comparison, UnitOfWork
from modbench.harness.core.contracts import AnyMetric, Text
from modbench.harness.core.passes import Pass
from modbench.harness.planning.search import in_search
from modbench.harness.planning.suite import Suite
from modbench.harness.planning.unit_maker import Maker


def units_of_work(suite: Suite, comparisons: Sequence[Comparison], text: Text | None) -> Iterator[UnitOfWork]:
    """All units of a run, in order; where a pilot decides the number of launches, as many as it may ask for.

    Raises:
        UsageError: if the suite asks for something impossible, such as a budget that pays for no training step.
    """
    maker, known = Maker(suite, text), catalogue.metrics()
    asked = [
        (
            c,
            [known[known[key].source or key] for key in c.metrics],
            {known[n].needs for n in catalogue.needed(c.metrics)},
        )
        for c in comparisons
    ]
    found_out = set()
    whole = {c.place for c in comparisons if not in_search(suite, c)}  # where all arms are counted, searched or not
    for repeated, group in itertools.groupby(catalogue.passes().values(), key=lambda each: (each.phase, each.repeated)):
        passes = list(group)
        # Launches of one comparison lie far apart in time, so that one slow minute does not affect all of them.
        for launch in range(suite.launches_limit if repeated[1] else 1):
            for (comparison, metrics, needed), each in itertools.product(asked, passes):
                counted = comparison.place in whole and in_search(suite, comparison)
                wanted = (
                    metrics
                    if each.always and not counted
                    else [metric for metric in metrics if metric.made_in == each.name]
                )
                if not wanted and each.name not in needed:
                    continue
                for unit in _units(each, maker, comparison, wanted, launch):
                    if each.findings is not None:  # about the machine: measured once for all comparisons
                        if unit.name in found_out:
                            continue
                        found_out.add(unit.name)
                    yield _limited(each, unit)


def _limited(each: Pass, unit: UnitOfWork) -> UnitOfWork:
    """The unit with what its pass says of how long it may take, which depends on its protocol."""
    most, besides_s = each.most(unit), each.besides(unit)
    if (most, besides_s) == (unit.facts.most, unit.facts.besides_s):
        return unit
    facts = unit.facts.model_copy(update={"most": most, "besides_s": besides_s})
    return unit.model_copy(update={"facts": facts})


def _units(
    each: Pass, maker: Maker, comparison: Comparison, metrics: Sequence[AnyMetric], launch: int
) -> Iterator[UnitOfWork]:
    """A pass's units of a comparison: its own, or by default one for all cases or one for each."""
    if each.units is not None:
        yield from each.units(maker, comparison, metrics, launch)
        return
    work = {case: each.worth * maker.forward(comparison, case) for case in comparison.arms}
    if each.each == "comparison":
        suffix = f"-launch{launch}" if each.repeated else ""
        name = f"{each.name}-{comparison.label}{suffix}"
        yield maker.unit(name, comparison, each.name, sum(work.values()), launch=launch)
        return
    groups = sorted({metric.group for metric in metrics}) if each.each == "case and group" else [""]
    for (case, flops), group in itertools.product(work.items(), groups):
        one = comparison.model_copy(update={"arms": (case,)})
        name = f"{each.name}-{group}{'-' * bool(group)}{case.id}"
        yield maker.unit(name, one, each.name, flops, workload=group, launch=launch)
