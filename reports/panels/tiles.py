"""Tiles, one per requested metric: one arm at one length against the anchor, chosen with chips."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.reports.figures.style import look
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Value, Verdict
from modbench.reports.panel import Panel
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.tables import findings
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording import TIMED, is_number, name
from modbench.reports.writers.html import fill, inline

_TILES = (
    *((title.capitalize(), metric) for title, metric in TIMED),
    ("Forward FLOPs", "flops/forward"),
    ("Peak memory", "memory/peak_allocated"),
    ("KV cache", "memory/kv_cache"),
    ("Loss", "bpb/val"),
)
# Ends of the log axis of all tiles.
_LOW, _HIGH = math.log2(0.5), math.log2(4)

# Optimizer steps below which a loss is no result, however many seeds there are.
FEWEST_STEPS = 500

Bar = dict[str, float | None]  # places along that axis, in per cent


def render(loaded: Loaded) -> Markup | None:
    """Show chips, and a set of tiles for each arm and length, of which one is visible."""
    first = first_arm(loaded)
    if first is None or not loaded.lengths or loaded.run.plan.suite.isoflop:
        return None
    longest = loaded.lengths[-1]
    arms, lengths = loaded.arms_shown, loaded.lengths_shown
    if first.arm not in {case.arm for case in arms}:
        arms = [first, *arms]
    tiles = _measured(loaded, arms, lengths)
    if not tiles:
        return None
    chips = (
        ("arm", "Model", [(case.arm, name(case), look(case)) for case in arms], first.arm),
        ("length", "Tokens", [(str(t), str(t), None) for t in lengths], str(longest)),
    )
    sets = [
        (case.arm, length, [_tile(loaded, case, length, title, metric) for title, metric in tiles])
        for case, length in itertools.product(arms, lengths)
    ]
    anchor = name(loaded.arms[0])
    return fill("tiles", chips=chips, sets=sets, first=(first.arm, longest), one=_place(1), anchor=anchor)


def _measured(loaded: Loaded, arms: Sequence[Case], lengths: Sequence[int]) -> list[tuple[str, str]]:
    """The tiles that hold a number, or a failure, for some arm and length: an empty tile says nothing."""
    rows = loaded.comparisons
    at = rows.seq_len.isin(lengths) | (rows.metric == "bpb/val")
    known = set(rows[rows.arm.isin([case.arm for case in arms]) & at & rows.status.isin(["ok", "failed"])].metric)
    return [(title, metric) for title, metric in _TILES if metric in known]


def _tile(loaded: Loaded, case: Case, length: int, title: str, metric: str) -> dict[str, object]:
    row = loaded.pair(case.arm, metric, None if metric == "bpb/val" else length)
    if row is None:
        return {"title": title, "big": inline(None), "bar": None, "small": "not asked for"}
    found = findings.of_pair(loaded, row)
    big, small = content(loaded, row, found)
    bar = _bar(found.typical, row.ideal) if found.typical.kind == "ratio" and found.typical.value else None
    return {"title": title, "big": inline(big), "bar": bar, "small": inline(small)}


def content(loaded: Loaded, row: pd.Series, found: Finding) -> tuple[Value, Value]:
    """Return what stands in a tile large, and small below it."""
    if found.status != "ok":
        return "failed" if found.status == "failed" else None, found.reason
    if row.metric == "bpb/val":
        return _loss(loaded, row, found)
    value = Estimate(found.typical.value, kind="ratio")
    units = {"unit": str(row.unit)}
    values = Sentence(
        "{mine}, {base} {theirs}",
        mine=Estimate(loaded.value(str(row.arm), row.metric, row.seq_len), **units),  # type: ignore[arg-type]  # a unit
        base=loaded.arms[0],
        theirs=Estimate(loaded.value(str(row.baseline_arm), row.metric, row.seq_len), **units),  # type: ignore[arg-type]
    )
    if row.unit == "FLOP":
        return value, Listed([values, "counted exactly"], " · ")
    if row.metric == "memory/kv_cache":
        return value, Listed([values, "allocated"], " · ")
    spread = replace(found.typical, value=None)
    verdict = Verdict(found.verdict, found.timed)
    said: list[Value] = [
        values,
        replace(found, typical=spread).judged() if spread.closed else verdict,
    ]
    if is_number(row.ideal):
        said.append(_promised(row, "forecast" if row.unit == "B" else "promised"))
    return value, Listed(said, " · ")


def _loss(loaded: Loaded, row: pd.Series, found: Finding) -> tuple[Value, Value]:
    words, causal = "bits/byte at T = {length}. {verdict}.", None
    if looked_ahead(row):
        words += " It read later tokens."
        routed = loaded.pair(str(row.arm), "loss/val_causal")
        if routed is not None and routed.status == "ok":
            words += " Routed causally: {causal}."
            causal = Estimate(routed.difference / math.log(2), kind="difference", unit="bit/B")
    verdict: Value = Verdict(found.verdict, timed=False) if found.verdict else seeds_in_words(loaded)
    small = Sentence(words, length=int(row.seq_len), verdict=verdict, causal=causal)
    value = Estimate(found.typical.value, kind="difference", unit="bit/B")
    if not found.verdict or _steps(loaded, str(row.case_id)) < FEWEST_STEPS:
        # What a few steps or seeds made is no result: it does not stand in large type.
        return "no claim", Sentence("{value} {small}", value=value, small=small)
    return value, small


def _promised(row: pd.Series, promised: str) -> Sentence:
    """Which share of the ideal gain was realised."""
    words = "{ideal} {promised}"
    if is_number(row.realised) and row.ideal > 1:
        words = "{share} of the {promised} gain" if row.realised > 0 else "none of the {promised} gain of {ideal}"
    ideal, share = Estimate(row.ideal, kind="ratio"), Estimate.of(row.realised, kind="share")
    return Sentence(words, ideal=ideal, share=share, promised=promised)


def _steps(loaded: Loaded, case_id: str) -> int:
    """Return the optimizer steps of a case's training run."""
    notes = loaded.tables.training_notes(case_id)
    return notes.steps or 0 if notes is not None else 0


def _bar(ratio: Estimate, ideal: float) -> Bar:
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
    "One arm at one length against the anchor; the buttons choose which. The large number is a ratio: above 1× is "
    "better, and 2× means half the time or half the bytes. The bar is its 95 % interval, the tall tick what the saved"
    " FLOPs promise. A number without a verdict is no claim."
)

PANEL = Panel(title="At a glance", order=10, span=12, render=render, reading=READING)
