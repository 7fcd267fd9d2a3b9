"""What a recommendation says: the answer, its table, how sure it is, what limits hold, and what is open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modbench.harness.core.case import Case
from modbench.harness.core.units import scale_of
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value
from modbench.reports.questions.recommend import candidates, limits
from modbench.reports.questions.recommend.candidates import FEWEST_SEEDS, KV_CACHE, NOT_MEASURED, Candidate
from modbench.reports.questions.recommend.limits import FITS, MAY, UNKNOWN
from modbench.reports.questions.recommend.recommend import EQUAL, RECOMMENDED, Judged, Recommended
from modbench.reports.wording import short

AIMS = {"latency": "fastest", "memory": "smallest", "flops": "fewest FLOPs", "loss": "lowest loss"}
MORE = {"latency": "faster", "memory": "smaller", "flops": "cheaper", "loss": "lower in loss"}
TOLD = {"better": "told apart", "equivalent": "equal within the margin", "different": "told apart, by how much is open"}
OF_LOSS = {"better": "lower", "worse": "higher", "inconclusive": "undecided"}
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
        return Sentence("no setting {fits} for a {place}", fits="is known to fit" if unknown else "fits", place=place)
    answered = [each.candidate for each in sides(found)[: 1 if found.answer == RECOMMENDED else 2]]
    lacks = [each.case for each in answered if each.loss.value is None]
    whose: Value = "its loss" if len(answered) == 1 else Sentence("the loss of {arms}", arms=Listed(lacks, " and of "))
    fits = f" that {'fits' if best.word == FITS else 'may fit'}" if found.limits.asked else "; no limit was asked"
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
                Sentence("{limit}: {value}, {held}", limit=each.limit, value=_value(each), held=limits.shown(each))
                for each in found.nearest.kept
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


def _value(each: limits.LimitCheck) -> Value:
    return NOT_MEASURED if each.value is None else limits.estimate(each, each.value)


def table(found: Recommended) -> Table:
    """Return the best and its runner-up, a row each, with a column for what any of the two has."""
    metrics = {each.candidate.memory.metric for each in sides(found)}
    columns: list[list[Value]] = [
        ["", *(each.candidate.case for each in sides(found))],
        ["time", *(_known(each.candidate.time) for each in sides(found))],
        [Sentence("over {arm}", arm=found.choice.baseline.case), *(_pair(each) for each in _shapes(found))],
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


def _shapes(found: Recommended) -> list[Finding | None]:
    return [found.same_shape, found.runner_up_shape][: len(sides(found))]


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
    """Say how the best compares with its runner-up, and with the dense model of equal cost.

    Args:
        found: the answer, with a best.
        reasons: whether it is said why two are not told apart.
    """
    assert found.best is not None
    case, other = found.best.candidate.case, found.runner_up
    if other is None:
        yield Sentence("runner-up: none; no other setting fits or may fit")
    else:
        said = _told(found, reasons=reasons)
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


def _told(found: Recommended, *, reasons: bool) -> Value:
    """Say whether the best and its runner-up are told apart in the objective."""
    pair = found.apart
    if pair is None:
        return "not compared side by side"
    word = TOLD.get(pair.verdict or "", "not told apart")
    if pair.verdict == "worse":  # the runner-up only may fit
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
    alike: dict[tuple[str, tuple[Sentence, ...]], list[Case]] = {}
    for each in sides(found):
        checks = tuple(_check(kept) for kept in each.kept)
        alike.setdefault((each.word, checks), []).append(each.candidate.case)
    for (word, checks), arms in alike.items():
        if checks:
            who: Value = "both" if len(arms) > 1 else arms[0]
            yield Sentence("{who}, {word}: {checks}", who=who, word=word, checks=Listed(checks, "; "))
    if found.better is not None and found.better is not found.runner_up:
        checks = tuple(_check(kept) for kept in found.better.kept if kept.word == MAY)
        yield Sentence(
            "may fit and be {more}: {arm} ({checks})",
            more=MORE[found.objective],
            arm=found.better.candidate.case,
            checks=Listed(checks, "; "),
        )


def _check(kept: limits.LimitCheck) -> Sentence:
    return Sentence("{limit}: {held}", limit=kept.limit, held=limits.shown(kept))


def losses(found: Recommended) -> Iterator[Sentence]:
    """Say what both losses rest on, once where it is the same; of one that is not known the reason."""
    alike: dict[Sentence, list[Candidate]] = {}
    for each, pair in zip(sides(found), (found.loss, found.runner_up_loss), strict=False):
        alike.setdefault(_loss(found, each.candidate, pair), []).append(each.candidate)
    for said, those in alike.items():
        flattered = [each.case for each in those if each.flattered]
        future = Sentence("; top-k routing saw future tokens, which flatters it ({arms})", arms=Listed(flattered))
        who: Value = "both" if len(those) > 1 else those[0].case
        yield Sentence("loss of {who}: {said}{future}", who=who, said=said, future=future if flattered else "")


def _loss(found: Recommended, candidate: Candidate, pair: Finding | None) -> Sentence:
    value = _in_unit(found, candidate.loss)
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
