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
# Components with a smaller share of the FLOPs are left out.
SMALLEST_SHARE = 0.005
HEAD = (
    *("Case", "Closed form", "Counter", "fvcore ×2", "Executed here", "Where they go", "Depth that ran", "Skipping"),
    *("Effective capacity", "Operators without a formula: a lower bound", "0 by convention"),
)
EXECUTED = "flops/forward/executed"
MODULES = ("Case", "Module", "Closed form", "Counter", "fvcore ×2")


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a row per case of the grid, then its modules. Of many cases some that lie evenly among them."""
    tables = loaded.tables
    cases = dict.fromkeys(case for each in loaded.plan.comparisons for case in each.arms)
    found = {case: tables.counted(case) for case in cases if tables.values_of(case, CARRIER)}
    if not found:
        return
    few = subsample_evenly(list(found), MOST_CASES)
    rows = [_row(case.id, found[case], tables.values_of(case, EXECUTED).get(0)) for case in few]
    yield Table("FLOP reconciliation", HEAD, rows, left_out=len(found) - len(few), file="cases.csv", rows_are="cases")
    modules = [
        [case.id, row.module, *map(_flops, (row.closed_form, row.counter, row.fvcore))]
        for case in few
        for row in found[case].modules
    ]
    if modules:
        yield Table("Module by module", MODULES, modules, folded=True)
    said = [(case.id, *each) for case in few for each in found[case].explained.items()]
    yield from (Note(Sentence("{case}: {counted}: {why}.", case=case, counted=by, why=why)) for case, by, why in said)
    yield from map(Note, dict.fromkeys(notes.fvcore_reason for notes in found.values() if notes.fvcore_reason))


def _row(case: str, notes: CountNotes, executed: float | None) -> list[Value]:
    nothing = ModuleFlops(module=WHOLE, closed_form=None, counter=None)
    whole = next((row for row in notes.modules if row.module == WHOLE), nothing)
    formula, total = whole.closed_form, sum(notes.parts.values()) or 1.0
    parts = [
        Sentence("{part} {share}", part=part, share=Estimate(flops / total, kind="share"))
        for part, flops in notes.parts.items()
        if flops / total >= SMALLEST_SHARE
    ]
    return [
        case,
        _flops(formula),
        _against(whole.counter, formula),
        _against(whole.fvcore, formula),
        _flops(executed),
        Listed(parts) if parts else notes.source,
        None if notes.depth_ratio is None else Estimate(notes.depth_ratio, kind="share"),
        claimed(notes),
        None if notes.effective_capacity is None else Estimate(notes.effective_capacity),
        *_operators(notes),
    ]


def _flops(value: float | None) -> Value:
    return None if value is None else Estimate(value, unit="FLOP")


def _against(value: float | None, closed_form: float | None) -> Value:
    """A count, and how far it lies from the closed form."""
    if value is None or not closed_form:
        return _flops(value)
    change = Estimate(value / closed_form - 1, kind="change")
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


def _operators(notes: CountNotes) -> tuple[Value, Value]:
    """Return the operators without a formula, and what of them counts as 0 by convention."""
    found = notes.operators
    if found is None:
        return notes.guards or "not audited", None
    unknown = [Sentence("{name} ({calls})", name=name, calls=calls) for name, calls in found.unknown.items()]
    cheap = Sentence("{kinds} kinds, {calls} calls", kinds=len(found.cheap), calls=sum(found.cheap.values()))
    return Listed(unknown) if unknown else None, cheap


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
