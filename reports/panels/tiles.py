"""Tiles, one for each thing that was asked for: one arm at one length against the anchor, re-aimed by chips."""

from __future__ import annotations

import itertools
import math

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.case import Case
from modbench.harness.core.units import human
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.panel import TIMED, Panel, default_arm, interval, is_number, promise, seeds_in_words, times, words
from modbench.reports.style import look, name

_TILES = (
    *((title.capitalize(), metric) for title, metric in TIMED),
    ("Forward FLOPs", "flops/forward"),
    ("Peak memory", "memory/peak_allocated"),
    ("KV cache", "memory/kv_cache"),
    ("Loss", "bpb/val"),
)
# The shared log axis of all tiles: one half to four.
_LOW, _HIGH = math.log2(0.5), math.log2(4)


def render(loaded: Loaded) -> Markup | None:
    """Chips, and a set of tiles for each arm and length; one set shows."""
    first = default_arm(loaded)
    if first is None or not loaded.lengths or loaded.run.plan.suite.isoflop:
        return None
    longest = loaded.lengths[-1]
    asked = loaded.run.plan.suite.metrics
    tiles = [(title, metric) for title, metric in _TILES if metric in asked]
    arms = loaded.arms[1:]
    chips = Markup("").join(
        [
            _chips("arm", "Model", [(case.arm, name(case), look(case).glyph) for case in arms], first.arm),
            _chips("length", "Tokens", [(str(t), str(t), "") for t in loaded.lengths], str(longest)),
        ]
    )
    sets = Markup("").join(
        Markup('<div class="tiles" data-arm="{}" data-length="{}"{}>{}</div>').format(
            case.arm,
            length,
            "" if (case.arm, length) == (first.arm, longest) else Markup(" hidden"),
            Markup("").join(_tile(loaded, case, length, title, metric) for title, metric in tiles),
        )
        for case, length in itertools.product(arms, loaded.lengths)
    )
    note = Markup(
        '<p class="note">Against {}. Bars: 95 % interval on a log axis from ½× to 4×; thin tick at 1×, tall tick at what '
        "the FLOPs (memory: the forecast) promise.</p>"
    ).format(name(loaded.arms[0]))
    return chips + sets + note


def _chips(group: str, legend: str, options: list[tuple[str, str, str]], chosen: str) -> Markup:
    buttons = Markup("").join(
        Markup('<button type="button" data-group="{}" data-value="{}" aria-pressed="{}">{}{}</button>').format(
            group,
            value,
            "true" if value == chosen else "false",
            Markup('<span aria-hidden="true">{}</span> ').format(glyph) if glyph else "",
            label,
        )
        for value, label, glyph in options
    )
    return Markup('<div class="chips" role="group" aria-label="{}"><span>{}</span>{}</div>').format(
        legend, legend, buttons
    )


def _tile(loaded: Loaded, case: Case, length: int, title: str, metric: str) -> Markup:
    row = loaded.pair(case.arm, metric, None if metric == "bpb/val" else length)
    big, bar, small = ("–", Markup(""), "not asked for") if row is None else _content(loaded, row)
    return Markup('<div class="tile"><h3>{}</h3><p class="big">{}</p>{}<p class="small">{}</p></div>').format(
        title, big, bar, small
    )


def _content(loaded: Loaded, row: pd.Series) -> tuple[str, Markup, str]:
    if row.status != "ok":
        return ("failed" if row.status == "failed" else "–"), Markup(""), str(row.reason)
    if row.metric == "bpb/val":
        seen = " It read later tokens." if looked_ahead(row.reason) else ""
        verdict = words(row) if isinstance(row.verdict, str) else seeds_in_words(loaded)
        causal = loaded.pair(str(row.arm), "loss/val_causal")
        if seen and causal is not None and causal.status == "ok":
            seen += f" Routed causally: {causal.difference / math.log(2):+.3f}."
        return f"{row.difference:+.3f}", Markup(""), f"bits/byte at T={row.seq_len}. {verdict}.{seen}"
    if str(row.metric).startswith("flops/"):
        return times(row.ratio), _bar(row), "counted exactly"
    if row.metric == "memory/kv_cache":
        return (
            times(row.ratio),
            _bar(row),
            f"{human(loaded.value(str(row.arm), row.metric, row.seq_len), 'B')} allocated",
        )
    said = f"{interval(row)} {words(row)}".strip()
    share = promise(row, "forecast" if str(row.metric).startswith("memory/") else "promised")
    return times(row.ratio), _bar(row), f"{said} · {share}" if share else said


def _bar(row: pd.Series) -> Markup:
    low, high = (row.ci_low, row.ci_high) if is_number(row.ci_low) else (row.ratio, row.ratio)
    left, right = _place(low), _place(high)
    ideal = (
        Markup('<i class="promise" style="left:{}%"></i>').format(f"{_place(row.ideal):.1f}")
        if is_number(row.ideal)
        else ""
    )
    return Markup(
        '<div class="bar" aria-hidden="true"><i class="one" style="left:{}%"></i>{}<b style="left:{}%;width:{}%"></b></div>'
    ).format(f"{_place(1):.1f}", ideal, f"{left:.1f}", f"{max(1.2, right - left):.1f}")


def _place(ratio: float) -> float:
    """Percent along the axis."""
    log2 = min(_HIGH, max(_LOW, math.log2(ratio)))
    return 100 * (log2 - _LOW) / (_HIGH - _LOW)


PANEL = Panel(title="At a glance", order=10, span=12, render=render)
