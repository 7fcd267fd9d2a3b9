"""Which setting to take: the best of those that fit the limits, its runner-up, and what would have to be measured to be sure.

Settings are ranked by their pairs: times that were measured side by side, losses of the same seeds. Where the best and its
runner-up are not significantly different, that is the answer. A limit is held where the end of the interval holds it (*fits*).
Where only the estimate does, a setting is *inconclusive*: it is taken if none fits, and that is said. Below the choice
stands what is said of it: the answer, its table, how sure it is, what limits hold, and what is open.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from modbench.extend import (
    APART,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    Case,
    Estimate,
    Finding,
    Kind,
    Listed,
    Loaded,
    Rule,
    Sentence,
    Table,
    UsageError,
    Value,
    effects,
    estimated,
    matched_beside,
    name,
    pivot,
    verdict_words,
)
from modbench.plugins.recommend.candidates import KV_CACHE, NOT_MEASURED, SIZE, Candidate, Choice, effect_between
from modbench.plugins.recommend.limits import (
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
    more,
)
from modbench.plugins.sweeps.confirmation.question import Answer, answers, of
from modbench.plugins.sweeps.held_against import held_against

OBJECTIVES = ("latency", "memory", "flops", "loss")
# Objectives that are counted, so that no pair is needed to order settings.
COUNTED = {SIZE, "flops"}
RECOMMENDED, NONE = "recommended", "none fits"


@dataclass(frozen=True)
class Judged:
    """A setting.

    Attributes:
        candidate: the setting.
        kept: how it holds every limit that was asked for.
        shape: how it compares in time with the dense model of the same shape.
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
        better: a setting that is inconclusive and would be better.
        nearest: where none fits, the setting that comes nearest.
        matched: how the best compares in time with the matched baseline.
        needs: what would decide what is not sure, and of which setting.
        open: the same in words.
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
    matched: Finding | None = None
    needs: tuple[tuple[Candidate, Need], ...] = ()
    open: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    incomplete: str | None = None
    not_considered: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """`recommended`, `equivalent` or `inconclusive` (then the best two are the answer), or `none fits`."""
        if self.best is None:
            return NONE
        if self.runner_up is None or self.runner_up.word != self.best.word:
            return RECOMMENDED
        verdict = None if self.apart is None else self.apart.verdict
        if verdict in APART or (self.apart is None and self.objective in COUNTED):
            return RECOMMENDED
        return EQUIVALENT if verdict == EQUIVALENT else INCONCLUSIVE


def recommend(loaded: Loaded, chosen: Choice, limits: Limits, objective: str) -> Recommended:
    """Choose the best setting that fits."""
    base, asked = chosen.baseline, limits.asked.items()
    known = [each for each in chosen.considered if each.of(objective).value is not None]
    judged = tuple(
        Judged(
            each,
            tuple(check_limit(loaded, each, base, key, bound) for key, bound in asked),
            held_against(loaded, each.case, base.case, each.time.metric),
            loss_against(loaded, each, base),
        )
        for each in sorted(known, key=functools.cmp_to_key(functools.partial(_order, loaded, objective)))
    )
    out = {name(each.case): each.out for each in chosen.candidates if each.out is not None}
    out |= {name(each.case): str(each.of(objective).reason) for each in chosen.considered if each not in known}
    pool = [each for word in (FITS, MAY) for each in judged if each.word == word]
    best, second, incomplete = *(*pool, None, None)[:2], loaded.run.incomplete
    found = Recommended(chosen, objective, limits, judged, best, second, incomplete=incomplete, not_considered=out)
    if best is None:
        known_excess = (each for each in judged if math.isfinite(each.excess))
        found = replace(found, nearest=min(known_excess, key=lambda each: each.excess, default=None))
        unknown = ((each.candidate, kept.need) for each in judged for kept in each.kept if kept.word == UNKNOWN)
        needs = [(each, need) for each, need in unknown if need is not None]
    else:
        equal = matched_beside(loaded, best.candidate.case)
        beside = next((each for each in chosen.candidates if equal and each.case.variant == equal.case.variant), None)
        found = replace(
            found,
            apart=None if second is None else _apart(loaded, best.candidate, second.candidate, objective),
            better=next((each for each in judged[: judged.index(best)] if each.word == MAY), None),
            matched=None if beside is None else _apart(loaded, best.candidate, beside, "latency"),
        )
        needs = [*_needs(loaded, found, best)]
    measured, why = commands(loaded, needs)
    told = dict.fromkeys([*(f"{name(each.case)}: {need.why}" for each, need in needs), *why])
    return replace(found, needs=tuple(needs), open=tuple(told), commands=measured)


def _order(loaded: Loaded, objective: str, one: Candidate, other: Candidate) -> int:
    """Return a number below 0 where the first is better: by their pair where there is one, else by their estimates."""
    mine, theirs, effect = one.of(objective), other.of(objective), None
    if objective not in COUNTED and mine.metric == theirs.metric:
        effect = effect_between(loaded, one.ran(objective), other.ran(objective), mine.metric)
    worse = (mine.value or 0.0) - (theirs.value or 0.0) if effect is None else -effect.value
    return (worse > 0) - (worse < 0)


