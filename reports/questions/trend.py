"""How the difference of two arms changes with the training budget: its slope, where it is 0, and what is forecast.

Every arm is taken at its own optimum over sizes at each budget (`harness/stats/trend.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modbench.harness.core.train_plan import TrendPlan
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TrainNotes
from modbench.harness.domain.records import Record
from modbench.harness.rules.confirmation import CONFIRMED, found_in, place_of
from modbench.harness.rules.trend import Followed, Runs, Side, runs_of, tried_in
from modbench.harness.stats.joint_fit import Estimate as Fitted
from modbench.harness.stats.trend import FEWEST_BUDGETS, Budget, Crossing, Sizes, Trend, bend_of, curves, sign
from modbench.reports.model import Block, Estimate, Listed, Note, Sentence, Table, Value
from modbench.reports.panel import InPlace
from modbench.reports.questions.confirmation import NATS
from modbench.reports.questions.isoflop import without_size
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops
from modbench.reports.writers.data import frame

COLUMNS = (
    *("variant", "baseline_variant", "quantity", "budget", "value", "ci_low", "ci_high", "unit", "outcome", "seeds"),
    *("sizes", "baseline_sizes", "loss", "baseline_loss", "planned_seeds", "reason"),
)
# Half width of a slope's interval for which the seeds are said.
WANTED = 0.012


@dataclass(frozen=True)
class At:
    """An arm and the anchor at a budget.

    Attributes:
        flops: the budget.
        mine: the arm's two sizes, smaller first.
        theirs: the anchor's.
        seeds: with which all four sizes left a loss.
        planned: that were asked for.
        reason: why a seed left none; None where all did.
    """

    flops: float
    mine: tuple[Case, Case]
    theirs: tuple[Case, Case]
    seeds: int
    planned: int
    reason: str | None


@dataclass(frozen=True)
class Answer:
    """How an arm goes on beside the anchor.

    Attributes:
        arm: one of its cases.
        anchor: one of the anchor's.
        plan: the suite's table.
        rows: the budgets at which something was trained, ascending.
        trend: what was found; None with the reason.
        reason: why nothing was.
        explored: largest budget at which sizes were explored.
    """

    arm: Case
    anchor: Case
    plan: TrendPlan
    rows: Sequence[At] = ()
    trend: Trend | None = None
    reason: str | None = None
    explored: float = 0.0

    @property
    def name(self) -> str:
        """Display name of the arm, without its size."""
        return without_size(self.arm)

    @property
    def base(self) -> str:
        """Display name of the anchor, without its size."""
        return without_size(self.anchor)

    @property
    def used(self) -> list[At]:
        """The budgets that have a difference."""
        return [row for row in self.rows if self.at(row) is not None]

    def at(self, row: At) -> tuple[Fitted, tuple[float, float]] | None:
        """Return the difference at a budget, and the losses of arm and anchor; None where it has none."""
        budgets = [each.flops for each in self.trend.budgets] if self.trend else []
        if self.trend is None or row.flops not in budgets:
            return None
        i = budgets.index(row.flops)
        return self.trend.differences[i], self.trend.lowest(i)


def answers(loaded: Loaded) -> list[Answer]:
    """Return the trend of each arm beside the anchor, at each place; none where nothing was followed yet."""
    suite, told = loaded.suite, loaded.run.found(Followed)
    if suite.trend is None:
        return []
    return [
        _answer(made, told[name], variant, suite.trend, loaded.records)
        for name, made in runs_of(loaded.whole_plan).items()
        if name in told
        for variant in made.variants[1:]
    ]


def _answer(made: Runs, told: Followed, variant: str, plan: TrendPlan, records: Mapping[str, Record]) -> Answer:
    arm, anchor = (
        next(case for case in made.cases.values() if case.variant == each) for each in (variant, made.anchor)
    )
    explored = [
        (unit, loss)
        for unit in made.explored
        if unit.name in records and (loss := found_in(records[unit.name]).loss) is not None
    ]
    largest = max((unit.comparison.arms[0].budget or 0.0 for unit, _ in explored), default=0.0)
    fitted = curves(tried_in(explored))
    mine, theirs = (bend_of(fitted[each]) if each in fitted else None for each in (variant, made.anchor))
    if told.reason is not None or mine is None or theirs is None:
        reason = told.reason or "the runs that explored sizes do not tell how sharply losses bend over them"
        return Answer(arm, anchor, plan, reason=reason, explored=largest)
    sides = {(side.budget, side.variant): side for side in told.sides}
    rows, budgets = [], []
    for flops in sorted({side.budget for side in told.sides}):
        both = [sides[flops, each] for each in (variant, made.anchor)]
        row, budget = _at(made, both, records)
        rows.append(row)
        budgets += [budget] if budget else []
    if not budgets:
        reason = f"no budget has two seeds with all sizes yet ({rows[0].reason or 'runs are missing'})"
        return Answer(arm, anchor, plan, rows, reason=reason, explored=largest)
    return Answer(arm, anchor, plan, rows, Trend(budgets, mine, theirs), explored=largest)


def _at(made: Runs, both: Sequence[Side], records: Mapping[str, Record]) -> tuple[At, Budget | None]:
    """Both arms at a budget, from the seeds with which all four sizes left a loss."""
    cases = [(made.cases[side.cases[0]], made.cases[side.cases[1]]) for side in both]
    fresh = [made.fresh[case.id] for pair in cases for case in pair]
    planned = sorted(set.intersection(*(set(each) for each in fresh)))
    found = {seed: [_judged(records.get(each[seed].name)) for each in fresh] for seed in planned}
    whole = {seed: each for seed, each in found.items() if all(one.loss is not None for one in each)}
    lost = next((one.reason for each in found.values() for one in each if one.loss is None), None)
    flops = both[0].budget
    row = At(flops, cases[0], cases[1], len(whole), len(planned), lost)
    if len(whole) < 2:  # one seed has no spread
        return row, None
    losses_S4 = np.array([[one.loss for one in each] for each in whole.values()])
    blocks = [[one.blocks for one in each] for each in whole.values()]
    same = {len(one) for each in blocks for one in each}
    blocks_SB4 = np.array(blocks).transpose(0, 2, 1) if len(same) == 1 and same != {0} else None
    sizes = []
    for pair, columns in zip(cases, (slice(0, 2), slice(2, 4)), strict=True):
        blocks_SB2 = None if blocks_SB4 is None else blocks_SB4[:, :, columns]
        sizes.append(Sizes(place_of(pair[0]), place_of(pair[1]), losses_S4[:, columns], blocks_SB2))
    return row, Budget(flops, sizes[0], sizes[1])


@dataclass(frozen=True)
class _Judged:
    """What a fresh run left."""

    loss: float | None
    blocks: Sequence[float] = ()
    reason: str | None = None


def _judged(record: Record | None) -> _Judged:
    if record is None:
        return _Judged(None, reason="runs are missing")
    found = found_in(record)
    if found.loss is None:
        return _Judged(None, reason=found.reason)
    notes = next(outcome.notes for outcome in record.outcomes if outcome.metric == CONFIRMED)
    return _Judged(found.loss, (notes.by_block if isinstance(notes, TrainNotes) else None) or ())


# --- tables


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `trend.csv`: for each arm its differences, the spreads of its seeds, slope, straightness, crossing and forecast."""
    return frame((row for answer in answers(loaded) for row in rows_of(answer)), COLUMNS)


