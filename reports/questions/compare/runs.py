"""Compares runs with one another: `modbench compare A B [C …]`. The first is what the others are compared with.

What is compared with what, and when a change counts, are the gate's rules (`gate_compare.py`, `gate_rules.py`). A gate asks one
question, whether the new run is worse; here it is asked in both directions, so that neither run is favoured: a case is *better*
where the gate would call the first run worse than this one, and *equivalent* where it passes both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError
from modbench.reports.questions.compare.run_differences import Difference, differences, unlike
from modbench.reports.questions.gate.gate import gate
from modbench.reports.questions.gate.non_inferiority import LABELS, Finding
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.machine_checked import UNCHECKED

# In the order of a summary.
VERDICTS = (
    *("worse", "better", "different", "not worse", "not better", "equivalent", "cannot tell", "not compared"),
    *("new", "missing"),
)
# Runs side by side: more columns than this are not readable.
MOST_RUNS = 8
PASSES = ("pass", "better")
# Verdicts that claim nothing.
UNDECIDED = "a change above the margin is neither shown nor excluded"
SILENT = {"cannot tell", "not compared", "new", "missing"}
NUMBERS = ("change", "low", "high", "mean_change", "mean_low", "mean_high")


@dataclass(frozen=True)
class Row:
    """One case and metric of two runs.

    Attributes:
        case: the case.
        metric: the metric.
        first: its value in the first run, in the metric's unit; None where it has none.
        value: its value in this run.
        verdict: one of `VERDICTS`.
        change: ratio of this run to the first, above 1 better (of a loss the difference); of a time the ratio of its ratios to
            the anchor; None where there is none.
        low: lower end of the 90 % interval.
        high: upper end.
        mean_change: the same for mean times; `change` is of typical calls.
        mean_low: lower end of its interval.
        mean_high: upper end.
        launches: launches in each run that would decide a *cannot tell*.
        reason: what the change is of, or why there is no verdict.
    """

    case: Case
    metric: Metric
    first: float | None
    value: float | None
    verdict: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    mean_change: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None
    launches: int | None = None
    reason: str | None = None

    @property
    def is_difference(self) -> bool:
        """Whether `change` is a difference, as of a loss, not a ratio."""
        return self.metric.scored_as == "difference" and catalogue.pass_of(self.metric).samples == "seeds"


@dataclass(frozen=True)
class Against:
    """One run against the first.

    Attributes:
        run: its number among the runs, from 1.
        rows: every case and metric of either, in the order of the first run's plan.
        said: what else must be known.
    """

    run: int
    rows: list[Row]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """Runs side by side.

    Attributes:
        runs: the runs; the first is what the others are compared with.
        differences: in what they differ besides their numbers.
        unlike: those of them that make the machines unlike.
        margin: the largest change that does not matter, as a share.
        against: the others against the first.
    """

    runs: Sequence[Loaded]
    differences: list[Difference]
    unlike: list[Difference]
    margin: float
    against: list[Against]

    @property
    def incomplete(self) -> str | None:
        """What runs lack, in one line; None if they lack nothing."""
        return " ".join(run.run.incomplete for run in self.runs if run.run.incomplete) or None


def letter(run: int) -> str:
    """Return the letter of a run in tables: A for the first."""
    return chr(ord("A") + run)


def compare_runs(runs: Sequence[Loaded], margin: float | None = None, *, across_machines: bool = False) -> Compared:
    """Compare every case and metric of the runs with the first.

    Args:
        runs: two to eight.
        margin: the largest change that does not matter, as a share; None: the suites', the smallest if they differ.
        across_machines: whether unlike machines may be compared.

    Raises:
        UsageError: if there are too few or too many runs, one is named twice, or their machines are unlike.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UsageError(f"{len(runs)} runs: name two to {MOST_RUNS}.")
    paths = [run.path.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise UsageError("a run is named twice: it would be compared with itself.")
    found = differences(runs)
    apart = unlike(found)
    if apart and not across_machines:
        said = "; ".join(f"{each.what}: {' and '.join(dict.fromkeys(each.values))}" for each in apart)
        raise UsageError(
            f"the runs were made on unlike machines ({said}). --across-machines compares them: times then as ratios to each "
            "run's own anchor, the anchors' own times without a verdict."
        )
    chosen = min(run.run.plan.suite.margin for run in runs) if margin is None else margin
    against = [_Pair(runs[0], run, number).against(chosen) for number, run in enumerate(runs[1:], 1)]
    return Compared(runs, found, apart, chosen, against)


# A case id and a metric key, and what they stand for in one run.
Key = tuple[str, str]
Planned = dict[Key, tuple[Case, Metric]]


class _Pair:
    """The first run and another one."""

    def __init__(self, first: Loaded, run: Loaded, number: int) -> None:
        self.first, self.run, self.number = first, run, number
        self.planned = [_planned(side) for side in (first, run)]
        self.values = [_values(side) for side in (first, run)]

    def against(self, margin: float) -> Against:
        """Compare every case and metric of either run."""
        forward, backward = dict[Key, Finding](), dict[Key, Finding]()
        cases = [side.run.plan.cases for side in (self.first, self.run)]
        said: str | None = None
        labels = list[str]()
        if {*cases[0]} & {*cases[1]}:
            asked = gate(self.run, self.first, margin)
            forward, backward = _by_cell(asked.findings), _by_cell(gate(self.first, self.run, margin).findings)
            said = asked.unfit
            labels += [*self._labels(forward, self.number), *self._labels(backward, 0)]
        elif {case.id for case in cases[0]} & {case.id for case in cases[1]}:
            said = "no case has the same settings in both runs"
        else:
            said = "the runs have no case in common"
        keys = dict.fromkeys([*self.planned[0], *self.planned[1]])
        rows = [self._row(key, forward.get(key), backward.get(key)) for key in keys]
        return Against(self.number, rows, (*filter(None, [said]), *labels))

    def _labels(self, findings: dict[Key, Finding], run: int) -> Iterator[str]:
        """Yield which cases have labels in one of the runs alone."""
        for (case, metric), finding in findings.items():
            if metric == LABELS and finding.verdict == "worse":
                yield f"{case}: in {letter(run)} alone {str(finding.reason).removeprefix('now ')}"

    def _row(self, key: Key, forward: Finding | None, backward: Finding | None) -> Row:
        case, metric = self.planned[0].get(key) or self.planned[1][key]
        verdict, reason = self._verdict(key, forward, backward)
        if verdict not in SILENT and self._withheld(metric):
            verdict, reason = "cannot tell", UNCHECKED.replace("`", "")
        row = Row(case, metric, self.values[0].get(key), self.values[1].get(key), verdict, reason=reason)
        if forward is None or verdict in {"new", "missing"}:
            return row
        numbers = {name: getattr(forward, name) for name in NUMBERS}
        return replace(row, **numbers, launches=forward.launches if verdict == "cannot tell" else None)

    def _verdict(self, key: Key, forward: Finding | None, backward: Finding | None) -> tuple[str, str | None]:
        """Return the verdict on a case and metric, and the reason."""
        failed = "; ".join(filter(None, (self._failed(key, side) for side in (0, 1)))) or None
        for side, word in ((0, "new"), (1, "missing")):
            if key not in self.planned[side]:
                return word, failed or f"{letter(side * self.number)} did not measure it"
        if forward is None or backward is None:
            return "not compared", "the same id, but another case"
        verdict, reason = both_ways(forward.verdict, backward.verdict), forward.reason
        if verdict == "better" and not backward.changes and str(backward.reason).startswith("now "):
            reason = f"{letter(0)}: {str(backward.reason).removeprefix('now ')}"
        elif verdict == "not compared" and forward.verdict != verdict:
            reason = backward.reason
        elif verdict == "cannot tell" and forward.changes:
            reason = UNDECIDED
        return verdict, failed or (reason and reason.replace("--history", "modbench gate --history"))

    def _failed(self, key: Key, side: int) -> str | None:
        """Say why a case failed in a run; None if it did not."""
        if key not in self.planned[side]:
            return None
        trouble = (self.first, self.run)[side].tables.trouble(*self.planned[side][key])
        failed = trouble is not None and trouble.status == "failed"
        return f"failed in {letter(side * self.number)}: {trouble.reason}" if failed and trouble else None

    def _withheld(self, metric: Metric) -> bool:
        """Whether nothing speaks for a machine that timed this metric."""
        return any(side.tables.made_in(metric).times and not side.checked for side in (self.first, self.run))


def _planned(loaded: Loaded) -> Planned:
    return {
        (case.id, key): (case, loaded.tables.metrics[key])
        for comparison in loaded.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms
    }


def _values(loaded: Loaded) -> dict[Key, float]:
    rows = loaded.cases.to_dict("records")
    return {(str(row["case_id"]), str(row["metric"])): float(row["value"]) for row in rows if row["status"] == "ok"}


def _by_cell(findings: Sequence[Finding]) -> dict[Key, Finding]:
    return {(each.case, each.metric): each for each in findings}


def both_ways(forward: str, backward: str) -> str:
    """Return the verdict from a gate's on the run against the first, and on the first against the run.

    Swapping the two turns `better` into `worse` and `not better` into `not worse`; the others stay.
    """
    if "worse" in {forward, backward}:
        return "different" if forward == backward else "worse" if forward == "worse" else "better"
    if "not compared" in {forward, backward}:
        return "not compared"
    passes = forward in PASSES, backward in PASSES
    return {(True, True): "equivalent", (True, False): "not worse", (False, True): "not better"}.get(
        passes, "cannot tell"
    )


def failures(loaded: Loaded) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each reason for which something failed in a run, with the cases and metrics."""
    for reason, rows in loaded.failed.groupby("reason", sort=False):
        yield str(reason), list(dict.fromkeys(rows.case_id)), list(dict.fromkeys(rows.metric))
