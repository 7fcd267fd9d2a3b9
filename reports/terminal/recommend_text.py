"""A recommendation in words, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from modbench.harness.core.units import counted, human, scale_of, three_digits
from modbench.reports.questions.recommend.candidates import FEWEST_SEEDS, KV_CACHE, NOT_MEASURED, Candidate, Value
from modbench.reports.questions.recommend.limits import FITS, MAY, UNKNOWN, shown
from modbench.reports.questions.recommend.pairwise import Against
from modbench.reports.questions.recommend.recommend import EQUAL, RECOMMENDED, Judged, Recommended
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import TIME_WORDS, times
from modbench.reports.writers.text import aligned

AIMS = {"latency": "fastest", "memory": "smallest", "flops": "fewest FLOPs", "loss": "lowest loss"}
MORE = {"latency": "faster", "memory": "smaller", "flops": "cheaper", "loss": "lower in loss"}
TOLD = {"better": "told apart", "equivalent": "equal within the margin", "different": "told apart, by how much is open"}
OF_LOSS = {"better": "lower", "worse": "higher", "inconclusive": "undecided"}
MOST_OUT = 8
NONE = "–"


def as_text(found: Recommended, width: int = 100, *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of an answer, sentences wrapped to a width; a table and a command stay whole.

    Args:
        found: the answer.
        width: of the terminal, in characters.
        verbose: whether all that is open is said, where commands follow that would measure it, and who is not considered.
    """
    for line in _lines(found, verbose=verbose):
        if isinstance(line, Whole):
            yield line
            continue
        yield from textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


class Whole(str):
    """A line that is not wrapped."""

    __slots__ = ()


def _lines(found: Recommended, *, verbose: bool) -> Iterator[str]:
    place = found.choice.in_words
    if found.best is None:
        yield from _nothing(found, place)
    else:
        yield _answer(found, found.best, place)
        if found.best.word == MAY:
            yield "No setting is shown to fit: of this one only the estimate holds every limit."
        dense = [each.candidate.case.model == "dense" for each in _sides(found)]
        dense = dense[:1] if found.answer == RECOMMENDED else dense
        if any(dense):
            who = "This is a dense model" if len(dense) == 1 else "One of them is a dense model"
            who = "Both are dense models" if dense == [True, True] else who
            yield f"{who}: skipping tokens is not shown to pay here."
        yield Whole()
        yield from map(Whole, _table(found))
        yield from _pairs(found, found.best, verbose=verbose)
        yield from _limits(found)
        yield from _losses(found)
    yield from _rest(found, verbose=verbose)


def _sides(found: Recommended) -> list[Judged]:
    """The best setting and its runner-up."""
    return [each for each in (found.best, found.runner_up) if each is not None]


def _answer(found: Recommended, best: Judged, place: str) -> str:
    """Return the first line."""
    who = f"recommended: {name(best.candidate.case)}"
    if found.answer != RECOMMENDED:
        names = ", or ".join(name(each.candidate.case) for each in _sides(found))
        who = f"{'equal within the margin' if found.answer == EQUAL else found.answer}: {names}"
    how = f"{AIMS[found.objective]} that {'fits' if best.word == FITS else 'may fit'}"
    how = how if found.limits.asked else f"{AIMS[found.objective]}; no limit was asked"
    answered = _sides(found)[: 1 if found.answer == RECOMMENDED else 2]
    if lacks := [name(each.candidate.case) for each in answered if each.candidate.loss.value is None]:
        whose = "its loss" if len(answered) == 1 else f"the loss of {' and of '.join(lacks)}"
        how += f"; {whose} is unknown"
    return f"{who} ({how}), for a {place}"


def _nothing(found: Recommended, place: str) -> Iterator[str]:
    if not found.judged:
        yield f"no setting can be recommended for a {place}: none has a value of {found.objective}"
        return
    unknown = any(each.word == UNKNOWN for each in found.judged)
    yield f"no setting {'is known to fit' if unknown else 'fits'} for a {place}"
    if found.nearest is not None:
        broken = "; ".join(
            f"{each.limit}: {_estimate(each.limit, each.value)}, {shown(each)}" for each in found.nearest.kept
        )
        yield f"nearest: {name(found.nearest.candidate.case)}: {broken}"


