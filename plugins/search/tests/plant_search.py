"""Plants the golden of searches, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from modbench.extend import planted_plan, planted_run

LENGTHS = (32, 48, 64, 96, 128, 192, 256)


def search(folder: Path) -> None:
    """Plant a search for the length from which MoD pays, against the same shape and at equal cost."""
    matched_to = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    made = planted_plan(
        "draft",
        metrics=["flops/forward", "latency/forward"],
        processes=3,
        rounds=2,
        grid={"seq_len": list(LENGTHS)},
        variants=[{"model": "dense"}, matched_to, {"model": "mod", "capacity": [0.125, 0.5]}],
        search={},
        train=None,
    )
    matched = next(case.variant for case in made.cases if case.variant.startswith("dense-f"))
    grid = {("mod[c0.125]", "forward", t): 1.2 if t < 96 else 0.8 for t in LENGTHS}
    grid |= {("mod[c0.5]", "forward", t): 1.1 for t in LENGTHS} | {(matched, "forward", t): 0.7 for t in LENGTHS}
    planted_run(folder, made, grid=grid)
