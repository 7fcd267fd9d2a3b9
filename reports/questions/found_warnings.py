"""What checks found in cells, or of variants: the doubts of `harness/measure/warnings`, each with its findings and an advice."""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.core.group_by import grouped
from modbench.reports.blocks import Code, Listed, Sentence
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name

# Findings of one doubt, and cells of one finding, that are listed; the rest are counted.
MOST_FINDINGS = 4


@dataclass(frozen=True)
class Doubt:
    """A doubt that found something.

    Attributes:
        name: of the check.
        findings: what was found, and in which cells; of a label the first as an example, and all variants.
        advice: what to do about it; words between backticks are code.
        label: its label, which stands in every output; empty: it concerns single cells.
        cells: number of the cells in which something was found.
        timed: whether one of these is a time.
    """

    name: str
    findings: list[tuple[str, Listed]]
    advice: str
    label: str
    cells: int
    timed: bool

    @property
    def called(self) -> str:
        """What stands for it in the summary: its label, or its name."""
        return self.label or self.name.replace("_", " ")

    @property
    def sentence(self) -> Sentence:
        """All of it: what was found where, and what to do."""
        found = [Sentence("{where}: {said}", where=where, said=said) for said, where in self.findings]
        advice = [Code(part) if at % 2 else part for at, part in enumerate(self.advice.split("`"))]
        said = {"found": Listed(found, "; ", most=MOST_FINDINGS), "advice": Listed(advice, between="")}
        return Sentence("{called}: {found}. {advice}", called=self.called, **said)


def doubts(loaded: Loaded) -> list[Doubt]:
    """Return each doubt that found something; labels first, since every output shows them."""
    tables, made = loaded.tables, list[Doubt]()
    found = grouped(
        (doubt, (said, case, metric))
        for _, metric, case in tables.asked()
        for doubt, said in tables.value(case, metric).doubts.items()
    )
    for doubt, cells in found.items():
        check = tables.doubts[doubt]
        if check.label:
            said, first, _ = cells[0]
            variants = dict.fromkeys(name(case) for _, case, _ in cells)
            findings = [(f"{said.removeprefix(f'{check.label}: ')} ({name(first)})", Listed([*variants]))]
        else:
            words = "{variant}, {metric} at T = {length}"
            where = grouped(
                (said, Sentence(words, variant=name(case), metric=metric.key, length=case.grid_point.seq_len))
                for said, case, metric in cells
            )
            findings = [(said, Listed(those, "; ", most=MOST_FINDINGS)) for said, those in where.items()]
        timed = any(tables.made_in(metric).times for _, _, metric in cells)
        made.append(Doubt(doubt, findings, check.advice, check.label or "", len(cells), timed))
    return sorted(made, key=lambda each: (not each.label, each.name))
