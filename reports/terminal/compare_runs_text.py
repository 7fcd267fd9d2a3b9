"""Runs side by side, as text for a terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.printable import escaped
from modbench.harness.core.units import counted, human, three_digits
from modbench.reports.questions.compare import run_differences
from modbench.reports.questions.compare.axis_table import TITLES
from modbench.reports.questions.compare.runs import UNDECIDED, VERDICTS, Against, Compared, Row, failures, letter
from modbench.reports.sentences.machine import machine_check
from modbench.reports.tables import axes
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import short
from modbench.reports.wording.words import PLAIN_WORDS, TIME_WORDS
from modbench.reports.writers.text import aligned, wrapped

# Rows of a run that a terminal shows, with `-v` and without; of more, those that changed first.
MOST_ROWS, FEW_ROWS = 80, 16
MOST_REASONS, FEW_REASONS, MOST_FAILED, MOST_NAMED = 8, 3, 12, 3
# Verdicts that say that nothing changed, or nothing at all: left out where there are many rows.
QUIET = ("equivalent", "not compared")
_ONE_WAY = {"not worse": "▵ not worse", "not better": "▿ not better"}
_TIMED_ONE_WAY = {"not worse": "▵ not slower", "not better": "▿ not faster"}
_UNITS = {"nat": "nats", "bit/B": "bits/byte"}
_OTHERS = {"cannot tell": "? cannot tell", "not compared": "· not compared", "new": "+ new", "missing": "– missing"}


def verdict_words(row: Row) -> str:
    """Return a verdict as a glyph and a word: times are faster or slower, all else better or worse."""
    timed = row.metric.unit == "s"
    known = (TIME_WORDS | _TIMED_ONE_WAY if timed else PLAIN_WORDS | _ONE_WAY) | _OTHERS
    return known[row.verdict]


def change_words(row: Row) -> str:
    """Return a change as text: ratio (or difference) ± half its interval."""
    if row.change is None:
        return ""
    half = None if row.low is None or row.high is None else (row.high - row.low) / 2
    if row.is_difference:
        return f"{row.change:+.3f}" + ("" if half is None else f" ±{half:.3f}")
    return f"{row.change:.3f}×" + ("" if half is None else f" ±{half:.3f}")


def case_words(case: Case, differing: Sequence[str]) -> str:
    """Return the name of a case with those fields of its place that differ: `MoD 0.125, T=512`."""
    fields = axes.fields(case)
    where = [axes.heading(key, fields[key]) for key in differing if fields.get(key) is not None]
    return ", ".join([short(case), *where])


def differing(rows: Sequence[Row]) -> list[str]:
    """Return the fields of places, tasks and budgets in which the cases of some rows differ."""
    return [
        key for key in axes.differing([axes.fields(row.case) for row in rows]) if key in (*axes.PLACE, "task", "budget")
    ]


def value_words(value: float | None, unit: str) -> str:
    """Return a value as text; one whose unit never changes without it, since the heading has it."""
    return three_digits(value) if value is not None and unit in _UNITS else human(value, unit)


def metric_words(row: Row) -> str:
    """Return the heading of a metric: `forward pass`, `loss/val, nats`."""
    title, unit = TITLES.get(row.metric.key, row.metric.key), _UNITS.get(row.metric.unit)
    return f"{title}, {unit}" if unit and unit not in title else title


def about(loaded: Loaded) -> str:
    """Return a run in one line: suite, effort, launches, date, commit."""
    run, suite = loaded.run, loaded.run.plan.suite
    commit = run.environment["git"]["commit"]
    parts = [suite.name, f"{suite.effort}: {suite.launches_in_words}", run.started[:10]]
    return ", ".join([*parts, *([f"commit {commit[:7]}"] if commit else [])])


def as_text(compared: Compared, width: int, *, verbose: bool = False) -> str:
    """Return what changed against the first run, in what the runs differ, and the rows; a stranger's text stays on its line.

    Args:
        compared: the runs.
        width: of the terminal, in characters.
        verbose: whether rows are shown that did not change, or that are many.
    """
    blocks = [wrapped((f"{letter(each.run)} against {letter(0)}: {summary(each)}" for each in compared.against), width)]
    blocks += [_head(compared), _differences(compared, width)]
    for against in compared.against:
        whose = [f"{letter(against.run)} against {letter(0)}:"] if len(compared.against) > 1 else []
        blocks += [wrapped([*whose, *against.said], width), *_tables(against, width, verbose=verbose)]
        blocks.append(wrapped(_reasons(against, MOST_REASONS if verbose else FEW_REASONS), width))
    blocks += [wrapped(failures_in_words(compared), width), wrapped(notes(compared), width)]
    return "\n\n".join("\n".join(escaped(line, lines=False) for line in block) for block in blocks if block)


def _head(compared: Compared) -> list[str]:
    return [f"{letter(i)}  {run.path}  ({about(run)})" for i, run in enumerate(compared.runs)]


def _differences(compared: Compared, width: int) -> list[str]:
    """Say in what the runs differ, as a table; values that do not fit are cut."""
    lines: list[str] = []
    if compared.differences:
        room = max(8, (width - 24) // len(compared.runs) - 2)
        rows = [["differs", *(letter(i) for i in range(len(compared.runs)))]]
        rows += [[_cut(each.what, 24), *(_cut(value, room) for value in each.values)] for each in compared.differences]
        lines = aligned(rows)
    same = run_differences.in_words(compared.differences, len(compared.runs))
    return [*lines, *wrapped([same] if same else [], width)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def summary(against: Against) -> str:
    """Count the verdicts: `2 worse, 40 equivalent`."""
    return _counted(against.rows) or "nothing to compare"


def _counted(rows: Sequence[Row]) -> str:
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])


def _tables(against: Against, width: int, *, verbose: bool) -> Iterator[list[str]]:
    """Yield a table for each metric: values of both runs, change, verdict; in short those alone that changed or are open."""
    rows = [row for row in against.rows if row.verdict not in {"new", "missing"}]
    loud = sorted((row for row in rows if row.verdict not in QUIET), key=lambda row: row.verdict == "cannot tell")
    kept = loud[:FEW_ROWS]
    if verbose:
        kept = rows if len(rows) <= MOST_ROWS else loud[:MOST_ROWS]
    ids = {id(row) for row in kept}
    shown, rest = ([row for row in rows if (id(row) in ids) is wanted] for wanted in (True, False))
    for metric in dict.fromkeys(row.metric.key for row in shown):
        those = [row for row in shown if row.metric.key == metric]
        told = differing([row for row in rows if row.metric.key == metric])
        head = ["", letter(0), letter(against.run), "difference" if those[0].is_difference else "ratio", "verdict"]
        cells = [
            [
                value_words(row.first, row.metric.unit),
                value_words(row.value, row.metric.unit),
                change_words(row),
                verdict_words(row),
            ]
            for row in those
        ]
        last = max(len(each[-1]) for each in [*cells, head])
        right = aligned(
            [["", *head[1:-1], head[-1].ljust(last)], *(["", *each[:-1], each[-1].ljust(last)] for each in cells)]
        )
        labels = [metric_words(those[0]), *(case_words(row.case, told) for row in those)]
        room = max(16, width - len(right[0]))
        left = min(room, max(map(len, labels)))
        yield [f"{_cut(label, left).ljust(left)}{line}".rstrip() for label, line in zip(labels, right, strict=True)]
    if rest:
        more = "--json has all" if verbose else "-v"
        yield [f"and {counted(len(rest), 'row')} more: {_counted(rest)} ({more})"]


def _reasons(against: Against, most: int) -> Iterator[str]:
    """Say what is new or missing, and why cases have no verdict or a change without a number: each reason once."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in against.rows:
        silent = row.change is None or row.verdict in {"cannot tell", "not compared"}
        if row.reason and silent and row.reason != UNDECIDED and not row.reason.startswith("failed in"):
            reasons.setdefault((row.verdict, row.reason), []).append(row)
    for (verdict, reason), rows in list(reasons.items())[:most]:
        cases = list(dict.fromkeys(row.case.id for row in rows))
        metrics = list(dict.fromkeys(row.metric.key for row in rows))
        yield f"{verdict}: {_listed(cases)}: {reason} ({_listed(metrics)})"
    if len(reasons) > most:
        yield f"and {len(reasons) - most} more reasons: --json has them"
    asked = [row.launches for row in against.rows if row.launches]
    if asked:
        yield f"more launches would tell, about {max(asked)} in each run by the gate's count"


