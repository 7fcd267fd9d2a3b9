"""Every variant of a sweep at the best of its sizes, against the anchor at its best: a table for each budget."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted
from modbench.harness.planning.check_confirm import CONFIRMED
from modbench.reports.model import Estimate, Finding, Sentence, Table, Value
from modbench.reports.questions import isoflop
from modbench.reports.questions.isoflop import LOSSES, Curve, without_size
from modbench.reports.questions.recommend.pairwise import against, has_tail
from modbench.reports.questions.results import TABLES
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words

# Metrics that need no column of their own: a column of the table, and rates, which are tried at one size of each variant.
ELSEWHERE = (CONFIRMED, "lr/best")


def tables(loaded: Loaded) -> list[Table]:
    """Return a table for each budget; none if no sweep was trained."""
    return [_table(loaded, rows) for rows in _budgets(loaded)]


def best(loaded: Loaded) -> list[Case]:
    """Return the cases of the rows of `tables`."""
    return [curve.best.case for rows in _budgets(loaded) for curve in rows]


def _budgets(loaded: Loaded) -> list[list[Curve]]:
    """Return the variants of each budget: the anchor, then the others from the lowest loss to the highest."""
    sweep, made = loaded.run.plan.suite.isoflop, isoflop.curves(loaded)
    found = list[list[Curve]]()
    for budget in sorted({curve.budget for curve in made} - set(sweep.anchor_budgets if sweep else ())):
        own = isoflop.shown(made, budget)
        dense = isoflop.dense_beside(loaded, own[0], made)
        if dense is not None:
            others = (curve for curve in own if curve is not dense)
            found.append([dense, *sorted(others, key=lambda curve: curve.best.mean)])
    return found


def baseline(loaded: Loaded) -> str:
    """Name what the ratios of `tables` are taken to."""
    anchor = isoflop.anchor(loaded)
    return f"{next(curve.name for curve in isoflop.curves(loaded) if curve.variant == anchor)} at its best size"


def _table(loaded: Loaded, rows: Sequence[Curve]) -> Table:
    """Return names, losses, parameters, and what was counted and timed, of one budget."""
    cases = [curve.best.case for curve in rows]
    unit, _ = losses.unit_of(loaded)
    explored = "explored, " * (loaded.run.plan.suite.confirm is not None)
    columns: list[tuple[str, Sequence[Value]]] = [
        (f"at {isoflop.in_flops(rows[0].budget)}", cases),
        (f"{explored}{unit}", [_loss(loaded, curve, rows[0]) for curve in rows]),
    ]
    confirmed = [_confirmed(loaded, curve) for curve in rows]
    if any(confirmed):
        columns.append(("confirmed", confirmed))
    columns.append(("parameters", [Estimate(curve.best.params, unit="param") for curve in rows]))
    lengths = loaded.lengths_shown
    for metric, title in TABLES:
        if metric in loaded.run.plan.suite.metrics:
            for length in lengths:
                at = f", T = {length:,}" * (len(lengths) > 1)
                cells = [_measured(loaded, metric, length, case, cases[0]) for case in cases]
                columns += [(f"{title}{at}", cells)] * any(cell is not None for cell in cells)
    titles, cells_of = zip(*columns, strict=True)
    return Table("the best sizes", titles, [*zip(*cells_of, strict=True)], notes=[_below(loaded, rows)])


def _confirmed(loaded: Loaded, curve: Curve) -> Value:
    """Return the loss on fresh seeds, and before it the size if the fit chose another one than the row's; None: no such loss."""
    _, factor = losses.unit_of(loaded)
    for point in curve.points:
        value = loaded.value(point.case.arm, CONFIRMED)
        if value is not None:
            size = "" if point is curve.best else f"{point.case.size} "
            return Sentence("{size}{loss}", size=size, loss=Estimate(value * factor, kind="loss"))
    return None


def _loss(loaded: Loaded, curve: Curve, dense: Curve) -> Finding:
    """Return a loss and its difference to the anchor's, seed by seed."""
    unit, factor = losses.unit_of(loaded)
    base = "bit/B" if unit == losses.BITS else "nat"
    case = curve.best.case
    value = Estimate(curve.best.mean * factor, unit=base)
    if curve is dense:
        return Finding(case, value=value)
    effect = isoflop.paired(curve.best.losses, dense.best.losses)
    made = Estimate(effect.value, effect.low, effect.high, "difference", base).scaled(factor)
    ahead = {each.arm for each in loaded.labelled().get(Label.NOT_AUTOREGRESSIVE, [])}
    future = curve.metric != LOSSES[0] and case.arm in ahead
    return Finding(case, dense.best.case, value=value, typical=made, labels=(Label.NOT_AUTOREGRESSIVE,) * future)


def _measured(loaded: Loaded, metric: str, length: int, case: Case, base: Case) -> Value:
    """Return the value of a metric at a length, and its ratio to the anchor's; None where it was not measured."""
    row = loaded.case(case.arm, metric, length)
    value = loaded.value(case.arm, metric, length)
    if row is None or value is None:
        return None
    own = Estimate(value, unit=str(row.unit))
    here = {each.arm: each for each in reversed(loaded.run.plan.cases) if each.place.seq_len == length}
    found = against(loaded, here[case.arm], here[base.arm], metric)
    if found is None or found.typical.kind != "ratio":
        return Finding(case, value=own)
    labels = (Label.TAIL,) * has_tail(found)
    return Finding(case, base, value=own, typical=found.typical, verdict=found.verdict, labels=labels)


def _below(loaded: Loaded, rows: Sequence[Curve]) -> str:
    """Say what the rows are, and where the other sizes stand."""
    routed = "routed causally" if all(curve.metric == LOSSES[0] for curve in rows) else "routed causally where possible"
    seeds = seeds_in_words(loaded)
    if loaded.run.plan.suite.confirm is not None:
        seeds = f"mean of {counted(len(rows[0].seeds), 'seed')}, which also chose the size: no claim"
    lacking = [f"{curve.name} {size}" for curve in rows for size in curve.lacking]
    made = {curve.variant for curve in rows}
    absent = [case for case in loaded.run.plan.cases if case.budget == rows[0].budget and case.variant not in made]
    lacking += dict.fromkeys(f"{without_size(case)} has no size with all seeds" for case in absent)
    left_out = f" Left out: {'; '.join(lacking)}." if lacking else ""
    confirmed = [_confirmed(loaded, curve) for curve in rows]
    if any(isinstance(each, Sentence) and each.given["size"] for each in confirmed):
        seeds += ". Where the fit chose another size to confirm, it is named"
    return f"Each at the best of its sizes, {routed}; {seeds}.{left_out} isoflop.csv has the fits, cases.csv all sizes."