def _estimate(limit: str, value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if limit == "loss":
        return f"{value * 100:+.2f} %"
    return human(value, "s" if limit == "latency" else "B")


def _table(found: Recommended) -> list[str]:
    """The best and its runner-up, a row each; a column for what any of the two has."""
    base, metrics = name(found.choice.baseline.case), {each.candidate.memory.metric for each in _sides(found)}
    memory = "keys, values" if metrics == {KV_CACHE} else "memory"
    flops = ["FLOPs"] if found.objective == "flops" else []
    longest = max((each.candidate.time.value or 0.0 for each in _sides(found)), default=0.0)
    factor, unit = scale_of(longest, "s")
    rows = [["", unit, f"over {base}", memory, "loss", *flops]]
    shapes = (found.same_shape, found.runner_up_shape)
    for each, shape in zip(_sides(found), shapes, strict=False):
        candidate, loss = each.candidate, _shown(found, each.candidate.loss)
        # The mark says the word.
        ratio = NONE if shape is None else _ratio(shape).removesuffix("no verdict").rpartition(" ")[0]
        cells = [_time(candidate.time, factor), ratio, _value(candidate.memory)]
        cells += ["unknown" if loss.value is None else f"{loss.value:.4f}"]
        cells += [_value(candidate.flops)] if flops else []
        rows.append([short(candidate.case), *cells])
    kept = [column for column in zip(*rows, strict=True) if {*column[1:]} - {"", NONE}]
    return aligned([list(row) for row in zip(*kept, strict=True)])


def _time(value: Value, factor: float) -> str:
    """Return a time and its interval without their unit: `28.3 [26.6–30.1]`."""
    if value.value is None:
        return NONE
    said = three_digits(value.value / factor)
    if value.low is None or value.high is None:
        return said
    return f"{said} [{three_digits(value.low / factor)}–{three_digits(value.high / factor)}]"


def _pairs(found: Recommended, best: Judged, *, verbose: bool) -> Iterator[str]:
    """How the best compares with its runner-up, and with the dense model of equal cost."""
    reasons = verbose or not found.commands  # a command says what would decide it
    case, other = best.candidate.case, found.runner_up
    if other is None:
        yield "runner-up: none; no other setting fits or may fit"
    else:
        yield f"{short(case)} against {short(other.candidate.case)}: {_told(found, reasons=reasons)}"
    if best.candidate.time.value is not None and best.candidate.time.unsure:
        yield f"no verdict on times: {best.candidate.time.unsure}"
    if found.equal_cost and (other is None or found.equal_cost[0] != name(other.candidate.case)):
        yield f"{name(case)} against {found.equal_cost[0]}, of equal cost: {_ratio(found.equal_cost[1])}"
    elif not found.equal_cost and not case.rung and case.model != "dense":
        yield f"no dense model of equal cost was measured beside {name(case)}"


def _told(found: Recommended, *, reasons: bool) -> str:
    """Say whether the best and its runner-up are told apart in the objective."""
    pair = found.apart
    if pair is None:
        return "not compared side by side"
    word = TOLD.get(pair.verdict or "", "not told apart")
    if pair.verdict == "worse":  # the runner-up only may fit
        word = f"told apart: the runner-up is {MORE[found.objective]}"
    if pair.ratio is None:  # what both losses rest on is said below
        return f"loss {_rise(found, pair)}, {word}"
    why = f": {pair.reason}" if reasons and word == "not told apart" and pair.reason else ""
    return f"{_ratio(pair) if found.objective == 'latency' else times(pair.ratio)}, {word}{why}"


def _limits(found: Recommended) -> Iterator[str]:
    """How the two hold what was asked, and which setting might be better still."""
    alike: dict[tuple[str, str], list[str]] = {}
    for each in _sides(found):
        held = "; ".join(f"{kept.limit}: {shown(kept)}" for kept in each.kept)
        alike.setdefault((each.word, held), []).append(name(each.candidate.case))
    for (word, held), names in alike.items():
        if held:
            yield f"{'both' if len(names) > 1 else names[0]}, {word}: {held}"
    if found.better is not None and found.better is not found.runner_up:
        held = "; ".join(f"{each.limit}: {shown(each)}" for each in found.better.kept if each.word == MAY)
        yield f"may fit and be {MORE[found.objective]}: {name(found.better.candidate.case)} ({held})"


def _losses(found: Recommended) -> Iterator[str]:
    """What both losses rest on, said once where it is the same; of one that is not known the reason."""
    alike: dict[str, list[Candidate]] = {}
    for each, pair in zip(_sides(found), (found.loss, found.runner_up_loss), strict=False):
        alike.setdefault(_loss(found, each.candidate, pair), []).append(each.candidate)
    for said, candidates in alike.items():
        flattered = [short(each.case) for each in candidates if each.flattered]
        future = f"; top-k routing saw future tokens, which flatters it ({', '.join(flattered)})" if flattered else ""
        yield f"loss of {'both' if len(candidates) > 1 else name(candidates[0].case)}: {said}{future}"


def _loss(found: Recommended, candidate: Candidate, pair: Against | None) -> str:
    value = _shown(found, candidate.loss)
    if value.value is None:
        why = "was not measured" if value.reason == NOT_MEASURED else f"has no value: {value.reason}"
        return f"unknown: {value.metric} {why}"
    said = f"{value.metric} in {scale_of(1.0, value.unit)[1]}, {counted(value.n, 'seed')}"
    if value.n < FEWEST_SEEDS:
        return f"{said}: illustration, no claim"
    if pair is None or pair.difference is None:
        return said
    word = OF_LOSS.get(pair.verdict or "", "not shown")
    return f"{said}, {_rise(found, pair)} against {name(found.choice.baseline.case)}: {word}"


def _value(value: Value) -> str:
    """Return a counted value: `53.9 MiB`."""
    return NONE if value.value is None else human(value.value, value.unit)


def _shown(found: Recommended, value: Value) -> Value:
    """Return a loss in the unit in which losses are shown; another value as it is."""
    if value.unit not in {"nat", "bit/B"}:
        return value
    unit, factor = found.choice.loss_unit
    scaled, low, high = (None if each is None else factor * each for each in (value.value, value.low, value.high))
    return replace(value, unit=unit, value=scaled, low=low, high=high)


def _ratio(pair: Against) -> str:
    if pair.ratio is None:
        return "not compared"
    ends = (
        f" [{times(pair.low)[:-1]}–{times(pair.high)[:-1]}]" if pair.low is not None and pair.high is not None else ""
    )
    word = TIME_WORDS.get(pair.verdict or "", "no verdict")
    return f"{times(pair.ratio)}{ends} {word}"


def _rise(found: Recommended, pair: Against) -> str:
    """Write how much a loss lies above another: `+0.0123 [+0.0100–+0.0146]`."""
    _, factor = found.choice.loss_unit
    ends = ""
    if pair.low is not None and pair.high is not None:
        ends = f" [{factor * pair.low:+.4f}–{factor * pair.high:+.4f}]"
    return f"{factor * (pair.difference or 0.0):+.4f}{ends}"


def _rest(found: Recommended, *, verbose: bool) -> Iterator[str]:
    out, most = list(found.not_considered.items()), MOST_OUT if verbose else 1
    for who, why in out[:most]:
        yield f"not considered: {who}: {why}"
    if len(out) > most:
        yield f"and {len(out) - most:,} more are not considered: {'see --json' if verbose else '-v'}"
    if found.open and (verbose or not found.commands):
        yield f"open: {'; '.join(found.open)}"
    if found.incomplete and found.best is None:  # else it is the error's to say
        yield f"the run is incomplete: {found.incomplete}"
    if found.commands:
        yield "to be sure:"
        yield from (Whole(f"  {command}") for command in found.commands)


def as_dict(found: Recommended) -> dict[str, Any]:
    """Return plain data for `--json`."""
    place = found.choice.comparison.place
    return {
        "answer": found.answer,
        "workload": found.choice.workload,
        "place": place.model_dump(mode="json"),
        "objective": found.objective,
        "limits": found.limits.asked,
        "baseline": found.choice.baseline.case.arm,
        "best": _setting(found.best),
        "runner_up": _setting(found.runner_up),
        "apart": _pair(found.apart),
        "better_but_may_fit": _setting(found.better),
        "nearest": _setting(found.nearest),
        "against_same_shape": _pair(found.same_shape),
        "against_equal_cost": None
        if found.equal_cost is None
        else {"name": found.equal_cost[0], **(_pair(found.equal_cost[1]) or {})},
        "loss": _pair(found.loss),
        "runner_up_against_same_shape": _pair(found.runner_up_shape),
        "runner_up_loss": _pair(found.runner_up_loss),
        "settings": [_setting(each) for each in found.judged],
        "not_considered": dict(found.not_considered),
        "open": list(found.open),
        "commands": list(found.commands),
        "incomplete": found.incomplete,
    }


def _setting(each: Judged | None) -> dict[str, Any] | None:
    if each is None:
        return None
    candidate = each.candidate
    told = {"case": candidate.case.id, "arm": candidate.case.arm, "name": name(candidate.case), "verdict": each.word}
    values = {key: asdict(candidate.of(key)) for key in ("latency", "memory", "flops", "loss")}
    limits = [asdict(kept) for kept in each.kept]
    return told | values | {"loss_saw_future": candidate.flattered, "limits": limits}


def _pair(pair: Against | None) -> dict[str, Any] | None:
    return None if pair is None else asdict(pair)
