"""Compares runs with one another: `modbench compare A B [C …]`. The first is what the others are compared with.

What is compared with what, and when a change counts, are the gate's rules. A gate asks one question, whether the new run is
worse; here it is asked in both directions, so that neither run is favoured: a case is *better* where the gate would call the
first run worse than this one, and *equivalent* where it passes both ways. Times are printed without a verdict, *not alternated*.
In what runs differ besides their numbers (machine, versions, code, suite) is named first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue
from modbench.reports.model import Estimate, Finding, Kind, Listed, Sentence, Table, Value, Verdict
from modbench.reports.questions.compare_axis import TITLES
from modbench.reports.questions.gate.gate import gate
from modbench.reports.questions.gate.non_inferiority import LABELS, NOT_ALTERNATED, GateFinding
from modbench.reports.tables import axes, provenance
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.text import alike

# Facts that make two machines unlike: times of one say little about times of the other.
KIND = ("processor", "GPU", "device", "threads")
# Characters of a hash that are shown.
SHORT = 12
NONE = "–"


@dataclass(frozen=True)
class Difference:
    """A fact in which runs differ.

    Attributes:
        section: one of `SECTIONS`.
        what: its name.
        values: one for each run, in words; `–` where a run has none.
    """

    section: str
    what: str
    values: tuple[str, ...]


def differences(runs: Sequence[Loaded]) -> list[Difference]:
    """Return the facts in which the runs differ, in the order of the sections."""
    told = [{section: dict(facts(run)) for section, facts in SECTIONS.items()} for run in runs]
    found = []
    for section in SECTIONS:
        absent = {name for each in told for name, value in each[section].items() if value == NONE}
        for name in dict.fromkeys(name for each in told for name in each[section]):
            if any(name.startswith(f"{table}.") for table in absent):
                continue  # a run without this table; the table's own name says so
            other = (
                "set" if name in absent and section == "suite" else NONE
            )  # its settings stand under names of their own
            values = tuple(each[section].get(name, other) for each in told)
            if len(set(values)) > 1:
                found.append(Difference(section, name, values))
    return found


def unlike(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences that make the machines unlike."""
    return [each for each in found if each.section == "machine" and each.what in KIND]


def _machine(loaded: Loaded) -> Iterator[tuple[str, str]]:
    run, environment = loaded.run, loaded.run.environment
    timed_on = provenance.timed_on(run)
    hardware = sorted({node.hardware for node in timed_on if node.hardware})
    yield "processor", " and ".join(hardware) or str(environment["cpu"])
    if run.plan.device == "cuda":
        yield "GPU", loaded.device_name
        yield "driver", ", ".join(sorted({str(each["driver"]) for each in environment["gpu"]["devices"]})) or "unknown"
    yield "device", run.plan.device
    yield "threads", str(run.plan.suite.threads)
    yield "cores", f"{environment['usable_cores']} of {environment['cores']}"
    yield "memory", human(float(environment["memory_bytes"]), "B")
    yield "system", str(environment["system"])
    yield "fingerprint", " and ".join(sorted(str(node.machine) for node in timed_on if node.machine)) or "not known"
    known = loaded.certificate
    yield "A/A check", known.verdict if known else "not made"


def _versions(loaded: Loaded) -> Iterator[tuple[str, str]]:
    environment = loaded.run.environment
    yield "python", str(environment["python"])
    yield from ((str(name), str(version)) for name, version in sorted(environment["packages"].items()))


def _code(loaded: Loaded) -> Iterator[tuple[str, str]]:
    git = loaded.run.environment["git"]
    yield "commit", str(git["commit"] or "not known")[:SHORT]
    yield "uncommitted changes", {True: "yes", False: "no"}.get(git["dirty"], "not known")
    versions = provenance.joined_versions(map(provenance.versions_of_record, loaded.run.records))
    for name, ran in sorted(versions.items()):
        yield f"file {name}", " and ".join(sorted(each[:SHORT] for each in ran))


def _suite(loaded: Loaded) -> Iterator[tuple[str, str]]:
    plan = loaded.plan
    suite = plan.suite.model_dump(mode="json", exclude={"about", "arms", "threads", "device"})
    yield "arms", ", ".join(dict.fromkeys(case.arm for case in plan.cases))
    yield from _flat(suite)
    yield "text", (plan.corpus_sha256 or "none")[:SHORT]


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings of nested tables by their keys in a suite file: `grid.seq_len`."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list):
            yield f"{before}{key}", ", ".join(map(str, value))
        else:
            yield f"{before}{key}", NONE if value is None else str(value)


