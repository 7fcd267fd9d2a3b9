"""The result of a comparison as one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.extend import Page, Section, Sentence
from modbench.plugins.ab.question import Result, details, headline


def page_of(found: Result, command: Sequence[str]) -> Page:
    """Return the page of two sides that took turns."""
    base, new = found.sides
    return Page(
        headline(found),
        Sentence("{new} over {base}", base=base, new=new),
        command,
        [Section("Result", [*details(found)])],
    )
