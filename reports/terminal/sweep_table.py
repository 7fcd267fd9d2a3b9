"""The table of a sweep in the terminal: every variant at the best of its sizes, against the anchor at its best."""

from __future__ import annotations

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted, scale_of, three_digits
from modbench.harness.planning.check_confirm import CONFIRMED
from modbench.reports.questions import isoflop
from modbench.reports.questions.exchange import Exchange, exchanges
from modbench.reports.questions.isoflop import LOSSES, Curve, Point, without_size
from modbench.reports.questions.recommend.pairwise import against
from modbench.reports.sentences import exchange_words
from modbench.reports.sentences.evidence import seeds_in_words
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal.arm_tables import FUTURE_MARK, TABLES, Ratio, in_parts
from modbench.reports.wording.arm_names import name
from modbench.reports.writers.text_table import paired, wrapped

# Metrics that need no column of their own: a column of the table, and rates, which are tried at one size of each variant.
ELSEWHERE = (CONFIRMED, "lr/best")


def tables(loaded: Loaded, width: int) -> list[str]:
    """Return the lines of a table for each budget; none if no sweep was trained."""
    lines = list[str]()
    for rows in _budgets(loaded):
        lines += [*in_parts(_columns(loaded, rows), width), *wrapped([_below(loaded, rows)], width), ""]
    return lines


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


def details(loaded: Loaded) -> list[str]:
    """Return what the answer has in detail besides the table: effective speed-ups; those of too few seeds are counted."""
    told, few = list[Exchange](), 0
    for each in exchange_words.best_sizes(exchanges(loaded)):
        if not each.stated or not each.stated[0].rate.illustration:
            told.append(each)
        elif not each.check:
            few += 1
    said = exchange_words.in_words(loaded, told)
    if few:
        said.append(f"exchange.csv has {counted(few, 'effective speed-up')}, from too few seeds to claim anything.")
    return said


def _columns(loaded: Loaded, rows: list[Curve]) -> list[list[str]]:
    """Return the columns, each with its title: names, losses, parameters, and what was counted and timed."""
    points = [curve.best for curve in rows]
    unit, factor = losses.unit_of(loaded)
    explored = "explored, " * (loaded.run.plan.suite.confirm is not None)
    made = [
        [f"at {isoflop.in_flops(rows[0].budget)}", *(name(point.case) for point in points)],
        [f"{explored}{unit}", *(_loss(loaded, curve, rows[0]) for curve in rows)],
    ]
    confirmed = [_confirmed(loaded, curve) for curve in rows]
    if any(confirmed):
        made.append(
            ["confirmed", *("–" if found is None else f"{found[0]}{found[1] * factor:.3f}" for found in confirmed)]
        )
    made.append(["parameters", *(f"{point.params / 1e6:.2f} M" for point in points)])
    lengths = loaded.lengths_shown
    for table in TABLES:
        if table.metric in loaded.run.plan.suite.metrics:
            for length in lengths:
                at = f", T = {length:,}" * (len(lengths) > 1)
                made += _measured(loaded, table.metric, f"{table.title}{at}", length, points)
    return made


def _confirmed(loaded: Loaded, curve: Curve) -> tuple[str, float] | None:
    """Return the loss on fresh seeds, in nats, and before it the size if the fit chose another one than the row's."""
    for point in curve.points:
        value = loaded.value(point.case.arm, CONFIRMED)
        if value is not None:
            return "" if point is curve.best else f"{point.case.size} ", value
    return None


def _loss(loaded: Loaded, curve: Curve, dense: Curve) -> str:
    """Format a loss and its difference to the anchor's, seed by seed: `2.424 -0.105 ±0.021`."""
    _, factor = losses.unit_of(loaded)
    said = f"{curve.best.mean * factor:.3f}"
    if curve is dense:
        return f"{said}{' ' * 8}"
    effect = isoflop.paired(curve.best.losses, dense.best.losses)
    half = "" if effect.low is None or effect.high is None else f" ±{(effect.high - effect.low) / 2 * factor:.3f}"
    ahead = {case.arm for case in loaded.labelled().get(Label.NOT_AUTOREGRESSIVE, [])}
    future = curve.metric != LOSSES[0] and curve.best.case.arm in ahead
    return f"{said} {effect.value * factor:+.3f}{half}{FUTURE_MARK if future else ' '}"


def _measured(loaded: Loaded, metric: str, title: str, length: int, points: list[Point]) -> list[list[str]]:
    """Return the column of a metric at a length: values beside ratios to the first; none where nothing was measured."""
    arms = [point.case.arm for point in points]
    values = [loaded.value(arm, metric, length) for arm in arms]
    known = [value for value in values if value is not None]
    if not known:
        return []
    unit = str(next(row for arm in arms if (row := loaded.case(arm, metric, length)) is not None).unit)
    factor, called = scale_of(max(known), unit)
    here = {case.arm: case for case in reversed(loaded.run.plan.cases) if case.place.seq_len == length}
    cells = list[tuple[str, str]]()
    for arm, value in zip(arms, values, strict=True):
        found = None if value is None else against(loaded, here[arm], here[arms[0]], metric)
        ratio = ""
        if value is not None and found is not None and found.ratio is not None:
            made = Ratio(found.ratio, found.low, found.high, found.verdict, tail=found.tail, timed=unit == "s")
            ratio = made.beside(values[0], value)
        cells.append(("–" if value is None else three_digits(value / factor), ratio))
    return [[f"{title}, {called}", *paired(cells)]]


def _below(loaded: Loaded, rows: list[Curve]) -> str:
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
    if any(found and found[0] for found in (_confirmed(loaded, curve) for curve in rows)):
        seeds += ". Where the fit chose another size to confirm, it is named"
    return f"Each at the best of its sizes, {routed}; {seeds}.{left_out} isoflop.csv has the fits, cases.csv all sizes."
