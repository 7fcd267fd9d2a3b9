"""FLOPs of every case, module by module, by closed form, torch's counter and fvcore; and what modules claim."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.domain.notes import CARRIER, WHOLE, CountNotes, ModuleFlops
from modbench.reports.model import Block, Estimate, Listed, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded, subsample_evenly

# Cases that the page holds at most.
MOST_CASES = 200
# Modules whose claims are named; the rest are counted.
MOST_CLAIMS = 4
HEAD = (
    *("Case", "Closed form", "Counter", "fvcore ×2", "Executed here", "Where they go", "Skipping"),
    "Operators without a formula",
)
MODULES = ("Case", "Module", "Closed form", "Counter", "fvcore ×2")


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a row per case of the grid, then its modules. Of many cases some that lie evenly among them."""
    found: dict[str, tuple[CountNotes, float | None]] = {}
    for comparison in loaded.plan.comparisons:
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, CARRIER)
            if not cell.trouble():
                executed = loaded.tables.cell(case.id, "flops/forward/executed")
                found[case.id] = loaded.tables.counted(case), None if executed.trouble() else executed.values()[0]
    if not found:
        return
    absent = {notes.fvcore_reason for notes, _ in found.values()}
    # A reason that all cases share is given once, below the table.
    shared = absent.pop() if len(absent) == 1 else None
    few = subsample_evenly(list(found), MOST_CASES)
    rows = [_row(case, *found[case], shared=shared is not None) for case in few]
    yield Table("FLOP reconciliation", HEAD, rows, left_out=len(found) - len(few), file="cases.csv", rows_are="cases")
    modules = [
        [case, row.module, *(_flops(each) for each in (row.closed_form, row.counter, row.fvcore))]
        for case in few
        for row in found[case][0].modules
    ]
    if modules:
        yield Table("Module by module", MODULES, modules, folded=True)
    said = [(case, *each) for case in few for each in found[case][0].explained.items()]
    yield from (Note(Sentence("{case}: {counted}: {why}.", case=case, counted=by, why=why)) for case, by, why in said)
    if shared:
        yield Note(f"{shared}.")


def _row(case: str, notes: CountNotes, executed: float | None, *, shared: bool) -> list[Value]:
    nothing = ModuleFlops(module=WHOLE, closed_form=None, counter=None)
    whole = next((row for row in notes.modules if row.module == WHOLE), nothing)
    third = None if shared else notes.fvcore_reason
    return [
        case,
        _flops(whole.closed_form),
        _against(whole.counter, whole.closed_form),
        _against(whole.fvcore, whole.closed_form) if whole.fvcore else third,
        _flops(executed),
        _shares(notes),
        claimed(notes),
        _operators(notes),
    ]


def _flops(value: float | None) -> Value:
    return None if value is None else Estimate(value, unit="FLOP")


def _against(value: float | None, closed_form: float | None) -> Value:
    """A count, and how far it lies from the closed form."""
    if value is None or not closed_form:
        return _flops(value)
    if value == closed_form:
        return Sentence("{flops} (equal)", flops=_flops(value))
    change = Estimate(value / closed_form - 1, kind="change")
    return Sentence("{flops} ({change})", flops=_flops(value), change=change)


def _shares(notes: CountNotes) -> Value:
    """Return each component's share of the FLOPs, if components are known."""
    total = sum(notes.parts.values()) or 1.0
    shares = [(part, flops / total) for part, flops in notes.parts.items() if flops / total >= 0.005]
    said = [Sentence("{part} {share}", part=part, share=Estimate(share, kind="share")) for part, share in shares]
    if notes.depth_ratio is not None:
        ran = Sentence("ran {share} of the depth", share=Estimate(notes.depth_ratio, kind="share"))
        return Sentence("{ran}; {shares}", ran=ran, shares=Listed(said)) if said else ran
    return Listed(said) if said else notes.source or "by module"


def claimed(notes: CountNotes) -> Value:
    """Return how many tokens modules claim to have processed, and how many their weights saw."""
    if not notes.claims:
        return "not reported"
    seen = [
        Sentence(
            "{module}: {stated} of {tokens}"
            + (" (could not be checked: its weights' products were not seen)" if claim.rows is None else "")
            + (" (weights met {rows})" if claim.masked else ""),
            module=claim.module or "model",
            stated=claim.stated,
            tokens=claim.tokens,
            rows=None if claim.rows is None else Estimate(claim.rows, kind="count"),
        )
        for claim in notes.claims
    ]
    listed = Listed(seen, "; ", most=MOST_CLAIMS)
    if notes.effective_capacity is None:
        return listed
    effective = Estimate(notes.effective_capacity)
    return Sentence("{claims}; effective capacity {effective}", claims=listed, effective=effective)


def _operators(notes: CountNotes) -> Value:
    found = notes.operators
    if found is None:
        return notes.guards or "not audited"
    unknown = [Sentence("{name} ({calls})", name=name, calls=calls) for name, calls in found.unknown.items()]
    words = "{kinds} kinds, {calls} calls, 0 by convention"
    return Sentence(
        "{unknown}: the count is a lower bound; " + words if unknown else words,
        unknown=Listed(unknown),
        kinds=len(found.cheap),
        calls=sum(found.cheap.values()),
    )


READING = (
    "FLOPs are counted three times, in independent ways: by a formula, by watching every operator of a call, and by "
    "fvcore; one multiply-add is 2 FLOPs, attention is over the full square, the head is included, and backward is twice "
    "forward. The tables show how far they agree, for each case and module by module. A case in which they differ by more than "
    "0.5 % in any module fails, unless the model's file explains it. Executed is what kernels did on real tensors here: short "
    "sequences are attended to in pieces on a CPU, which skips part of the hidden half. Agreement says that the count is right, "
    "not that fewer FLOPs take less time."
)

PANEL = Panel(
    title="How sure are the FLOPs?", order=80, span=12, render=render, folded=True, printed=False, reading=READING
)
