"""Doubts about results: what was found, in which cells, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from modbench.harness.core import catalogue
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.writers.templates import fill

# Findings of one doubt, and cells of one finding, that are listed; the rest are counted.
MOST = 4

Findings = dict[str, list[str]]  # what was found: in which cells


@dataclass(frozen=True)
class Entry:
    """A doubt that found something.

    Attributes:
        title: the doubt.
        findings: what was found, and in which cells.
        more: further findings, which are not listed.
        advice: what to do about it; words between backticks are code.
    """

    title: str
    findings: list[tuple[str, str]]
    more: int
    advice: str


def render(loaded: Loaded) -> Markup | None:
    """Show an entry for each doubt that found something."""
    found = entries(loaded)
    return fill("doubts", doubts=found) if found else None


def entries(loaded: Loaded) -> list[Entry]:
    """Return an entry for each doubt that found something; labels first, since every output shows them."""
    found: dict[str, Findings] = {}
    tables = loaded.tables
    for comparison in loaded.run.plan.comparisons:
        for key in comparison.metrics:
            for case in comparison.arms:
                for doubt, said in tables.doubts_about(case, tables.metrics[key]).items():
                    labelled = bool(tables.doubts[doubt].label)
                    where = name(case) if labelled else f"{name(case)}, {key} at T = {case.place.seq_len}"
                    found.setdefault(doubt, {}).setdefault(said, []).append(where)
    order = sorted(found, key=lambda doubt: (not tables.doubts[doubt].label, doubt))
    titles = catalogue.entries("doubts")
    return [
        _entry(titles[doubt].about, _by_arm(found[doubt]) if tables.doubts[doubt].label else found[doubt],
               tables.doubts[doubt].advice)
        for doubt in order
    ]  # fmt: skip


def _by_arm(findings: Findings) -> Findings:
    """List all arms with a label in one line, with the first finding as the example."""
    arms = list(dict.fromkeys(where for each in findings.values() for where in each))
    example, where = next(iter(findings.items()))
    return {f"{example} ({where[0]})": [", ".join(arms)]}


def _entry(title: str, findings: Findings, advice: str) -> Entry:
    shown = [(said, _shortened(list(dict.fromkeys(where)))) for said, where in list(findings.items())[:MOST]]
    return Entry(title, shown, max(0, len(findings) - MOST), advice)


def _shortened(where: list[str]) -> str:
    return "; ".join(where[:MOST]) + (f" and {len(where) - MOST} more" if len(where) > MOST else "")


READING = (
    "Each entry is a reason why some number may not mean what it seems to mean: what was found, in which cells, and "
    "below the arrow what to do about it. An entry does not say that a number is wrong. What no check looks for is "
    "not listed."
)

PANEL = Panel(title="What should you doubt?", order=36, span=12, render=render, reading=READING)
