"""FLOPs of every case by closed form, torch's counter and fvcore, and what modules claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modbench.harness.domain.notes import CARRIER, WHOLE, CountNotes, ModuleFlops
from modbench.reports.blocks import Estimate, Listed, Sentence, Table, Value, pivot
from modbench.reports.section import Section
from modbench.reports.tables.load import Loaded, subsample_evenly

# Cases that the page holds at most.
MOST_CASES = 200
# Modules whose claims are named; the rest are counted.
MOST_CLAIMS = 4
EXECUTED = "flops/forward/executed"


def render(loaded: Loaded) -> Iterator[Table]:
    """Show a row per case of the grid; of many cases some that lie evenly among them."""
    tables = loaded.tables
    cases = dict.fromkeys(case for each in loaded.plan.comparisons for case in each.variants)
    found = {case: tables.counted(case) for case in cases if tables.values_of(case, CARRIER)}
    if not found:
        return
    few = subsample_evenly(list(found), MOST_CASES)
    rows = ((case.id, _cells(found[case], tables.values_of(case, EXECUTED).get(0))) for case in few)
    cells = ((case, "", title, cell) for case, row in rows for title, cell in row.items())
    table = pivot("FLOPs, counted in three ways", cells, "Case")
    explained = ((case.id, *each) for case in few for each in found[case].explained.items())
    notes: list[Value] = [
        *(Sentence("{case}: {counted}: {why}", case=case, counted=by, why=why) for case, by, why in explained),
        *dict.fromkeys(each.fvcore_reason for each in found.values() if each.fvcore_reason),
    ]
    left_out = len(found) - len(few)
    yield replace(table, notes=notes, folded=True, left_out=left_out, file="cases.csv", rows_are="cases")


def _cells(notes: CountNotes, executed: float | None) -> dict[str, Value]:
    nothing = ModuleFlops(module=WHOLE, closed_form=None, counter=None)
    whole = next((row for row in notes.modules if row.module == WHOLE), nothing)
    formula = whole.closed_form
    return {
        "Closed form": _flops(formula),
        "Counter": _against(whole.counter, formula),
        "fvcore ×2": _against(whole.fvcore, formula),
        "Executed here": _flops(executed),
        "Depth that ran": None if notes.depth_ratio is None else Estimate(notes.depth_ratio, kind="share"),
        "Skipping": claimed(notes),
        "Operators without a formula: a lower bound": _operators(notes),
    }


def _flops(value: float | None) -> Value:
    return None if value is None else Estimate(value, unit="FLOP")


def _against(value: float | None, closed_form: float | None) -> Value:
    """A count, and how far it lies from the closed form."""
    if value is None or not closed_form:
        return _flops(value)
    change = Estimate(value / closed_form - 1, kind="difference", unit="%")
    return Sentence("{flops} ({change})", flops=_flops(value), change=change)


def claimed(notes: CountNotes) -> Value:
    """Return how many tokens modules claim to have processed, and how many their weights saw."""
    words = "{module}: {stated} of {tokens}, weights met {rows}"
    seen = [
        Sentence(
            words,
            module=claim.module or "model",
            stated=claim.stated,
            tokens=claim.tokens,
            rows="what could not be checked" if claim.rows is None else Estimate(claim.rows, kind="count"),
        )
        for claim in notes.claims
    ]
    return Listed(seen, "; ", most=MOST_CLAIMS) if seen else "not reported"


def _operators(notes: CountNotes) -> Value:
    """Return the operators without a formula."""
    if notes.operators is None:
        return notes.guards or "not audited"
    return Listed([Sentence("{name} ({calls})", name=name, calls=n) for name, n in notes.operators.unknown.items()])


READING = (
    "FLOPs are counted by a formula, by watching every operator of a call, and by fvcore; one multiply-add is 2 FLOPs. A case in "
    "which they differ by more than 0.5 % in any module fails, unless the model's file explains it."
)

SECTION = Section(title="Machine and method", order=93, span=12, render=render, printed=False, reading=READING)
