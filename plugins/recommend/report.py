"""Recommendations as lines of a terminal and as JSON: a setting of one run, or the capacity that a sweep confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from modbench.extend import Finding, Sentence, data, name, plain, where_it_ran, wrapped
from modbench.extend import text_writer as text
from modbench.plugins.recommend import question
from modbench.plugins.recommend.candidates import IN_WORDS
from modbench.plugins.recommend.question import Capacity, Judged, Recommended
from modbench.plugins.sweeps.held_against import has_tail


def as_text(found: Recommended, width: int = 100, *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of an answer; a command stays whole."""
    at = where_it_ran(found.choice.comparison.grid_point)
    where = plain(Sentence("{what}, {at}", what=IN_WORDS[found.choice.workload], at=at))
    *first, last = wrapped([question.headline(found)], width)
    yield from [*first, *text.apart(last, where, width).split("\n")]
    made = question.table(found)
    if made.rows:
        yield from ("", *text.table(made, width))
    yield from text.labelled(question.rows(found, verbose=verbose), width)
    yield from (f"next: {command}" for command in found.commands)


def as_dict(found: Recommended) -> dict[str, Any]:
    """Return plain data for `--json`."""
    grid_point, equal = found.choice.comparison.grid_point, found.matched
    best, second = found.best, found.runner_up
    named = {} if equal is None else {"name": plain(equal.against)}
    return {
        "answer": found.answer,
        "workload": found.choice.workload,
        "place": grid_point.model_dump(mode="json"),
        "objective": found.objective,
        "limits": found.limits.asked,
        "baseline": found.choice.baseline.case.variant,
        "best": _setting(best),
        "runner_up": _setting(second),
        "apart": _pair(found, found.apart),
        "better_but_may_fit": _setting(found.better),
        "nearest": _setting(found.nearest),
        "against_same_shape": _pair(found, best.shape if best else None),
        "against_matched": None if equal is None else named | (_pair(found, equal) or {}),
        "loss": _pair(found, best.loss if best else None),
        "runner_up_against_same_shape": _pair(found, second.shape if second else None),
        "runner_up_loss": _pair(found, second.loss if second else None),
        "settings": [_setting(each) for each in found.judged],
        "not_considered": dict(found.not_considered),
        "open": [*found.open],
        "commands": list(found.commands),
        "incomplete": found.incomplete,
    }


VALUE = ("metric", "unit", "value", "low", "high", "n", "reason", "sampled", "unsure")


def _setting(each: Judged | None) -> dict[str, Any] | None:
    if each is None:
        return None
    candidate, case = each.candidate, each.candidate.case
    told = {"case": case.id, "variant": case.variant, "name": name(case), "verdict": each.word}
    keys = ("latency", "memory", "flops", "loss")
    values = {key: {field: getattr(candidate.of(key), field) for field in VALUE} for key in keys}
    limits = [asdict(kept) for kept in each.kept]
    return told | values | {"loss_saw_future": candidate.flattered, "limits": limits}


def _pair(found: Recommended, pair: Finding | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    made = pair.typical
    is_ratio = made.kind == "ratio"
    return {
        "metric": pair.metric,
        "ratio": made.value if is_ratio else None,
        "difference": _difference(found, pair) if is_ratio else made.value,
        "low": made.low,
        "high": made.high,
        "verdict": pair.verdict,
        "reason": data.value(pair.reason),
        "looked_ahead": pair.saw_future,
        "tail": has_tail(pair),
    }


def _difference(found: Recommended, pair: Finding) -> float | None:
    """Return the difference of the values whose ratio a pair is."""
    measured = (
        (each.case, value) for each in found.choice.candidates for value in (each.time, each.memory, each.flops)
    )
    values: dict[tuple[object, str], float | None] = {(case, each.metric): each.value for case, each in measured}
    mine, theirs = (values.get((side, pair.metric)) for side in (pair.what, pair.against))
    return None if mine is None or theirs is None else mine - theirs


def capacity_as_text(found: Capacity, width: int) -> list[str]:
    """Return the lines of the capacity that a sweep recommends, and what it rests on."""
    return wrapped([question.capacity_headline(found), *found.sentences], width)


def capacity_as_dict(found: Capacity) -> dict[str, Any]:
    """Return plain data for `--json`."""
    told = {"train_flops": found.answer.train_flops, "variant": found.variant, "capacity": found.capacity}
    told |= {"decided": found.taken is not None, "pays": found.answer.pays}
    told |= dict(zip(("seeds_needed", "hours_needed"), found.needed, strict=True))
    return told | {"sentences": data.sentences(found.sentences)}