# What facts are about, in this order.
SECTIONS: Mapping[str, Callable[[Loaded], Iterator[tuple[str, str]]]] = {
    "machine": _machine,
    "versions": _versions,
    "code": _code,
    "suite": _suite,
}


def the_same(found: Sequence[Difference], of: int) -> Sentence | None:
    """Say which sections are the same in all runs; None if none is."""
    changed = {each.section for each in found}
    same = [section for section in SECTIONS if section not in changed]
    if not same:
        return None
    said = Listed(same, last=" and ")
    return Sentence("The same in {all} runs: {sections}.", all="both" if of == 2 else "all", sections=said)


# In the order of a summary.
VERDICTS = (
    *("worse", "better", "different", "not worse", "not better", "equivalent", "cannot tell", NOT_ALTERNATED),
    *("not compared", "new", "missing"),
)
# Runs side by side: more columns than this are not readable.
MOST_RUNS = 8
PASSES = ("pass", "better")
# Verdicts that claim nothing.
UNDECIDED = "a change above the margin is neither shown nor excluded"
# Units of losses, which stand in a heading, not beside each number.
LOSS_UNITS = {"nat": "nats", "bit/B": "bits/byte"}
# Names of a sentence, and reasons of a run's failures; of more the rest are counted.
MOST_NAMED, MOST_FAILED = 3, 12


@dataclass(frozen=True)
class Row(Finding):
    """One case and metric of two runs.

    Its verdict is one of `VERDICTS`; `value` is that of this run; `typical` the ratio of this run to the first, above 1 better,
    of a time the ratio of its ratios to the anchor, of a loss the difference, with a 90 % interval.

    Attributes:
        what: the case.
        of: the metric.
        first: its value in the first run.
    """

    what: Case
    of: Metric = field(kw_only=True)
    first: Estimate = field(kw_only=True)

    @property
    def is_difference(self) -> bool:
        """Whether the change is a difference, as of a loss, not a ratio."""
        return self.of.scored_as == "difference" and catalogue.pass_of(self.of).samples == "seeds"


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
    chosen = min(run.suite.margin for run in runs) if margin is None else margin
    against = [_Pair(runs[0], run, number).against(chosen) for number, run in enumerate(runs[1:], 1)]
    return Compared(runs, found, apart, chosen, against)


# A case id and a metric key, and what they stand for in one run.
Key = tuple[str, str]
Planned = dict[Key, tuple[Case, Metric]]


class _Pair:
    """The first run and another one."""

    def __init__(self, first: Loaded, run: Loaded, number: int) -> None:
        self.first, self.run, self.number = first, run, number
        self.planned: list[Planned] = [
            {(case.id, metric.key): (case, metric) for _, metric, case in side.tables.asked()} for side in (first, run)
        ]

    def against(self, margin: float) -> Against:
        """Compare every case and metric of either run."""
        forward, backward = dict[Key, GateFinding](), dict[Key, GateFinding]()
        cases = [side.plan.cases for side in (self.first, self.run)]
        said: str | None = None
        labels = list[str]()
        if {*cases[0]} & {*cases[1]}:
            forward, backward = (
                _by_cell(gate(now, base, margin).findings)
                for now, base in ((self.run, self.first), (self.first, self.run))
            )
            labels += [*self._labels(forward, self.number), *self._labels(backward, 0)]
        elif {case.id for case in cases[0]} & {case.id for case in cases[1]}:
            said = "no case has the same settings in both runs"
        else:
            said = "the runs have no case in common"
        keys = dict.fromkeys([*self.planned[0], *self.planned[1]])
        rows = [self._row(key, forward.get(key), backward.get(key)) for key in keys]
        return Against(self.number, rows, (*filter(None, [said]), *labels))

    def _labels(self, findings: dict[Key, GateFinding], run: int) -> Iterator[str]:
        """Yield which cases have labels in one of the runs alone."""
        for (case, metric), finding in findings.items():
            if metric == LABELS and finding.verdict == "worse":
                yield f"{case}: in {letter(run)} alone {str(finding.reason).removeprefix('now ')}"

    def _row(self, key: Key, forward: GateFinding | None, backward: GateFinding | None) -> Row:
        case, metric = self.planned[0].get(key) or self.planned[1][key]
        verdict, reason = self._verdict(key, forward, backward)
        kind: Kind = "loss" if metric.unit in LOSS_UNITS else "quantity"
        first, value = (Estimate(side.values.get(key), kind=kind, unit=metric.unit) for side in (self.first, self.run))
        row = Row(case, metric=metric.key, value=value, verdict=verdict, reason=reason, of=metric, first=first)
        if forward is None or verdict in {"new", "missing"}:
            return row
        return replace(row, typical=forward.typical, other=forward.other)

    def _verdict(self, key: Key, forward: GateFinding | None, backward: GateFinding | None) -> tuple[str, Value]:
        """Return the verdict on a case and metric, and the reason."""
        failed = "; ".join(filter(None, (self._failed(key, side) for side in (0, 1)))) or None
        for side, word in ((0, "new"), (1, "missing")):
            if key not in self.planned[side]:
                return word, failed or f"{letter(side * self.number)} did not measure it"
        if forward is None or backward is None:
            return "not compared", "the same id, but another case"
        verdict, reason = both_ways(forward.verdict or "", backward.verdict or ""), forward.reason
        if verdict == "better" and backward.judged_by is None and str(backward.reason).startswith("now "):
            reason = f"{letter(0)}: {str(backward.reason).removeprefix('now ')}"
        elif verdict == "not compared" and forward.verdict != verdict:
            reason = backward.reason
        elif verdict == "cannot tell" and forward.judged_by is not None:
            reason = UNDECIDED
        return verdict, failed or reason

    def _failed(self, key: Key, side: int) -> str | None:
        """Say why a case failed in a run; None if it did not."""
        if key not in self.planned[side]:
            return None
        trouble = (self.first, self.run)[side].tables.trouble(*self.planned[side][key])
        failed = trouble is not None and trouble.status == "failed"
        return f"failed in {letter(side * self.number)}: {trouble.reason}" if failed and trouble else None


