"""A run whose losses were measured at several lengths, planted: which capacity pays at which length is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modbench.harness.planning.plan import Plan
from modbench.planted_runs import planted_plan, planted_run

LENGTHS, CAPACITIES = (64, 128), (0.125, 0.5)
METRICS = [
    *("flops/forward", "flops/train_step", "latency/forward", "latency/train_step"),
    *("memory/peak_allocated", "loss/val", "loss/val_causal"),
]


def map_plan(**changes: Any) -> Plan:
    """The plan of a small map: two capacities, each beside dense of equal FLOPs, at two lengths, five seeds."""
    matched_baselines = [
        {"model": "dense", "match": {"variant": "mod", "capacity": capacity}} for capacity in CAPACITIES
    ]
    suite: dict[str, Any] = {
        "effort": "draft",
        "metrics": METRICS,
        "processes": 3,
        "rounds": 2,
        "seeds": [0, 1, 2, 3, 4],
        "grid": {"seq_len": [*LENGTHS], "batch_size": [1]},
        "variants": [{"model": "dense"}, *matched_baselines, {"model": "mod", "capacity": [*CAPACITIES]}],
        "train": {"seq_len": [*LENGTHS], "batch_size": [2, 1], "tokens": 1000},
    }
    return planted_plan(**(suite | changes))


def map_run(folder: Path, made: Plan | None = None, **trouble: Any) -> Path:
    """Plant that at the longest length the lowest capacity pays over the matched baseline, by time and by loss.

    Elsewhere it is slower than that dense model; the other capacity is slower everywhere, and its losses are equal.
    """
    made = made or map_plan()
    lengths = sorted({case.grid_point.seq_len for case in made.cases})
    low = min(case.config.capacity for case in made.cases if case.config.capacity is not None)
    timed = ("forward", "train_step", "decode")
    grid, losses = dict[tuple[str, str, int], float](), dict[str, float]()
    for case in made.cases:
        at, capacity = case.grid_point.seq_len, case.config.capacity
        share = (
            0.8 if case.matched else 1.0 if capacity is None else 0.7 if capacity == low and at == lengths[-1] else 0.9
        )
        grid |= {(case.variant, each, at): share for each in timed}
        losses[case.id] = 2.0 - 0.03 * (capacity == low and at == lengths[-1])
    planted: dict[str, Any] = {"grid": grid, "losses": losses, "run_noise": 0.002}
    return planted_run(folder, made, **(planted | trouble))