def _apart(loaded: Loaded, one: Candidate, other: Candidate, objective: str) -> Finding | None:
    if objective == "loss":
        return loss_against(loaded, one, other)
    return held_against(loaded, one.case, other.case, one.of(objective).metric)


def _needs(loaded: Loaded, found: Recommended, best: Judged) -> Iterator[tuple[Candidate, Need]]:
    """Yield what would have to be measured to be sure, and of which setting."""
    second = found.runner_up
    judged = filter(None, (best, found.better))
    yield from ((each.candidate, kept.need) for each in judged for kept in each.kept if kept.need is not None)
    if second is not None and (need := _to_tell_apart(loaded, found, best.candidate, second.candidate)):
        yield best.candidate, need
        yield second.candidate, need
    if found.objective == "latency" and best.candidate.time.unsure is not None:
        yield best.candidate, doubted(best.candidate.time)
    for side in filter(None, (best, second)):
        candidate, length, metric = side.candidate, side.candidate.case.grid_point.seq_len, side.candidate.loss.metric
        if candidate.loss.value is None:
            yield candidate, lacking(candidate.loss)
        elif candidate.trained is not None and candidate.trained.grid_point.seq_len != length:
            yield candidate, Need(metric, f"{metric}: training at this length", seq_len=length)


def _to_tell_apart(loaded: Loaded, found: Recommended, best: Candidate, second: Candidate) -> Need | None:
    """Return what would distinguish the best from its runner-up in the objective; None where they differ, or are equal."""
    apart, objective = found.apart, found.objective
    if objective in COUNTED or (apart is not None and apart.verdict in {*APART, EQUIVALENT}):
        return None
    metric = best.of(objective).metric
    if apart is None:
        return Need(metric, f"{metric}: both in the same processes")
    effect = effect_between(loaded, best.ran(objective), second.ran(objective), apart.metric)
    if effect is None or effect.sd is None:
        return more(effects.FEWEST, metric)
    rule = Rule("loss", 0.0) if objective == "loss" else Rule("time", loaded.suite.margin)
    return more(estimated(effect, rule, "interleaved").needed, metric)


# --- what is printed

AIMS = {
    "latency": "is the fastest",
    "memory": "needs the least memory",
    "flops": "needs the fewest FLOPs",
    "loss": "has the lowest loss",
}
# Settings that are named as not considered.
MOST_OUT = 8


def headline(found: Recommended) -> Sentence:
    """Return the answer, the best setting first, and what is known of its loss."""
    if found.best is None:
        return Sentence("no variant is within the limits")
    both = [each.candidate.case for each in (found.best, found.runner_up) if each is not None]
    words, given = "{variants} {aim}", {"aim": AIMS[found.objective], "answer": found.answer}
    if found.answer != RECOMMENDED:
        return Sentence(words + ": {answer}", variants=Listed(both, " or "), **given)
    other = found.best.candidate.case != found.choice.baseline.case and found.objective != "loss"
    loss = _loss_of(found.best, found.choice.baseline)
    return Sentence(words + "; its loss is {loss}" * other, variants=both[0], **given, loss=loss)


def _loss_of(best: Judged, baseline: Candidate) -> Value:
    """Say how the loss of the best compares with that of the dense model of the same shape, or why that is not known."""
    if best.loss is None:
        return NOT_MEASURED
    if best.loss.saw_future:
        return "not comparable (non-causal routing)"
    if best.loss.verdict is None:
        return Sentence("not judged ({n:seed})", n=best.candidate.loss.n)
    word = verdict_words(best.loss.verdict, timed=False).partition(" ")[2]
    return Sentence("{word} (over {baseline})", word=word, baseline=baseline.case)


def shown(found: Recommended) -> list[Judged]:
    """Return the settings of the table: the best, its runner-up, one that may be better; where none fits the nearest."""
    return [*dict.fromkeys(filter(None, (found.best, found.runner_up, found.better, found.nearest)))]


def table(found: Recommended) -> Table:
    """Return these settings, with what is known of each."""
    (unit, factor), base = found.choice.loss_unit, found.choice.baseline.memory.value
    cells = list[tuple[Value, Value, Value, Value]]()
    for each in shown(found):
        mine = each.candidate
        memory = round(mine.memory.value / base, 2) if mine.memory.value is not None and base else None
        known = {
            "time": mine.time,
            "speed-up": Estimate(None) if each.shape is None else each.shape.typical,
            "keys, values" if mine.memory.metric == KV_CACHE else "memory": Estimate(memory, kind="share"),
            _of_loss(mine, unit): replace(mine.loss.scaled(factor), unit="loss").alone,
            "FLOPs": mine.flops if found.objective == "flops" else Estimate(None),
        }
        cells += [(mine.case, "", title, cell) for title, cell in known.items() if cell.value is not None]
    return pivot("settings", cells)


