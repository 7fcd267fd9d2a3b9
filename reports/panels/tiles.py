"""Tiles, one per requested metric: one arm at one length against dense of equal cost or the anchor, as chips choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TrainNotes
from modbench.reports.figures.style import look
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Value, is_number, where_it_ran
from modbench.reports.panel import Panel
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.questions.first_screen import described
from modbench.reports.tables import losses
from modbench.reports.tables.findings import Against, against, by_length
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.wording import TIMED, short, verdict_words
from modbench.reports.writers.html import fill, inline

LOSS = "bpb/val"
_TILES = {metric: title.capitalize() for metric, title in TIMED.items()} | {
    "flops/forward": "Forward FLOPs",
    "memory/peak_allocated": "Peak memory",
    "memory/kv_cache": "KV cache",
    LOSS: "Loss",
}
# Ends of the log axis of all tiles.
_LOW, _HIGH = math.log2(0.5), math.log2(4)

# Optimizer steps below which a loss is no result, however many seeds there are.
FEWEST_STEPS = 500


def render(loaded: Loaded) -> Markup | None:
    """Show chips, and a set of tiles for each arm, length and what the arm is compared with, of which one is visible."""
    arms, first = loaded.arms_shown, first_arm(loaded)
    if first is None or not loaded.lengths or loaded.sizes_differ:
        return None
    metrics = _measured(loaded)
    if not metrics:
        return None
    choices = against(loaded, metrics)
    return fill(
        "tiles",
        choices=[choice.title for choice in choices],
        arms=[(case.arm, short(case), look(case)) for case in arms],
        lengths=[(str(length), str(length), None) for length in loaded.lengths_shown],
        sets=[*_sets(loaded, choices, metrics)],
        first=((first if first in arms else arms[0]).arm, str(loaded.lengths[-1])),
        one=_place(1),
    )


def _measured(loaded: Loaded) -> list[str]:
    """The metrics that hold a number, or a failure, for some arm and length: an empty tile says nothing."""
    rows = loaded.comparisons[loaded.comparisons.arm.isin([case.arm for case in loaded.arms_shown])]
    at = rows.seq_len.isin(loaded.lengths_shown) | (rows.metric == LOSS)
    known = set(rows[at & rows.status.isin(["ok", "failed"])].metric)
    return [metric for metric in _TILES if metric in known]


def _sets(loaded: Loaded, choices: Sequence[Against], metrics: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield the tiles of each arm at each length, by what it is compared with; an arm without a choice has one set for all."""
    solved = {case.arm for choice in choices if choice.equal_cost for case, _ in choice.pairs}
    shown = {*loaded.lengths_shown, *(losses.beside(loaded, length) for length in loaded.lengths_shown)}
    for at, choice in enumerate(choices):
        for case, other in choice.pairs:
            found = {metric: by_length(loaded, metric, case, other, shown) for metric in metrics}
            called = other if choice.equal_cost else described(other)
            for length in loaded.lengths_shown:
                where = {metric: losses.beside(loaded, length) if metric == LOSS else length for metric in metrics}
                # The row of `comparisons.csv` holds what FLOPs promise.
                rows = {m: None if choice.equal_cost else loaded.pair(case.arm, m, where[m]) for m in metrics}
                said = Sentence("{arm} at T = {length} against {other}", arm=case, length=length, other=called)
                yield {
                    "arm": case.arm,
                    "length": str(length),
                    "at": at if case.arm in solved else None,
                    "compared": inline(said),
                    "tiles": [_tile(loaded, m, found[m].get(where[m]), rows[m]) for m in metrics],
                }


def _tile(loaded: Loaded, metric: str, found: Finding | None, promise: Row | None) -> dict[str, object]:
    """Return a tile. `promise`: the row of `comparisons.csv` that holds what FLOPs promise; None: equal FLOPs promise nothing."""
    if found is None:
        return {"title": _TILES[metric], "big": inline(None), "bar": None, "small": "not asked for", "open": True}
    big, small = _content(loaded, found, promise)
    ideal = None if promise is None else promise.ideal
    return {
        "title": inline(Sentence("{title}, {place}", title=_TILES[metric], place=where_it_ran(found.place, ()))),
        "big": inline(big),
        "bar": _bar(found.typical, ideal) if found.typical.kind == "ratio" and found.typical.value else None,
        "small": inline(small),
        # What was counted or allocated is exact.
        "open": found.verdict is None and found.typical.unit != "FLOP" and metric != "memory/kv_cache",
    }


def _content(loaded: Loaded, found: Finding, promise: Row | None) -> tuple[Value, Value]:
    """Return what stands in a tile large, and small below it."""
    if found.status != "ok":
        return "failed" if found.status == "failed" else None, found.reason
    if found.metric == LOSS:
        return _loss(loaded, found)
    values = [
        Sentence(
            "{arm}: {value}",
            arm=short(side),
            value=Estimate(loaded.value(side.arm, found.metric, found.place.seq_len), unit=found.typical.unit),
        )
        for side in (found.case, found.against)
        if isinstance(side, Case)
    ]
    spread = replace(found.typical, value=None)
    verdict = (
        replace(found, typical=spread).judged() if spread.closed else verdict_words(found.verdict, timed=found.timed)
    )
    said: list[Value] = [Listed(values), verdict]
    if promise is not None and is_number(promise.ideal):
        ideal, share = Estimate(promise.ideal, kind="ratio"), Estimate.of(promise.realised, kind="share")
        gained = ", {share} of the gain realised" * (promise.ideal > 1 and share.value is not None)
        said.append(Sentence("{ideal} promised" + gained, ideal=ideal, share=share))
    return Estimate(found.typical.value, kind="ratio"), Listed(said, " · ")


def _loss(loaded: Loaded, found: Finding) -> tuple[Value, Value]:
    """Return the same of a loss. What a few steps or seeds made is no result: it does not stand in large type."""
    assert isinstance(found.against, Case)
    value = Estimate(found.typical.value, kind="difference", unit="bit/B")
    small: list[Value] = [Sentence("bits/byte against {base}", base=short(found.against))]
    small.append(verdict_words(found.verdict, timed=False) if found.verdict else losses.seeds_in_words(loaded))
    small += ["it read later tokens"] if found.saw_future else []
    steps = [notes.steps or 0 for notes in loaded.tables.notes_of(found.case, LOSS, TrainNotes)]
    if not found.verdict or max(steps, default=0) < FEWEST_STEPS:
        return "no claim", Listed([value, *small], " · ")
    return value, Listed(small, " · ")


def _bar(ratio: Estimate, ideal: float | None) -> dict[str, float | None]:
    """Return places along the axis in per cent: the interval's, and what FLOPs promise."""
    assert ratio.value is not None
    left, right = (_place(ratio.value if end is None else end) for end in (ratio.low, ratio.high))
    width = max(1.2, round(right - left, 1))
    return {"left": left, "width": width, "ideal": _place(ideal) if is_number(ideal) else None}


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
