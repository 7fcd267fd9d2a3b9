"""Plants the goldens of sweeps, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from planted_sweeps import confirmed, followed, losses_along

from modbench.extend import planted_run


def isoflop(folder: Path) -> None:
    """Plant a sweep at equal training FLOPs that confirms its best on new seeds: MoD is better, routing by noise is between."""
    confirmed(folder, mod=-0.05, noise=0.02)


def trend(folder: Path) -> None:
    """Plant a difference of losses that grows with the budget and crosses zero between the smallest and the largest."""
    made = followed()
    planted_run(folder, made, losses=losses_along(made, 0.05), run_noise=0.002, text_noise=0.001)
