"""Puts what a section shows of a run into a page of the documentation.

    python docs/site/page_tables.py RUN SECTION docs/PAGE.md

The page has two lines between which it stands, and which the script leaves:

    <!-- combine: from here on made by docs/site/page_tables.py -->
    <!-- combine: to here -->

Figures are left out; `modbench figure RUN SECTION` saves them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from modbench.harness.registry import catalogue
from modbench.reports.blocks import Note, Sentence, Table
from modbench.reports.markup import markdown
from modbench.reports.questions.summary import measured_on
from modbench.reports.section import Section
from modbench.reports.tables.load import Loaded, load


def filled(page: str, name: str, loaded: Loaded) -> str:
    """Return a page with the tables and sentences of a section, above them where they were measured.

    Raises:
        ValueError: if the page has no place for them, or the run has nothing that the section shows.
    """
    section: Section = catalogue.load("sections", name)
    blocks = [each for each in section.render(loaded) or () if isinstance(each, Table | Sentence | Note)]
    if not blocks:
        raise ValueError(f"{loaded.path} has nothing that the section {name} shows")
    run = loaded.run
    where = Sentence(
        "{suite}, {processes}, {n:seed}; {machine}, torch {torch}",
        suite=run.plan.suite.name,
        processes=run.plan.suite.processes_in_words,
        n=len(run.plan.suite.seeds),
        machine=measured_on(loaded),
        torch=str(run.environment["packages"].get("torch")),
    )
    answer = [Sentence("{said}", said=each) for each in section.lead.answer(loaded)]
    text = markdown.within([markdown.block(each) for each in (*answer, Note(where), *blocks)])
    return placed(page, name, text)


def placed(page: str, name: str, text: str, script: str = "docs/site/page_tables.py") -> str:
    """Return a page with a text between the two lines of its place.

    Raises:
        ValueError: if the page has not one place of that name.
    """
    first = rf"<!-- {name}: from here on made by {re.escape(script)} -->\n"
    between = re.compile(rf"({first}).*?(<!-- {name}: to here -->)", re.DOTALL)
    made, grid_points = between.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)
    if grid_points != 1:
        raise ValueError(f"the page has {grid_points} places for {name}: one is needed")
    return made


def main() -> None:
    """Rewrite the page."""
    run, name, page = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    page.write_text(filled(page.read_text(encoding="utf-8"), name, load(run)), encoding="utf-8")


if __name__ == "__main__":
    main()
