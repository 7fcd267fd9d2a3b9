"""Plants the golden of maps, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from planted_map import METRICS as MAP_METRICS
from planted_map import map_plan, map_run


def capacity_map(folder: Path) -> None:
    """Plant that one capacity pays at one of two lengths, one nowhere; one without the matched baseline fails."""
    matched_baselines = [
        {"model": "dense", "match": {"variant": "mod", "capacity": capacity}} for capacity in (0.125, 0.5)
    ]
    variants = [{"model": "dense"}, *matched_baselines, {"model": "mod", "capacity": [0.125, 0.25, 0.5]}]
    metrics = [*(each for each in MAP_METRICS if each != "flops/train_step"), "memory/parameters"]
    map_run(folder, map_plan(variants=variants, metrics=metrics), fails="mod[c0.25]")
