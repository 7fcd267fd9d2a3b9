"""Reconciliation: what closed form, torch's counter and fvcore say of every case, module by module, and what modules claim."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.harness.core.units import human
from modbench.harness.flops.reconcile import WHOLE
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel

_HEAD = (
    "Case",
    "Closed form",
    "Counter",
    "fvcore ×2",
    "Executed here",
    "Where they go",
    "Skipping",
    "Operators without a formula",
)
_NUMBERS = range(1, 5)


def render(loaded: Loaded) -> Markup | None:
    """One row per case of the grid; under each, its modules."""
    found: dict[str, tuple[dict[str, Any], float | None]] = {}
    for comparison in loaded.run.plan.comparisons:
        for case in comparison.arms:
            cell = loaded.tables.cell(case.id, "flops/forward")
            if not cell.trouble():
                executed = loaded.tables.cell(case.id, "flops/forward/executed")
                found[case.id] = cell.notes(), None if executed.trouble() else executed.values()[0]
    if not found:
        return None
    absent = {notes.get("fvcore_reason") for notes, _ in found.values()}
    # One reason for all is said once, below.
    shared = absent.pop() if len(absent) == 1 else None
    rows = [_row(case, notes, executed, "–" if shared else None) for case, (notes, executed) in found.items()]
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format("number" if i in _NUMBERS else "", title)
        for i, title in enumerate(_HEAD)
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="FLOP reconciliation"><table class="tall">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
        '<p class="note">1 multiply-add = 2 FLOPs; attention over the full square; head included; backward = twice forward. '
        "A case in which closed form, counter or fvcore differ by more than 0.5 % in any module fails, unless the model's file "
        "explains it. Executed: what kernels did on real tensors here (short sequences are attended to in pieces on a CPU, which "
        "skips part of the hidden half).{}</p>"
    ).format(head, Markup("").join(rows), f" {shared}." if shared else "")


def _row(case: str, notes: dict[str, Any], executed: float | None, no_third: str | None) -> Markup:
    modules = notes.get("modules") or []
    whole = next(
        (row for row in modules if row["module"] == WHOLE), {"closed_form": None, "counter": None, "fvcore": None}
    )
    third = no_third or notes.get("fvcore_reason") or "–"
    if whole["fvcore"]:
        third = _against(whole["fvcore"], whole["closed_form"])
    cells = (
        case,
        human(whole["closed_form"], "FLOP"),
        _against(whole["counter"], whole["closed_form"]),
        third,
        human(executed, "FLOP"),
        _parts(notes, modules),
        _claims(notes),
        _operators(notes),
    )
    return Markup("<tr>{}</tr>").format(
        Markup("").join(
            Markup('<td class="{}">{}</td>').format("number" if i in _NUMBERS else "", cell)
            for i, cell in enumerate(cells)
        )
    )


def _against(value: float | None, closed_form: float | None) -> str:
    if value is None:
        return "–"
    return f"{human(value, 'FLOP')}" + (f" ({value / closed_form - 1:+.3%})" if closed_form else "")


def _parts(notes: dict[str, Any], modules: list[dict[str, Any]]) -> Markup:
    """Shares by component, and behind them a table by module."""
    parts = notes.get("parts") or {}
    total = sum(parts.values()) or 1.0
    shares = ", ".join(f"{part} {flops / total:.0%}" for part, flops in parts.items() if flops / total >= 0.005)
    if notes.get("depth_ratio") is not None:
        shares = f"ran {notes['depth_ratio']:.0%} of the depth; {shares}"
    explained = "".join(f" {opinion}: {why}." for opinion, why in (notes.get("explained") or {}).items())
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
            row["module"], *(human(row[opinion], "FLOP") for opinion in ("closed_form", "counter", "fvcore"))
        )
        for row in modules
    )
    return Markup("<details><summary>{}</summary><table>{}</table>{}</details>").format(
        shares or notes.get("source") or "by module", rows, explained
    )


def _claims(notes: dict[str, Any]) -> str:
    """What modules state of the tokens they processed, and what their weights met."""
    claims = notes.get("claims") or []
    if not claims:
        return str(notes.get("claims_reason") or "not reported").partition(":")[0]
    seen = [
        f"{claim['module'] or 'model'}: {claim['stated']} of {claim['tokens']}"
        + (" (could not be checked: its weights' products were not seen)" if claim["rows"] is None else "")
        + (f" (weights met {claim['rows']:.0f})" if claim["masked"] else "")
        for claim in claims
    ]
    effective = notes.get("effective_capacity")
    capacity = f"; effective capacity {effective:.4g}" if effective is not None else ""
    return "; ".join(seen[:4]) + (" …" if len(seen) > 4 else "") + capacity


def _operators(notes: dict[str, Any]) -> str:
    found = notes.get("operators")
    if found is None:
        return str(notes.get("guards") or "not audited")
    unknown = ", ".join(f"{operator} ({calls})" for operator, calls in found["unknown"].items())
    cheap = f"{len(found['cheap'])} kinds, {sum(found['cheap'].values())} calls, 0 by convention"
    return f"{unknown}: the count is a lower bound; {cheap}" if unknown else cheap


PANEL = Panel(title="How sure are the FLOPs?", order=80, span=12, render=render, folded=True)
