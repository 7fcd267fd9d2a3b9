"""What a sweep confirmed: the best against the baseline, random routing as a control, and the runner-up, on new seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from modbench.extend import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    Case,
    DataTable,
    Estimate,
    Listed,
    Loaded,
    Reason,
    Sentence,
    Table,
    Value,
    count,
    interval,
    number,
    reasons,
    seconds_of,
    text,
    unit_of,
    verdict_words,
)
from modbench.plugins.sweeps.confirmation.rule import Compared, Confirmation, Confirmed, confirmations_of
from modbench.plugins.sweeps.confirmation.table import CONFIRMED, Role
from modbench.plugins.sweeps.gain.statistics import EffectiveSpeedup, Fall, from_fall
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan, spent
from modbench.plugins.sweeps.isoflop.question import explored, without_size
from modbench.plugins.sweeps.joint_fit import JointFit, Run

NONE, NO_SPEEDUP = Estimate(None), EffectiveSpeedup()
READING = "below 0 the best is better; new seeds: the best's, the other's; what was decided early is a little too large"
# What is found of the best against another, by its verdict.
WORDS = {
    BETTER: "{best} is better than {other} at {at} of training: {difference} {unit}",
    WORSE: "{other} is better than {best} at {at} of training: {mirrored} {unit}",
    EQUIVALENT: "{best} and {other} are equivalent at {at} of training: {difference} {unit}",
    INCONCLUSIVE: "{best} against {other} is inconclusive at {at} of training: {difference} {unit}",
    None: "Nothing was confirmed at {at} of training: {reason}",
}


@dataclass(frozen=True)
class Side:
    """One variant of a confirmation.

    Attributes:
        case: its best size.
        losses: of its new runs, in nats per token.
        seconds: that such a run took, on average; None where none ended.
    """

    case: Case
    losses: tuple[float, ...]
    seconds: float | None

    def mean(self, seeds: int | None = None) -> float | None:
        """Mean loss of its runs, or of so many of them; None where none left one."""
        return float(np.mean(self.losses[:seeds])) if self.losses[:seeds] else None


@dataclass(frozen=True)
class Answer:
    """What a confirmation found.

    Attributes:
        train_flops: training FLOPs of every run.
        count: which attention FLOPs these are charged with, `full` or `causal`.
        confirmed: what the run folder holds.
        sides: by role.
        first_seed: of the new ones.
        at_once: runs that the machine trained side by side.
        speedup: the compute-equivalent gain over the baseline; no value where that was not compared.
        dtype: number format of the runs, where the sweep has several; else empty.
    """

    train_flops: float
    count: str
    confirmed: Confirmed
    sides: Mapping[Role, Side]
    first_seed: int
    at_once: int
    speedup: EffectiveSpeedup
    dtype: str = ""

    @property
    def control(self) -> Case | None:
        """The control, if one was confirmed."""
        return self.sides["control"].case if "control" in self.sides else None

    @property
    def margin(self) -> Estimate:
        """The difference that was to be detected, as a share of the loss."""
        mean = self.sides["baseline" if "baseline" in self.sides else "best"].mean()
        return Estimate((self.confirmed.margin or 0.0) / mean if mean else None, kind="share")

    @property
    def at(self) -> Sentence:
        """The budget, and the number format where the sweep has several."""
        words = "{budget}" + " in {dtype}" * bool(self.dtype)
        return Sentence(words, budget=Estimate(self.train_flops, unit="FLOP"), dtype=self.dtype)

    def name(self, role: Role) -> str:
        """Display name of a role's variant, without its size."""
        return without_size(self.sides[role].case)

    @property
    def pays(self) -> bool | None:
        """Whether the variant wins: the best beats both the baseline and the control; None where one of the two is open."""
        verdicts = [self.verdict(role) for role in ("baseline", "control")]
        if any(verdict in {WORSE, EQUIVALENT} for verdict in verdicts):
            return False
        return True if verdicts == [BETTER, BETTER] else None

    def verdict(self, role: Role) -> str | None:
        """The verdict on the best against a role; None where there is none, or new runs failed: what is left may flatter."""
        found = (each for each in self.confirmed.compared if each.role == role and each.reason is None)
        return next((each.interim_analyses[-1].verdict for each in found if each.interim_analyses), None)

    def hours(self, compared: Compared) -> float | None:
        """Hours of this machine for the seeds that would decide; None where none are needed, or nobody can tell."""
        one, other = (self.sides[role].seconds for role in ("best", compared.role))
        if compared.more is None or one is None or other is None:
            return None
        return compared.more * (one + other) / self.at_once / 3600

    @property
    def needed(self) -> tuple[int | None, float | None]:
        """New seeds of each variant that would decide whether it pays, and the hours that they take; None: none, or unknown."""
        open_ = [each for each in self.confirmed.compared if each.role != "runner_up" and not each.decided]
        hours = [each for each in map(self.hours, open_) if each is not None]
        return max((each.more for each in open_ if each.more), default=None), sum(hours) if hours else None


