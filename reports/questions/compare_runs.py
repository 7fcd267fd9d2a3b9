"""Compares runs with one another: `modbench compare BASE NEW [NEW …]`. The first is what the others are compared with.

What is compared with what, and the verdicts, are those of `tables/two_runs.py`: times have none, since two runs take no turns.
In what runs differ besides their numbers (machine, versions, code, suite) is named first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.core.group_by import grouped
from modbench.harness.core.units import human
from modbench.harness.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.reports.blocks import Block, Code, Estimate, Finding, Listed, Note, Sentence, Table, Value, where_it_ran
from modbench.reports.markup.text import alike, cut
from modbench.reports.questions.compare_axis import TITLES
from modbench.reports.tables import provenance
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import MISSING, NEW, NOT_ALTERNATED, NOT_COMPARED, Pair, TwoRuns
from modbench.reports.wording import verdict_words

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
        # Tables that a run lacks: their settings in the other runs are not told one by one.
        absent = tuple(f"{name}." for each in told for name, value in each[section].items() if value == NONE)
        for name in dict.fromkeys(name for each in told for name in each[section]):
            values = tuple(each[section].get(name, "set" if f"{name}." in absent else NONE) for each in told)
            if len(set(values)) > 1 and not name.startswith(absent):
                found.append(Difference(section, name, values))
    return found


def _machine(loaded: Loaded) -> Iterator[tuple[str, str]]:
    run, environment = loaded.run, loaded.run.environment
    timed_on = provenance.timed_on(run)
    hardware = sorted({node.hardware for node in timed_on if node.hardware})
    yield "processor", " and ".join(hardware) or str(environment["cpu"])
    if run.plan.device == "cuda":
        yield "GPU", loaded.tables.device_name
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
    for name, ran in sorted(loaded.tables.code.items()):
        yield f"file {name}", " and ".join(sorted(each[:SHORT] for each in ran))


def _suite(loaded: Loaded) -> Iterator[tuple[str, str]]:
    plan = loaded.plan
    suite = plan.suite.model_dump(mode="json", exclude={"about", "variants", "threads", "device"})
    yield "variants", ", ".join(dict.fromkeys(case.variant for case in plan.cases))
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


# In the order of a summary; and those that say that nothing changed, or nothing at all: left out where there are many rows.
VERDICTS = (WORSE, BETTER, EQUIVALENT, INCONCLUSIVE, NOT_ALTERNATED, NOT_COMPARED, NEW, MISSING)
QUIET = (EQUIVALENT, NOT_COMPARED, NEW, MISSING)
# Rows of a run, and reasons that are named, if not every one is wanted; and rows of all.
FEW_ROWS, FEW_REASONS, MOST_ROWS, FILE = 12, 2, 2000, "modbench compare … --json"
# Runs side by side: more columns than this are not readable.
MOST_RUNS = 8
# Units of losses, which stand in a heading, not beside each number.
LOSS_UNITS = {"nat": "nats", "bit/B": "bits/byte"}
# Names of a sentence, and letters of a fact in which runs differ.
MOST_NAMED, MOST_LETTERS = 3, 24


@dataclass(frozen=True)
class Against:
    """One run against the first.

    Attributes:
        name: its letter.
        sides: the first run, and this one.
        rows: every case and metric of either, in the order of the first run's plan.
        said: what else must be known.
    """

    name: str
    sides: tuple[Loaded, Loaded]
    rows: list[Pair]
    said: list[str]

    def values(self, row: Pair) -> list[Estimate]:
        """The value of a case and metric in the first run, and in this one."""
        unit = "loss" if row.metric.unit in LOSS_UNITS else row.metric.unit
        found = (side.values.get((row.case.id, row.metric.key)) for side in self.sides)
        return [Estimate(value, unit=unit) for value in found]


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
    apart = [each for each in found if each.section == "machine" and each.what in KIND]
    if apart and not across_machines:
        said = "; ".join(f"{each.what}: {' and '.join(dict.fromkeys(each.values))}" for each in apart)
        raise UsageError(
            f"the runs were made on unlike machines ({said}). --across-machines compares them: times as ratios to each run's "
            "own baseline."
        )
    chosen = min(run.suite.margin for run in runs) if margin is None else margin
    against = [_against(runs[0], run, letter(number), chosen) for number, run in enumerate(runs[1:], 1)]
    return Compared(runs, found, apart, chosen, against)


def _against(first: Loaded, run: Loaded, name: str, margin: float) -> Against:
    """Compare every case and metric of either run."""
    read = TwoRuns(first.tables, run.tables, margin)
    said = [
        f"{each.case}: in {side} alone {', '.join(sorted(labels))}"
        for each in read.labels()
        for side, labels in ((letter(0), each.base), (name, each.new))
        if labels
    ]
    if not {*first.plan.cases} & {*run.plan.cases}:
        said = ["the runs have no case in common"]
    return Against(name, (first, run), read.pairs(), said)


# --- what is said of them


def about(loaded: Loaded) -> str:
    """Return a run in one line: suite, effort, processes, date, commit."""
    run, suite = loaded.run, loaded.suite
    commit = run.environment["git"]["commit"]
    parts = [suite.name, f"{suite.effort}: {suite.processes_in_words}", run.started[:10]]
    return ", ".join([*parts, *([f"commit {commit[:7]}"] if commit else [])])


def sections(compared: Compared, *, every: bool) -> Iterator[tuple[str, Sequence[Block]]]:
    """Yield headings with what stands below: the runs, in what they differ, and the rows that changed or are inconclusive."""
    runs = [
        Sentence("{run}  {path}  ({about})", run=letter(i), path=Code(str(run.path)), about=about(run))
        for i, run in enumerate(compared.runs)
    ]
    yield "Runs", [*map(summary, compared.against), *runs]
    if compared.differences:
        head = ("differs", *map(letter, range(len(compared.runs))))
        facts = [(each.what, *(cut(value, MOST_LETTERS) for value in each.values)) for each in compared.differences]
        yield "What differs", [Table("What differs between the runs", head, facts)]
    for against in compared.against:
        yield f"{against.name} over {letter(0)}", [*_rows(against, every=every)]
    words = "Ratio above 1, difference below 0: better, with 95 % confidence interval; equivalence margin {margin}. "
    words += "Times have no verdict: the runs did not alternate (modbench ab revisions …)"
    words += "; they are ratios to each run's own baseline." if compared.unlike else "."
    yield "How to read this", [Note(Sentence(words, margin=Estimate(compared.margin, kind="share")))]


def summary(against: Against) -> Sentence:
    """Say which run is compared with the first, and count the verdicts: `2 worse, 40 equivalent`."""
    return Sentence(
        "{run} over {first}: {verdicts}", run=against.name, first=letter(0), verdicts=_counted(against.rows)
    )


def _counted(rows: Sequence[Pair]) -> Value:
    """Count verdicts: `2 worse, 40 equivalent`."""
    counts = Counter(row.verdict for row in rows)
    said = [Sentence("{n} {word}", n=counts[word], word=word) for word in VERDICTS if counts[word]]
    return Listed(said) if said else "nothing to compare"


def _rows(against: Against, *, every: bool) -> Iterator[Block]:
    """Yield a table for each metric, what is left out, and why cases have no number or no verdict."""
    yield from map(Note, against.said)
    rows = against.rows if every else [row for row in against.rows if row.verdict not in QUIET]
    rows = sorted(rows, key=lambda row: VERDICTS.index(row.verdict))[: MOST_ROWS if every else FEW_ROWS]
    yield from (_table(against, those) for those in grouped((row.metric.key, row) for row in rows).values())
    if left := [row for row in against.rows if row not in rows]:
        yield Note(Sentence("and {n:row}: {verdicts} (-v, --json)", n=len(left), verdicts=_counted(left)))
    lacks = [row for row in against.rows if row.change().value is None or row.verdict == INCONCLUSIVE]
    whys = (
        (Sentence("{verdict}: {why}", verdict=row.verdict, why=row.why), row) for row in lacks if row.why is not None
    )
    found = alike((why, (why, row.case.id)) for why, row in whys)
    for those in found if every else found[:FEW_REASONS]:
        cases = Listed([*dict.fromkeys(case for _, case in those)], most=MOST_NAMED)
        yield Note(Sentence("{why}: {cases}", why=those[0][0], cases=cases))


def _table(against: Against, rows: Sequence[Pair]) -> Table:
    """Return the rows of one metric: values of both runs, the change, the verdict."""
    metric = rows[0].metric
    title, unit = TITLES.get(metric.key, metric.key), LOSS_UNITS.get(metric.unit)
    grid_points = {row.case.grid_point for row in against.rows if row.metric == metric}
    head = ("", letter(0), against.name, "difference" if rows[0].is_difference else "ratio", "verdict")
    cells = list[tuple[Value, ...]]()
    for row in rows:
        words = "{case}, {grid_point}" if len(grid_points) > 1 else "{case}"
        named = Sentence(words, case=row.case, grid_point=where_it_ran(row.case.grid_point, grid_points))
        values = (Finding(row.case, value=each) for each in against.values(row))
        cells.append((named, *values, row.change(), verdict_words(row.verdict, timed=False)))
    return Table(f"{title}, {unit}" if unit and unit not in title else title, head, cells, file=FILE)
