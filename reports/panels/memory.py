"""Peak memory of a training step, with the forecast."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.units import human, scale_of, three_digits
from modbench.harness.results.notes.memory import MemoryNotes
from modbench.reports.load import Loaded
from modbench.reports.panel import Drawing, Panel, on_page
from modbench.reports.style import INK, look, name, new_figure, short


def render(loaded: Loaded) -> Markup | None:
    """Show the bars."""
    return next(iter(on_page(figures(loaded))), None)


def figures(loaded: Loaded) -> list[Drawing]:
    """Draw bars at the longest length, with a tick at the forecast."""
    metric = "memory/peak_allocated"
    if not loaded.lengths:
        return []
    length = loaded.lengths[-1]
    peaks = [(case, loaded.value(case.arm, metric, length)) for case in (loaded.arms[0], *loaded.arms_shown)]
    known = [(case, peak) for case, peak in peaks if peak is not None]
    if not known:
        return []
    factor, unit = scale_of(max(peak for _, peak in known), "B")
    made, (axis,) = new_figure(4.0, 0.6 + 0.26 * len(known))
    rows = []
    for y, (case, peak) in enumerate(known):
        style = look(case)
        axis.barh(y, peak / factor, height=0.62, color=style.color, alpha=style.opacity)
        row = loaded.case(case.arm, metric, length)
        assert row is not None
        cell = loaded.tables.cell(str(row.case_id), metric)
        forecast = next((notes.forecast for notes in cell.notes(MemoryNotes) if notes.forecast), None)
        rows.append(
            {"case_id": row.case_id, "arm": case.arm, "seq_len": length, "peak_B": peak, "forecast_B": forecast}
        )
        if forecast is not None:
            axis.plot([forecast / factor] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=1.4)
        axis.annotate(three_digits(peak / factor), (peak / factor, y), (5, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(known)), [short(case) for case, _ in known])
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.grid(visible=False, axis="y")
    axis.set_title(f"{unit} at T = {length} (lower is better)")
    best = min(known, key=lambda pair: pair[1])
    anchor = known[0]
    reading = (
        f"Parameters, gradients, AdamW moments and activations of one training step. Ticks: the closed-form forecast. "
        f"Lowest: {name(best[0])} with {human(best[1], 'B')}; {name(anchor[0])} takes {human(anchor[1], 'B')}."
    )
    return [Drawing("memory", made, "Peak memory of a training step by arm", reading, pd.DataFrame(rows))]


PANEL = Panel(title="What does it save in memory?", order=50, span=4, render=render, figures=figures)
