"""Tiles, one per requested metric: one arm at one length against dense of equal cost or the anchor, as chips choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from markupsafe import Markup

from modbench.harness.domain.case import Case, Place
from modbench.reports.figures.style import look
from modbench.reports.model import Estimate, Finding, Listed, PlaceAmong, Sentence, Value, Verdict, is_number
from modbench.reports.panel import Panel
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.questions.first_screen import described
from modbench.reports.tables import losses
from modbench.reports.tables.findings import against, by_length
from modbench.reports.tables.load import Loaded, Row, rung_beside
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording import MATCHED, TIMED, short
from modbench.reports.writers.html import fill, inline
from modbench.reports.writers.number_format import grid_point, place

LOSS = "bpb/val"
_TILES = (
    *((title.capitalize(), metric) for metric, title in TIMED.items()),
    ("Forward FLOPs", "flops/forward"),
    ("Peak memory", "memory/peak_allocated"),
    ("KV cache", "memory/kv_cache"),
    ("Loss", LOSS),
)
# `T = 512` is not broken over lines.
NARROW = "\u00a0=\u00a0"
# Ends of the log axis of all tiles.
_LOW, _HIGH = math.log2(0.5), math.log2(4)

# Optimizer steps below which a loss is no result, however many seeds there are.
FEWEST_STEPS = 500

Bar = dict[str, float | None]  # places along that axis, in per cent


def render(loaded: Loaded) -> Markup | None:
    """Show chips, and a set of tiles for each arm, length and what the arm is compared with, of which one is visible."""
    first = first_arm(loaded)
    if first is None or not loaded.lengths or loaded.sizes_differ:
        return None
    longest = loaded.lengths[-1]
    arms, lengths = loaded.arms_shown, loaded.lengths_shown
    if first.arm not in {case.arm for case in arms}:
        arms = [first, *arms]
    tiles = _measured(loaded, arms, lengths)
    if not tiles:
        return None
    sets = [each for case in arms for each in _sets(loaded, case, lengths, tiles)]
    return fill(
        "tiles",
        choices=[choice.title for choice in against(loaded, [metric for _, metric in tiles])],
        arms=[(case.arm, short(case), look(case)) for case in arms],
        lengths=[(str(length), str(length), None) for length in lengths],
        sets=sets,
        first=(first.arm, str(longest)),
        one=_place(1),
    )


def _measured(loaded: Loaded, arms: Sequence[Case], lengths: Sequence[int]) -> list[tuple[str, str]]:
    """The tiles that hold a number, or a failure, for some arm and length: an empty tile says nothing."""
    rows = loaded.comparisons
    at = rows.seq_len.isin(lengths) | (rows.metric == LOSS)
    known = set(rows[rows.arm.isin([case.arm for case in arms]) & at & rows.status.isin(["ok", "failed"])].metric)
    return [(title, metric) for title, metric in _TILES if metric in known]


def _sets(
    loaded: Loaded, case: Case, lengths: Sequence[int], tiles: Sequence[tuple[str, str]]
) -> Iterator[dict[str, object]]:
    """Yield for each length the tiles against dense of equal cost, if it was measured, then those against the baseline."""
    base, beside, places = loaded.baseline, rung_beside(loaded, case), _places(loaded, tiles)
    every = {metric: by_length(loaded, metric, case, base) for _, metric in tiles}
    solved = {} if beside is None else {metric: by_length(loaded, metric, case, beside.case) for _, metric in tiles}
    for length in lengths:
        timed = (found.get(length) for metric, found in every.items() if metric != LOSS)
        at = next(
            (place(PlaceAmong(found.place, places)) for found in timed if found is not None), grid_point("T", length)
        )
        words: dict[str, Value] = {"arm": case, "at": at}
        of_loss = losses.beside(loaded, length)
        where = {metric: of_loss if metric == LOSS else length for _, metric in tiles}
        here = {metric: found.get(where[metric]) for metric, found in solved.items()}
        measured = any(each is not None and each.typical.value is not None for each in here.values())
        shown = {"arm": case.arm, "length": str(length)}
        if beside is not None and measured:
            said = "{arm} at {at} against {rung}, a dense model of equal {quantity}"
            compared = inline(Sentence(said, **words, rung=beside.case, quantity=MATCHED[beside.rung.quantity]))
            made = [_tile(loaded, title, here[metric], None, places) for title, metric in tiles]
            yield {**shown, "at": 0, "compared": compared, "tiles": made}
        said = "{arm} at {at} against {base}" + "; no dense model of equal cost was measured" * (
            not measured and not case.rung
        )
        compared = inline(Sentence(said, **words, base=described(base)))
        made = [
            # The row of `comparisons.csv` holds what FLOPs promise.
            _tile(loaded, title, every[metric].get(where[metric]), loaded.pair(case.arm, metric, where[metric]), places)
            for title, metric in tiles
        ]
        yield {**shown, "at": 1 if measured else None, "compared": compared, "tiles": made}


def _places(loaded: Loaded, tiles: Sequence[tuple[str, str]]) -> list[Place]:
    """Where what tiles show was measured, but for the loss, which has one place."""
    metrics = {metric for _, metric in tiles if metric != LOSS}
    return [each.place for each in loaded.plan.comparisons if metrics & {*each.metrics}]


def _tile(
    loaded: Loaded, title: str, found: Finding | None, promise: Row | None, places: Sequence[Place]
) -> dict[str, object]:
    """Return a tile. `promise`: the row of `comparisons.csv` that holds what FLOPs promise; None: equal FLOPs promise nothing."""
    if found is None:
        return {"title": title, "big": inline(None), "bar": None, "small": "not asked for", "open": True}
    big, small = _content(loaded, found, promise)
    ideal = None if promise is None else promise.ideal
    bar = _bar(found.typical, ideal) if found.typical.kind == "ratio" and found.typical.value else None
    where = place(PlaceAmong(found.place, () if found.metric == LOSS else places))
    title = f"{title}, {where.replace(' = ', NARROW)}"
    # What was counted or allocated is exact.
    open_ = found.verdict is None and found.typical.unit != "FLOP" and found.metric != "memory/kv_cache"
    return {"title": title, "big": inline(big), "bar": bar, "small": inline(small), "open": open_}


def _content(loaded: Loaded, found: Finding, promise: Row | None) -> tuple[Value, Value]:
    """Return what stands in a tile large, and small below it."""
    if found.status != "ok":
        return "failed" if found.status == "failed" else None, found.reason
    if found.metric == LOSS:
        return _loss(loaded, found)
    value = Estimate(found.typical.value, kind="ratio")
    values = Listed([_value(loaded, side, found) for side in (found.case, found.against)])
    if found.typical.unit == "FLOP":
        return value, Listed([values, "counted exactly"], " · ")
    if found.metric == "memory/kv_cache":
        return value, Listed([values, "allocated"], " · ")
    spread = replace(found.typical, value=None)
    verdict = Verdict(found.verdict, found.timed)
    said: list[Value] = [
        values,
        replace(found, typical=spread).judged() if spread.closed else verdict,
    ]
    if promise is not None and is_number(promise.ideal):
        said.append(_promised(promise, "forecast" if found.typical.unit == "B" else "promised"))
    return value, Listed(said, " · ")


def _value(loaded: Loaded, side: Case | str | None, found: Finding) -> Sentence:
    """An arm's own value: `MoD 0.125: 23.6 ms`."""
    assert isinstance(side, Case)
    value = loaded.value(side.arm, found.metric, found.place.seq_len)
    return Sentence("{arm}: {value}", arm=short(side), value=Estimate(value, unit=found.typical.unit))