def _by_cell(findings: Sequence[GateFinding]) -> dict[Key, GateFinding]:
    return {(each.what, each.metric): each for each in findings}


def both_ways(forward: str, backward: str) -> str:
    """Return the verdict from a gate's on the run against the first, and on the first against the run.

    Swapping the two turns `better` into `worse` and `not better` into `not worse`; the others stay.
    """
    if "worse" in {forward, backward}:
        return "different" if forward == backward else "worse" if forward == "worse" else "better"
    for word in ("not compared", NOT_ALTERNATED):
        if word in {forward, backward}:
            return word
    passes = forward in PASSES, backward in PASSES
    return {(True, True): "equivalent", (True, False): "not worse", (False, True): "not better"}.get(
        passes, "cannot tell"
    )


# --- what is said of them


def summary(against: Against) -> Sentence:
    """Say which run is compared with the first, and count the verdicts: `2 worse, 40 equivalent`."""
    said = counted(against.rows) or "nothing to compare"
    return Sentence("{run} against {first}: {verdicts}", run=letter(against.run), first=letter(0), verdicts=said)


def counted(rows: Sequence[Row]) -> Listed | None:
    """Count verdicts, in the order of `VERDICTS`; None for no row."""
    counts = Counter(row.verdict for row in rows)
    known = [Sentence("{n} {word}", n=counts[word], word=word) for word in VERDICTS if counts[word]]
    return Listed(known) if known else None


def table(against: Against, rows: Sequence[Row]) -> Table:
    """Return the rows of one metric: values of both runs, the change, the verdict."""
    metric = rows[0].of
    title, unit = TITLES.get(metric.key, metric.key), LOSS_UNITS.get(metric.unit)
    every = [axes.fields(row.what) for row in against.rows if row.metric == metric.key]
    where = [key for key in axes.differing(every) if key in (*axes.PLACE, "task", "budget")]
    head = ("", letter(0), letter(against.run), "difference" if rows[0].is_difference else "ratio", "verdict")
    label = f"{title}, {unit}" if unit and unit not in title else title
    cells = list[tuple[Value, ...]]()
    for row in rows:
        first, value = (Finding(row.what, value=each) for each in (row.first, row.value))
        cells.append((_named(row.what, where), first, value, *_change(row)))
    return Table(label, head, cells)


def _named(case: Case, where: Sequence[str]) -> Value:
    """Return a case with those fields of its place that differ."""
    fields = axes.fields(case)
    at = [axes.heading(key, fields[key]) for key in where if fields.get(key) is not None]
    return Sentence("{case}, {where}", case=case, where=Listed(at)) if at else case


