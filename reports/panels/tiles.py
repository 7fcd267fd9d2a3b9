"""Tiles, one per requested metric: one arm at one length against the anchor, chosen with chips."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.case import Case
from modbench.harness.core.units import human
from modbench.reports.figures.style import look
from modbench.reports.panel import Panel
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.contenders import default_arm
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED, interval, is_number, promise, times, words
from modbench.reports.writers.templates import fill

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

Bar = dict[str, str]  # places along that axis, in per cent


def render(loaded: Loaded) -> Markup | None:
    """Show chips, and a set of tiles for each arm and length, of which one is visible."""
    first = default_arm(loaded)
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
        ("arm", "Model", [(case.arm, name(case), look(case).glyph) for case in arms], first.arm),
        ("length", "Tokens", [(str(t), str(t), "") for t in lengths], str(longest)),
    )
    sets = [
        (case.arm, length, [_tile(loaded, case, length, title, metric) for title, metric in tiles])
        for case, length in itertools.product(arms, lengths)
    ]
    anchor = name(loaded.arms[0])
    return fill("tiles", chips=chips, sets=sets, first=(first.arm, longest), one=f"{_place(1):.1f}", anchor=anchor)


def _measured(loaded: Loaded, arms: Sequence[Case], lengths: Sequence[int]) -> list[tuple[str, str]]:
    """The tiles that hold a number, or a failure, for some arm and length: an empty tile says nothing."""
    rows = loaded.comparisons
    at = rows.seq_len.isin(lengths) | (rows.metric == "bpb/val")
    known = set(rows[rows.arm.isin([case.arm for case in arms]) & at & rows.status.isin(["ok", "failed"])].metric)
    return [(title, metric) for title, metric in _TILES if metric in known]


def _tile(loaded: Loaded, case: Case, length: int, title: str, metric: str) -> dict[str, object]:
    row = loaded.pair(case.arm, metric, None if metric == "bpb/val" else length)
    big, bar, small = ("–", None, "not asked for") if row is None else _content(loaded, row)
    return {"title": title, "big": big, "bar": bar, "small": small}


def _content(loaded: Loaded, row: pd.Series) -> tuple[str, Bar | None, str]:
    if row.status != "ok":
        return ("failed" if row.status == "failed" else "–"), None, str(row.reason)
    if row.metric == "bpb/val":
        seen = " It read later tokens." if looked_ahead(row) else ""
        verdict = words(row) if isinstance(row.verdict, str) else seeds_in_words(loaded)
        causal = loaded.pair(str(row.arm), "loss/val_causal")
        if seen and causal is not None and causal.status == "ok":
            seen += f" Routed causally: {causal.difference / math.log(2):+.3f}."
        said = f"bits/byte at T={row.seq_len}. {verdict}.{seen}"
        if not isinstance(row.verdict, str) or _steps(loaded, str(row.case_id)) < FEWEST_STEPS:
            # What a few steps or seeds made is no result: it does not stand in large type.
            return "no claim", None, f"{row.difference:+.3f} {said}"
        return f"{row.difference:+.3f}", None, said
    values = _values(loaded, row)
    if row.unit == "FLOP":
        return times(row.ratio), _bar(row), f"{values} · counted exactly"
    if row.metric == "memory/kv_cache":
        return times(row.ratio), _bar(row), f"{values} · allocated"
    share = promise(row, "forecast" if row.unit == "B" else "promised")
    parts = (values, f"{interval(row)} {words(row)}".strip(), share)
    return times(row.ratio), _bar(row), " · ".join(filter(None, parts))


def _values(loaded: Loaded, row: pd.Series) -> str:
    """What the arm took beside the baseline: `12.3 ms, dense 22.0 ms`."""
    mine, theirs = (loaded.value(str(arm), row.metric, row.seq_len) for arm in (row.arm, row.baseline_arm))
    return f"{human(mine, str(row.unit))}, {name(loaded.arms[0])} {human(theirs, str(row.unit))}"


def _steps(loaded: Loaded, case_id: str) -> int:
    """Return the optimizer steps of a case's training run."""
    notes = loaded.tables.training_notes(case_id)
    return notes.steps or 0 if notes is not None else 0


def _bar(row: pd.Series) -> Bar:
    low, high = (row.ci_low, row.ci_high) if is_number(row.ci_low) else (row.ratio, row.ratio)
    left, right = _place(low), _place(high)
    ideal = f"{_place(row.ideal):.1f}" if is_number(row.ideal) else ""
    return {"left": f"{left:.1f}", "width": f"{max(1.2, right - left):.1f}", "ideal": ideal}


def _place(ratio: float) -> float:
    """Return the position on the axis in per cent."""
    log2 = min(_HIGH, max(_LOW, math.log2(ratio)))
    return 100 * (log2 - _LOW) / (_HIGH - _LOW)


READING = (
    "One arm at one length against the anchor; the buttons choose which. The large number is a ratio: above 1× is "
    "better, and 2× means half the time or half the bytes. The bar is its 95 % interval, the tall tick what the saved"
    " FLOPs promise. A number without a verdict is no claim."
)

PANEL = Panel(title="At a glance", order=10, span=12, render=render, reading=READING)
