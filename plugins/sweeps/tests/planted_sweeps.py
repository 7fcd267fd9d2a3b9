"""Plans of sweeps, and losses whose truth is known: a confirmation of the best, a trend over budgets, its statistics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from present import present

from modbench.extend import planted_plan, planted_run
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.plan import Plan
from modbench.plugins.sweeps.isoflop.plan import budget_of
from modbench.plugins.sweeps.trend.statistics import Bend, Budget, Sizes, Trend
from modbench.reports.tables.load import Loaded, load

BUDGET = 2e10
BUDGETS = (1e10, 2e10, 4e10)
SIZES = [{"d_model": d, "n_layers": 2, "n_heads": 1} for d in (16, 24, 32)]
FOUR_SIZES = [*SIZES, {"d_model": 48, "n_layers": 2, "n_heads": 1}]
CAPACITIES = [{"model": "dense"}, {"model": "mod", "capacity": [0.25, 0.5], "router": ["learned", "stochastic"]}]
ROLES = ["baseline", "best", "runner_up", "control"]


def sweep(effort: str = "draft", **changes: Any) -> Plan:
    """A sweep of dense, MoD and its random routing over three sizes, which confirms its best."""
    asked = {
        "metrics": ["loss/val_causal", "loss/confirmed"],
        "shape": {},
        "grid": {"seq_len": [32]},
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": 0.25, "router": ["learned", "stochastic"]}],
        "seeds": [0, 1],
        "train": {"seq_len": 32, "batch_size": 4},
        "isoflop": {"train_flops": [BUDGET], "sizes": SIZES, "max_epochs": 1e9},
        "confirm": {},
        **changes,
    }
    return planted_plan(effort, **asked)


def confirmed(
    folder: Path,
    *,
    mod: float,
    noise: float,
    run_noise: float = 0.01,
    sweeps: dict[str, Any] | None = None,
    bf16: float = 0.0,
    **changes: Any,
) -> Loaded:
    """A sweep in which MoD 0.25 differs from dense by `mod` nats, and routing by noise from MoD by `noise`."""
    isoflop = {"train_flops": [BUDGET], "baseline_train_flops": [BUDGET / 2], "sizes": SIZES, "max_epochs": 1e9}
    made = sweep(
        metrics=["flops/forward", "flops/train_step", "loss/val", "loss/val_causal", "loss/confirmed"],
        variants=CAPACITIES,
        isoflop=isoflop,
        confirm={"roles": ROLES, "most_seeds": 8, **changes},
        **(sweeps or {}),
    )
    losses = {}
    for case in made.cases:
        half_of_it = (budget_of(case) or BUDGET) < BUDGET
        loss = 2.0 + 0.1 * half_of_it + 0.05 * (case.config.d_model != 24)
        if case.model == "mod":
            loss += mod + 0.05 * (case.config.capacity == 0.5) + noise * (case.config.router == "stochastic")
        if case.grid_point.dtype == "bf16":
            loss += bf16 * (case.model == "mod") + 0.1 * half_of_it
        losses[case.id] = loss
    return load(str(planted_run(folder, made, losses=losses, run_noise=run_noise)))


def followed(effort: str = "draft", **changes: Any) -> Plan:
    """A plan that follows MoD beside dense over three budgets."""
    more = {
        "metrics": ["loss/val", "loss/val_causal", "loss/confirmed"],
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": 0.25}],
        "isoflop": {"train_flops": [*BUDGETS], "sizes": FOUR_SIZES, "max_epochs": 1e9},
        "confirm": None,
        "trend": {"seeds": [5, 4, 3], "forecast": 8e10},
    }
    return sweep(effort, **(more | changes))


def losses_along(
    made: Plan, slope: float, level: float = 0.0, bend: float = 0.1, growth: float = 0.5
) -> dict[str, float]:
    """Losses by case: MoD's optimum lies at larger sizes, its difference from dense changes with the budget."""
    found = {}
    for case in made.cases:
        cost = present(case_cost(case))
        folds = math.log((budget_of(case) or BUDGETS[1]) / BUDGETS[1])
        away = math.log(cost.params) - 9.6 - growth * folds - 0.3 * (case.model == "mod")
        found[case.id] = 2 - 0.1 * folds + bend * away**2 + (level + slope * folds) * (case.model == "mod")
    return found


def sizes(
    optimum: float, level: float, noise_S: Any = (0.0, 0.0, 0.0), bend: float = 0.05, text_B: Any = None
) -> Sizes:
    """Losses of two sizes on a parabola, with an offset of each seed, and of each block of the text."""
    low, high = 12.0, 12.6
    losses_S2 = level + bend * (np.array([low, high]) - optimum) ** 2 + np.asarray(noise_S)[:, None]
    blocks_SB2 = None if text_B is None else losses_S2[:, None, :] + np.asarray(text_B)[None, :, None]
    return Sizes(low, high, losses_S2, blocks_SB2)


def over(differences: Any, *noise_KS: Any) -> Trend:
    """A trend of these differences at 1e12, 4e12, … FLOPs, with an offset of each seed: the same at all budgets, or of each."""
    noise_KS = noise_KS or ((-0.01, 0.0, 0.01),)
    noise_KS *= len(differences) if len(noise_KS) == 1 else 1
    budgets = [
        Budget(1e12 * 4**i, sizes(12.2, 1.5 + each, noise_S), sizes(12.4, 1.5, [0.0] * len(noise_S)))
        for i, (each, noise_S) in enumerate(zip(differences, noise_KS, strict=True))
    ]
    return Trend(budgets, Bend(0.05, 0.0, 100.0), Bend(0.05, 0.0, 100.0))