def _loss(loaded: Loaded, found: Finding) -> tuple[Value, Value]:
    words, causal = "bits/byte against {base}. {verdict}.", None
    assert isinstance(found.against, Case)
    if found.saw_future:
        words += " It read later tokens."
        routed = by_length(loaded, "loss/val_causal", found.case, found.against).get(found.place.seq_len)
        if routed is not None and routed.typical.value is not None:
            words += " Routed causally: {causal}."
            causal = Estimate(routed.typical.value / math.log(2), kind="difference", unit="bit/B")
    verdict: Value = Verdict(found.verdict, timed=False) if found.verdict else seeds_in_words(loaded)
    small = Sentence(words, base=short(found.against), verdict=verdict, causal=causal)
    value = Estimate(found.typical.value, kind="difference", unit="bit/B")
    notes = loaded.tables.training_notes(found.case.id)
    if not found.verdict or notes is None or (notes.steps or 0) < FEWEST_STEPS:
        # What a few steps or seeds made is no result: it does not stand in large type.
        return "no claim", Sentence("{value} {small}", value=value, small=small)
    return value, small


def _promised(row: Row, promised: str) -> Sentence:
    """Which share of the ideal gain was realised."""
    words = "{ideal} {promised}"
    if is_number(row.realised) and row.ideal > 1:
        words = "{share} of the {promised} gain" if row.realised > 0 else "none of the {promised} gain of {ideal}"
    ideal, share = Estimate(row.ideal, kind="ratio"), Estimate.of(row.realised, kind="share")
    return Sentence(words, ideal=ideal, share=share, promised=promised)


def _bar(ratio: Estimate, ideal: float | None) -> Bar:
    assert ratio.value is not None
    left, right = (_place(ratio.value if end is None else end) for end in (ratio.low, ratio.high))
    return {
        "left": left,
        "width": max(1.2, round(right - left, 1)),
        "ideal": _place(ideal) if is_number(ideal) else None,
    }


def _place(ratio: float) -> float:
    """Return the position on the axis in per cent."""
    log2 = min(_HIGH, max(_LOW, math.log2(ratio)))
    return round(100 * (log2 - _LOW) / (_HIGH - _LOW), 1)


READING = (
    "One arm at one length against another; the buttons choose which. Dense of equal cost, where it was measured, comes first: "
    "you could take it instead. Dense of the same shape costs more. The large number is a ratio: above 1× is better, and 2× "
    "means half the time or half the bytes. The bar is its 95 % interval, the tall tick what the saved FLOPs promise. A number "
    "without a verdict is no claim."
)

PANEL = Panel(title="At a glance", order=10, span=12, render=render, reading=READING)
