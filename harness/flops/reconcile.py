"""Reconciliation of closed form, torch's counter and doubled fvcore, module by module: an unexplained difference fails a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Cost
from modbench.harness.domain.notes import WHOLE

if TYPE_CHECKING:
    from modbench.harness.flops.counter import Count

TOLERANCE = 0.005


@dataclass(frozen=True)
class Row:
    """Three counts of one module.

    Attributes:
        module: its path, or words for the whole.
        closed_form: None for a user's model.
        counter: torch's; None where it saw no such module.
        fvcore: doubled; None where it is not available.
    """

    module: str
    closed_form: float | None
    counter: float | None
    fvcore: float | None = None


def rows(cost: Cost | None, counter: Count, fvcore: Mapping[str, int] | None) -> list[Row]:
    """Make one row for each module that a closed form or (a user's model) the counter names, and one for the whole."""
    third = fvcore or {}
    if cost is None:
        leaves = [path for path in counter.modules if not any(o.startswith(f"{path}.") for o in counter.modules)]
        parts = [Row(path, None, counter.modules[path], third.get(path)) for path in leaves]
    else:
        parts = [Row(path, flops, counter.modules.get(path), third.get(path)) for path, flops in cost.modules.items()]
    whole = Row(WHOLE, None if cost is None else cost.forward, counter.total, third.get("") if fvcore else None)
    return [*parts, whole]


def mismatch(table: Sequence[Row], explained: Mapping[str, str]) -> str | None:
    """Find the first unexplained disagreement over 0.5 %, as a sentence; or None.

    Args:
        table: rows to compare.
        explained: `OPINION MODULE` (`fvcore gate`; `fvcore *` for every module) to why that count differs there.
    """
    for row in table:
        for opinion, value in (("counter", row.counter), ("fvcore", row.fvcore)):
            if opinion == "fvcore" and value is None:
                continue
            if {f"{opinion} {row.module}", f"{opinion} *"} & explained.keys():
                continue
            said = disagreement(row.module, row.closed_form or 0.0, value or 0.0, opinion)
            if said:
                return said
    return None


def disagreement(what: str, closed_form: float, other: float, opinion: str = "counter") -> str | None:
    """Describe a difference of more than 0.5 % in one sentence; None if there is none."""
    if closed_form == other:
        return None
    gap = abs(other / closed_form - 1) if closed_form else float("inf")
    if gap <= TOLERANCE:
        return None
    return (
        f"{what}: closed form {closed_form:.6g}, {opinion} {other:.6g}, {gap:.2%} apart (limit {TOLERANCE:.1%}): "
        "one of them is wrong, so no result of this case is used"
    )
