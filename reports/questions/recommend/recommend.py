"""Which setting to take: the best of those that fit the limits, its runner-up, and what would have to be measured to be sure.

Settings are ranked by their pairs: times that were measured side by side, losses of the same seeds. Where the best and its
runner-up are not told apart, that is the answer. A limit is held where the end of the interval holds it (*fits*). Where only
the estimate does, a setting *may fit*: it is taken if none fits, and that is said. Below the choice stands what is said of it:
the answer, its table, how sure it is, what limits hold, and what is open.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modbench.harness.core.errors import UsageError
from modbench.harness.core.grouped import grouped
from modbench.harness.core.train_plan import Role
from modbench.harness.core.units import scale_of
from modbench.harness.domain.case import Case
from modbench.harness.stats import power
from modbench.harness.stats.contrast import (
    APART,
    BETTER,
    DIFFERENT,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    Rule,
    estimated,
)
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value
from modbench.reports.questions.confirmation import Answer, answers, of
from modbench.reports.questions.recommend import candidates, limits
from modbench.reports.questions.recommend.candidates import (
    FEWEST_SEEDS,
    KV_CACHE,
    NOT_MEASURED,
    SIZE,
    Candidate,
    Choice,
    against,
    effect_between,
)
from modbench.reports.questions.recommend.limits import (
    FITS,
    MAY,
    UNKNOWN,
    WORDS,
    LimitCheck,
    Limits,
    Need,
    check_limit,
    commands,
    doubted,
    lacking,
    loss_against,
)
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.wording import name, short

OBJECTIVES = ("latency", "memory", "flops", "loss")
# Objectives that are counted, so that no pair is needed to order settings.
COUNTED = {SIZE, "flops"}
RECOMMENDED, EQUAL, NO_DIFFERENCE = "recommended", "equal", "no difference shown"


@dataclass(frozen=True)
class Judged:
    """A setting.

    Attributes:
        candidate: the setting.
        kept: how it holds every limit that was asked for.
        shape: how it compares in time with the dense model of the same shape, where it is the best or the runner-up.
        loss: how its loss does.
    """

    candidate: Candidate
    kept: tuple[LimitCheck, ...]
    shape: Finding | None = None
    loss: Finding | None = None

    @property
    def word(self) -> str:
        """The worst of its limits; `fits` where none was asked for."""
        return max((each.word for each in self.kept), key=WORDS.index, default=FITS)

    @property
    def excess(self) -> float:
        """The largest excess over a limit; infinite where one is not known."""
        return max((math.inf if each.excess is None else each.excess for each in self.kept), default=0.0)


@dataclass(frozen=True)
class Recommended:
    """An answer.

    Attributes:
        choice: what there was to choose from.
        objective: what is minimised.
        limits: what was asked.
        judged: the settings that are considered, the best of the objective first.
        best: the recommended setting; None where none fits.
        runner_up: the next.
        apart: how the best compares with it in the objective.
        better: a setting that only may fit and would be better.
        nearest: where none fits, the setting that comes nearest.
        equal_cost: how the best compares in time with the dense model of equal cost.
        open: what is not sure, and what would decide it.
        commands: what measures that; a shell takes each as it is.
        incomplete: why the run lacks something; None: it lacks nothing.
    """

    choice: Choice
    objective: str
    limits: Limits
    judged: tuple[Judged, ...]
    best: Judged | None
    runner_up: Judged | None = None
    apart: Finding | None = None
    better: Judged | None = None
    nearest: Judged | None = None
    equal_cost: Finding | None = None
    open: tuple[Value, ...] = ()
    commands: tuple[str, ...] = ()
    incomplete: str | None = None
    not_considered: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """`recommended`, `equal` or `no difference shown` (then the best two are the answer), or `none fits`."""
        if self.best is None:
            return "none fits"
        if self.runner_up is None or self.runner_up.word != self.best.word:
            return RECOMMENDED
        verdict = None if self.apart is None else self.apart.verdict
        if verdict in APART or (self.apart is None and self.objective in COUNTED):
            return RECOMMENDED
        return EQUAL if verdict == EQUIVALENT else NO_DIFFERENCE


def recommend(loaded: Loaded, chosen: Choice, limits: Limits, objective: str) -> Recommended:
    """Choose the best setting that fits."""
    known = [each for each in chosen.considered if each.of(objective).value is not None]

    def order(one: Candidate, other: Candidate) -> int:
        return _order(loaded, objective, one, other)

    ordered = sorted(known, key=functools.cmp_to_key(order))
    judged = tuple(
        Judged(
            each, tuple(check_limit(loaded, each, chosen.baseline, key, bound) for key, bound in limits.asked.items())
        )
        for each in ordered
    )
    out = {name(each.case): each.out for each in chosen.candidates if each.out is not None}
    out |= {name(each.case): str(each.of(objective).reason) for each in chosen.considered if each not in known}
    pool = [each for word in (FITS, MAY) for each in judged if each.word == word]
    none = Recommended(chosen, objective, limits, judged, None, incomplete=loaded.run.incomplete, not_considered=out)
    if not pool:
        known_excess = (each for each in judged if math.isfinite(each.excess))
        lacks = [(each.candidate, kept.need) for each in judged for kept in each.kept if kept.word == UNKNOWN]
        told, measured = _told(loaded, lacks)
        nearest = min(known_excess, key=lambda each: each.excess, default=None)
        return replace(none, nearest=nearest, open=told, commands=measured)
    best, runner_up = pool[0], next(iter(pool[1:]), None)
    better = next((each for each in judged if each.word == MAY and judged.index(each) < judged.index(best)), None)
    apart = None if runner_up is None else _apart(loaded, best.candidate, runner_up.candidate, objective)
    rung = rung_beside(loaded, best.candidate.case)
    beside = next((each for each in chosen.candidates if rung is not None and each.case.arm == rung.case.arm), None)
    told, measured = _told(loaded, _needs(loaded, best, runner_up, better, apart, objective))
    return replace(
        none,
        best=_beside(loaded, best, chosen.baseline),
        runner_up=None if runner_up is None else _beside(loaded, runner_up, chosen.baseline),
        apart=apart,
        better=better,
        equal_cost=None if beside is None else _apart(loaded, best.candidate, beside, "latency"),
        open=told,
        commands=measured,
    )


def _beside(loaded: Loaded, each: Judged, baseline: Candidate) -> Judged:
    """Add how a setting compares with the dense model of the same shape."""
    mine = each.candidate
    shape = against(loaded, mine.case, baseline.case, mine.time.metric)
    return replace(each, shape=shape, loss=loss_against(loaded, mine, baseline))


def _order(loaded: Loaded, objective: str, one: Candidate, other: Candidate) -> int:
    """Return a number below 0 where the first is better: by their pair where there is one, else by their estimates."""
    effect = None
    if objective == "latency":
        effect = effect_between(loaded, one.case, other.case, one.time.metric)
    elif objective == "loss" and one.trained and other.trained and one.loss.metric == other.loss.metric:
        effect = effect_between(loaded, one.trained, other.trained, one.loss.metric)
    worse = (one.of(objective).value or 0.0) - (other.of(objective).value or 0.0) if effect is None else -effect.value
    return (worse > 0) - (worse < 0)


def _apart(loaded: Loaded, one: Candidate, other: Candidate, objective: str) -> Finding | None:
    if objective == "loss":
        return loss_against(loaded, one, other)
    return against(loaded, one.case, other.case, one.of(objective).metric)


def _told(loaded: Loaded, needs: Iterable[tuple[Candidate, Need | None]]) -> tuple[tuple[Value, ...], tuple[str, ...]]:
    """Return what is lacking in words, each once, and the commands that measure it."""
    known = [(each, need) for each, need in needs if need is not None]
    measured, why = commands(loaded, known)
    return tuple(dict.fromkeys([*(need.said for _, need in known), *why])), measured


def _needs(
    loaded: Loaded,
    best: Judged,
    runner_up: Judged | None,
    better: Judged | None,
    apart: Finding | None,
    objective: str,
) -> Iterator[tuple[Candidate, Need | None]]:
    """Yield what would have to be measured to be sure, and of which setting."""
    for each in (best, better) if better else (best,):
        for kept in each.kept:
            if kept.need is not None:
                said = Sentence("{arm}: {said}", arm=each.candidate.case, said=kept.need.said)
                yield each.candidate, replace(kept.need, said=said)
    if runner_up is not None and (need := _to_tell_apart(loaded, best, runner_up, apart, objective)):
        yield best.candidate, need
        yield runner_up.candidate, need
    if objective == "latency" and best.candidate.time.unsure is not None:
        yield best.candidate, doubted(best.candidate.time)
    for side in (best, runner_up) if runner_up else (best,):
        candidate, place = side.candidate, side.candidate.case.place
        if candidate.loss.value is None:
            yield candidate, lacking(candidate.loss)
        elif candidate.trained is not None and candidate.trained.place.seq_len != place.seq_len:
            words = "losses at T = {here}, since they were trained at T = {there}"
            said = Sentence(words, here=place.seq_len, there=candidate.trained.place.seq_len)
            yield candidate, Need(said, candidate.loss.metric, seq_len=place.seq_len)


def _to_tell_apart(
    loaded: Loaded, best: Judged, runner_up: Judged, apart: Finding | None, objective: str
) -> Need | None:
    """Return what would tell the best from its runner-up in the objective; None where they are told apart, or equal."""
    decided = apart is not None and apart.verdict in {*APART, EQUIVALENT}
    if decided or objective in COUNTED:
        return None
    pair = f"{name(best.candidate.case)} from {name(runner_up.candidate.case)}"
    seeds = objective == "loss"
    what, metric = ("seeds", best.candidate.loss.metric) if seeds else ("launches", best.candidate.time.metric)

    def number(n: int, said: str) -> Need:
        return Need(said, metric, seeds=n) if seeds else Need(said, metric, launches=n)

    if apart is None:
        return Need(f"{objective} of both side by side, to tell {pair}", metric)
    one, other = (each.candidate.trained if seeds else each.candidate.case for each in (best, runner_up))
    effect = effect_between(loaded, one, other, apart.metric) if one and other else None
    if effect is None or effect.sd is None:
        return number(3, f"at least three {what}, to tell {pair}")
    rule = Rule("loss", 0.0) if seeds else Rule("time", loaded.suite.margin)
    needed = estimated(effect, rule, "interleaved").needed
    if needed is None:
        return Need(f"more than {power.MOST} {what} would be needed to tell {pair}")
    return number(needed, f"{needed} {what}, to tell {pair}")


AIMS = {"latency": "fastest", "memory": "smallest", "flops": "fewest FLOPs", "loss": "lowest loss"}
MORE = {"latency": "faster", "memory": "smaller", "flops": "cheaper", "loss": "lower in loss"}
TOLD = {BETTER: "told apart", EQUIVALENT: "equal within the margin", DIFFERENT: "told apart, by how much is open"}
OF_LOSS = {BETTER: "lower", WORSE: "higher", INCONCLUSIVE: "undecided"}
MOST_OUT = 8


def sides(found: Recommended) -> list[Judged]:
    """Return the best setting and its runner-up."""
    return [each for each in (found.best, found.runner_up) if each is not None]


def headline(found: Recommended) -> Sentence:
    """Return the answer: which setting, by what, and where."""
    place, best = found.choice.place, found.best
    if best is None:
        if not found.judged:
            words = "no setting can be recommended for a {place}: none has a value of {objective}"
            return Sentence(words, place=place, objective=found.objective)
        unknown = any(each.word == UNKNOWN for each in found.judged)
        return Sentence(
            "no setting {fits} in this run for a {place}", fits="is known to fit" if unknown else "fits", place=place
        )
    answered = [each.candidate for each in sides(found)[: 1 if found.answer == RECOMMENDED else 2]]
    lacks = [each.case for each in answered if each.loss.value is None]
    whose: Value = "its loss" if len(answered) == 1 else Sentence("the loss of {arms}", arms=Listed(lacks, " and of "))
    fits = (
        f" that {'fits in this run' if best.word == FITS else 'may fit'}"
        if found.limits.asked
        else "; no limit was asked"
    )
    return Sentence(
        "{answer}: {arms} ({aim}{fits}{lacks}), for a {place}",
        answer="equal within the margin" if found.answer == EQUAL else found.answer,
        arms=Listed([each.case for each in answered], ", or "),
        aim=AIMS[found.objective],
        fits=fits,
        lacks=Sentence("; {whose} is unknown", whose=whose) if lacks else "",
        place=place,
    )


def remarks(found: Recommended) -> Iterator[Sentence]:
    """Say what a reader must know of the answer: the nearest where none fits, that it only may fit, that it is dense."""
    if found.best is None:
        if found.nearest is not None:
            checks = [
                Sentence("{limit}: {value}, {held}", limit=each.limit, value=value, held=limits.shown(each))
                for each in found.nearest.kept
                for value in [NOT_MEASURED if each.value is None else limits.estimate(each, each.value)]
            ]
            yield Sentence("nearest: {arm}: {checks}", arm=found.nearest.candidate.case, checks=Listed(checks, "; "))
        return
    if found.best.word == MAY:
        yield Sentence("No setting is shown to fit: of this one only the estimate holds every limit.")
    dense = [each.candidate.case.model == "dense" for each in sides(found)]
    dense = dense[:1] if found.answer == RECOMMENDED else dense
    if any(dense):
        who = "This is a dense model" if len(dense) == 1 else "One of them is a dense model"
        who = "Both are dense models" if dense == [True, True] else who
        yield Sentence("{who}: skipping tokens is not shown to pay here.", who=who)


def table(found: Recommended) -> Table:
    """Return the best and its runner-up, a row each, with a column for what any of the two has."""
    metrics = {each.candidate.memory.metric for each in sides(found)}
    columns: list[list[Value]] = [
        ["", *(each.candidate.case for each in sides(found))],
        ["time", *(_known(each.candidate.time) for each in sides(found))],
        [Sentence("over {arm}", arm=found.choice.baseline.case), *(_pair(each.shape) for each in sides(found))],
        [
            "keys, values" if metrics == {KV_CACHE} else "memory",
            *(_known(each.candidate.memory) for each in sides(found)),
        ],
        ["loss", *(_known(_in_unit(found, each.candidate.loss)) or "unknown" for each in sides(found))],
    ]
    if found.objective == "flops":
        columns.append(["FLOPs", *(_known(each.candidate.flops) for each in sides(found))])
    head, *rows = zip(*(each for each in columns if any(cell is not None for cell in each[1:])), strict=True)
    return Table("setting", head, rows)


def _known(value: candidates.Value) -> Value:
    return None if value.value is None else value


def _pair(found: Finding | None) -> Value:
    """Return a pair as it is written in full; labels of losses stand with the losses."""
    return None if found is None else Sentence("{found}", found=replace(found, labels=(), against_labels=()))


def _in_unit(found: Recommended, value: candidates.Value) -> candidates.Value:
    """Return a loss in the unit in which losses are shown."""
    unit, factor = found.choice.loss_unit
    return replace(value.scaled(factor, unit), kind="loss")


def pairs(found: Recommended, *, reasons: bool) -> Iterator[Sentence]:
    """Say how the best compares with its runner-up and with dense of equal cost; with `reasons` why two are not told apart."""
    assert found.best is not None
    case, other = found.best.candidate.case, found.runner_up
    if other is None:
        yield Sentence("runner-up: none; no other setting fits or may fit in this run")
    else:
        said = _lacking_words(found, reasons=reasons)
        yield Sentence("{arm} against {other}: {said}", arm=short(case), other=short(other.candidate.case), said=said)
    if found.best.candidate.time.value is not None and found.best.candidate.time.unsure:
        yield Sentence("no verdict on times: {why}", why=found.best.candidate.time.unsure)
    equal = found.equal_cost
    if equal is not None and isinstance(equal.against, Case):
        if other is None or equal.against != other.candidate.case:
            yield Sentence(
                "{arm} against {other}, of equal cost: {pair}", arm=case, other=equal.against, pair=_pair(equal)
            )
    elif not case.rung and case.model != "dense":
        yield Sentence("no dense model of equal cost was measured beside {arm}", arm=case)


def _lacking_words(found: Recommended, *, reasons: bool) -> Value:
    """Say whether the best and its runner-up are told apart in the objective."""
    pair = found.apart
    if pair is None:
        return "not compared side by side"
    word = TOLD.get(pair.verdict or "", "not told apart")
    if pair.verdict == WORSE:  # the runner-up only may fit
        word = f"told apart: the runner-up is {MORE[found.objective]}"
    if pair.typical.kind == "difference":  # what both losses rest on is said below
        return Sentence("loss {rise}, {word}", rise=_rise(found, pair), word=word)
    why = Sentence(": {why}", why=pair.reason) if reasons and word == "not told apart" and pair.reason else ""
    shown = _pair(pair) if found.objective == "latency" else pair.typical
    return Sentence("{pair}, {word}{why}", pair=shown, word=word, why=why)


def _rise(found: Recommended, pair: Finding) -> Estimate:
    """Return how much a loss lies above another, in the unit in which losses are shown."""
    return pair.typical.scaled(found.choice.loss_unit[1])


def held_limits(found: Recommended) -> Iterator[Sentence]:
    """Say how the two hold what was asked, and which setting might be better still."""
    alike = grouped(((each.word, tuple(map(_check, each.kept))), each.candidate.case) for each in sides(found))
    for (word, checks), arms in alike.items():
        if checks:
            who: Value = "both" if len(arms) > 1 else arms[0]
            yield Sentence("{who}, {word}: {checks}", who=who, word=word, checks=Listed(checks, "; "))
    if found.better is not None and all(found.better.candidate is not each.candidate for each in sides(found)):
        checks = tuple(_check(kept) for kept in found.better.kept if kept.word == MAY)
        words, arm = "may fit and be {more}: {arm} ({checks})", found.better.candidate.case
        yield Sentence(words, more=MORE[found.objective], arm=arm, checks=Listed(checks, "; "))


def _check(kept: limits.LimitCheck) -> Sentence:
    return Sentence("{limit}: {held}", limit=kept.limit, held=limits.shown(kept))


def losses(found: Recommended) -> Iterator[Sentence]:
    """Say what both losses rest on, once where it is the same; of one that is not known the reason."""
    for said, those in grouped((_loss(found, each), each.candidate) for each in sides(found)).items():
        flattered = [each.case for each in those if each.flattered]
        future = Sentence("; top-k routing saw future tokens, which flatters it ({arms})", arms=Listed(flattered))
        who: Value = "both" if len(those) > 1 else those[0].case
        yield Sentence("loss of {who}: {said}{future}", who=who, said=said, future=future if flattered else "")


def _loss(found: Recommended, each: Judged) -> Sentence:
    value, pair = _in_unit(found, each.candidate.loss), each.loss
    if value.value is None:
        why = "was not measured" if value.reason == NOT_MEASURED else f"has no value: {value.reason}"
        return Sentence("unknown: {metric} {why}", metric=value.metric, why=why)
    seeds = Sentence("{n} {word}", n=value.n, word="seed" if value.n == 1 else "seeds")
    said = Sentence("{metric} in {unit}, {seeds}", metric=value.metric, unit=scale_of(1.0, value.unit)[1], seeds=seeds)
    if value.n < FEWEST_SEEDS:
        return Sentence("{said}: illustration, no claim", said=said)
    if pair is None or pair.typical.value is None:
        return said
    word = OF_LOSS.get(pair.verdict or "", "not shown")
    base = found.choice.baseline.case
    return Sentence("{said}, {rise} against {base}: {word}", said=said, rise=_rise(found, pair), base=base, word=word)


def what_is_open(found: Recommended, *, every: bool) -> Iterator[Sentence]:
    """Say who is not considered, and what is open where no command measures it, or all of it."""
    out, most = [*found.not_considered.items()], MOST_OUT if every else 1
    for who, why in out[:most]:
        yield Sentence("not considered: {who}: {why}", who=who, why=why)
    if len(out) > most:
        where = "see --json" if every else "-v"
        yield Sentence("and {n} more are not considered: {where}", n=len(out) - most, where=where)
    if found.open and (every or not found.commands):
        yield Sentence("open: {needs}", needs=Listed(found.open, "; "))
    if found.incomplete and found.best is None:  # else it is the error's to say
        yield Sentence("the run is incomplete: {why}", why=found.incomplete)


# --- the capacity that a sweep recommends

# What may turn out to be better than the best.
RIVALS: tuple[Role, ...] = ("control", "runner_up")


@dataclass(frozen=True)
class Capacity:
    """An answer.

    Attributes:
        answer: what was confirmed, at the largest budget.
        variant: the recommended variant's display name; None where nothing is decided.
        capacity: its capacity; None for dense, or where nothing is decided.
        sentences: what it rests on.
        more_seeds: fresh seeds of each arm that would decide; None where nothing is open, or nobody can tell.
        more_hours: hours of this machine that they take, besides the sweep, which is run again.
    """

    answer: Answer
    variant: str | None
    capacity: float | None
    sentences: tuple[Sentence, ...]
    more_seeds: int | None = None
    more_hours: float | None = None


def recommend_capacity(loaded: Loaded) -> Capacity:
    """Recommend a capacity from a sweep.

    Raises:
        UsageError: if it confirmed nothing.
    """
    found = answers(loaded)
    if not found and loaded.suite.confirms and not loaded.run.finished:
        raise UsageError(
            f"{loaded.path} is not finished: its best is not confirmed yet. `modbench resume {loaded.path}` goes on with it."
        )
    if not found:
        raise UsageError(
            "the run is a sweep over sizes that has confirmed nothing: in it no two settings share a shape, and none was tried "
            "on fresh seeds. `modbench run capacity` does so; or recommend from a run of one shape, such as `modbench run quick`."
        )
    most = max(each.budget for each in found)
    answer = next(each for each in found if each.budget == most)
    said = tuple(of(loaded, answer))
    open_ = [each for each in answer.confirmed.compared if each.role != "runner_up" and not each.decided]
    more = max((each.more for each in open_ if each.more is not None), default=None)
    hours = [each for each in map(answer.hours, open_) if each is not None]
    if answer.verdict("anchor") in {WORSE, EQUIVALENT}:
        return Capacity(answer, answer.name("anchor"), None, said)
    if answer.pays and answer.verdict("runner_up") != WORSE:
        case = answer.sides["best"].case
        return Capacity(answer, answer.name("best"), case.config.capacity, said)
    return Capacity(answer, None, None, said, more, sum(hours) if hours else None)


def capacity_headline(found: Capacity) -> Sentence:
    """Return the answer: a capacity, dense, or what would decide."""
    if found.variant is None:
        return Sentence("not decided: {why}", why=_why(found))
    if found.capacity is None:
        return Sentence("recommended ({arm})", arm=found.variant)
    capacity = Estimate(found.capacity, kind="setting")
    return Sentence("recommended: capacity {capacity} ({arm})", capacity=capacity, arm=found.variant)


def _why(found: Capacity) -> Sentence:
    """Return why nothing is decided, or what would decide."""
    answer, anchor = found.answer, found.answer.verdict("anchor")
    lower = [role for role in RIVALS if answer.verdict(role) == WORSE]
    if answer.control is None and anchor == BETTER:
        return Sentence("no control was confirmed, such as routing by noise")
    if lower:
        return Sentence("{arm} has a lower loss, and was not compared with the anchor", arm=answer.name(lower[0]))
    if anchor == BETTER and answer.verdict("control") == EQUIVALENT:
        return Sentence("{arm} does as well", arm=answer.name("control"))
    if found.more_seeds is None:
        return Sentence("the number of seeds that would decide is unknown")
    hours = None if found.more_hours is None else Estimate(3600 * found.more_hours, kind="duration")
    time = "" if hours is None else Sentence(", {hours} here besides the sweep", hours=hours)
    return Sentence("{seeds} more seeds, other fresh ones{time}", seeds=found.more_seeds, time=time)
