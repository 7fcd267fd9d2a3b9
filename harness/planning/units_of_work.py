"""Turns comparisons into units of work: each pass that is needed gives its units (`Pass.units`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.core import catalogue
from modbench.harness.core.case import Comparison, UnitOfWork
from modbench.harness.core.contracts import AnyMetric, Text
from modbench.harness.core.passes import Pass
from modbench.harness.planning.suite import Suite
from modbench.harness.planning.unit_maker import Maker


def units_of_work(suite: Suite, comparisons: Sequence[Comparison], text: Text | None) -> Iterator[UnitOfWork]:
    """All units of a run, in order.

    Raises:
        UsageError: if the suite asks for something impossible, such as a budget that pays for no training step.
    """
    maker, known = Maker(suite, text), catalogue.metrics()
    asked = {c: [known[known[key].source or key] for key in c.metrics] for c in comparisons}
    needed = {c: {known[key].needs for key in c.metrics} for c in comparisons}
    launches, _ = suite.protocol_size
    found_out = set()
    for each in catalogue.passes().values():
        # Launches of one comparison lie far apart in time, so that one slow minute does not affect all of them.
        for launch in range(launches if each.repeated else 1):
            for comparison, metrics in asked.items():
                wanted = metrics if each.always else [metric for metric in metrics if metric.made_in == each.name]
                if not wanted and each.name not in needed[comparison]:
                    continue
                for unit in _units(each, maker, comparison, wanted, launch):
                    if each.findings is not None:  # about the machine: measured once for all comparisons
                        if unit.name in found_out:
                            continue
                        found_out.add(unit.name)
                    yield unit


def _units(
    each: Pass, maker: Maker, comparison: Comparison, metrics: Sequence[AnyMetric], launch: int
) -> Iterator[UnitOfWork]:
    """A pass's units of a comparison; by default one for all cases."""
    if each.units is not None:
        yield from each.units(maker, comparison, metrics, launch)
        return
    work = each.worth * sum(maker.forward(comparison, case) for case in comparison.arms)
    suffix = f"-launch{launch}" if each.repeated else ""
    yield maker.unit(f"{each.name}-{comparison.label}{suffix}", comparison, each.name, work, launch=launch)