def rows_of(answer: Answer) -> Iterator[dict[str, object]]:
    """Yield the rows of `trend.csv` about an arm."""
    base = {"variant": answer.arm.variant, "baseline_variant": answer.anchor.variant}
    if answer.trend is None:
        yield base | {"reason": answer.reason}
    trend = answer.trend
    off = trend.budgets[trend.off_line[0]].flops if trend is not None and trend.off_line is not None else None
    for row in answer.rows:
        made = base | {"quantity": "difference", "budget": row.flops, "unit": "nat", "planned_seeds": row.planned}
        made |= {"seeds": row.seeds, "reason": row.reason}
        for key, cases in (("sizes", row.mine), ("baseline_sizes", row.theirs)):
            made[key] = " ".join(case.size for case in cases)
        if (found := answer.at(row)) is not None:
            difference, (mine, theirs) = found
            made |= columns_of(difference) | {"loss": mine, "baseline_loss": theirs}
        yield made | ({"outcome": "off the line"} if row.flops == off else {})
    if trend is None:
        return
    spread = base | {"quantity": "spread", "unit": "nat"}
    for budget, own in zip(trend.budgets, trend.spreads, strict=True):
        yield spread | {"budget": budget.flops, "value": own, "seeds": budget.seeds}
    yield spread | {"value": trend.spread, "outcome": "pooled" if trend.has_one_spread else "differs"}
    for quantity, change, unit in (
        ("slope", trend.slope, "nat per e-fold"),
        ("bend", trend.bent, "nat per squared e-fold"),
    ):
        if change is not None:
            yield {**base, "quantity": quantity, "unit": unit, **columns_of(change)}
    crossing = trend.crossing()
    yield base | {
        "quantity": "crossing",
        "value": crossing.flops,
        "ci_low": crossing.low,
        "ci_high": crossing.high,
        "unit": "FLOP",
        "outcome": crossing.outcome,
    }
    ahead = forecast_of(answer)
    if ahead is not None:
        seeds = {"budget": answer.plan.forecast, "seeds": answer.plan.forecast_seeds}
        yield {**base, "quantity": "forecast", "unit": "nat", **seeds, **columns_of(ahead)}


