"""How sure a report is, and what to doubt about it: the third and fourth thing that its first screen says."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted
from modbench.reports import between_sizes, confirm_words
from modbench.reports.load import Loaded
from modbench.reports.machine import machine_check, twin_check
from modbench.reports.style import name

# More arms than this are counted.
MOST_NAMED = 12


def sure(loaded: Loaded) -> list[str]:
    """Say what the numbers stand on: processes, width of the intervals, margin, the check of the machine."""
    suite, said = loaded.run.plan.suite, list[str]()
    rows = loaded.comparisons[(loaded.comparisons.unit == "s") & (loaded.comparisons.status == "ok")]
    if not rows.empty:
        timed = loaded.cases[(loaded.cases.unit == "s") & (loaded.cases.status == "ok")]
        # Not the baseline's: in a search those of several comparisons count for it, but for no ratio.
        launches = timed[timed.case_id.isin(rows.case_id)].n.dropna()
        few, most = int(launches.min()), int(launches.max())
        number = f"{few}" if few == most else f"{few} to {most}"
        with_interval = rows[rows.ci_low.notna()]
        width = ""
        if not with_interval.empty:
            half = math.sqrt(float((with_interval.ci_high / with_interval.ci_low).median())) - 1
            width = f", with a 95 % interval of ±{100 * half:.1f} % (median)"
        said.append(f"Each ratio of times is from {number} fresh process{'es' * (most != 1)}{width}.")
        if suite.claims:
            open_ = int((rows.verdict == "inconclusive").sum())
            undecided = (
                f"; {open_} of {len(rows)} ratios of times {'is' if open_ == 1 else 'are'} undecided" if open_ else ""
            )
            said.append(f"Differences below {100 * suite.margin:.2g} % count as equal{undecided}.")
        said.append(f"{machine_check(loaded)[1]}.")
    return said


def doubts(loaded: Loaded) -> list[str]:
    """Say what a reader should hold against the numbers: labels, disturbed times, failures, what is missing."""
    return [*_doubts(loaded)]


def _doubts(loaded: Loaded) -> Iterator[str]:
    if not loaded.run.plan.suite.claims:
        yield "A smoke run: it shows that everything runs, and supports no claim."
    if loaded.run.missing:
        missing = len(loaded.run.missing)
        yield f"The run is incomplete: {counted(missing, 'unit')} {'has' if missing == 1 else 'have'} no record."
    for label, cases in loaded.labelled().items():
        names = _named(loaded, cases)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        yield f"{label[:1].upper()}{label[1:]}: {', '.join(names[:MOST_NAMED])}{more}."
    for who, what in _restored(loaded).items():
        yield f"{who} changed {what} for every model of its process; it was put back before anything was measured."
    disturbed = sum(Label.CONTAMINATED in str(labels).split(";") for labels in loaded.comparisons.labels)
    if disturbed:
        yield (
            f"{disturbed} comparison{'s are' if disturbed != 1 else ' is'} contaminated: the machine was disturbed; the table "
            "says by what, with CPU times."
        )
    twins = twin_check(loaded)
    if twins is not None and machine_check(loaded)[0] == "undecided":
        yield (
            f"The machine check cannot tell: two identical models were shown to be equal in {twins.equivalent} of "
            f"{counted(len(twins.verdicts), 'comparison')}; their largest difference was {100 * twins.largest:.1f} %."
        )
    seeds = len(loaded.run.plan.suite.seeds)
    if loaded.trained_metric is not None and seeds < 3 and not loaded.run.confirmations:
        yield f"Losses are from {seeds} seed{'s' * (seeds != 1)}: an illustration, no claim."
    yield from confirm_words.doubts(loaded)
    yield from between_sizes.in_words(loaded)
    failed = len(loaded.failed.case_id.unique())
    if failed:
        yield f"{failed} case{'s' * (failed != 1)} failed."


def _restored(loaded: Loaded) -> dict[str, str]:
    """What an arm's file changed for its whole process, by the arm's name."""
    names = {case.id: name(case) for case in loaded.run.plan.cases}
    return {
        names[case]: what for record in loaded.run.records for case, what in record.restored.items() if case in names
    }


def _named(loaded: Loaded, cases: list[Case]) -> list[str]:
    """Names of arms. Of a sweep over sizes, a variant of which every size is among them is named once."""
    plan = loaded.run.plan
    if plan.suite.isoflop is None:
        return [name(case) for case in cases]
    sizes: dict[str, set[str]] = {}
    for case in plan.cases:
        sizes.setdefault(case.variant, set()).add(case.arm)
    here = {case.arm for case in cases}
    found = dict[str, None]()
    for case in cases:
        every = len(sizes[case.variant]) > 1 and sizes[case.variant] <= here
        found[f"{name(case).removesuffix(case.size).rstrip()} of every size" if every else name(case)] = None
    return list(found)
