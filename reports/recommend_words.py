"""A recommendation in words, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from modbench.harness.core.units import human
from modbench.reports.against import Against
from modbench.reports.candidates import FEWEST_SEEDS, KV_CACHE, MEMORY, NOT_MEASURED, Candidate, Value
from modbench.reports.limits import FITS, MAY, UNKNOWN, shown
from modbench.reports.losses import BITS, NATS
from modbench.reports.panel import TIME_WORDS, times
from modbench.reports.recommend import Judged, Recommended
from modbench.reports.style import name

AIMS = {"latency": "fastest", "memory": "smallest", "flops": "fewest FLOPs", "loss": "lowest loss"}
MORE = {"latency": "faster", "memory": "smaller", "flops": "cheaper", "loss": "lower in loss"}
TOLD = {"better": "told apart", "equivalent": "equal within the margin", "different": "told apart, by how much is open"}
OF_LOSS = {"better": "lower", "worse": "higher", "inconclusive": "undecided"}
MOST_OUT = 8


def as_text(found: Recommended, width: int = 100) -> Iterator[str]:
    """Yield the lines of an answer, wrapped to a width."""
    for line in _lines(found):
        hang = " " * (len(line) - len(line.lstrip()) + 2)
        yield from textwrap.wrap(
            line, width, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False
        ) or [""]


def _lines(found: Recommended) -> Iterator[str]:
    place = found.choice.in_words
    if found.best is None:
        yield from _nothing(found, place)
    else:
        best = found.best
        how = f"{AIMS[found.objective]} that {'fits' if best.word == FITS else 'may fit'}"
        if not found.limits.asked:
            how = f"{AIMS[found.objective]}; no limit was asked"
        yield f"recommended: {name(best.candidate.case)} ({how}), for a {place}"
        if best.word == MAY:
            yield "  No setting is shown to fit: of this one only the estimate holds every limit."
        if best.candidate.case.model == "dense":
            yield "  This is a dense model: skipping tokens is not shown to pay here."
        yield from _evidence(found, best)
        yield from _runner_up(found)
    yield from _rest(found)


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
        return _percent(value)
    return human(value, "s" if limit == "latency" else "B")


def _percent(share: float) -> str:
    return f"{share * 100:+.2f} %"


def _evidence(found: Recommended, best: Judged) -> Iterator[str]:
    candidate, kept = best.candidate, {each.limit: shown(each) for each in best.kept}
    yield from _line("time", _value(candidate.time), kept.get("latency"))
    if candidate.time.value is not None and candidate.time.unsure:
        yield f"            no verdict on times: {candidate.time.unsure}"
    sides = [(found.same_shape, f"{name(found.choice.baseline.case)}{_shape(found)}")]
    sides += [(found.equal_cost[1], f"{found.equal_cost[0]}, of equal cost")] if found.equal_cost else []
    for pair, other in sides:
        if pair is not None:
            yield f"            {_ratio(pair)} against {other}"
    if not found.equal_cost and not candidate.case.rung and candidate.case.model != "dense":
        yield "            no dense model of equal cost was measured beside it"
    of = " (keys and values alone)" if candidate.memory.metric == KV_CACHE else ""
    of = (
        " (peak of a training step)" if candidate.memory.metric == MEMORY and candidate.memory.value is not None else of
    )
    yield from _line("memory", _value(candidate.memory) + of, kept.get("memory"))
    yield from _line("FLOPs", _value(candidate.flops), None)
    yield from _line("loss", _loss(found, candidate), kept.get("loss"))


def _line(title: str, said: str, limit: str | None) -> Iterator[str]:
    yield f"  {title:<8}  {said}{f'; {limit}' if limit else ''}"


def _shape(found: Recommended) -> str:
    dense = found.choice.baseline.case
    return " of the same shape" if dense.model == "dense" else ""


def _value(value: Value) -> str:
    if value.value is None:
        return NOT_MEASURED if value.reason == NOT_MEASURED else f"{NOT_MEASURED}: {value.reason}"
    ends = ""
    if value.low is not None and value.high is not None:
        ends = f" [{_number(value.low, value.unit)}–{_number(value.high, value.unit)}]"
    return f"{_number(value.value, value.unit)}{ends}"


def _number(value: float, unit: str) -> str:
    """Format a value; losses, whose unit is one of words, differ in what three digits do not show."""
    return f"{value:.4f} {unit}" if unit in {BITS, NATS} else human(value, unit)


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


def _loss(found: Recommended, candidate: Candidate) -> str:
    value = _shown(found, candidate.loss)
    if value.value is None:
        return _value(value)
    seeds = f"{value.n} seed{'s' * (value.n != 1)}"
    said = f"{_number(value.value, value.unit)} ({value.metric}, {seeds})"
    if found.loss is not None and found.loss.difference is not None:
        pair = found.loss
        word = OF_LOSS.get(pair.verdict or "", "not shown")
        said += f", {_rise(found, pair)} against {name(found.choice.baseline.case)}: {word}"
    elif value.n < FEWEST_SEEDS:
        said += ": illustration, no claim"
    return said + ("; top-k routing saw future tokens, which flatters it" if candidate.flattered else "")


def _runner_up(found: Recommended) -> Iterator[str]:
    if found.runner_up is None:
        yield "runner-up: none; no other setting fits or may fit"
        return
    other, value = found.runner_up, found.runner_up.candidate.of(found.objective)
    why = "; ".join(f"{each.limit}: {each.reason}" for each in other.kept if each.word == MAY and each.reason)
    fits = "" if not found.limits.asked else f", {other.word}{f' ({why})' if why else ''}"
    yield f"runner-up: {name(other.candidate.case)}: {_value(_shown(found, value))}{fits}; {_told(found)}"
    if found.better is not None and found.better is not other:
        held = "; ".join(f"{each.limit}: {shown(each)}" for each in found.better.kept if each.word == MAY)
        yield f"may fit and be {MORE[found.objective]}: {name(found.better.candidate.case)} ({held})"


def _told(found: Recommended) -> str:
    """Say whether the best and its runner-up are told apart in the objective."""
    pair = found.apart
    if pair is None:
        return "not compared side by side"
    word = TOLD.get(pair.verdict or "", "not told apart")
    if pair.verdict == "worse":  # the runner-up only may fit
        word = f"told apart: the runner-up is {MORE[found.objective]}"
    if pair.ratio is None:
        return f"{word} (loss {_rise(found, pair)})"
    return f"{word} ({_ratio(pair) if found.objective == 'latency' else times(pair.ratio)})"


def _rest(found: Recommended) -> Iterator[str]:
    out = list(found.not_considered.items())
    for who, why in out[:MOST_OUT]:
        yield f"not considered: {who}: {why}"
    if len(out) > MOST_OUT:
        yield f"and {len(out) - MOST_OUT:,} more are not considered: see --json"
    if found.needs:
        yield "to be sure, measure:"
        yield from (f"  - {need}" for need in found.needs)
    if found.incomplete and found.best is None:  # else it is the error's to say
        yield f"the run is incomplete: {found.incomplete}"


def as_dict(found: Recommended) -> dict[str, Any]:
    """Return plain data for `--json`."""
    place = found.choice.comparison.place
    return {
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
        "settings": [_setting(each) for each in found.judged],
        "not_considered": dict(found.not_considered),
        "needs": list(found.needs),
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
