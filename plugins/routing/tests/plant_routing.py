"""Plants the goldens of routers, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from planted_sections import dense, drift, flips, with_depth, with_experts
from planted_sections import routing as routed
from planted_sections import run as routing_run


def routing(folder: Path) -> None:
    """Plant who passes, what it is worth, how routers settled, and what experts and depths do; the router knows."""
    learned = with_experts(routed())
    for i, row in enumerate(learned["strata"]["kind"]["bins"]):
        row["loss_causal"] += 0.01 * i
    routing_run(
        folder,
        dense={"routing": with_depth(dense())},
        matched={"routing": dense(1.55)},
        mod={"routing": learned, "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routed({"digit": 0.125, "whitespace": 0.125}), "flips": flips(0.02), "drift": drift()},
    )
