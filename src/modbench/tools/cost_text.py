"""What `modbench cost` prints: one block of text for a single row; for several a table, or a block for each."""

from __future__ import annotations

import textwrap
from typing import Any

from modbench.harness.core.options import typed
from modbench.harness.core.printable import SCREEN, WIDTH
from modbench.harness.core.units import human
from modbench.tools.columns import aligned, elided
from modbench.tools.cost import CONVENTIONS

HEAD = ("params", "forward", "train step", "to train", "KV cache")


def as_text(rows: list[dict[str, Any]], *, verbose: bool = False) -> str:
    """The answer in one line, then a table."""
    if len(rows) == 1 or verbose:
        return "\n\n".join(_block(row) for row in rows)
    places = [_place(row) for row in rows]
    shared = {key: text for key, text in places[0].items() if all(place[key] == text for place in places)}
    varied = [key for key in places[0] if key not in shared]
    forward = sorted(row["flops"]["forward"] for row in rows)
    answer = (
        f"{_name(rows[0])}: {human(forward[0], 'FLOP')} to {human(forward[-1], 'FLOP')} forward, {len(rows)} settings"
    )
    head = (*varied, *HEAD)
    table = [
        head,
        *((*(place[key] for key in varied), *_numbers(row)) for place, row in zip(places, rows, strict=True)),
    ]
    first, *lines = aligned(table, right=range(len(head)))
    notes = _notes(rows)
    fixed = ", ".join(f"{key} {text}" for key, text in shared.items() if text)
    room = SCREEN - 5 - len(notes)
    return "\n".join([answer, fixed, "", first, *elided(lines, room, "rows"), *([""] if notes else []), *notes])


def _name(row: dict[str, Any]) -> str:
    return f"{row['model']}({typed(row['options'])})" if row["options"] else str(row["model"])


def _place(row: dict[str, Any]) -> dict[str, str]:
    """What the grid may vary, as text by its name."""
    capacity = row["config"]["capacity"]
    return {
        "capacity": "" if capacity is None else f"{capacity:g}",
        "dtype": row["dtype"],
        "batch": f"{row['batch_size']:,}",
        "T": f"{row['seq_len']:,}",
    }


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    flops, memory = row["flops"], row["memory"]
    sizes = (memory["peak_train_step"], memory["kv_cache"])
    return (
        _count(row["params"]),
        *(human(flops[name], "FLOP") for name in ("forward", "train_step")),
        *(human(size, "B") for size in sizes),
    )


def _block(row: dict[str, Any]) -> str:
    peak = row["memory"]["peak_train_step"]
    to_train = "" if peak is None else f", {human(peak, 'B')} to train"
    answer = (
        f"{_name(row)}: {_count(row['params'])} parameters, {human(row['flops']['forward'], 'FLOP')} forward{to_train}"
    )
    place = ", ".join(f"{key} {text}" for key, text in _place(row).items() if text)
    return "\n".join([answer, place, "", *aligned(_table(row), right={1}), "", *_notes([row])])


def _table(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """FLOPs, parts of a forward pass and bytes as one table, so that all numbers share a column."""
    table = [("FLOPs (2 per multiply-add)", "", "")]
    table += [(f"  {name}", human(row["flops"][name], "FLOP"), about) for name, about in CONVENTIONS.items()]
    parts = sorted(((flops, part) for part, flops in row["parts"].items() if flops), reverse=True)
    if parts:
        total = row["flops"]["forward"]
        table += [("", "", ""), ("Parts of a forward pass", "", "")]
        table += [(f"  {part}", human(flops, "FLOP"), f"{flops / total:.1%}") for flops, part in parts]
    if row.get("predictor"):
        table += [("  predictor", human(row["predictor"], "FLOP"), "in addition, for causal routing")]
    moved = {"moved, forward": row["bytes"]["forward"], "read, decode step": row["bytes"]["decode_step"]}
    held = {name.replace("_", " "): value for name, value in row["memory"].items()}
    table += [("", "", ""), ("Bytes", "", "")]
    return table + [(f"  {name}", human(value, "B"), "") for name, value in (moved | held).items()]


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """What holds for several rows is said once."""
    notes = []
    if any(row["dynamic"] for row in rows):
        notes.append(
            "A training step runs every depth, so that each is trained; a forward pass runs the depth it is expected to choose."
        )
    off = [each for row in rows if (each := row["counter"].get("difference")) is not None]
    if off:
        most = "at most " * (len(off) > 1)
        notes.append(f"torch's counter on shapes alone: {most}{max(off, key=abs):+.4%} from the closed form")
    notes += dict.fromkeys(f"FLOPs: {row['source']}" for row in rows if "lower bound" in row["source"])
    notes += dict.fromkeys(f"– : {row['reason']}" for row in rows if row["reason"])
    return [line for note in notes for line in textwrap.wrap(note, WIDTH)]


def _count(params: int) -> str:
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if params >= size:
            return f"{params / size:.3g} {name}"
    return str(params)
