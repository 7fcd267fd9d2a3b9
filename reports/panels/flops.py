"""FLOPs of every case, module by module, by closed form, torch's counter and fvcore; and what modules claim."""

from __future__ import annotations

from markupsafe import Markup

from modbench.harness.core.units import human
from modbench.harness.flops.reconcile import WHOLE
from modbench.harness.results.notes.counting import CARRIER, CountNotes, ModuleFlops
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.writers.templates import fill

# Cases that the page holds at most.
MOST_CASES = 200


def render(loaded: Loaded) -> Markup | None:
    """Show a row per case of the grid; its modules unfold from it. Of many cases some that lie evenly among them."""
    found: dict[str, tuple[CountNotes, float | None]] = {}
    for comparison in loaded.run.plan.comparisons:
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, CARRIER)
            if not cell.trouble():
                executed = loaded.tables.cell(case.id, "flops/forward/executed")
                found[case.id] = loaded.tables.counted(case), None if executed.trouble() else executed.values()[0]
    if not found:
        return None
    absent = {notes.fvcore_reason for notes, _ in found.values()}
    # A reason that all cases share is given once, below the table.
    shared = absent.pop() if len(absent) == 1 else None
    few = evenly(list(found), MOST_CASES)
    rows = [_row(case, *found[case], "–" if shared else None) for case in few]
    return fill("flops", rows=rows, no_fvcore=shared, left_out=len(found) - len(few))


def _row(case: str, notes: CountNotes, executed: float | None, no_third: str | None) -> dict[str, object]:
    nothing = ModuleFlops(module=WHOLE, closed_form=None, counter=None)
    whole = next((row for row in notes.modules if row.module == WHOLE), nothing)
    third = no_third or notes.fvcore_reason or "–"
    if whole.fvcore:
        third = _against(whole.fvcore, whole.closed_form)
    return {
        "case": case,
        "closed_form": human(whole.closed_form, "FLOP"),
        "counter": _against(whole.counter, whole.closed_form),
        "fvcore": third,
        "executed": human(executed, "FLOP"),
        "shares": _shares(notes),
        "modules": [
            {
                "name": row.module,
                "closed_form": human(row.closed_form, "FLOP"),
                "counter": human(row.counter, "FLOP"),
                "fvcore": human(row.fvcore, "FLOP"),
            }
            for row in notes.modules
        ],
        "explained": "".join(f" {opinion}: {why}." for opinion, why in notes.explained.items()),
        "claims": _claims(notes),
        "operators": _operators(notes),
    }


def _against(value: float | None, closed_form: float | None) -> str:
    if value is None:
        return "–"
    return f"{human(value, 'FLOP')}" + (f" ({value / closed_form - 1:+.3%})" if closed_form else "")


def _shares(notes: CountNotes) -> str:
    """Return each component's share of the FLOPs, if components are known."""
    total = sum(notes.parts.values()) or 1.0
    shares = ", ".join(f"{part} {flops / total:.0%}" for part, flops in notes.parts.items() if flops / total >= 0.005)
    if notes.depth_ratio is not None:
        shares = f"ran {notes.depth_ratio:.0%} of the depth; {shares}"
    return shares or notes.source or "by module"


def _claims(notes: CountNotes) -> str:
    """Say how many tokens modules claim to have processed, and how many their weights saw."""
    if not notes.claims:
        return "not reported"
    seen = [
        f"{claim.module or 'model'}: {claim.stated} of {claim.tokens}"
        + (" (could not be checked: its weights' products were not seen)" if claim.rows is None else "")
        + (f" (weights met {claim.rows:.0f})" if claim.masked else "")
        for claim in notes.claims
    ]
    effective = notes.effective_capacity
    capacity = f"; effective capacity {effective:.4g}" if effective is not None else ""
    return "; ".join(seen[:4]) + (" …" if len(seen) > 4 else "") + capacity


def _operators(notes: CountNotes) -> str:
    found = notes.operators
    if found is None:
        return notes.guards or "not audited"
    unknown = ", ".join(f"{operator} ({calls})" for operator, calls in found.unknown.items())
    cheap = f"{len(found.cheap)} kinds, {sum(found.cheap.values())} calls, 0 by convention"
    return f"{unknown}: the count is a lower bound; {cheap}" if unknown else cheap


READING = (
    "FLOPs are counted three times, in independent ways: by a formula, by watching every operator of a call, and by "
    "fvcore. The table shows how far they agree, module by module when a row is opened. Agreement says that the count"
    " is right, not that fewer FLOPs take less time."
)

PANEL = Panel(title="How sure are the FLOPs?", order=80, span=12, render=render, folded=True, reading=READING)
