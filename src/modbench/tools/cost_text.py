"""What `modbench cost` prints: one block of text for each row."""

from __future__ import annotations

from typing import Any

from modbench.harness.core.options import typed
from modbench.harness.core.units import human
from modbench.tools.columns import aligned
from modbench.tools.cost import CONVENTIONS


def as_text(rows: list[dict[str, Any]]) -> str:
    """One block of text for each row."""
    return "\n\n".join(_block(row) for row in rows)


def _block(row: dict[str, Any]) -> str:
    config = row["config"]
    capacity = f", capacity {config['capacity']:g}" if config["capacity"] is not None else ""
    place = f"T = {row['seq_len']:,}, batch {row['batch_size']}, {row['dtype']}"
    options = f"({typed(row['options'])})" if row["options"] else ""
    title = f"{row['model']}{options}: {_count(row['params'])} parameters{capacity}; {place}"
    return "\n".join([title, "", *aligned(_table(row), right={1}), *_notes(row)])


def _table(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """FLOPs, parts of a forward pass and bytes as one table, so that all numbers share a column."""
    table = [("FLOPs", "", "")]
    table += [(f"  {name}", human(row["flops"][name], "FLOP"), about) for name, about in CONVENTIONS.items()]
    parts = sorted(((flops, part) for part, flops in row["parts"].items() if flops), reverse=True)
    if parts:
        total = row["flops"]["forward"]
        table += [("", "", ""), ("Parts of a forward pass", "", "")]
        table += [(f"  {part}", human(flops, "FLOP"), f"{flops / total:.1%}") for flops, part in parts]
    if row.get("predictor"):
        table += [
            ("  predictor", human(row["predictor"], "FLOP"), "in addition, where routing must not see the future")
        ]
    moved = {"moved, forward": row["bytes"]["forward"], "read, decode step": row["bytes"]["decode_step"]}
    held = {name.replace("_", " "): value for name, value in row["memory"].items()}
    table += [("", "", ""), ("Bytes", "", "")]
    return table + [(f"  {name}", human(value, "B"), "") for name, value in (moved | held).items()]


def _notes(row: dict[str, Any]) -> list[str]:
    notes = []
    if row["dynamic"]:
        notes.append(
            "A training step runs every depth, so that each is trained; a forward pass runs the depth it is expected to choose."
        )
    if row["counter"].get("difference") is not None:
        notes.append(f"torch's counter on shapes alone: {row['counter']['difference']:+.4%} from the closed form")
    if "lower bound" in row["source"]:
        notes.append(f"FLOPs: {row['source']}")
    if row["reason"]:
        notes.append(f"– : {row['reason']}")
    return [line for note in notes for line in ("", note)]


def _count(params: int) -> str:
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if params >= size:
            return f"{params / size:.3g} {name}"
    return str(params)
