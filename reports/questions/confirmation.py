"""What a sweep confirmed: the best against the anchor, the noise control and the runner-up, on fresh seeds.

The answer says too whether the router earned it, and what would decide.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modbench.harness.core.train_plan import Role
from modbench.harness.domain.case import Case, Place, UnitOfWork
from modbench.harness.rules.confirmation import (
    Compared,
    Confirmation,
    Confirmed,
    confirmations_of,
    explores,
    fit_of,
    found_in,
    is_noise,
    place_of,
)
from modbench.harness.stats import exchange
from modbench.harness.stats.contrast import BETTER, EQUIVALENT, WORSE
from modbench.harness.stats.exchange import EffectiveSpeedup, Fall
from modbench.harness.stats.joint_fit import JointFit, Optimum, Run
from modbench.harness.stats.reason import Reason
from modbench.reports import reasons
from modbench.reports.model import Block, Estimate, Finding, Listed, Note, Sentence, Table, Value, Verdict
from modbench.reports.questions.isoflop import attention, without_size
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops
from modbench.reports.writers.data import frame

COLUMNS = (
    *("budget", "count", "variant", "case_id", "role", "baseline_variant", "baseline_case_id", "seeds"),
    *("baseline_seeds", "loss", "baseline_loss", "difference", "ci_low", "ci_high", "share", "share_low", "share_high"),
    *("verdict", "margin"),
    *("effective_speedup", "effective_ci_low", "effective_ci_high", "looks", "planned_seeds", "wanted_seeds"),
    *("more_seeds", "more_hours", "reason"),
)
HEAD = ("Compared with", "Size", "Seeds", "Loss", "Difference [95 %]", "Of the loss", "Verdict")
NATS = "nats per token"
# An optimum between two sizes that lies lower by less than this share of the margin decides nothing.
LEAST = 0.25
# Times the anchor's parameters from which a report says so.
MORE = 1.25


@dataclass(frozen=True)
class Side:
    """One arm of a confirmation.

    Attributes:
        case: its best size.
        losses: of its fresh runs, in nats per token.
        seconds: that such a run took, on average; None where none ended.
    """

    case: Case
    losses: tuple[float, ...]
    seconds: float | None

    @property
    def mean(self) -> float | None:
        """Mean loss; None where no run left one."""
        return self.after(len(self.losses))

    def after(self, seeds: int) -> float | None:
        """Mean loss of its first runs; None where none left one."""
        return float(np.mean(self.losses[:seeds])) if self.losses[:seeds] else None


@dataclass(frozen=True)
class Answer:
    """What a confirmation found.

    Attributes:
        budget: training FLOPs of every run.
        count: which attention FLOPs these are charged with, `full` or `causal`.
        confirmed: what the run folder holds.
        sides: by role.
        first_seed: of the fresh ones.
        at_once: runs that the machine trained side by side.
        speedup: the effective one, over the anchor; None where the anchor was not compared.
        dtype: number format of the runs, where the sweep has several; else empty.
    """

    budget: float
    count: str
    confirmed: Confirmed
    sides: Mapping[Role, Side]
    first_seed: int
    at_once: int
    speedup: EffectiveSpeedup | None
    dtype: str = ""

    @property
    def control(self) -> Case | None:
        """The control, if one was confirmed."""
        return self.sides["control"].case if "control" in self.sides else None

    def compared(self, role: Role) -> Compared | None:
        """How the best compares with a role; None where that was not asked."""
        return next((each for each in self.confirmed.compared if each.role == role), None)

    def finding(self, compared: Compared) -> Finding:
        """What the last look found: the best's loss minus the other's; below 0 the best is better."""
        best, other = (self.sides[role].case if role in self.sides else role for role in ("best", compared.role))
        if not compared.looks:
            return Finding(best, other, status="skipped", reason=compared.reason or "no run left a loss")
        last = compared.looks[-1]
        difference = Estimate(last.value, last.low, last.high, "difference", "nat", n=min(last.seeds))
        return Finding(
            best, other, typical=difference, verdict=last.verdict, reason=compared.reason, needed=compared.more
        )

    def share(self, value: float, role: Role) -> Estimate | None:
        """A difference of losses as a share of a role's loss; None where it has none."""
        mean = self.sides[role].mean
        return Estimate(abs(value) / mean, kind="share") if mean else None

    @property
    def margin(self) -> Value:
        """The difference that was to be told from none, as a share of the loss."""
        margin = self.confirmed.margin or 0.0
        share = self.share(margin, "anchor" if "anchor" in self.sides else "best")
        return Sentence("{share} of the loss", share=share) if share else Estimate(margin, unit="nat")

    def name(self, role: Role) -> str:
        """Display name of a role's variant, without its size."""
        return without_size(self.sides[role].case)

    @property
    def pays(self) -> bool | None:
        """Whether skipping pays: the best beats both the anchor and the control; None where one of the two is open."""
        verdicts = [self.verdict(role) for role in ("anchor", "control")]
        if any(verdict in {WORSE, EQUIVALENT} for verdict in verdicts):
            return False
        return True if verdicts == [BETTER, BETTER] else None

    def verdict(self, role: Role) -> str | None:
        """The verdict on the best against a role; None where there is none, or fresh runs failed: what is left may flatter."""
        found = self.compared(role)
        return found.looks[-1].verdict if found and found.looks and found.reason is None else None

    def hours(self, compared: Compared) -> float | None:
        """Hours of this machine for the seeds that would decide; None where none are needed, or nobody can tell."""
        seconds = [self.sides[role].seconds for role in ("best", compared.role)]
        if compared.more is None or None in seconds:
            return None
        return compared.more * sum(each for each in seconds if each is not None) / self.at_once / 3600


