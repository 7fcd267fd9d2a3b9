"""How sure a report is, and what to doubt about it: the third and fourth thing that its first screen says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from modbench.harness.core.case import Case
from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.results.confirmed import Confirmed
from modbench.reports.model import Estimate, Listed, Sentence, Value
from modbench.reports.questions import confirmation
from modbench.reports.questions.machine import GLYPHS, machine_check, machine_facts, twin_check
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name

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
    def processes(self) -> Sentence:
        """The number of processes: `7 fresh processes`, `5 to 10 fresh processes`."""
        number = "{most}" if self.fewest == self.most else "{fewest} to {most}"
        return Sentence(f"{number} fresh process{'es' * (self.most != 1)}", fewest=self.fewest, most=self.most)


@dataclass(frozen=True)
class Doubt:
    """A sentence that a reader should hold against the numbers.

    Attributes:
        said: the sentence.
        short: the same where the numbers stand elsewhere.
        brief: the same in a few words.
        heavy: whether numbers may be missing, disturbed, or not those of the work that a model claims: these come first where
            there is room for a few.
    """

    said: Value
    short: Value = ""
    brief: Value = ""
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


def sure(loaded: Loaded) -> list[Value]:
    """Say what the numbers stand on: processes, width of the intervals, margin, the check of the machine."""
    suite, found = loaded.run.plan.suite, evidence(loaded)
    if found is None:
        return []
    width = ", with a 95 % interval of ±{half} (median)" * (found.half is not None)
    half = Estimate(found.half, kind="share")
    said: list[Value] = [
        Sentence(f"Each ratio of times is from {{processes}}{width}.", processes=found.processes, half=half)
    ]
    if suite.claims:
        are = "is" if found.undecided == 1 else "are"
        undecided = f"; {{open}} of {{all}} ratios of times {are} undecided" * bool(found.undecided)
        margin = Estimate(suite.margin, kind="share")
        words = f"Differences below {{margin}} count as equal{undecided}."
        said.append(Sentence(words, margin=margin, open=found.undecided, all=found.ratios))
    return [*said, f"{machine_check(loaded)[1]}."]


def sure_in_brief(loaded: Loaded) -> Sentence | None:
    """Say the same in a few words; None where no times are compared."""
    found = evidence(loaded)
    if found is None:
        return None
    words = "{processes}" + ", ±{half}" * (found.half is not None) + ", machine {status}"
    half = Estimate(found.half, kind="share")
    return Sentence(words, processes=found.processes, half=half, status=machine_facts(loaded)[0])


def sure_in_short(loaded: Loaded) -> Sentence | None:
    """Say the same in one line; None where no times are compared."""
    suite, found = loaded.run.plan.suite, evidence(loaded)
    if found is None:
        return None
    words = "{processes}" + ", ±{half} (median)" * (found.half is not None)
    if found.judged:
        words += ", {open} of {judged} ratios open, margin {margin}"
    known: Value
    status, known = machine_facts(loaded)
    twins = twin_check(loaded)
    if loaded.certificate is not None and twins is not None:  # of the two, the twin was timed in this run
        known = Sentence("{status}; {twins}", status=status, twins=twins.in_brief())
    return Sentence(
        words + "; {glyph} A/A test: {known}",
        processes=found.processes,
        half=Estimate(found.half, kind="share"),
        open=found.undecided,
        judged=found.judged,
        margin=Estimate(suite.margin, kind="share"),
        glyph=GLYPHS[status],
        known=known,
    )


def doubts(loaded: Loaded) -> list[Value]:
    """Say what a reader should hold against the numbers: labels, disturbed times, failures, what is missing."""
    return [each.said for each in _doubts(loaded, MOST_NAMED)]


def doubts_in_short(loaded: Loaded) -> list[Value]:
    """Say the same where there is little room: of many arms one is named, and what weighs most comes first."""
    return [each.short or each.said for each in sorted(_doubts(loaded, 1), key=lambda each: not each.heavy)]


def doubts_in_brief(loaded: Loaded) -> list[Value]:
    """Say the same in a few words each, what weighs most first."""
    return [each.brief for each in sorted(_doubts(loaded, 1), key=lambda each: not each.heavy) if each.brief]


def _doubts(loaded: Loaded, most_named: int) -> Iterator[Doubt]:
    if not loaded.run.plan.suite.claims:
        yield Doubt("A smoke run: it shows that everything runs, and supports no claim.", brief="smoke run", heavy=True)
    if missing := len(loaded.run.missing):
        units = f"{{n}} {'unit has' if missing == 1 else 'units have'} no record."
        yield Doubt(
            Sentence(f"The run is incomplete: {units}", n=missing),
            brief=Sentence(f"{{n}} missing unit{'s' * (missing != 1)}", n=missing),
            heavy=True,
        )
    for label, cases in loaded.labelled().items():
        names = Listed(_named(loaded, cases), most=most_named)
        yield Doubt(
            Sentence("{label}: {names}.", label=f"{label[:1].upper()}{label[1:]}", names=names),
            brief=Sentence("{label}: {names}", label=label, names=replace(names, most=1)),
            heavy=label in OF_WORK,
        )
    for who, what in _restored(loaded).items():
        words = "{who} changed {what} for every model of its process; it was put back before anything was measured."
        brief = Sentence("{who} changed its process", who=who)
        yield Doubt(Sentence(words, who=who, what=what), brief=brief, heavy=True)
    disturbed = sum(Label.CONTAMINATED in str(labels).split(";") for labels in loaded.comparisons.labels)
    if disturbed:
        words = f"{{n}} comparison{'s are' if disturbed != 1 else ' is'} contaminated: the machine was disturbed; "
        words += "the table says by what, with CPU times."
        yield Doubt(Sentence(words, n=disturbed), brief=Sentence("{n} contaminated", n=disturbed), heavy=True)
    twins = twin_check(loaded)
    if twins is not None and machine_check(loaded)[0] == "undecided":
        every = len(twins.verdicts)
        said = Sentence(
            "The machine check cannot tell: two identical models were shown to be equal in {equal} of {all} "
            f"comparison{'s' * (every != 1)}; their largest difference was {{largest}}.",
            equal=twins.equivalent,
            all=every,
            largest=Estimate(twins.largest, kind="share"),
        )
        yield Doubt(said, "The machine check cannot tell.", "the machine check cannot tell")
    seeds = len(loaded.run.plan.suite.seeds)
    if loaded.trained_metric is not None and seeds < 3 and not loaded.run.found(Confirmed):
        few = Sentence(f"{{n}} seed{'s' * (seeds != 1)}", n=seeds)
        yield Doubt(Sentence("Losses are from {few}: an illustration, no claim.", few=few), brief=few)
    yield from map(Doubt, confirmation.doubts(loaded))
    failed = len(loaded.failed.case_id.unique())
    if failed:
        words = f"{{n}} case{'s' * (failed != 1)} failed"
        yield Doubt(Sentence(f"{words}.", n=failed), brief=Sentence(words, n=failed), heavy=True)


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
