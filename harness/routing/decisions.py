"""One observed forward pass: logits and the decisions of every router, of the catalogue's models and of users' alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from modbench.harness.core.language_model import Decision, Observation
from modbench.harness.core.protocols import PAGE, parts_of

FIELDS = tuple(field.name for field in fields(Decision))
# What a module may ignore: it reads the prompt by a rule of its own. To route otherwise than asked would be a wrong answer.
MAY_IGNORE = frozenset({"lengths_B", "prompt_B"})
# Rows and tokens on which `observe` is compared with `forward`, and nats by which rounding may change a log-probability.
CHECKED, TOLERANCE = (2, 256), {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.1, torch.float16: 0.02}


def observe(module: nn.Module, tokens_BT: Tensor, **how: Tensor | bool) -> Observation:
    """One forward pass of a module that has `observe` (`harness/core/protocols.py`).

    Args:
        module: with `observe(tokens_BT, ...)`.
        tokens_BT: int64.
        how: optional arguments: `lengths_B`, `causal`, `prompt_B`, `flip_LBT`. Without effect, they are left out.

    Raises:
        ValueError: if the module cannot route as it is asked to, or returns something else than logits and decisions.
        TypeError: if something else stands among the decisions.
    """
    parts = parts_of(module, type(module).__name__)
    wanted = {name: value for name, value in how.items() if value is not False}
    unknown = [name for name in wanted if not parts.accepts("observe", name) and name not in MAY_IGNORE]
    if unknown:
        raise ValueError(parts.lacks(f"observe(..., {unknown[0]}=…)"))
    found = cast("Any", module).observe(tokens_BT, **parts.given("observe", **wanted))
    if isinstance(found, Observation):
        return found
    if not isinstance(found, tuple) or len(found) not in {2, 3} or not isinstance(found[0], Tensor):
        raise ValueError(
            f"{parts.name}: observe must return (logits, decisions); it returned {type(found).__name__} ({PAGE})"
        )
    decisions = [_decision(each, tokens_BT, parts.name) for each in found[1]]
    return Observation(found[0], decisions, found[2] if len(found) == 3 else None)


def why_not_watched(module: nn.Module, tokens_BT: Tensor, name: str) -> str:
    """Why a user's model cannot be watched: what it lacks, or what is wrong with it; empty if it can.

    Args:
        module: in evaluation mode.
        tokens_BT: some tokens.
        name: what to call it.
    """
    parts = parts_of(module, name)
    if not parts.has("observe"):
        return parts.lacks("observe")
    rows, tokens = CHECKED
    x_BT = tokens_BT[:rows, :tokens]
    try:
        found, logits = observe(module, x_BT), module(x_BT)
    except Exception as error:  # noqa: BLE001  # a user's model may raise anything; training goes on without it
        return f"not reported: observe of {name} raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if found.logits.shape != logits.shape:
        return (
            f"not reported: observe of {name} returned logits {list(found.logits.shape)}, forward {list(logits.shape)}"
        )
    apart = float((found.logits.float().log_softmax(-1) - logits.float().log_softmax(-1)).abs().max())
    if not apart <= TOLERANCE.get(logits.dtype, TOLERANCE[torch.float32]):
        return f"not reported: log-probabilities of observe of {name} differ from those of forward by up to {apart:.2g} nats"
    return ""


def _decision(given: Decision | Mapping[str, Any], tokens_BT: Tensor, name: str) -> Decision:
    """Check one decision of a user's model.

    Raises:
        TypeError: if it is no decision at all.
        ValueError: naming the field that is missing or of another shape.
    """
    if isinstance(given, Decision):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{name}: a decision is a dict with {', '.join(FIELDS[:3])}; this is {type(given).__name__} ({PAGE})"
        )
    unknown = [key for key in given if key not in FIELDS]
    missing = [key for key in FIELDS[:3] if key not in given]
    if unknown or missing:
        wrong = f"has no {missing[0]!r}" if missing else f"has {unknown[0]!r}, which is none of {', '.join(FIELDS)}"
        raise ValueError(f"{name}: a decision {wrong} ({PAGE})")
    for key in ("score_BT", "chosen_BT", "weight_BT", "predicted_BT"):
        value = given.get(key)
        if value is not None and (not isinstance(value, Tensor) or value.shape != tokens_BT.shape):
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: {key} of a decision must be {list(tokens_BT.shape)}; it is {got} ({PAGE})")
    booleans = {key: given[key].bool() for key in ("chosen_BT", "predicted_BT") if given.get(key) is not None}
    return Decision(**{**given, "layer": int(given["layer"]), "score_BT": given["score_BT"].float(), **booleans})
