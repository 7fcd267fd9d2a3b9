"""Plants the golden of searches, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from modbench.extend import planted_plan, planted_run


def search(folder: Path) -> None:
    """Plant a search for the length from which MoD pays, against the same shape and at equal cost."""
    lengths = (32, 48, 64, 96, 128, 192, 256)
    made = planted_plan(
        "draft",
        metrics=["flops/forward", "latency/forward"],
        processes=3,
        rounds=2,
        grid={"seq_len": list(lengths)},
        variants=[
            {"model": "dense"},
            {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
            {"model": "mod", "capacity": [0.125, 0.5]},
        ],
        search={},
        train=None,
    )
    matched = next(case.variant for case in made.cases if case.variant.startswith("dense-f"))
    grid = {("mod[c0.125]", "forward", t): 1.2 if t < 96 else 0.8 for t in lengths}
    grid |= {("mod[c0.5]", "forward", t): 1.1 for t in lengths} | {(matched, "forward", t): 0.7 for t in lengths}
    planted_run(folder, made, grid=grid)