def _listed(names: Sequence[str]) -> str:
    """Name a few, and count the others."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def failures_in_words(compared: Compared) -> Iterator[str]:
    """Name what failed, is damaged or lacks in each run."""
    for number, loaded in enumerate(compared.runs):
        found = list(failures(loaded))
        for reason, cases, metrics in found[:MOST_FAILED]:
            yield f"failed in {letter(number)}: {_listed(cases)}: {reason} ({_listed(metrics)})"
        if len(found) > MOST_FAILED:
            yield f"and for {len(found) - MOST_FAILED:,} more reasons in {letter(number)}: --json has them"
        for damaged in loaded.run.damaged[:MOST_FAILED]:
            yield f"damaged in {letter(number)}: {damaged.error}"
        if loaded.run.missing:
            lacks = loaded.run.missing
            yield f"missing in {letter(number)}: {len(lacks)} units ({', '.join(lacks[:3])}{' …' if len(lacks) > 3 else ''})"


def notes(compared: Compared) -> Iterator[str]:
    """Say how to read the tables, and what is known of the machines."""
    yield (
        f"Above 1 is better; ± half the 90 % interval; margin {compared.margin:.1%}. Times are compared as ratios to each "
        "run's own anchor, by the rules of modbench gate in both directions."
    )
    if compared.unlike:
        yield "The machines are unlike: the anchors' own times have no verdict."
    said = {machine_check(loaded)[1] for loaded in compared.runs}
    if len(said) == 1:
        yield said.pop()
    else:
        yield from (f"{letter(i)} {machine_check(loaded)[1]}" for i, loaded in enumerate(compared.runs))


def as_dict(compared: Compared) -> dict[str, Any]:
    """Return the comparison as JSON values: null where there is no value."""
    return {
        "runs": [_run(number, loaded) for number, loaded in enumerate(compared.runs)],
        "differences": [
            {"section": each.section, "what": each.what, "values": list(each.values)} for each in compared.differences
        ],
        "unlike_machines": [each.what for each in compared.unlike],
        "margin": compared.margin,
        "against": [
            {
                "run": letter(against.run),
                "baseline": letter(0),
                "verdicts": dict(Counter(row.verdict for row in against.rows)),
                "said": list(against.said),
                "rows": [_row(row) for row in against.rows],
            }
            for against in compared.against
        ],
    }


def _run(number: int, loaded: Loaded) -> dict[str, Any]:
    return {
        "letter": letter(number),
        "run": str(loaded.path),
        "about": about(loaded),
        "machine_check": machine_check(loaded)[1],
        "incomplete": loaded.run.incomplete,
        "failed": [
            {"reason": reason, "cases": cases, "metrics": metrics} for reason, cases, metrics in failures(loaded)
        ],
        "damaged": [{"unit": each.unit, "reason": str(each.error)} for each in loaded.run.damaged],
        "missing_units": loaded.run.missing,
    }


def _row(row: Row) -> dict[str, Any]:
    kind = "difference" if row.is_difference else "ratio"
    found: dict[str, Any] = {"case": row.case.id, "metric": row.metric.key, "unit": row.metric.unit}
    found |= {"baseline_value": row.first, "value": row.value, "ratio": None, "difference": None, kind: row.change}
    found |= {"ci_low": row.low, "ci_high": row.high, "ci_level": None if row.low is None else 0.9}
    found |= {"mean_ratio": row.mean_change, "mean_ci_low": row.mean_low, "mean_ci_high": row.mean_high}
    return found | {"verdict": row.verdict, "launches": row.launches, "reason": row.reason}
