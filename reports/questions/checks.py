"""What checks found in single cells, or of arms: the doubts of `harness/doubts`, each with its findings and an advice."""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.registry import catalogue
from modbench.reports.model import Code, Listed, Sentence, Value
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name

# Findings of one doubt, and cells of one finding, that are listed; the rest are counted.
MOST_FINDINGS = 4


@dataclass(frozen=True)
class Doubt:
    """A doubt that found something.

    Attributes:
        title: what the check looks for.
        findings: what was found, and in which cells.
        more: further findings, which are not listed.
        advice: what to do about it; words between backticks are code.
        name: of the check.
        labelled: whether its label stands in every output; else it concerns single cells.
        cells: number of the cells in which something was found.
        timed: whether one of these is a time.
    """

    title: str
    findings: list[tuple[str, Listed]]
    more: int
    advice: str
    name: str
    labelled: bool
    cells: int
    timed: bool

    @property
    def steps(self) -> Listed:
        """The advice, with its code marked as such."""
        parts = self.advice.split("`")
        return Listed([Code(part) if at % 2 else part for at, part in enumerate(parts)], between="")


def doubts(loaded: Loaded) -> list[Doubt]:
    """Return each doubt that found something; labels first, since every output shows them."""
    found: dict[str, dict[str, list[Value]]] = {}
    tables, timed = loaded.tables, set[str]()
    for _, metric, case in tables.asked():
        for doubt, said in tables.doubts_about(case, metric).items():
            labelled = bool(tables.doubts[doubt].label)
            cell = Sentence(
                "{arm}, {metric} at T = {length}", arm=name(case), metric=metric.key, length=case.place.seq_len
            )
            where = name(case) if labelled else cell
            found.setdefault(doubt, {}).setdefault(said, []).append(where)
            timed |= {doubt} if tables.made_in(metric).times else set()
    titles = catalogue.entries("doubts")
    made = []
    for doubt in sorted(found, key=lambda doubt: (not tables.doubts[doubt].label, doubt)):
        if tables.doubts[doubt].label:
            findings = [_by_arm(found[doubt])]
        else:
            findings = [
                (said, Listed([*dict.fromkeys(where)], "; ", most=MOST_FINDINGS))
                for said, where in found[doubt].items()
            ]
        left_out = max(0, len(findings) - MOST_FINDINGS)
        made.append(
            Doubt(
                titles[doubt].about,
                findings[:MOST_FINDINGS],
                left_out,
                tables.doubts[doubt].advice,
                doubt,
                bool(tables.doubts[doubt].label),
                sum(map(len, found[doubt].values())),
                doubt in timed,
            )
        )
    return made


def _by_arm(findings: dict[str, list[Value]]) -> tuple[str, Listed]:
    """Return all arms with a label at once, with the first finding as the example."""
    example, (first, *_) = next(iter(findings.items()))
    assert isinstance(first, str), "of a label arms are named"
    return f"{example} ({first})", Listed([*dict.fromkeys(where for each in findings.values() for where in each)])