def _change(row: Row) -> tuple[Value, Value]:
    return "" if row.typical.value is None else row.typical, Verdict(row.verdict, timed=False)


def whole_table(compared: Compared, most: int) -> Table:
    """Return every row, with means and remarks, what changed first; so many of them."""
    several = len(compared.against) > 1
    rows = [(against.run, row) for against in compared.against for row in against.rows]
    rows.sort(key=lambda each: VERDICTS.index(each[1].verdict or ""))
    head = ["Run"] * several + ["Case", "Metric", letter(0), "Value" if several else letter(1), "Ratio", "Mean ratio"]
    head += ["Verdict", "Remark"]
    cells = list[tuple[Value, ...]]()
    for run, row in rows:
        change, verdict = _change(row)
        own = (row.what.id, row.metric, row.first, row.value, change, row.other or "", verdict, row.reason or "")
        cells.append((letter(run), *own) if several else own)
    return Table("All comparisons", head, cells, file="modbench compare … --json").first(most)


def differences_table(compared: Compared) -> Table | None:
    """Return the facts in which runs differ, a column for each run; None where there is none."""
    if not compared.differences:
        return None
    runs = [letter(number) for number in range(len(compared.runs))]
    rows = [(each.what, *each.values) for each in compared.differences]
    return Table("What differs between the runs", ("differs", *runs), rows)


def reasons(against: Against, most: int) -> Iterator[Sentence]:
    """Say what is new or missing, and why cases have no verdict or a change without a number: each reason once."""
    silent = [
        row for row in against.rows if row.typical.value is None or row.verdict in {"cannot tell", "not compared"}
    ]
    told = [row for row in silent if row.reason not in {None, UNDECIDED}]
    known = [row for row in told if not str(row.reason).startswith("failed in")]
    found = alike((Sentence("{verdict}: {reason}", verdict=row.verdict, reason=row.reason), row) for row in known)
    for rows in found[:most]:
        cases, metrics = (
            [*dict.fromkeys(each)] for each in zip(*((row.what.id, row.metric) for row in rows), strict=True)
        )
        yield _of_cases(str(rows[0].verdict), cases, rows[0].reason, metrics)
    if len(found) > most:
        yield Sentence("and {n} more reasons: --json has them", n=len(found) - most)


def _of_cases(what: str, cases: Sequence[str], reason: Value, metrics: Sequence[str]) -> Sentence:
    where, of = (Listed(each, most=MOST_NAMED) for each in (cases, metrics))
    return Sentence("{what}: {cases}: {reason} ({metrics})", what=what, cases=where, reason=reason, metrics=of)


def troubles(compared: Compared) -> Iterator[Sentence]:
    """Name what failed, is damaged or lacks in each run."""
    for number, loaded in enumerate(compared.runs):
        run, found = letter(number), list(failures(loaded))
        for reason, cases, metrics in found[:MOST_FAILED]:
            yield _of_cases(f"failed in {run}", cases, reason, metrics)
        if len(found) > MOST_FAILED:
            yield Sentence("and for {n} more reasons in {run}: --json has them", n=len(found) - MOST_FAILED, run=run)
        for damaged in loaded.run.damaged[:MOST_FAILED]:
            yield Sentence("damaged in {run}: {error}", run=run, error=str(damaged.error))
        lacks = loaded.run.missing
        if lacks:
            units = Listed(lacks, most=MOST_NAMED)
            yield Sentence("missing in {run}: {n} units ({units})", run=run, n=len(lacks), units=units)


def how_to_read(compared: Compared) -> Iterator[Sentence]:
    """Say what the numbers are."""
    words = "Above 1 is better; intervals of 90 %; margin {margin}; verdicts by the rules of modbench gate in both directions."
    yield Sentence(words, margin=Estimate(compared.margin, kind="share"))
    if any(row.verdict == NOT_ALTERNATED for against in compared.against for row in against.rows):
        words = "Times are ratios to each run's own anchor. They have no verdict, since the runs took no turns: their intervals "
        words += "do not hold how much two runs differ. modbench ab times two revisions in turn."
        yield Sentence(words)
    if compared.unlike:
        yield Sentence("The machines are unlike: the anchors' own times are not compared.")


def failures(loaded: Loaded) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each reason for which something failed in a run, with the cases and metrics."""
    for reason, rows in loaded.failed.groupby("reason", sort=False):
        yield str(reason), list(dict.fromkeys(rows.case_id)), list(dict.fromkeys(rows.metric))
