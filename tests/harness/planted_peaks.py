"""A machine of constant rates, as a table of peaks by shape."""

from __future__ import annotations

import math
import typing

from modbench.harness.machine.roofline.table import Point, Table
from modbench.harness.machine.roofline.work import Kind


def planted(flop: float = 1e9, byte: float = 1e9) -> Table:
    """A machine of constant rates, whatever the shape; a process takes 1 us, a view half of it; in training twice that."""
    sizes: dict[Kind, list[tuple[int, ...]]] = {
        kind: [(1,), (2**30,)] for kind in typing.get_args(Kind) if kind != "view"
    }
    for kind in sizes:
        if kind.startswith("product") or kind in {"attention", "attention_backward"}:
            sizes[kind] = [(a, b, c) for a in (1, 1024) for b in (1, 1024) for c in (1, 1024)]
        elif "attention" in kind:
            sizes[kind] = [(a, b) for a in (1, 2**20) for b in (1, 128)]
    points = []
    for kind, each in sizes.items():
        speed = flop if len(each[0]) > 1 else byte
        points += [Point(kind=kind, size=size, seconds=math.prod(size) / speed) for size in each]
    return Table(
        device="cpu",
        dtype="fp32",
        threads=1,
        torch="",
        passes=1,
        launch_s=1e-6,
        view_s=0.5e-6,
        training_view_s=1e-6,
        training_launch_s=2e-6,
        tensor_s=3e-6,
        points=tuple(points),
    )
