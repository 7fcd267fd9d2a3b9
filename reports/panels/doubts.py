"""Why may a number not mean what it seems to mean: what checks found, in which cells, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from modbench.harness.registry import catalogue
from modbench.reports.model import Code, Listed
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name
from modbench.reports.writers.html import fill, inline
from modbench.reports.writers.number_format import grid_point

# Findings of one doubt, and cells of one finding, that are listed; the rest are counted.
MOST = 4


@dataclass(frozen=True)
class Doubt:
    """A doubt that found something.

    Attributes:
        title: what the check looks for.
        findings: what was found, and in which cells.
        more: further findings, which are not listed.
        advice: what to do about it; words between backticks are code.
    """

    title: str
    findings: list[tuple[str, Listed]]
    more: int
    advice: str

    @property
    def steps(self) -> Listed:
        """The advice, with its code marked as such."""
        parts = self.advice.split("`")
        return Listed([Code(part) if at % 2 else part for at, part in enumerate(parts)], between="")


def doubts(loaded: Loaded) -> list[Doubt]:
    """Return each doubt that found something; labels first, since every output shows them."""
    found: dict[str, dict[str, list[str]]] = {}
    tables = loaded.tables
    for _, metric, case in tables.asked():
        for doubt, said in tables.doubts_about(case, metric).items():
            labelled = bool(tables.doubts[doubt].label)
            where = name(case) if labelled else f"{name(case)}, {metric.key} at {grid_point('T', case.place.seq_len)}"
            found.setdefault(doubt, {}).setdefault(said, []).append(where)
    titles = catalogue.entries("doubts")
    made = []
    for doubt in sorted(found, key=lambda doubt: (not tables.doubts[doubt].label, doubt)):
        if tables.doubts[doubt].label:
            findings = [_by_arm(found[doubt])]
        else:
            findings = [(said, Listed(unique(where), "; ", most=MOST)) for said, where in found[doubt].items()]
        left_out = max(0, len(findings) - MOST)
        made.append(Doubt(titles[doubt].about, findings[:MOST], left_out, tables.doubts[doubt].advice))
    return made


def _by_arm(findings: dict[str, list[str]]) -> tuple[str, Listed]:
    """Return all arms with a label at once, with the first finding as the example."""
    example, (first, *_) = next(iter(findings.items()))
    return f"{example} ({first})", Listed(unique([where for each in findings.values() for where in each]))


def unique(found: list[str]) -> list[str]:
    """Return each once, in order."""
    return list(dict.fromkeys(found))


def render(loaded: Loaded) -> Markup | None:
    """Show an entry for each doubt that found something."""
    found = doubts(loaded)
    return fill("doubts", doubts=found, inline=inline) if found else None


READING = (
    "Each entry is a reason why some number may not mean what it seems to mean: what was found, in which cells, and "
    "below the arrow what to do about it. An entry does not say that a number is wrong. What no check looks for is "
    "not listed."
)

PANEL = Panel(title="What should you doubt?", order=36, span=12, render=render, reading=READING)
