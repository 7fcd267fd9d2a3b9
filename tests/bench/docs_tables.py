"""Writes the tables of a run into the documentation: python tests/bench/docs_tables.py RUN

A page has a table of a suite's run where it has these two lines; what stands between them is replaced:

    <!-- table of tasks-confirm: Accuracy on tasks -->
    <!-- end of table -->

Behind the colon stands the table's heading in report.md, one of those that panels share. Its notes follow it, and what it was
measured on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from modbench.reports.model import Note, Sentence, Table
from modbench.reports.panel import shared_blocks
from modbench.reports.questions.first_screen import measured_on
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.markdown import block

DOCS = Path(__file__).parents[2] / "docs"
PLACE = re.compile(r"(<!-- table of (\S+): ([^\n]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def tables(loaded: Loaded) -> dict[str, list[Table | Note]]:
    """Return each table that panels share, with the notes after it, by its heading."""
    found, here = dict[str, list[Table | Note]](), list[Table | Note]()
    for each in shared_blocks(loaded):
        if isinstance(each, Table):
            here = found[each.label] = [each]
        elif isinstance(each, Note):
            here.append(each)
    return found


def written(page: str, suite: str, made: Mapping[str, list[Table | Note]], where: Sentence) -> tuple[str, int]:
    """Return a page with the tables of a suite's run, and how many it has.

    Raises:
        ValueError: if it names a table that the run does not have.
    """
    number = 0

    def table(place: re.Match[str]) -> str:
        nonlocal number
        first, of, label, last = place.groups()
        if of != suite:
            return place[0]
        if label not in made:
            raise ValueError(f"the run has no table {label!r}: it has {', '.join(map(repr, made)) or 'none'}")
        number += 1
        lines = [line for each in made[label] for line in ("", *block(each).lines())]
        return "\n".join([first, *lines[2:], "", *block(Note(where)).lines(), "", last])

    return PLACE.sub(table, page), number


def main(run: str) -> None:
    """Write the tables of a run into each page that names one."""
    loaded = load(Path(run))
    suite, version = loaded.run.plan.suite, loaded.run.environment["packages"]["modbench"]
    where = Sentence(
        "Suite {suite}, {effort}, on {machine}; {day}, modbench {version}.",
        suite=suite.name,
        effort=suite.effort,
        machine=measured_on(loaded),
        day=loaded.run.started[:10],
        version=version,
    )
    made = tables(loaded)
    for page in sorted(DOCS.glob("*.md")):
        text, number = written(page.read_text(encoding="utf-8"), suite.name, made, where)
        if number:
            page.write_text(text, encoding="utf-8")
            print(f"{page.name}: {number}")


if __name__ == "__main__":
    main(*sys.argv[1:])
