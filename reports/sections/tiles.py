"""Tiles, one per requested metric: one variant at one length against a matched baseline or the baseline, as chips choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TrainNotes
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Value, is_number, known, where_it_ran
from modbench.reports.figures.style import look
from modbench.reports.markup.html import fill, inline
from modbench.reports.markup.number_format import interval
from modbench.reports.questions.summary import described
from modbench.reports.questions.user_models import first_variant
from modbench.reports.section import Section
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.pairs import Against, against, by_length
from modbench.reports.wording import TIMED, short, verdict_words

# What is counted or allocated is exact, and printed as a share of the baseline's.
_COUNTED = {"flops/forward": "Forward FLOPs", "memory/peak_allocated": "Peak memory", "memory/kv_cache": "KV cache"}
_TIMED = {metric: title.capitalize() for metric, title in TIMED.items()}
# Ends of the log axis of all tiles.
_LOW, _HIGH = math.log2(0.5), math.log2(4)

# Optimizer steps below which a loss is no result, however many seeds there are.
FEWEST_STEPS = 500


def render(loaded: Loaded) -> Markup | None:
    """Show chips, and a set of tiles for each variant, length and what it is compared with, of which one is visible."""
    variants, first = _variants(loaded), first_variant(loaded)
    if first is None or not loaded.lengths or loaded.sizes_differ:
        return None
    titles = _titles(loaded)
    if not titles:
        return None
    choices = against(loaded, titles)
    return fill(
        "tiles",
        choices=[choice.title for choice in choices],
        variants=[(case.variant, short(case), look(case)) for case in variants],
        lengths=[(str(length), str(length), None) for length in loaded.lengths_shown],
        sets=[*_sets(loaded, choices, titles)],
        first=((first if first in variants else variants[0]).variant, str(loaded.lengths[-1])),
        one=_place(1),
    )


def _variants(loaded: Loaded) -> list[Case]:
    """Variants that have tiles; matched baselines only where there is nothing else."""
    return [case for case in loaded.variants_shown if not case.matched] or loaded.variants_shown


def _titles(loaded: Loaded) -> dict[str, str]:
    """The titles of the metrics that have a tile: times, what is counted, and the loss that compares with dense.

    Each holds a number, or a failure, for some variant and length: an empty tile says nothing.
    """
    loss = {losses.comparable(loaded).metric: "Loss"} if losses.shown(loaded) else {}
    rows = loaded.comparisons[loaded.comparisons.variant.isin([case.variant for case in _variants(loaded)])]
    at = rows.seq_len.isin(loaded.lengths_shown) | rows.metric.isin(loss)
    known = set(rows[at & rows.status.isin(["ok", "failed"])].metric)
    return {metric: title for metric, title in (_TIMED | _COUNTED | loss).items() if metric in known}


def _sets(loaded: Loaded, choices: Sequence[Against], titles: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """Yield the tiles of each variant at each length, by what it is compared with; one without a choice has one set for all."""
    shown_variants = {case.variant for case in _variants(loaded)}
    solved = {case.variant for choice in choices if choice.matched for case, _ in choice.pairs}
    for at, choice in enumerate(choices):
        for case, other in (pair for pair in choice.pairs if pair[0].variant in shown_variants):
            found = {metric: by_length(loaded, metric, case, other) for metric in titles}
            called = other if choice.matched else described(other)
            for length in loaded.lengths_shown:
                trained = losses.beside(loaded, length)
                tiles = ((each, found[each].get(length if each in _TIMED | _COUNTED else trained)) for each in titles)
                said = Sentence("{variant} at T = {length} against {other}", variant=case, length=length, other=called)
                yield {
                    "variant": case.variant,
                    "length": str(length),
                    "at": at if case.variant in solved else None,
                    "compared": inline(said),
                    "tiles": [_tile(loaded, titles[key], each, matched=choice.matched) for key, each in tiles],
                }


def _tile(loaded: Loaded, title: str, found: Finding | None, *, matched: bool) -> dict[str, object]:
    """Return a tile; over equal FLOPs (`matched`) there is no theoretical speed-up."""
    if found is None:
        return {"title": title, "big": inline(None), "bar": None, "small": "not asked for", "open": True}
    row = None if matched else loaded.pair(found.case.variant, found.metric, found.grid_point.seq_len)
    big, small = _content(loaded, found, row)
    theoretical = None if row is None else known(row.theoretical)
    return {
        "title": inline(Sentence("{title}, {grid_point}", title=title, grid_point=where_it_ran(found.grid_point, ()))),
        "big": inline(big),
        "bar": _bar(found.typical, theoretical) if found.timed and found.typical.value else None,
        "small": inline(small),
        "open": found.verdict is None and found.metric not in {"flops/forward", "memory/kv_cache"},
    }


def _content(loaded: Loaded, found: Finding, row: Row | None) -> tuple[Value, Value]:
    """Return what stands in a tile large, and small below it.

    Of times a speed-up, of what is counted a share of the baseline's.
    """
    if found.status != "ok":
        return "failed" if found.status == "failed" else None, found.reason
    if found.typical.kind == "difference":
        return _loss(loaded, found)
    assert isinstance(found.against, Case)
    ratio, length = found.typical, found.grid_point.seq_len
    own, base = (
        Estimate(loaded.value(each.variant, found.metric, length), unit=ratio.unit)
        for each in (found.case, found.against)
    )
    values = Sentence("{own}, baseline {base}", own=own, base=base)
    if not found.timed:
        return ratio.alone, Listed([values, verdict_words(found.verdict, timed=False)], " · ")
    said: list[Value] = [values, replace(found, typical=replace(ratio, value=None)).judged()]
    if row is not None and is_number(row.theoretical):
        theoretical, achieved = Estimate(row.theoretical, kind="ratio"), Estimate.of(row.achieved_share, kind="share")
        reached = row.theoretical > 1 and achieved.value is not None
        words = "theoretical {theoretical}" + ", {achieved} achieved" * reached
        said.append(Sentence(words, theoretical=theoretical, achieved=achieved))
    return ratio.alone, Listed(said, " · ")


def _loss(loaded: Loaded, found: Finding) -> tuple[Value, Value]:
    """Return the same of a loss. What a few steps or seeds made is no result: it does not stand in large type."""
    assert isinstance(found.against, Case)
    loss = losses.comparable(loaded)
    typical = found.typical.scaled(loss.factor, loss.base)
    value = typical.alone
    judged: Value = verdict_words(found.verdict, timed=False) if found.verdict else losses.seeds_in_words(loaded)
    over = Sentence("{unit} over {base}", unit=loss.unit, base=short(found.against))
    steps = [notes.steps or 0 for notes in loaded.tables.notes_of(found.case, found.metric, TrainNotes)]
    few = max(steps, default=0) < FEWEST_STEPS
    if found.verdict and few:
        judged = Sentence("fewer than {n} training steps", n=FEWEST_STEPS)
    small: list[Value] = [over, judged, *["it read later tokens"] * found.saw_future]
    if not found.verdict or few:
        return "no claim", Listed([value, *small], " · ")
    return value, Listed([*[interval(typical)] * typical.closed, *small], " · ")


def _bar(ratio: Estimate, theoretical: float | None) -> dict[str, float | None]:
    """Return places along the axis in per cent: of the confidence interval, and of the theoretical speed-up."""
    assert ratio.value is not None
    left, right = (_place(ratio.value if end is None else end) for end in (ratio.low, ratio.high))
    width = max(1.2, round(right - left, 1))
    return {"left": left, "width": width, "theoretical": None if theoretical is None else _place(theoretical)}


def _place(ratio: float) -> float:
    """Return the position on the axis in per cent."""
    log2 = min(_HIGH, max(_LOW, math.log2(ratio)))
    return round(100 * (log2 - _LOW) / (_HIGH - _LOW), 1)


READING = (
    "One variant at one length against another; the buttons choose which. The bar is the 95 % CI of the speed-up, the tall tick "
    "the theoretical speed-up."
)

SECTION = Section(title="At a glance", order=2, span=12, render=render, reading=READING)