def forecast_of(answer: Answer) -> Fitted | None:
    """The forecast that the suite asks for; None where it asks for none, or the differences do not support one."""
    if answer.trend is None or answer.plan.forecast is None or answer.trend.is_straight is False:
        return None
    return answer.trend.forecast(answer.plan.forecast, answer.plan.forecast_seeds)


def in_place(loaded: Loaded) -> InPlace | None:
    """Return the table that stands in place of those of times and of the sweep; None where nothing was followed."""
    made = answers(loaded)
    if not any(answer.rows for answer in made):
        return None
    return InPlace(
        tables=[_table(answer) for answer in made if answer.rows],
        baseline=made[0].base,
        arms=[case for answer in made for case in dict.fromkeys((answer.arm, answer.anchor))],
        metrics=frozenset({"loss/val", "loss/val_causal", CONFIRMED, "flops/train_step", "lr/best"}),
    )


def _table(answer: Answer) -> Table:
    rows: list[Sequence[Value]] = []
    for row in answer.rows:
        found = answer.at(row)
        losses: Sequence[float | None] = (None, None) if found is None else found[1]
        difference = row.reason if found is None else nats(found[0])
        sides = (_side(loss, cases) for loss, cases in zip(losses, (row.mine, row.theirs), strict=True))
        rows.append((Estimate(row.flops, kind="budget"), row.seeds, *sides, difference))
    return Table(
        "the difference over training budgets",
        ("FLOPs", "Seeds", answer.name, answer.base, "Difference [95 %]"),
        rows,
        notes=["Nats per token at each arm's optimum over sizes, routed causally; in parentheses the widths trained."],
    )


def _side(loss: float | None, cases: tuple[Case, Case]) -> Sentence:
    """An arm's loss at its optimum, and the widths that it follows from."""
    widths = Listed([str(case.config.d_model) for case in cases], ", ")
    return Sentence(
        "{loss} ({widths})" if loss is not None else "({widths})", loss=Estimate(loss, kind="loss"), widths=widths
    )


