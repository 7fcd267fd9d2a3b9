"""A folded section for each case: settings, values, doubts, raw samples, files, and the command that measures it again."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from modbench.harness.core.units import human, three_digits
from modbench.reports.panel import Panel
from modbench.reports.panels import _case_details
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import PLAIN_WORDS, TIME_WORDS, is_number, times
from modbench.reports.writers.templates import fill

# Files of a case that are named, and doubts that are listed.
MOST_FILES, MOST_DOUBTS = 12, 6


def render(loaded: Loaded) -> Markup | None:
    """Show the sections, folded; a script draws the raw samples of one when it is unfolded."""
    cases = _case_details.shown(loaded)
    if not cases:
        return None
    found = _case_details.samples(loaded, cases)
    made = [_section(number, each, raw=found is not None and number in found)
            for number, each in enumerate(_case_details.details(loaded, cases))]  # fmt: skip
    # In a script element only `<` can end it: as an escape it is the same JSON.
    data = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c") if found else ""
    return fill(
        "every_case",
        sections=made,
        samples=Markup(data),  # noqa: S704  # JSON without `<`
        left_out=len(loaded.run.plan.cases) - len(cases),
    )


def _section(number: int, found: _case_details.Details, *, raw: bool) -> dict[str, object]:
    return {
        "number": number,
        "id": found.case.id,
        "name": name(found.case),
        "settings": found.settings,
        "rows": Markup("").join(_row(*each) for each in found.rows),
        "doubts": found.doubts[:MOST_DOUBTS],
        "more_doubts": len(found.doubts) - MOST_DOUBTS,
        "files": found.files[:MOST_FILES],
        "more_files": len(found.files) - MOST_FILES,
        "command": found.command,
        "no_command": found.no_command,
        "raw": raw,
    }


def _row(row: Any, pair: Any | None) -> Markup:  # noqa: ANN401  # rows of tables, as named tuples
    ends = f"{human(row.ci_low, row.unit)} to {human(row.ci_high, row.unit)}" if is_number(row.ci_low) else ""
    value = human(row.value, row.unit) if row.status == "ok" else row.status
    ratio = span = verdict = ""
    if pair is not None and pair.status == "ok":
        ratio = times(pair.ratio) if is_number(pair.ratio) else f"{pair.difference:+.3g}"
        span = f"{three_digits(pair.ci_low)} to {three_digits(pair.ci_high)}" if is_number(pair.ci_low) else ""
        table = TIME_WORDS if pair.unit == "s" else PLAIN_WORDS
        verdict = table.get(pair.verdict, "") if isinstance(pair.verdict, str) else ""
    texts = (value, ends, "" if pd.isna(row.n) else str(row.n), ratio, span)
    cells = "".join(f'<td class="number">{text}</td>' for text in texts)
    reason = escape(row.reason) if isinstance(row.reason, str) else ""
    return Markup(f"<tr><td>{escape(row.metric)}</td>{cells}<td>{verdict}</td><td>{reason}</td></tr>\n")  # noqa: S704  # escaped


READING = (
    "Unfold a case to see what it was, each of its values with its interval, and its ratio to the anchor. Below them are "
    "the raw samples, launch by launch: where a launch lies apart from the others, something else happened during it. The "
    "command measures this case again, with its anchor and nothing else."
)

PANEL = Panel(title="Every case", order=73, span=12, render=render, folded=True, reading=READING)
