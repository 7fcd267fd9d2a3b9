"""Reconciliation: the closed form of every case beside what torch's counter saw."""

from __future__ import annotations

from markupsafe import Markup

from modbench.harness.units import human
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel


def render(loaded: Loaded) -> Markup | None:
    """One row per case of the grid, components included."""
    rows = []
    for comparison in loaded.run.plan.comparisons:
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, "flops/forward")
            if cell.trouble():
                continue
            counter, parts = cell.note("counter_forward"), cell.note("parts") or {}
            value = cell.outcomes[0][1].samples["value"][0]
            shares = ", ".join(f"{part} {flops / value:.0%}" for part, flops in parts.items() if flops)
            effective = cell.note("effective_capacity")
            if effective is not None and effective != case.config.capacity:
                shares = f"effective capacity {effective:.4g}; {shares}"
            ran = cell.note("depth_ratio")
            if ran is not None:
                shares = f"ran {ran:.0%} of the depth; {shares}"
            closed, seen = (value, counter) if counter else (None, value)
            gap = f"{counter / value - 1:+.4%}" if counter else cell.note("source")
            rows.append(
                Markup(
                    '<tr><td>{}</td><td class="number">{}</td><td class="number">{}</td><td>{}</td><td>{}</td></tr>'
                ).format(case.id, human(closed, "FLOP"), human(seen, "FLOP"), gap, shares)
            )
    if not rows:
        return None
    return Markup(
        '<p class="note">1 multiply-add = 2 FLOPs; attention over the full square; head included; backward = twice forward. '
        "A case whose closed form and counter differ by more than 0.5 % fails.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="FLOP reconciliation"><table><thead><tr><th>Case</th>'
        '<th class="number">Closed form</th><th class="number">Counter</th><th>Difference</th><th>Where they go</th></tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(Markup("").join(rows))


PANEL = Panel(title="How sure are the FLOPs?", order=80, span=12, render=render, folded=True)