def answers(loaded: Loaded) -> list[Answer]:
    """Return what the confirmations of a run found, by budget; none that has not ended."""
    told, asked = loaded.run.found(Confirmed), confirmations_of(loaded.whole_plan)
    found = [_answer(loaded, made, told[name]) for name, made in asked.items() if name in told]
    return sorted(found, key=lambda each: each.budget)


def _answer(loaded: Loaded, made: Confirmation, told: Confirmed) -> Answer:
    records, sides = loaded.records, {}
    for chosen in told.chosen:
        runs = [records[unit.name] for seed in chosen.seeds if (unit := made.fresh[chosen.case][seed]).name in records]
        losses = tuple(found.loss for run in runs if (found := found_in(run)).loss is not None)
        seconds = float(np.mean([run.wall_s for run in runs])) if runs else None
        sides[chosen.role] = Side(made.cases[chosen.case], losses, seconds)
    sweep, budget = loaded.suite.isoflop, next(iter(made.cases.values())).budget
    assert sweep is not None
    assert budget is not None
    speedup = _speedup(loaded, made, told, budget) if any(each.role == "anchor" for each in told.compared) else None
    cores, suite = loaded.run.environment.get("usable_cores"), loaded.suite
    at_once = max(1, int(cores or 1) // suite.threads) if loaded.plan.device == "cpu" else 1
    dtype = next(iter(made.cases.values())).place.dtype if len(suite.grid.dtype) > 1 else ""
    return Answer(budget, sweep.count, told, sides, made.plan.first_seed, at_once, speedup, dtype)


def _speedup(loaded: Loaded, made: Confirmation, told: Confirmed, budget: float) -> EffectiveSpeedup:
    """The effective speed-up over the anchor, by the anchor's loss at the next smaller budget."""
    (compared,) = (each for each in told.compared if each.role == "anchor")
    if not compared.looks:
        return EffectiveSpeedup()
    runs, cheaper, place = list[Run](), set[float](), next(iter(made.cases.values())).place
    for unit, case, loss in _explored(loaded, place):
        if case.budget is None or case.budget > budget:
            continue
        if case.budget < budget and case.variant == made.anchor:
            cheaper.add(case.budget)
        # Each budget has curves of its own; one fit of all of them knows the spread best.
        runs.append(Run(f"{case.variant} {case.budget}", place_of(case), unit.protocol.seed, loss))
    if not cheaper:
        return EffectiveSpeedup(reason=Reason("no_smaller_budget"))
    fitted, below = JointFit(runs), max(cheaper)
    there, here = ((side, fitted.best(side)) for side in (f"{made.anchor} {each}" for each in (below, budget)))
    fall, last = fitted.apart(*there, *here), compared.looks[-1]
    if fall.low is None or fall.high is None:
        return EffectiveSpeedup(reason=Reason("few_anchor_runs"))
    folds = math.log(budget / below)
    margin = None if last.low is None or last.high is None else (last.high - last.low) / 2
    per_fold = Fall(fall.value / folds, (fall.high - fall.low) / 2 / folds)
    return exchange.from_fall(last.value, margin, per_fold)


def _explored(loaded: Loaded, place: Place | None) -> Iterator[tuple[UnitOfWork, Case, float]]:
    """Yield the units at a place that explored sizes and left a loss, each with its case and that loss."""
    for record in loaded.run.records:
        case, loss = record.unit.comparison.arms[0], found_in(record).loss
        if explores(record.unit) and case.place == place and loss is not None:
            yield record.unit, case, loss


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `confirm.csv`: one row per confirmation and arm that the best was compared with."""
    return frame((row for answer in answers(loaded) for row in _rows(answer)), COLUMNS)


def _rows(answer: Answer) -> list[dict[str, object]]:
    told = answer.confirmed
    base = {
        "budget": answer.budget,
        "count": answer.count,
        "margin": told.margin,
        "planned_seeds": told.planned or None,
        "wanted_seeds": told.wanted,
        "reason": told.reason,
    }
    if not told.compared:
        return [base]
    best, rows = answer.sides["best"], []
    for compared in told.compared:
        other, last = answer.sides[compared.role], compared.looks[-1] if compared.looks else None
        row = base | {
            "variant": best.case.variant,
            "case_id": best.case.id,
            "role": compared.role,
            "baseline_variant": other.case.variant,
            "baseline_case_id": other.case.id,
            "seeds": len(best.losses),
            "baseline_seeds": len(other.losses),
            "loss": best.mean,
            "baseline_loss": other.mean,
            "looks": len(compared.looks),
            "more_seeds": compared.more,
            "more_hours": answer.hours(compared),
            "reason": compared.reason,
        }
        if last is not None:
            # The best may have got further seeds for another comparison: the row has those of its own difference.
            mine, theirs = (side.after(number) for side, number in zip((best, other), last.seeds, strict=True))
            row |= {"seeds": last.seeds[0], "baseline_seeds": last.seeds[1], "loss": mine, "baseline_loss": theirs}
            row |= columns_of(last, "difference") | {"verdict": last.verdict}
            for key, value in (("share", last.value), ("share_low", last.low), ("share_high", last.high)):
                row[key] = None if value is None or theirs is None else value / theirs
        if compared.role == "anchor" and answer.speedup is not None:
            row |= columns_of(answer.speedup, "effective_speedup", "effective_")
            row["reason"] = compared.reason or reasons.sentence(answer.speedup.reason)
        rows.append(row)
    return rows


# --- in sentences and a table


def in_short(loaded: Loaded, *, concluded: bool = False) -> list[Sentence]:
    """Say what was confirmed, without the comparisons that the conclusion says, or those alone; none if nothing was."""
    said = ((answer, each) for answer in answers(loaded) for each in of(loaded, answer))
    return [each for answer, each in said if _concluded(answer, each) is concluded]


# What it leaves out.
rest = functools.partial(in_short, concluded=True)


def _concluded(answer: Answer, sentence: Sentence) -> bool:
    """Whether a sentence says that the best is no worse than the control or the runner-up, where the conclusion says so."""
    found = sentence.given.get("found")
    if not answer.pays or not isinstance(found, Finding) or found.verdict == WORSE:
        return False
    return found.against != answer.sides["anchor"].case


def short_table(loaded: Loaded) -> Table | None:
    """Return the differences that `in_short` leaves out with the others; None where it leaves out none."""
    made = answers(loaded)
    if not rest(loaded):
        return None
    words = "{other}" + " at {budget}" * (len({each.budget for each in made}) > 1)
    words += " in {dtype}" * any(each.dtype for each in made)
    rows = [
        (
            Sentence(words, other=answer.name(each.role), budget=in_flops(answer.budget), dtype=answer.dtype),
            found.typical,
            found.typical.n,
            Verdict(found.verdict, timed=False),
        )
        for answer in made
        for each in answer.confirmed.compared
        for found in [answer.finding(each)]
        if found.status == "ok"
    ]
    return Table("confirmed", ("the best against", f"{NATS} [95 %]", "fresh seeds", "verdict"), rows)


def of(loaded: Loaded, answer: Answer) -> Iterator[Sentence]:
    """Say what one confirmation found."""
    told = answer.confirmed
    at = Sentence(
        "At {budget} ({attention})" + " in {dtype}" * bool(answer.dtype),
        budget=in_flops(answer.budget),
        attention=attention(answer.count),
        dtype=answer.dtype,
    )
    if told.reason is not None:
        yield Sentence("{at} nothing was confirmed: {reason}.", at=at, reason=told.reason)
        return
    for i, compared in enumerate(told.compared):
        yield _against(answer, compared, None if i else at)
    if told.lacking:
        yield Sentence("No run of {variants} left a loss: it could not be chosen.", variants=Listed(told.lacking))
    yield from filter(None, (_conclusion(answer), _parameters(loaded, answer)))
    if not loaded.suite.claims:
        yield Sentence("A smoke run claims nothing.")


def _conclusion(answer: Answer) -> Sentence | None:
    """Say whether skipping pays, or what the gain may come from; None where the best is not better than the anchor."""
    control, noise = answer.verdict("control"), answer.control is None or is_noise(answer.control)
    beside = None if answer.control is None else answer.name("control")
    if answer.pays:
        skips = answer.sides["best"].case.config.capacity is not None
        what = "Skipping tokens" if skips else "{best}"
        words = f"{what} pays here in loss at equal FLOPs: {{best}} beats {{anchor}} of equal cost, and {{control}}."
        beaten = "routing by noise" if noise else beside
        return Sentence(words, best=answer.name("best"), anchor=answer.name("anchor"), control=beaten)
    if answer.verdict("anchor") != BETTER:
        return None
    if answer.control is None:
        return Sentence("No control was confirmed, such as routing by noise: whether the router earned that is open.")
    if control is None:
        return None
    if noise:
        return Sentence(
            "So the gain may come from cheaper steps, of which a budget allows more: it is not shown to come from the router."
        )
    words = "So the gain is not shown to come from skipping: {control} may have it too."
    return Sentence(words, control=beside)


def _parameters(loaded: Loaded, answer: Answer) -> Sentence | None:
    """Say by how much the best holds more or fewer parameters than the anchor; None where it does not by much."""
    if "anchor" not in answer.sides or "best" not in answer.sides:
        return None
    held = [loaded.tables.counted(answer.sides[role].case).params for role in ("best", "anchor")]
    if held[0] is None or not held[1] or MORE**-1 < held[0] / held[1] < MORE:
        return None
    ratio = Estimate(held[0] / held[1], kind="ratio")
    words = "{best} holds {ratio} the parameters of {anchor}."
    return Sentence(words, best=answer.name("best"), ratio=ratio, anchor=answer.name("anchor"))


def _against(answer: Answer, compared: Compared, at: Sentence | None) -> Sentence:
    """Say how the best compares with one other, and what would decide it."""
    found = answer.finding(compared)
    where = "{at}, " * (at is not None)
    known: dict[str, Value] = {"at": at, "best": answer.name("best"), "other": answer.name(compared.role)}
    if found.status != "ok":
        words = where + "{best} could not be compared with {other}: {reason}."
        return Sentence(words, **known, reason=found.reason)
    words = {
        BETTER: "{best} has a lower loss than {other}: {how}",
        WORSE: "{best} has a higher loss than {other}: {how}",
        EQUIVALENT: "{best} and {other} differ by less than {margin}: {how}",
    }.get(found.verdict or "", "{best} against {other} is not decided: {how}{needed}")
    return Sentence(
        where + words + "." + " {reason}." * (compared.reason is not None),
        **known,
        how=_difference(answer, compared, found),
        margin=answer.margin,
        needed=_needed(answer, compared) or "",
        reason=compared.reason and f"{compared.reason[:1].upper()}{compared.reason[1:]}",
        found=found,
    )


def _difference(answer: Answer, compared: Compared, found: Finding) -> Sentence:
    """`-0.050 [-0.061, -0.039] nats per token, 3.4 %, an effective speed-up of 1.31× [1.20–1.44] (4 fresh seeds each)`."""
    one, other = compared.looks[-1].seeds
    share = answer.share(found.typical.value or 0.0, compared.role)
    speedup = (
        answer.speedup if compared.role == "anchor" and answer.speedup and answer.speedup.value is not None else None
    )
    seeds = "{one:fresh seed} each" if one == other else "{one} and {two} fresh seeds"
    return Sentence(
        f"{{difference}} {NATS}"
        + ", {share}" * (share is not None)
        + ", an effective speed-up of {speedup} in training FLOPs" * (speedup is not None)
        + f" ({seeds})",
        difference=found.typical,
        share=share,
        speedup=Estimate.of_interval(speedup, "ratio") if speedup else None,
        one=one,
        two=other,
    )


def _needed(answer: Answer, compared: Compared) -> Sentence | None:
    """Say what would decide it, and how to ask: `; 40 other fresh seeds of each, 3 h 06 min here besides the sweep, would …`."""
    if compared.more is None:
        return None
    hours = answer.hours(compared)
    return Sentence(
        "; {more} other fresh seeds of each"
        + ", {time} here besides the sweep," * (hours is not None)
        + " would probably decide (--set confirm.first_seed={first} --set confirm.seeds={seeds})",
        more=compared.more,
        time=Estimate(hours and 3600 * hours, kind="duration"),
        first=str(answer.first_seed + 1000),
        seeds=str(compared.more),
    )


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Say where the suite allowed fewer seeds than the spread asked for, and where an optimum may lie between two sizes."""
    for answer in answers(loaded):
        told = answer.confirmed
        if told.planned and (told.wanted is None or told.wanted > told.planned):
            words = "The spread over seeds when exploring asked for {wanted} fresh seeds of each arm to show a difference of "
            words += "{margin} with 80 % power; the suite allows {planned}."
            wanted = "more than 2,000" if told.wanted is None else told.wanted
            yield Sentence(words, wanted=wanted, margin=answer.margin, planned=told.planned)
        yield from _between_sizes(loaded, answer)


def _between_sizes(loaded: Loaded, answer: Answer) -> Iterator[Sentence]:
    """Say of which arms the fit expects a lower loss between two sizes."""
    place = next((side.case.place for side in answer.sides.values()), None)
    left = [(unit, loss) for unit, case, loss in _explored(loaded, place) if case.budget == answer.budget]
    if not left or answer.confirmed.margin is None:
        return
    fitted = fit_of(left)
    for role, side in answer.sides.items():
        optimum = fitted.optimum(side.case.variant)
        if not isinstance(optimum, Optimum):
            continue
        gain = fitted.predicted(side.case.variant)[place_of(side.case)].value - optimum.loss.value
        if gain > LEAST * answer.confirmed.margin:
            words = (
                "The sweep's fit expects {arm} to be {gain} per token better at {params} parameters, between the sizes "
            )
            words += "trained: a size there may change the answer."
            params = Estimate(math.exp(optimum.place.value), unit="param")
            yield Sentence(words, arm=answer.name(role), gain=Estimate(gain, unit="nat"), params=params)


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return the losses of the fresh seeds and how the best compares with each arm; nothing where nothing was confirmed."""
    made = answers(loaded)
    if made:
        yield Table("Confirmed", HEAD, [row for answer in made for row in _shown(answer)])
        yield Note(
            "Differences are the best's loss minus the other's, in nats per token: below 0 the best is better. The verdict is "
            "about the best: worse means worse than the model in that row."
            + " Differences of comparisons that were decided early are a little too large."
            * any(_stopped_early(each, answer) for answer in made for each in answer.confirmed.compared)
        )


def _stopped_early(compared: Compared, answer: Answer) -> bool:
    """Whether a difference was shown before the last look."""
    if not compared.looks or compared.looks[-1].verdict not in {BETTER, WORSE}:
        return False
    return max(compared.looks[-1].seeds) < (answer.confirmed.planned or 0)


def _shown(answer: Answer) -> Iterator[Sequence[Value]]:
    if "best" in answer.sides:
        yield (*_side(answer, "best", " (the best)"), "", "", "")
    for each in answer.confirmed.compared:
        called = {"control": " (control)", "runner_up": " (runner-up)"}.get(each.role, "")
        found, mean = answer.finding(each), answer.sides[each.role].mean
        change = Estimate(found.typical.value / mean, kind="change") if found.typical.value and mean else None
        told = (
            (found.typical, change, Verdict(found.verdict, timed=False))
            if found.status == "ok"
            else (None, None, found.reason)
        )
        yield (*_side(answer, each.role, called), *told)


def _side(answer: Answer, role: Role, called: str) -> tuple[Value, ...]:
    side = answer.sides[role]
    mean = Estimate(side.mean, unit="nat", n=len(side.losses))
    return f"{answer.name(role)}{called}", side.case.size, len(side.losses), mean
