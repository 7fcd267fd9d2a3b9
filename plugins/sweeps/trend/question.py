"""How the difference of two variants changes with the training budget: its slope, where it is 0, and what is forecast.

Every variant is taken at its own optimum over sizes at each budget (`plugins/sweeps/trend/statistics.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modbench.extend import (
    Case,
    DataTable,
    Estimate,
    InPlace,
    Interval,
    Loaded,
    Sentence,
    Table,
    TrainNotes,
    Value,
    count,
    interval,
    number,
    text,
    unit_of,
)
from modbench.plugins.sweeps.confirmation.rule import place_of
from modbench.plugins.sweeps.confirmation.table import CONFIRMED
from modbench.plugins.sweeps.isoflop.question import explored, without_size
from modbench.plugins.sweeps.trend.rule import Followed, Runs, Side, runs_of
from modbench.plugins.sweeps.trend.statistics import FEWEST_BUDGETS, Budget, Sizes, Trend, bend_of, curves, sign
from modbench.plugins.sweeps.trend.table import TrendPlan

# What is found of a line, by its outcome.
WORDS = {
    "both ends": "{better} is better below {at} of training, {other} above.",
    **dict.fromkeys(
        ("one end", "one sign", "none"), "{better} is better than {other} from {start} to {end} of training."
    ),
    "inconclusive": "{variant} against {base} is inconclusive from {first} to {last} of training.",
    "not straight": "{variant} minus {base} follows no straight line from {first} to {last} of training.",
}
READING = "{unit} [95 % CI], each at its best width, routed causally; slope: for each e-fold of FLOPs"


@dataclass(frozen=True)
class At:
    """A variant and the baseline at a budget.

    Attributes:
        flops: the budget.
        mine: the variant's two sizes, smaller first.
        theirs: the baseline's.
        seeds: with which all four sizes left a loss.
        planned: that were asked for.
        reason: why a seed left none; None where all did.
        difference: the variant's loss at its optimum minus the baseline's at its own; None where it has none.
        losses: the variant's there, and the baseline's.
        near: whether both optima lie near the sizes trained.
        off: whether it lies off the line through the other budgets.
    """

    flops: float
    mine: tuple[Case, Case]
    theirs: tuple[Case, Case]
    seeds: int
    planned: int
    reason: str | None
    difference: Estimate | None = None
    losses: tuple[float | None, float | None] = (None, None)
    near: bool = True
    off: bool = False


@dataclass(frozen=True)
class Answer:
    """How a variant goes on over the baseline.

    Attributes:
        variant: one of its cases.
        anchor: one of the baseline's.
        plan: the suite's table.
        rows: the budgets at which something was trained, ascending.
        trend: what was found; None with the reason.
        reason: why nothing was.
        explored: largest budget at which sizes were explored.
    """

    variant: Case
    anchor: Case
    plan: TrendPlan
    rows: Sequence[At] = ()
    trend: Trend | None = None
    reason: str | None = None
    explored: float = 0.0

    @property
    def name(self) -> str:
        """Display name of the variant, without its size."""
        return without_size(self.variant)

    @property
    def base(self) -> str:
        """Display name of the baseline, without its size."""
        return without_size(self.anchor)

    @property
    def forecast(self) -> Estimate | None:
        """The forecast that the suite asks for; None where it asks for none, or the differences do not support one."""
        if self.trend is None or self.plan.forecast is None or self.trend.is_straight is False:
            return None
        found = self.trend.forecast(self.plan.forecast, self.plan.forecast_seeds)
        return None if found is None else nats(found)


def answers(loaded: Loaded) -> list[Answer]:
    """Return the trend of each variant over the baseline, at each place; none where nothing was followed yet."""
    plan, told = TrendPlan.of(loaded.suite), loaded.run.found(Followed)
    return [
        _answer(loaded, made, told[name], family, plan)
        for name, made in runs_of(loaded.whole_plan).items()
        if plan is not None and name in told
        for family in made.variants[1:]
    ]


def _answer(loaded: Loaded, made: Runs, told: Followed, family: str, plan: TrendPlan) -> Answer:
    anchor, variant = (next(c for c in made.cases.values() if c.family == each) for each in (made.anchor, family))
    tried = explored(loaded, variant.grid_point)
    fitted = curves(tried)
    mine, theirs = (bend_of(fitted[each]) if each in fitted else None for each in (family, made.anchor))
    answer = Answer(variant, anchor, plan, explored=max((each.flops for each in tried), default=0.0))
    if told.reason is not None or mine is None or theirs is None:
        reason = told.reason or "the runs that explored sizes do not tell how sharply losses bend over them"
        return replace(answer, reason=reason)
    sides = {(side.train_flops, side.variant): side for side in told.sides}
    budgets = sorted({side.train_flops for side in told.sides})
    found = [_at(loaded, made, sides[flops, family], sides[flops, made.anchor]) for flops in budgets]
    known = [budget for _, budget in found if budget is not None]
    rows = [row for row, _ in found]
    if not known:
        reason = f"no budget has two seeds with all sizes yet ({rows[0].reason or 'runs are missing'})"
        return replace(answer, rows=rows, reason=reason)
    trend = Trend(known, mine, theirs)
    return replace(answer, rows=[_measured(row, trend) for row in rows], trend=trend)


def _measured(row: At, trend: Trend) -> At:
    """The same with what the trend found at its budget."""
    flops, off = [budget.flops for budget in trend.budgets], trend.off_line
    if row.flops not in flops:
        return row
    i = flops.index(row.flops)
    found, is_off = nats(trend.differences[i]), off is not None and off[0] == i
    return replace(row, difference=found, losses=trend.lowest(i), near=trend.near[i], off=is_off)


def _at(loaded: Loaded, made: Runs, mine: Side, theirs: Side) -> tuple[At, Budget | None]:
    """Both variants at a budget, from the seeds with which all four sizes left a loss."""
    cases = [made.cases[each] for side in (mine, theirs) for each in side.cases]
    planned = sorted(set.intersection(*(set(made.fresh[case.id]) for case in cases)))
    losses = [loaded.tables.values_of(case, CONFIRMED) for case in cases]
    whole = [seed for seed in planned if all(seed in each for each in losses)]
    troubles = (loaded.tables.value(case, loaded.tables.metrics[CONFIRMED]).trouble for case in cases)
    lost = None if whole == planned else next((each.reason for each in troubles if each is not None), None)
    row = At(mine.train_flops, (cases[0], cases[1]), (cases[2], cases[3]), len(whole), len(planned), lost)
    if len(whole) < 2:  # one seed has no spread
        return row, None
    losses_S4 = np.array([[each[seed] for each in losses] for seed in whole])
    blocks = [_blocks(loaded, case, whole) for case in cases]
    same = {len(one) for each in blocks for one in each}
    # Seeds, blocks of the text, sizes.
    blocks_SB4 = np.array(blocks).transpose(1, 2, 0) if len(same) == 1 and same != {0} else None
    sizes = [
        Sizes(place_of(low), place_of(high), losses_S4[:, two], None if blocks_SB4 is None else blocks_SB4[:, :, two])
        for two, (low, high) in ((slice(0, 2), row.mine), (slice(2, 4), row.theirs))
    ]
    return row, Budget(mine.train_flops, *sizes)


def _blocks(loaded: Loaded, case: Case, seeds: Sequence[int]) -> list[Sequence[float]]:
    """Losses on each block of the text, by seed; empty where they were not kept."""
    notes = loaded.tables.notes_of(case, CONFIRMED, TrainNotes)
    kept = dict(zip(loaded.tables.values_of(case, CONFIRMED), notes, strict=False))
    return [(kept[seed].by_block or ()) if seed in kept else () for seed in seeds]


# --- tables


@dataclass(frozen=True)
class Row:
    """A row of trend.csv: one quantity.

    Attributes:
        answer: whose.
        quantity: `difference`, `spread`, `slope`, `bend`, `crossing` or `forecast`; empty: there is no trend.
        unit: of its value.
        found: its value; None where it has none.
        train_flops: at which it is; None: at none.
        seeds: that it is from.
        outcome: what was found of it, in a word.
        at: sizes and losses of a difference.
        reason: why there is none, or fewer seeds than planned.
    """

    answer: Answer
    quantity: str = ""
    unit: str = ""
    found: Estimate | None = None
    train_flops: float | None = None
    seeds: int | None = None
    outcome: str | None = None
    at: At | None = None
    reason: str | None = None


def rows(answer: Answer) -> Iterator[Row]:
    """Yield what was found of a variant.

    Differences, standard deviations over seeds, slope, straightness, crossing and forecast.
    """
    trend, plan = answer.trend, answer.plan
    if trend is None:
        yield Row(answer, reason=answer.reason)
    for at in answer.rows:
        off = "off the line" if at.off else None
        yield Row(answer, "difference", "nat", at.difference, at.flops, at.seeds, off, at, at.reason)
    if trend is None:
        return
    for budget, own in zip(trend.budgets, trend.spreads, strict=True):
        yield Row(answer, "spread", "nat", Estimate(own), budget.flops, budget.seeds)
    pooled = "pooled" if trend.has_one_spread else "differs"
    yield Row(answer, "spread", "nat", Estimate(trend.spread), outcome=pooled)
    if trend.slope is not None:
        yield Row(answer, "slope", "nat per e-fold", nats(trend.slope))
    if trend.bent is not None:
        yield Row(answer, "bend", "nat per squared e-fold", nats(trend.bent))
    crossing = trend.crossing()
    at_0 = Estimate(crossing.flops, crossing.low, crossing.high, unit="FLOP")
    yield Row(answer, "crossing", "FLOP", at_0, outcome=crossing.outcome)
    if answer.forecast is not None:
        yield Row(answer, "forecast", "nat", answer.forecast, plan.forecast, plan.forecast_seeds)


TABLE = DataTable[Row](
    "trend",
    "a quantity of a variant over the baseline",
    (
        text("variant", "the variant without its size", lambda row: row.answer.variant.family),
        text("baseline_variant", "the baseline", lambda row: row.answer.anchor.family),
        text("quantity", "what was found of the two", lambda row: row.quantity or None),
        number("train_flops", "training FLOPs of every run", lambda row: row.train_flops, "FLOP"),
        interval("value", "the quantity", lambda row: row.found),
        text("unit", "its unit", lambda row: row.unit or None),
        text("outcome", "what was found of it, in a word", lambda row: row.outcome),
        count("seeds", "new seeds behind it", lambda row: row.seeds),
        text("sizes", "the variant's two sizes", lambda row: row.at and " ".join(case.size for case in row.at.mine)),
        text("baseline_sizes", "the baseline's", lambda row: row.at and " ".join(case.size for case in row.at.theirs)),
        number("loss", "the variant's loss at its optimum", lambda row: row.at and row.at.losses[0], "nat"),
        number("baseline_loss", "the baseline's", lambda row: row.at and row.at.losses[1], "nat"),
        count("planned_seeds", "seeds that were asked for", lambda row: row.at and row.at.planned),
        text("reason", "why there is none, or fewer seeds", lambda row: row.reason),
    ),
    lambda loaded: (row for answer in answers(loaded) for row in rows(answer)),
)


def in_place(loaded: Loaded) -> InPlace | None:
    """Return the table that stands in place of those of times and of the sweep; None where nothing was followed."""
    made = [answer for answer in answers(loaded) if answer.rows]
    if not made:
        return None
    return InPlace(
        tables=[table(loaded, each) for each in made],
        baseline=made[0].base,
        variants=[case for answer in made for case in dict.fromkeys((answer.variant, answer.anchor))],
        metrics=frozenset({"loss/val", "loss/val_causal", CONFIRMED, "flops/train_step", "lr/best_over_rule"}),
    )


def table(loaded: Loaded, answer: Answer) -> Table:
    """Return the differences by budget, then how they go on."""
    shown, (unit, factor) = list[Sequence[Value]](), unit_of(loaded)
    for at in answer.rows:
        seeds: Value = at.seeds if at.seeds == at.planned else Sentence("{n} of {all}", n=at.seeds, all=at.planned)
        remarks = {
            "off the line": at.off,
            "extrapolated": not at.near,
            "size not explored": at.flops > answer.explored,
        }
        remark = ", ".join(word for word, holds in remarks.items() if holds)
        difference = at.difference.scaled(factor) if at.difference else at.reason
        shown.append((Estimate(at.flops, unit="FLOP"), difference, seeds, remark))
    titles = {"slope": "slope", "crossing": "break-even", "forecast": "forecast {budget}"}
    for row in rows(answer):
        if row.found is not None and row.quantity in titles:
            title = Sentence(titles[row.quantity], budget=Estimate(row.train_flops, unit="FLOP"))
            found = row.found if row.unit == "FLOP" else row.found.scaled(factor)
            shown.append((title, found, row.seeds or "", ""))
    label = Sentence("{variant} minus {base}", variant=answer.name, base=answer.base)
    head, notes = ("training FLOPs", label, "seeds", ""), [Sentence(READING, unit=unit)]
    return Table("the difference over training budgets", head, shown, notes=notes, file="trend.csv")


def nats(found: Interval) -> Estimate:
    """Return a difference, or how it changes, in nats per token."""
    return Estimate.of_interval(found, "difference", "nat")


# --- in a sentence


def answer(loaded: Loaded) -> Iterator[Sentence]:
    """Say where which variant has the lower loss."""
    for each in answers(loaded):
        if each.trend is None:
            yield Sentence("No trend of {variant}: {reason}.", variant=each.name, reason=each.reason)
        else:
            yield where(each, each.trend)


def where(answer: Answer, trend: Trend) -> Sentence:
    """Say on which side of which budget which variant has the lower loss, as far as a line tells."""
    crossing, first, last = trend.crossing(), trend.budgets[0].flops, trend.budgets[-1].flops
    outcome = "not straight" if trend.is_straight is False else crossing.outcome
    from_first = crossing.high is None or crossing.low is not None
    here = trend.at(first if from_first else last)
    if here is None:  # of one budget there is no line
        here, outcome = trend.differences[0], "none" if sign(trend.differences[0]) else outcome
    better, other = (answer.name, answer.base) if here.value < 0 else (answer.base, answer.name)
    start, end = (first, crossing.low or last) if from_first else (crossing.high or first, last)
    named = {"first": first, "last": last, "start": start, "end": end}
    budgets: dict[str, Value] = {name: Estimate(flops, unit="FLOP") for name, flops in named.items()}
    at = Estimate(crossing.flops, crossing.low, crossing.high, unit="FLOP")
    return Sentence(WORDS[outcome], variant=answer.name, base=answer.base, better=better, other=other, at=at, **budgets)


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say what a trend leaves open, and what its intervals leave out."""
    for trend in (each.trend for each in answers(loaded) if each.trend is not None):
        if len(trend.budgets) == FEWEST_BUDGETS:
            yield Sentence("two budgets give no break-even, and a forecast that assumes a line: train a third")
        if not trend.has_one_spread:
            yield Sentence("standard deviations differ between budgets: each CI is from its own few seeds")
        if not trend.has_text:
            yield Sentence("no CI holds the error of the held-out text: no losses of its parts were recorded")