def answers(loaded: Loaded) -> list[Answer]:
    """Return what the confirmations of a run found, by budget; none that has not ended."""
    told, asked = loaded.run.found(Confirmed), confirmations_of(loaded.whole_plan)
    found = [_answer(loaded, made, told[name]) for name, made in asked.items() if name in told]
    return sorted(found, key=lambda each: each.train_flops)


def _answer(loaded: Loaded, made: Confirmation, told: Confirmed) -> Answer:
    sides, suite = dict[Role, Side](), loaded.suite
    for chosen in told.chosen:
        case, found = made.cases[chosen.case], loaded.tables.values_of(made.cases[chosen.case], CONFIRMED)
        seconds = seconds_of(loaded, [made.fresh[case.id][seed] for seed in chosen.seeds])
        sides[chosen.role] = Side(case, tuple(found[seed] for seed in chosen.seeds if seed in found), seconds)
    first = next(iter(made.cases.values()))
    speedups = (_speedup(loaded, made.anchor, first, each) for each in told.compared if each.role == "baseline")
    cores = loaded.run.environment.get("usable_cores")
    at_once = max(1, int(cores or 1) // suite.threads) if loaded.plan.device == "cpu" else 1
    dtype = first.grid_point.dtype if len(suite.grid.dtype) > 1 else ""
    speedup, seed = next(speedups, NO_SPEEDUP), made.plan.first_seed
    return Answer(spent(first), IsoflopPlan.settled(suite).count, told, sides, seed, at_once, speedup, dtype)


def _speedup(loaded: Loaded, anchor: str, of: Case, compared: Compared) -> EffectiveSpeedup:
    """The gain over the baseline at a case's budget and place, by the baseline's loss at the next smaller budget."""
    if not compared.interim_analyses:
        return EffectiveSpeedup()
    budget = spent(of)
    tried = [each for each in explored(loaded, of.grid_point) if each.flops <= budget]
    cheaper = {each.flops for each in tried if each.variant == anchor} - {budget}
    if not cheaper:
        return EffectiveSpeedup(
            reason=Reason("the baseline was trained with no fewer FLOPs: [isoflop] baseline_train_flops names some")
        )
    # Each budget has curves of its own; one fit of all of them knows the spread best.
    fitted = JointFit([Run(f"{each.variant} {each.flops}", each.place, each.seed, each.loss) for each in tried])
    below = max(cheaper)
    there, here = ((side, fitted.best(side)) for side in (f"{anchor} {each}" for each in (below, budget)))
    fall, last = fitted.apart(*there, *here), compared.interim_analyses[-1]
    if fall.low is None or fall.high is None:
        return EffectiveSpeedup(
            reason=Reason("the sweep left too few runs of the baseline to see how its loss falls with compute")
        )
    folds = math.log(budget / below)
    margin = None if last.low is None or last.high is None else (last.high - last.low) / 2
    per_fold = Fall(fall.value / folds, (fall.high - fall.low) / 2 / folds)
    return from_fall(last.value, margin, per_fold)


@dataclass(frozen=True)
class Row:
    """The best of a confirmation against one other; of a confirmation that compared nothing, that.

    Attributes:
        answer: the confirmation.
        compared: the comparison, as far as it was looked at.
        best: the best.
        other: what it was compared with.
        seeds: those behind the difference, the best's first: it may have got further ones for another comparison.
        losses: mean losses of these.
        difference: the best's loss minus the other's at the last interim analysis; below 0 the best is better.
        verdict: on the best at the last interim analysis.
        speedup: the compute-equivalent gain, which is over the baseline.
        reason: why there is no difference, no interval, or no gain.
    """

    answer: Answer
    compared: Compared | None = None
    best: Side | None = None
    other: Side | None = None
    seeds: tuple[int, int] = (0, 0)
    losses: tuple[float | None, float | None] = (None, None)
    difference: Estimate = NONE
    verdict: str | None = None
    speedup: EffectiveSpeedup = NO_SPEEDUP
    reason: Value = None

    @property
    def share(self) -> Estimate:
        """The difference over the other's loss."""
        return self.difference.scaled(1 / self.losses[1]) if self.losses[1] else NONE


def rows(answer: Answer) -> Iterator[Row]:
    """Yield what the best of a confirmation was compared with."""
    if not answer.confirmed.compared:
        yield Row(answer, reason=answer.confirmed.reason)
    for compared in answer.confirmed.compared:
        best, other = answer.sides["best"], answer.sides[compared.role]
        last = compared.interim_analyses[-1] if compared.interim_analyses else None
        seeds = last.seeds if last else (len(best.losses), len(other.losses))
        difference = Estimate(last.value, last.low, last.high, "difference", "nat") if last else NONE
        speedup = answer.speedup if compared.role == "baseline" else NO_SPEEDUP
        reason = compared.reason or reasons.sentence(speedup.reason)
        losses = best.mean(seeds[0]), other.mean(seeds[1])
        verdict = last.verdict if last else None
        yield Row(answer, compared, best, other, seeds, losses, difference, verdict, speedup, reason)


TABLE = DataTable[Row](
    "confirm",
    "a confirmation, and a variant that its best was compared with",
    (
        number("train_flops", "training FLOPs of every run", lambda row: row.answer.train_flops, "FLOP"),
        text("count", "attention FLOPs that it is charged with: `full` or `causal`", lambda row: row.answer.count),
        text("variant", "the best, without its size", lambda row: row.best and row.best.case.family),
        text("case_id", "its size that was trained again", lambda row: row.best and row.best.case.id),
        text("role", "what it was compared with", lambda row: row.compared and row.compared.role),
        text("baseline_variant", "the variant of that", lambda row: row.other and row.other.case.family),
        text("baseline_case_id", "its size that was trained again", lambda row: row.other and row.other.case.id),
        count("seeds", "new seeds of the best behind the difference", lambda row: row.best and row.seeds[0]),
        count("baseline_seeds", "those of the other", lambda row: row.best and row.seeds[1]),
        number("loss", "mean loss of the best over these seeds", lambda row: row.losses[0], "nat"),
        number("baseline_loss", "that of the other", lambda row: row.losses[1], "nat"),
        interval("difference", "the first minus the second", lambda row: row.difference, unit="nat"),
        number("share", "the difference over the other's loss", lambda row: row.share.value),
        number("share_ci_low", "lower end of its interval", lambda row: row.share.low),
        number("share_ci_high", "upper end", lambda row: row.share.high),
        text("verdict", "of the best against the other", lambda row: row.verdict),
        number("margin", "difference to tell from none", lambda row: row.answer.confirmed.margin, "nat"),
        interval("gain", "FLOPs of dense for its loss, over its own", lambda row: row.speedup, "gain_"),
        count(
            "interim_analyses",
            "interim analyses of the difference",
            lambda row: row.compared and len(row.compared.interim_analyses),
        ),
        count("planned_seeds", "seeds at the last interim analysis", lambda row: row.answer.confirmed.planned or None),
        count(
            "pilot_seeds_needed", "seeds that the standard deviation asks for", lambda row: row.answer.confirmed.wanted
        ),
        count("seeds_needed", "new seeds that would decide", lambda row: row.compared and row.compared.more),
        number(
            "hours_needed",
            "hours that they take here",
            lambda row: row.compared and row.answer.hours(row.compared),
            "h",
        ),
        text("reason", "why there is no difference, no interval or no gain", lambda row: row.reason),
    ),
    lambda loaded: (row for answer in answers(loaded) for row in rows(answer)),
)


# --- in sentences and a table


def answer(loaded: Loaded) -> list[Sentence]:
    """Say of each confirmation how the best compares with the baseline, and with the control."""
    return [each for answer in answers(loaded) for each in of(loaded, answer)]


def of(loaded: Loaded, answer: Answer) -> Iterator[Sentence]:
    """Say what one confirmation found, in two sentences at most."""
    first, (unit, factor) = next(rows(answer)), unit_of(loaded)
    difference = first.difference.scaled(factor)
    yield Sentence(
        WORDS[first.verdict] + ", gain {gain} of FLOPs" * (first.speedup.value is not None) + ".",
        best="" if first.best is None else answer.name("best"),
        other="" if first.compared is None else answer.name(first.compared.role),
        at=answer.at,
        difference=difference,
        mirrored=difference.mirrored(),
        unit=unit,
        reason=first.reason,
        gain=Estimate.of_interval(first.speedup, "ratio"),
    )
    if answer.verdict("baseline") != BETTER:
        return
    if answer.control is None:
        yield Sentence("Not shown to come from skipping: there was no control.")
    elif answer.pays:
        yield Sentence("It is better than {control} too.", control=answer.name("control"))
    else:
        words, verdict = "Not shown to come from skipping: {control} {verdict}.", answer.verdict("control")
        yield Sentence(words, control=answer.name("control"), verdict=verdict_words(verdict, timed=False))


def table(loaded: Loaded) -> Table | None:
    """Return how the best compares with each variant; None where nothing was compared."""
    unit, factor = unit_of(loaded)
    shown = [
        (
            each.name(row.compared.role),
            each.at,
            row.difference.scaled(factor),
            Sentence("{one}, {other}", one=row.seeds[0], other=row.seeds[1]),
            row.compared.reason or verdict_words(row.verdict, timed=False),
        )
        for each in answers(loaded)
        for row in rows(each)
        if row.compared is not None
    ]
    head = ("the best against", "FLOPs", f"{unit} [95 % CI]", "seeds", "verdict")
    return Table("confirmed", head, shown, notes=[READING], file="confirm.csv") if shown else None


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say what could not be chosen, and where more seeds would decide."""
    for answer in answers(loaded):
        told, (more, _) = answer.confirmed, answer.needed
        if told.lacking:
            yield Sentence("no run of {variants} left a loss", variants=Listed(told.lacking))
        if told.planned and (told.wanted is None or told.wanted > told.planned):
            words = "{margin} of the loss needs {wanted} new seeds (80 % power): confirm.most_seeds is {planned}"
            wanted = "more than 2,000" if told.wanted is None else told.wanted
            yield Sentence(words, margin=answer.margin, wanted=wanted, planned=told.planned)
        if more is not None:
            words = "{more} other new seeds would probably decide: --set confirm.first_seed={first} --set confirm.seeds={more}"
            yield Sentence(words, more=str(more), first=str(answer.first_seed + 1000))