def nats(found: Fitted) -> Estimate:
    """Return a difference, or how it changes, in nats per token."""
    return Estimate.of_interval(found, "difference", "nat")


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return the differences at every budget."""
    made = [answer for answer in answers(loaded) if answer.rows]
    yield from (_table(answer) for answer in made)
    if made:
        yield Note(
            "Each arm was trained at two neighbouring sizes on the same fresh seeds. With the curvature that the sweep found, "
            "these give its loss at its own optimum. Intervals hold the spread over seeds (one for all budgets, unless they are "
            "shown to differ) and the errors of optimum and text."
        )


# --- in sentences


def in_short(loaded: Loaded) -> Iterator[Sentence]:
    """Say where the arm has the lower loss, how the difference goes on, and what is forecast."""
    for answer in answers(loaded):
        if answer.trend is None:
            yield Sentence(
                "No trend of {arm} beside {base}: {reason}.", arm=answer.name, base=answer.base, reason=answer.reason
            )
            continue
        yield _where(answer, answer.trend)
        if (slope := answer.trend.slope) is not None:
            yield _slope(answer, slope)
        ahead = forecast_of(answer)
        if ahead is not None:
            yield Sentence(
                "Forecast for {budget}: {difference} {nats}, as {n:fresh seed} of each would measure it.",
                budget=in_flops(answer.plan.forecast or 0.0),
                difference=nats(ahead),
                nats=NATS,
                n=answer.plan.forecast_seeds,
            )


def _where(answer: Answer, trend: Trend) -> Sentence:
    """Say at which budgets which arm has the lower loss."""
    crossing, first, last = trend.crossing(), trend.budgets[0].flops, trend.budgets[-1].flops
    given: dict[str, Value] = {
        "arm": answer.name,
        "base": answer.base,
        "first": _flops(first),
        "last": in_flops(last),
        "largest": _flops(last),
    }
    if len(trend.budgets) == 1:
        (found,) = trend.differences
        word = f"has a {_side_of(found)} loss than" if sign(found) else "is not told from"
        return Sentence(f"At {{last}} {{arm}} {word} {{base}}: {{found}}.", found=nats(found), **given)
    if trend.is_straight is False:
        return _not_straight(trend, given)
    if crossing.outcome == "both ends":
        where = Estimate(crossing.flops, crossing.low, crossing.high, "budget")
        here, there = ("above", "below") if (trend.slope.value if trend.slope else 0.0) < 0 else ("below", "above")
        words = f"{{arm}} has the lower loss {here} {{where}} training FLOPs, {{base}} {there} "
        return Sentence(words + "(trained from {first} to {largest}).", where=where, **given)
    if crossing.outcome == "none":
        words = f"{{arm}} has a {_side_of(trend.differences[0])} loss than {{base}} at all budgets from {{first}} to {{last}}."
        return Sentence(words, **given)
    if crossing.outcome == "cannot tell":
        return _by_budget(trend, given)
    return _one_end(crossing, trend, given)


def _not_straight(trend: Trend, given: Mapping[str, Value]) -> Sentence:
    """Say that there is no line, and which budget differs most from that of the others, where one does."""
    words = "From {first} to {last} the difference of {arm} and {base} follows no straight line"
    if trend.off_line is None:
        return Sentence(words + ".", **given)
    i, apart = trend.off_line
    found = trend.differences[i]
    words += ": at {budget} it is {found} with {seeds:seed}, and the line through the other budgets is at {line}."
    line = Estimate(found.value - apart.value, kind="difference", unit="nat")
    budget = trend.budgets[i]
    return Sentence(words, budget=_flops(budget.flops), found=nats(found), seeds=budget.seeds, line=line, **given)


def _by_budget(trend: Trend, given: Mapping[str, Value]) -> Sentence:
    """Say at which budgets the sign is known by their own seeds, where no line tells it."""
    at: dict[str, list[Value]] = {"lower": [], "higher": [], "open": []}
    for budget, found in zip(trend.budgets, trend.differences, strict=True):
        at[_side_of(found) if sign(found) else "open"].append(_flops(budget.flops))
    told = [side for side in ("lower", "higher") if at[side]]
    if not told:
        return Sentence(
            "From {first} to {last} it cannot be told which of {arm} and {base} has the lower loss.", **given
        )
    words = (
        "{arm} has " + " and ".join(f"a {side} loss than {{base}} at {{{side}}}" for side in told) + " training FLOPs"
    )
    words += "; at {open} it cannot be told." if at["open"] else "."
    return Sentence(words, **{side: Listed(where, last=" and ") for side, where in at.items()}, **given)


def _one_end(crossing: Crossing, trend: Trend, given: Mapping[str, Value]) -> Sentence:
    """Say up to which budget, or from which on, the line knows the sign, and where the other sign was shown, if anywhere."""
    at_first = crossing.low is not None
    side = _side_of(trend.at(trend.budgets[0 if at_first else -1].flops))
    other = "higher" if side == "lower" else "lower"
    words = f"{{arm}} has a {side} loss than {{base}} " + (
        "from {first} up to {end} training FLOPs" if at_first else "from {end} to {last}"
    )
    shown = [
        _flops(budget.flops)
        for budget, found in zip(trend.budgets, trend.differences, strict=True)
        if sign(found) and _side_of(found) == other
    ]
    if crossing.outcome == "one end":
        words += f", and a {other} one at {{shown}}; between them it cannot be told."
    else:
        words += f"; {'above' if at_first else 'below'} it cannot be told: a {other} loss was not shown at any budget."
    end = crossing.low if at_first else crossing.high
    return Sentence(words, end=_flops(end or 0.0), shown=Listed(shown, last=" and "), **given)


def _side_of(found: Fitted | None) -> str:
    return "lower" if found is not None and found.value < 0 else "higher"


def _flops(flops: float) -> Estimate:
    return Estimate(flops, kind="budget")


def _slope(answer: Answer, slope: Fitted) -> Sentence:
    """Say how the difference changes with the budget."""
    words = "No trend with compute is shown"
    if sign(slope):
        words = "With more compute {arm} " + ("gains on {base}" if slope.value < 0 else "falls behind {base}")
    return Sentence(
        words + ": {slope} {nats} for each e-fold of training FLOPs.",
        arm=answer.name,
        base=answer.base,
        slope=nats(slope),
        nats=NATS,
    )


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say what the trend covers, and what its intervals leave out."""
    for answer in answers(loaded):
        trend = answer.trend
        if trend is None:
            continue
        yield Sentence(
            "The trend covers models of {params} parameters at most, of one depth, at one length.",
            params=Estimate(math.exp(max(each.mine.high for each in trend.budgets)), unit="param"),
        )
        if len(trend.budgets) == FEWEST_BUDGETS:
            words = "Two budgets do not show whether the difference follows a straight line: no crossing is given"
            yield Sentence(words + (", and the forecast assumes such a line." if forecast_of(answer) else "."))
        if not trend.has_one_spread:
            yield Sentence(
                "Seeds spread differently from budget to budget (Bartlett's test at 1 %): the intervals take each budget's own "
                "standard deviation, {spreads}, of its few seeds.",
                spreads=Listed(
                    [
                        Sentence("{sd} at {budget}", sd=Estimate(own, unit="nat"), budget=_flops(budget.flops))
                        for budget, own in zip(trend.budgets, trend.spreads, strict=True)
                    ]
                ),
            )
        slope, times = trend.slope, trend.seeds_for(WANTED)
        half = nats(slope).half if slope is not None else None
        if half is not None and half > WANTED:
            needed = (
                "it takes {times} as many seeds" if times else "no number of seeds is enough with this sweep and text"
            )
            yield Sentence(
                f"The slope is known to {{half}} for each e-fold: for {{wanted}} {needed}.",
                half=Estimate(half, unit="nat"),
                wanted=Estimate(WANTED, unit="nat"),
                times=Estimate(times, kind="ratio"),
            )
        far = [row for row, near in zip(answer.used, trend.near, strict=True) if not near]
        if far:
            yield Sentence(
                "At {budgets} the optimum of an arm lies far beyond its two sizes: that difference is extrapolated.",
                budgets=Listed([in_flops(row.flops) for row in far]),
            )
        guessed = [row for row in answer.used if row.flops > answer.explored]
        if guessed:
            yield Sentence(
                "Sizes were explored up to {explored}; those of {budgets} follow from them.",
                explored=in_flops(answer.explored),
                budgets=Listed([_flops(row.flops) for row in guessed]),
            )
        lacking = [row for row in answer.rows if row.seeds < row.planned]
        if lacking:
            yield Sentence(
                "Seeds with all sizes: {counts}.",
                counts=Listed(
                    [
                        Sentence(
                            "{n} of {planned} at {budget}", n=row.seeds, planned=row.planned, budget=_flops(row.flops)
                        )
                        for row in lacking
                    ]
                ),
            )
        if not trend.has_text:
            yield Sentence("The error of the held-out text is in no interval: the records have no losses of its parts.")