def _of_loss(each: Candidate, unit: str) -> Value:
    """Title of the losses, with the length of training where it is another one."""
    length = None if each.trained is None else each.trained.grid_point.seq_len
    same = length in {None, each.case.grid_point.seq_len}
    return unit if same else Sentence("{unit}, T = {length}", unit=unit, length=length)


def rows(found: Recommended, *, verbose: bool) -> Iterator[tuple[Value, Value]]:
    """Say how the best compares with its runner-up and with its matched baseline, what is left out, and what to do next."""
    best, second, equal = found.best, found.runner_up, found.matched
    if best is not None:
        pairs: dict[Case | str | None, Finding | None] = {}
        pairs |= {second.candidate.case: found.apart} if second is not None else {}
        pairs |= {equal.against: equal} if equal is not None and equal.against not in pairs else {}
        for other, pair in pairs.items():
            made = "not compared in the same processes" if pair is None else pair.judged()
            yield "ratio", Sentence("over {other}: {pair}", other=other, pair=made)
        if best.candidate.time.value is not None and best.candidate.time.unsure:
            yield "times", Sentence("no verdict: {why}", why=best.candidate.time.unsure)
    yield from _limits(found)
    ahead = [each.candidate.case for each in found.judged if each.candidate.flattered]
    if ahead:
        yield "loss", Sentence("not comparable, read later tokens: {cases}", cases=Listed(ahead, most=MOST_OUT))
    out = [Sentence("{who}: {why}", who=who, why=why) for who, why in found.not_considered.items()]
    if out:
        yield "left out", Listed(out, "; ", most=MOST_OUT if verbose else 1)
    if found.open and (verbose or not found.commands):
        yield "open", Listed(found.open, "; ")


def _limits(found: Recommended) -> Iterator[tuple[Value, Value]]:
    """Say how the settings of the table hold each limit."""
    words = {True: "{case} {word} ({own}; {why})", False: "{case} {word} ({own})"}
    for i, (limit, bound) in enumerate(found.limits.asked.items()):
        kind: Kind = "share" if limit == "loss" else "quantity"
        told = list[Value]()
        for each in shown(found):
            kept, unit = each.kept[i], each.candidate.of(limit).unit
            own = Estimate(kept.value, kind=kind, unit=unit)
            case = each.candidate.case
            told.append(Sentence(words[bool(kept.reason)], case=case, word=kept.word, own=own, why=kept.reason))
        most = Estimate(bound, kind=kind, unit=shown(found)[0].candidate.of(limit).unit if told else "")
        yield Sentence("{limit} ≤ {most}", limit=limit, most=most), Listed(told, "; ")


# --- the capacity that a sweep recommends


@dataclass(frozen=True)
class Capacity:
    """An answer.

    Attributes:
        answer: what was confirmed, at the largest budget.
        taken: the role of the recommended variant; None where nothing is decided.
        sentences: what it rests on.
    """

    answer: Answer
    taken: Literal["baseline", "best"] | None
    sentences: tuple[Value, ...]

    @property
    def variant(self) -> str | None:
        """Display name of the recommended variant."""
        return self.answer.name(self.taken) if self.taken else None

    @property
    def capacity(self) -> float | None:
        """Its capacity; None for dense, or where nothing is decided."""
        return self.answer.sides["best"].case.config.capacity if self.taken == "best" else None

    @property
    def needed(self) -> tuple[int | None, float | None]:
        """New seeds of each variant that would decide, and hours that they take here besides the sweep.

        None: none, or unknown.
        """
        return (None, None) if self.taken else self.answer.needed


def recommend_capacity(loaded: Loaded) -> Capacity:
    """Recommend a capacity from a sweep.

    Raises:
        UsageError: if it confirmed nothing.
    """
    found = answers(loaded)
    if not found and loaded.suite.tables.keys() & {"confirm", "trend"} and not loaded.run.finished:
        raise UsageError(
            f"{loaded.path} is not finished, its best not confirmed: `modbench resume {loaded.path}` goes on."
        )
    if not found:
        raise UsageError(
            "the run is a sweep over sizes that confirmed nothing on new seeds, as `modbench run capacity-confirmed` does; or "
            "recommend from a run of one shape, such as `modbench run quick`."
        )
    answer = max(found, key=lambda each: each.train_flops)
    taken: Literal["baseline", "best"] | None = None
    if answer.verdict("baseline") in {WORSE, EQUIVALENT}:
        taken = "baseline"
    elif answer.pays and answer.verdict("runner_up") != WORSE:
        taken = "best"
    return Capacity(answer, taken, tuple(of(loaded, answer)))


def capacity_headline(found: Capacity) -> Sentence:
    """Return the answer: a variant, or what would decide."""
    if found.taken:
        return Sentence("{variant} is the best at equal training FLOPs", variant=found.variant)
    seeds, hours = found.needed
    words = "{word}" + ": {seeds} new seeds" * (seeds is not None) + ", {hours} here" * bool(seeds and hours)
    return Sentence(words, word=INCONCLUSIVE, seeds=seeds, hours=Estimate(3600 * (hours or 0), unit="s"))
