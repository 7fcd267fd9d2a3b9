"""How sure a report is, and what to doubt about it: the third and fourth thing that its first screen says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from modbench.harness.core.case import Case
from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.core.units import counted
from modbench.reports.sentences import confirmation_words
from modbench.reports.sentences.machine import GLYPHS, machine_check, machine_facts, twin_check
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name

# More arms than this are counted.
MOST_NAMED = 12


@dataclass(frozen=True)
class Evidence:
    """What the ratios of times stand on.

    Attributes:
        fewest: fresh processes of a ratio, the fewest.
        most: the most.
        half: half of the median 95 % interval, as a share; None where no ratio has one.
        ratios: how many ratios of times there are.
        judged: how many of them have a verdict.
        undecided: how many are undecided.
    """

    fewest: int
    most: int
    half: float | None
    ratios: int
    judged: int
    undecided: int

    @property
    def processes(self) -> str:
        """The number of processes: `7 fresh processes`, `5 to 10 fresh processes`."""
        number = f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{number} fresh process{'es' * (self.most != 1)}"


@dataclass(frozen=True)
class Doubt:
    """A sentence that a reader should hold against the numbers.

    Attributes:
        text: the sentence.
        short: the same for a terminal, which has the numbers elsewhere.
        heavy: whether numbers may be missing, disturbed, or not those of the work that a model claims: these come first where
            there is room for a few.
    """

    text: str
    short: str = ""
    heavy: bool = False


def evidence(loaded: Loaded) -> Evidence | None:
    """Return what the ratios of times stand on; None where there is no such ratio."""
    rows = loaded.comparisons[(loaded.comparisons.unit == "s") & (loaded.comparisons.status == "ok")]
    if rows.empty:
        return None
    timed = loaded.cases[(loaded.cases.unit == "s") & (loaded.cases.status == "ok")]
    # Not the baseline's: in a search those of several comparisons count for it, but for no ratio.
    launches = timed[timed.case_id.isin(rows.case_id)].n.dropna()
    with_interval = rows[rows.ci_low.notna()]
    half = None
    if not with_interval.empty:
        half = math.sqrt(float((with_interval.ci_high / with_interval.ci_low).median())) - 1
    judged, undecided = int(rows.verdict.notna().sum()), int((rows.verdict == "inconclusive").sum())
    return Evidence(int(launches.min()), int(launches.max()), half, len(rows), judged, undecided)


def sure(loaded: Loaded) -> list[str]:
    """Say what the numbers stand on: processes, width of the intervals, margin, the check of the machine."""
    suite, found = loaded.run.plan.suite, evidence(loaded)
    if found is None:
        return []
    width = "" if found.half is None else f", with a 95 % interval of ±{100 * found.half:.1f} % (median)"
    said = [f"Each ratio of times is from {found.processes}{width}."]
    if suite.claims:
        are = "is" if found.undecided == 1 else "are"
        undecided = f"; {found.undecided} of {found.ratios} ratios of times {are} undecided" if found.undecided else ""
        said.append(f"Differences below {100 * suite.margin:.2g} % count as equal{undecided}.")
    return [*said, f"{machine_check(loaded)[1]}."]


def sure_in_short(loaded: Loaded) -> str:
    """Say the same in one line for a terminal; empty where no times are compared."""
    suite, found = loaded.run.plan.suite, evidence(loaded)
    if found is None:
        return ""
    parts = [found.processes]
    parts += [] if found.half is None else [f"±{100 * found.half:.1f} % (median)"]
    if found.judged:
        parts += [f"{found.undecided} of {found.judged} ratios open", f"margin {100 * suite.margin:.2g} %"]
    status, known = machine_facts(loaded)
    return f"{', '.join(parts)}; {GLYPHS[status]} A/A test: {known}"


def doubts(loaded: Loaded) -> list[str]:
    """Say what a reader should hold against the numbers: labels, disturbed times, failures, what is missing."""
    return [each.text for each in _doubts(loaded, MOST_NAMED)]


def doubts_in_short(loaded: Loaded) -> list[str]:
    """Say the same for a terminal: of many arms one is named, and what weighs most comes first."""
    return [each.short or each.text for each in sorted(_doubts(loaded, 1), key=lambda each: not each.heavy)]


def _doubts(loaded: Loaded, most_named: int) -> Iterator[Doubt]:
    if not loaded.run.plan.suite.claims:
        yield Doubt("A smoke run: it shows that everything runs, and supports no claim.", heavy=True)
    if loaded.run.missing:
        missing = len(loaded.run.missing)
        said = f"The run is incomplete: {counted(missing, 'unit')} {'has' if missing == 1 else 'have'} no record."
        yield Doubt(said, heavy=True)
    for label, cases in loaded.labelled().items():
        names = _named(loaded, cases)
        more = f" and {len(names) - most_named} more" if len(names) > most_named else ""
        said = f"{label[:1].upper()}{label[1:]}: {', '.join(names[:most_named])}{more}."
        yield Doubt(said, heavy=label in OF_WORK)
    for who, what in _restored(loaded).items():
        said = f"{who} changed {what} for every model of its process; it was put back before anything was measured."
        yield Doubt(said, heavy=True)
    disturbed = sum(Label.CONTAMINATED in str(labels).split(";") for labels in loaded.comparisons.labels)
    if disturbed:
        said = (
            f"{disturbed} comparison{'s are' if disturbed != 1 else ' is'} contaminated: the machine was disturbed; the table "
            "says by what, with CPU times."
        )
        yield Doubt(said, heavy=True)
    twins = twin_check(loaded)
    if twins is not None and machine_check(loaded)[0] == "undecided":
        said = (
            f"The machine check cannot tell: two identical models were shown to be equal in {twins.equivalent} of "
            f"{counted(len(twins.verdicts), 'comparison')}; their largest difference was {100 * twins.largest:.1f} %."
        )
        yield Doubt(said, "The machine check cannot tell.")
    seeds = len(loaded.run.plan.suite.seeds)
    if loaded.trained_metric is not None and seeds < 3 and not loaded.run.confirmations:
        yield Doubt(f"Losses are from {seeds} seed{'s' * (seeds != 1)}: an illustration, no claim.")
    yield from map(Doubt, confirmation_words.doubts(loaded))
    yield from map(Doubt, confirmation_words.between_sizes(loaded))
    failed = len(loaded.failed.case_id.unique())
    if failed:
        yield Doubt(f"{failed} case{'s' * (failed != 1)} failed.", heavy=True)


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


def seeds_in_words(loaded: Loaded) -> str:
    """Say how many seeds there are: `1 seed: illustration, no claim`, or `3 seeds`."""
    suite = loaded.run.plan.suite
    number = f"{len(suite.seeds)} seed{'s' * (len(suite.seeds) != 1)}"
    return number if len(suite.seeds) >= 3 and suite.claims else f"{number}: illustration, no claim"
