"""Trains the best of a sweep again, on new seeds, until its comparisons are decided.

One fit over all runs chooses the best size of each variant, and their spread says how many new seeds it needs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from modbench.extend import (
    ERROR_LEVEL,
    FEWEST,
    INCONCLUSIVE,
    ROUTING_KEYS,
    AdaptiveRule,
    Analysis,
    ByClock,
    Case,
    Frozen,
    Job,
    Record,
    Rule,
    Side,
    UsageError,
    case_cost,
    compile_expression,
    contrast,
    fractions_of,
    percent,
    power,
    schedule,
)
from modbench.extend import AdaptiveDecision as Decision
from modbench.plugins.sweeps.confirmation.table import CAUSAL, CONFIRMED, ConfirmPlan, Role
from modbench.plugins.sweeps.isoflop.plan import CONFIRM_PASS, budget_of, label_of, spent
from modbench.plugins.sweeps.joint_fit import JointFit, Run, Spread

if TYPE_CHECKING:
    from modbench.extend import Plan, Suite

NOISE = "stochastic"


class Found(NamedTuple):
    """The loss that a run left, in nats per token; None with the reason why there is none."""

    loss: float | None
    reason: str = ""


class Chosen(Frozen):
    """The case that fills a role.

    Attributes:
        role: the role.
        case: the case: its best size.
        seeds: new seeds that were asked for.
    """

    role: Role
    case: str
    seeds: tuple[int, ...]


class InterimAnalysis(Frozen):
    """The best against another at one look. Below 0 the best has the lower loss.

    Attributes:
        seeds: seeds of each variant that left a loss, the best's first.
        value: difference of the mean losses, in nats per token.
        low: lower end of its interval; the intervals of all together hold the true difference with 95 %.
        high: upper end.
        verdict: `better`, `worse`, `equivalent` or `inconclusive`.
    """

    seeds: tuple[int, int]
    value: float
    low: float | None
    high: float | None
    verdict: str


class Compared(Frozen):
    """The best against one other, as far as it was looked at.

    Attributes:
        role: what the best was compared with.
        interim_analyses: in order; the last one counts.
        more: new seeds of each variant with which a new confirmation would decide it; None where it is decided or unknown.
        reason: why there is no look, or no interval.
    """

    role: Role
    interim_analyses: tuple[InterimAnalysis, ...] = ()
    more: int | None = None
    reason: str | None = None

    @property
    def decided(self) -> bool:
        """Whether the last look decided."""
        return bool(self.interim_analyses) and self.interim_analyses[-1].verdict != INCONCLUSIVE


class Confirmed(Frozen):
    """A confirmation that has ended.

    Attributes:
        margin: difference that was to be significant, in nats per token.
        wanted: seeds of each variant that the spread asks for; None: more than 2,000, or nothing was chosen.
        planned: seeds of each variant at the last interim analysis: those, or the most that the suite allows.
        lacking: variants that could not be chosen, since no run of theirs left a loss.
        chosen: what was trained again.
        compared: the comparisons.
        reason: why nothing was confirmed.
    """

    margin: float | None = None
    wanted: int | None = None
    planned: int = 0
    lacking: tuple[str, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    compared: tuple[Compared, ...] = ()
    reason: str | None = None


def found_in(record: Record) -> Found:
    """The loss in the record of a run: of an exploring one that by which it is judged, of a fresh one the confirmed."""
    for key in (CONFIRMED, CAUSAL):
        for outcome in record.outcomes:
            if outcome.metric == key:
                loss = outcome.samples["value"][0] if outcome.status == "ok" else None
                return Found(loss, outcome.reason or "")
    return Found(None, "it left no loss")


@dataclass(frozen=True)
class Confirmation:
    """The runs of a sweep at one budget and place, and the fresh runs that confirm its best.

    Attributes:
        plan: how it is confirmed.
        claims: whether anything may be claimed; a smoke run trains two seeds and has one interim analysis.
        anchor: the baseline's variant.
        most_seeds: the most new seeds of a case.
        cases: every variant at every size, by id, in plan order.
        explored: the runs that choose.
        fresh: the runs that may be asked for, by case and seed.
    """

    plan: ConfirmPlan
    claims: bool
    anchor: str
    most_seeds: int
    cases: dict[str, Case]
    explored: list[Job]
    fresh: dict[str, dict[int, Job]]

    @classmethod
    def of(cls, suite: Suite, jobs: Sequence[Job]) -> Confirmation:
        """The confirmation that the jobs of a group explore for, and confirm."""
        plan = ConfirmPlan.settled(suite)
        anchor, most_seeds = jobs[0].comparison.variants[0].family, len(plan.fresh(suite.claims))
        by_seed = sorted(jobs, key=lambda job: job.protocol.seed if job.rule else -1)
        return cls(plan, suite.claims, anchor, most_seeds, *runs_in(by_seed))

    @property
    def most_runs(self) -> int:
        """The most runs with new seeds of all cases together: those of the cases that are chosen."""
        return len(self.plan.roles) * self.most_seeds

    def may_be_best(self, case: Case) -> bool:
        """Whether a case may fill the role `best`."""
        if case.family == self.anchor:
            return False
        return not is_noise(case) if self.plan.candidates is None else _matches(self.plan.candidates)(case.id)

    def may_be_control(self, case: Case, best: Case) -> bool:
        """Whether a case may fill the role `control` beside this best."""
        if case.family in {self.anchor, best.family}:
            return False
        if self.plan.controls is None:
            return is_noise(case) and _routing(case) == _routing(best)
        return _matches(self.plan.controls)(case.id)


@functools.cache
def _matches(expression: str) -> Callable[[str], bool]:
    return compile_expression(expression)


def explores(job: Job) -> bool:
    """Whether a job is a run of the sweep itself, with one of its seeds."""
    return job.facts.trains and job.facts.samples == "seeds" and job.made_in != CONFIRM_PASS


def of_sweep(jobs: Sequence[Job], name: Callable[[Case], str]) -> dict[str, list[Job]]:
    """Return the runs of a sweep that belong together, by the name of their case's group: those that explore and the fresh ones.

    A group without fresh runs is none.
    """
    found: dict[str, list[Job]] = {}
    for job in jobs:
        (first, *_) = job.comparison.variants
        if budget_of(first) is not None and (job.made_in == CONFIRM_PASS or explores(job)):
            found.setdefault(name(first), []).append(job)
    return {group: each for group, each in found.items() if any(job.made_in == CONFIRM_PASS for job in each)}


def runs_in(
    jobs: Sequence[Job],
) -> tuple[dict[str, Case], list[Job], dict[str, dict[int, Job]]]:
    """Return the cases of such a group by id, the runs that explore, and the fresh ones by case and seed."""
    cases, explored, fresh = dict[str, Case](), list[Job](), dict[str, dict[int, Job]]()
    for job in jobs:
        (case,) = job.comparison.variants
        cases.setdefault(case.id, case)
        if job.rule:
            fresh.setdefault(case.id, {})[job.protocol.seed] = job
        else:
            explored.append(job)
    return cases, explored, fresh


def is_noise(case: Case) -> bool:
    """Whether routing is random."""
    return case.config.router == NOISE


def _routing(case: Case) -> tuple[object, ...]:
    """The settings of a variant besides its router and its size."""
    config, apart = case.config.model_dump(), {"router", "expert_d_ff"}
    return case.model, *(config[key] for key in ROUTING_KEYS if key not in apart)


def confirmations_of(plan: Plan) -> dict[str, Confirmation]:
    """The confirmations of a plan, by name; none if it confirms nothing."""
    return {name: Confirmation.of(plan.suite, jobs) for name, jobs in plan.members("confirmation").items()}


class ConfirmationRule(AdaptiveRule[Confirmed]):
    """Asks for runs with new seeds of the best sizes, look by look, when all runs of the sweep at a budget have ended."""

    found = Confirmed
    unasked = (
        "not confirmed: the sweep has not ended",
        "not confirmed: the sweep found another size or variant better",
    )

    def groups(self, suite: Suite, jobs: Sequence[Job]) -> dict[str, list[Job]]:
        """Return the runs that explore at each budget and place, with the fresh ones that may be asked for after them."""
        if ConfirmPlan.of(suite) is None:
            return {}
        return of_sweep(jobs, lambda case: f"best-{case.grid_point.label}-{label_of(spent(case))}")

    def is_conditional(self, suite: Suite, job: Job) -> bool:  # noqa: ARG002  # as every rule
        """Whether the job trains again what a sweep found best."""
        return job.made_in == CONFIRM_PASS

    def shares(self, suite: Suite, jobs: Sequence[Job]) -> tuple[float, float]:
        """Return the share of the cases that are chosen, twice."""
        made = Confirmation.of(suite, jobs)
        most = min(1.0, made.most_runs / sum(map(len, made.fresh.values())))
        return most, most

    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        """Choose what is trained again, and look at it as far as its runs have ended."""
        made, found = Confirmation.of(suite, jobs), {name: found_in(record) for name, record in records.items()}
        choice = choose(made, {job.name: found[job.name].loss for job in made.explored})
        if isinstance(choice, str):
            return Decision(ended=True, why=choice, found=Confirmed(reason=choice))
        return _looked(made, choice, found)

    def check(self, suite: Suite, jobs: Sequence[Job], select: str | None) -> None:
        """Check that every role can be filled."""
        made = Confirmation.of(suite, jobs)
        cases = made.cases.values()
        matches = [case for case in cases if made.may_be_best(case)]
        alone = [case for case in matches if not any(made.may_be_control(other, case) for other in cases)]
        wanted: dict[Role, str] = {}
        if not matches:
            wanted["best"] = f"no variant matches candidates = {made.plan.candidates!r}"
            if made.plan.candidates is None:
                wanted["best"] = "add a variant besides the baseline without random routing"
        if len({case.family for case in matches}) < 2:
            wanted["runner_up"] = "add a second such variant"
        if alone and made.plan.controls is not None:
            wanted["control"] = f"no variant matches controls = {made.plan.controls!r}"
        elif alone:
            wanted["control"] = f'{alone[0].variant} has none: add router = ["learned", "{NOISE}"] to its variant'
        for role in made.plan.roles:
            if role in wanted:
                if select:
                    raise UsageError(
                        f"{suite.name}: [confirm] has the role {role!r}, which none of the cases that -k {select!r} selects "
                        f"can fill ({wanted[role]}). Select more, or leave the role out."
                    )
                raise UsageError(
                    f"{suite.name}: [confirm] has the role {role!r}: {wanted[role]}, or leave the role out."
                )

    def forecast(self, suite: Suite, groups: Mapping[str, Sequence[Job]]) -> Mapping[str, Any]:
        """Return the runs that each confirmation may request."""
        found = [
            {
                "name": name,
                "roles": list(made.plan.roles),
                "most_seeds": made.most_seeds,
                "most_runs": made.most_runs,
                "interim_analyses": made.plan.interim_analyses if made.claims else 1,
                "margin": made.plan.margin,
                "power": made.plan.power,
            }
            for name, jobs in groups.items()
            for made in [Confirmation.of(suite, jobs)]
        ]
        return {"confirmed": found}

    def forecast_in_words(self, forecast: Mapping[str, Any]) -> Iterator[str]:
        """Say what may be trained again, and until when."""
        for each in forecast["confirmed"]:
            *first, last = (role.replace("_", "-") for role in each["roles"])
            runs = f"at most {each['most_seeds']} each ({each['most_runs']} runs, all of them counted above)"
            until = f"until a difference of {percent(each['margin'])} of the loss is decided"
            where = f" for {each['name']}" if len(forecast["confirmed"]) > 1 else ""
            yield (
                f"Then{where} {', '.join(first)} and {last} are trained again with new seeds, {runs}, {until}; how many seeds "
                "that takes follows from the standard deviation of the sweep's runs."
            )


@dataclass(frozen=True)
class Choice:
    """The cases to confirm, and their seeds.

    Attributes:
        cases: the case that fills each role.
        margin: difference that shall be significant, in nats per token.
        wanted: seeds of each variant that the spread asks for; None: more than 2,000.
        lacking: variants of which no run left a loss.
        numbers: seeds of each variant at each look; at the last those, or the most that the suite allows.
    """

    cases: dict[Role, Case]
    margin: float
    wanted: int | None
    lacking: tuple[str, ...]
    numbers: tuple[int, ...]


def choose(made: Confirmation, losses: Mapping[str, float | None]) -> Choice | str:
    """Choose, or return the reason why nothing can be chosen.

    Args:
        made: what is confirmed.
        losses: loss of each exploring run by its job's name; None where it left none.
    """
    left = [(job, loss) for job in made.explored if (loss := losses[job.name]) is not None]
    trained = {job.comparison.variants[0].id for job, _ in left}
    if not any(case.family == made.anchor for case in made.cases.values() if case.id in trained):
        return f"no run of {made.anchor} left a loss"
    fitted = fit_of(left)
    if fitted.over_seeds is None:
        return "the sweep left too few runs to tell how far seeds differ"
    by_variant: dict[str, list[tuple[float, Case]]] = {}
    for case in made.cases.values():
        if case.id in trained:
            loss = fitted.predicted(case.family)[place_of(case)].value
            by_variant.setdefault(case.family, []).append((loss, case))
    best = {variant: min(each, key=lambda one: one[0]) for variant, each in by_variant.items()}
    matches = sorted(
        (each for each in best.values() if made.may_be_best(each[1])),
        key=lambda one: one[0],
    )
    found: dict[Role, tuple[float, Case]] = {"baseline": best[made.anchor]}
    found |= dict(zip(("best", "runner_up"), matches, strict=False))
    if "best" not in found:
        return "no variant but the baseline left a loss"
    controls = [each for each in best.values() if made.may_be_control(each[1], found["best"][1])]
    if controls:
        found["control"] = min(controls, key=lambda one: one[0])
    lacking = [role for role in made.plan.roles if role not in found]
    if lacking:
        return f"nothing that left a loss can be the {lacking[0].replace('_', ' ')}"
    found = {role: found[role] for role in made.plan.roles}
    margin = made.plan.margin * found.get("baseline", best[made.anchor])[0]
    wanted, numbers = seeds_planned(made, fitted.over_seeds, margin)
    return Choice(
        {role: case for role, (_, case) in found.items()},
        margin,
        wanted,
        tuple(dict.fromkeys(each.family for each in made.cases.values() if each.family not in by_variant)),
        numbers,
    )


def fit_of(runs: Iterable[tuple[Job, float]]) -> JointFit:
    """Fit the losses of exploring runs of one budget, each with its job."""
    return JointFit(
        [
            Run(case.family, place_of(case), job.protocol.seed, loss)
            for job, loss in runs
            for case in job.comparison.variants
        ]
    )


def inflation(freedom: float, power: float) -> float:
    """Return by what factor to raise a pilot's standard deviation, so that the power is reached on average over pilots.

    An estimate from few seeds is too low more often than not, and a plan made from it has too little power. If the number of
    seeds is proportional to the estimated variance, the mean power is a probability of a non-central t distribution; the factor
    solves for it (Julious & Owen 2006). Data of the confirmation are fresh, so that its error does not depend on the pilot.

    Args:
        freedom: degrees of freedom of the pilot.
        power: wanted on average.
    """
    from scipy import special

    if math.isinf(freedom):
        return 1.0
    normal = -float(special.ndtri(ERROR_LEVEL / 2))
    return float(special.nctdtrit(freedom, normal, power)) / (normal + float(special.ndtri(power)))


def seeds_planned(made: Confirmation, spread: Spread, margin: float) -> tuple[int | None, tuple[int, ...]]:
    """Return the seeds of each variant that a spread over seeds asks for (None: over 2,000), and those of each look."""
    plan = made.plan
    if not made.claims:
        return made.most_seeds, (made.most_seeds,)
    if plan.seeds is not None:
        return plan.seeds, schedule(plan.seeds, plan.interim_analyses)
    raised = spread.sd * inflation(spread.freedom, plan.power)
    wanted = power.fewest(
        power.above_0,
        margin,
        math.sqrt(2) * raised,
        freedom=2,
        wanted=plan.power,
        analyses=plan.interim_analyses,
        most=power.MOST_SEEDS,
    )
    return wanted, schedule(min(wanted or plan.most_seeds, plan.most_seeds), plan.interim_analyses)


def place_of(case: Case) -> float:
    """Where a size stands on the curve: the logarithm of its parameters."""
    cost = case_cost(case)
    assert cost is not None, "a budget of FLOPs has a closed form"
    return math.log(cost.params)


def _looked(made: Confirmation, choice: Choice, found: Mapping[str, Found]) -> Decision:
    """Analyse after each number of seeds. A decided variant gets no more seeds; the best gets more until all are decided."""
    compared = {role: Compared(role=role) for role in made.plan.matches}
    losses: dict[Role, dict[int, Found]] = {}
    for number, until in enumerate(choice.numbers, 1):
        undecided: list[Role] = [role for role, each in compared.items() if not each.decided]
        sides: tuple[Role, ...] = ("best", *undecided) if undecided else ()
        runs = {role: list(made.fresh[choice.cases[role].id].items())[:until] for role in sides}
        asked = [job.name for each in runs.values() for _, job in each]
        if any(name not in found for name in asked):
            return Decision(asked, why=f"interim analysis {number} of {len(choice.numbers)}, after {until} new seeds")
        losses |= {role: {seed: found[job.name] for seed, job in each} for role, each in runs.items()}
        for role in undecided:
            both = [*losses["best"].values()], [*losses[role].values()]
            compared[role] = _after(compared[role], both, number, choice, made.plan)
    chosen = (Chosen(role=role, case=case.id, seeds=(*losses.get(role, ()),)) for role, case in choice.cases.items())
    confirmed = Confirmed(
        margin=choice.margin,
        wanted=choice.wanted,
        planned=choice.numbers[-1],
        lacking=choice.lacking,
        chosen=tuple(chosen),
        compared=tuple(compared.values()),
    )
    why = f"{sum(map(len, losses.values()))} runs with new seeds of {len(choice.cases)} cases"
    return Decision(ended=True, why=why, found=confirmed)


def _after(
    compared: Compared, both: tuple[list[Found], list[Found]], number: int, choice: Choice, plan: ConfirmPlan
) -> Compared:
    """The comparison after one more interim analysis of the losses of the best and of the other."""
    mine, theirs = ([each.loss for each in side if each.loss is not None] for side in both)
    lost = [each.reason for side in both for each in side if each.loss is None]
    reason = f"{len(lost)} of {sum(map(len, both))} runs with new seeds left no loss: {lost[0]}" if lost else None
    if not mine or not theirs:
        return compared.model_copy(update={"reason": reason})
    # Lost runs leave fewer seeds than were planned.
    few, fractions = min(len(mine), len(theirs)), fractions_of(choice.numbers)
    analysis = Analysis(number, fractions, max(FEWEST, round(few / fractions[number - 1])))
    best, other = (Side(ByClock(dict(enumerate(side)))) for side in (mine, theirs))
    found = contrast(other, best, "independent", Rule("loss", choice.margin, analysis=analysis))
    effect = found.effect
    made = InterimAnalysis(
        seeds=(len(mine), len(theirs)),
        value=effect.value,
        low=effect.low,
        high=effect.high,
        verdict=found.verdict or INCONCLUSIVE,
    )
    more = None
    if made.low is None:  # in words, as a decision keeps it
        reason = f"{few} is too few for an interval; three give one"
    elif made.verdict == INCONCLUSIVE:
        more = found.would_decide(
            found.rule.decides, analyses=plan.interim_analyses, wanted=plan.power, least=FEWEST, most=power.MOST_SEEDS
        )
    return Compared(role=compared.role, interim_analyses=(*compared.interim_analyses, made), more=more, reason=reason)


RULE = ConfirmationRule()
