"""Was the machine checked, by `modbench doctor` before the run or by the twin in it? If not, times have no verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modbench.reports.tables import nodes
from modbench.reports.tables.cases import joined
from modbench.reports.tables.outcomes import Tables

UNCHECKED = "the machine was not checked: run `modbench doctor`, or leave `twin` on"
SILENT = "the machine was not checked, as its twin was disturbed or failed: run `modbench doctor`, or measure again"
# Verdicts on a twin that say that equal models came out unequal, beyond chance over all twins of the run.
APART = ("better", "worse", "different")


def speaks(verdicts: Iterable[object]) -> bool:
    """Whether one of the verdicts on twins says something of the machine; a disturbed twin does not."""
    return any(isinstance(verdict, str) and verdict != "contaminated" for verdict in verdicts)


def withhold(tables: Tables, rows: Sequence[dict[str, Any]], twins: Sequence[dict[str, Any]]) -> None:
    """Remove the verdicts on times, with the reason, if neither a certificate nor a twin speaks for the machine.

    *Contaminated* stays: it is no claim.

    Args:
        tables: the run.
        rows: pairs of arms, judged.
        twins: pairs of an anchor and its twin, judged.
    """
    if nodes.certificates(tables.run) or speaks(row.get("verdict") for row in twins):
        return
    for row in rows:
        timed = tables.made_in(tables.metrics[row["metric"]]).times
        if timed and row.get("verdict") not in {None, "contaminated"}:
            row["verdict"], row["reason"] = None, joined([row["reason"], SILENT if twins else UNCHECKED])
