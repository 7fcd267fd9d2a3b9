"""Whether a checkpoint is whole and agrees with itself: training starts again rather than go on from one that does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from modbench.harness.core.train_plan import TrainRun


def resumable(
    body: Mapping[str, Any], weights: Mapping[str, torch.Tensor], run: TrainRun, carried: Iterable[str]
) -> bool:
    """Whether training can go on from a checkpoint.

    Args:
        body: the checkpoint.
        weights: the model's own, by name.
        run: the training run.
        carried: names of the lists that looks collect.
    """
    step, model, kept, seconds = (body.get(name) for name in ("step", "model", "carried", "seconds"))
    generators, shapes = body.get("generators"), {name: _shape(each) for name, each in weights.items()}
    return (
        type(step) is int
        and 0 < step < run.steps
        and _is_curve(body.get("curve"), step, run.tokens_per_step)
        and isinstance(model, dict)
        and {name: _shape(each) for name, each in model.items()} == shapes
        and isinstance(body.get("optimizer"), dict)
        and isinstance(generators, dict)
        and isinstance(generators.get("cpu"), torch.Tensor)
        and isinstance(kept, dict)
        and kept.keys() == {*carried}
        and all(isinstance(values, list) for values in kept.values())
        and isinstance(seconds, dict)
        and _are_times([*seconds.values(), body.get("whole")])
    )


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _are_times(values: Iterable[object]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values)


def _is_curve(curve: object, step: int, tokens_per_step: int) -> bool:
    """Whether it has one row for each step made: a step of another number would train too little, or too much."""
    if not isinstance(curve, dict) or curve.keys() != {"step", "tokens", "loss", "wall_s"}:
        return False
    if not all(isinstance(values, list) and len(values) == step for values in curve.values()):
        return False
    tokens = [(i + 1) * tokens_per_step for i in range(step)]
    return curve["tokens"] == tokens and all(map(math.isfinite, curve["loss"])) and _are_times(curve["wall_s"])
