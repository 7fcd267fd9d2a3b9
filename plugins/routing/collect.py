"""Run held-out sequences through a module, and collect losses, entropies and decisions as numpy arrays.

Shapes: B rows of a batch, N windows, T positions, L routed layers, E experts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.extend import PAGE, Decision, Observation, parts_of
from modbench.plugins.routing.ngram import Array

FIELDS = tuple(field.name for field in fields(Decision))
# What a module may ignore: it reads the prompt by a rule of its own. To route otherwise than asked would be a wrong answer.
MAY_IGNORE = frozenset({"lengths_B", "prompt_B"})
# Rows and tokens on which `observe` is compared with `forward`, and nats by which rounding may change a log-probability.
CHECKED, TOLERANCE = (2, 256), {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.1, torch.float16: 0.02}


def observe(module: nn.Module, tokens_BT: Tensor, **how: Tensor | bool) -> Observation:
    """One forward pass of a module that has `observe` (`harness/core/model_methods.py`).

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


ROWS = 8


@dataclass(frozen=True)
class Load:
    """Load of the experts of one layer.

    Attributes:
        taken_E: tokens that each expert took.
        tokens: tokens that reached the layer.
        none: tokens that no real expert took: they preferred a no-op, or were dropped.
        choices: choices of all these tokens among experts and no-ops; 0 where tokens do not choose.
    """

    taken_E: Array
    tokens: int
    none: int
    choices: int = 0


@dataclass(frozen=True)
class Watched:
    """Results on N windows.

    Attributes:
        loss_NT: nats.
        entropy_NT: nats, of the model's distribution of the next token.
        layers: blocks that route tokens, by a router before the block or to their experts.
        chosen_LNT: whether the token passed (experts: whether one took it).
        score_LNT: the score that decided.
        weight_LNT: the factor on the block's output; None where there is none.
        predicted_LNT: the causal rule's decision on the same input; None where there is none.
        experts: load by layer.
        depth_N: blocks that each window ran, if a gate chose for the whole input; else None.
    """

    loss_NT: Array
    entropy_NT: Array
    layers: tuple[int, ...]
    chosen_LNT: Array
    score_LNT: Array
    weight_LNT: Array | None
    predicted_LNT: Array | None
    experts: dict[int, Load]
    depth_N: Array | None


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores modes and random numbers afterwards, so that training is unaffected."""
    modes = [(each, each.training) for each in module.modules()]
    device = device_of(module)
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for each, training in modes:
            each.training = training


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def loss_and_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and entropy [B, T] in nats, in float32; computed row by row, since vocabularies can be large."""
    losses, entropies = [], []
    for logits_TV, targets_T in zip(logits_BTV, targets_BT, strict=True):
        log_p_TV = logits_TV.float().log_softmax(-1)
        losses.append(F.nll_loss(log_p_TV, targets_T, reduction="none"))
        entropies.append(-(log_p_TV.exp() * log_p_TV.clamp(min=-1e9)).sum(-1))  # 0·inf would be NaN
    return torch.stack(losses), torch.stack(entropies)


def watch(module: nn.Module, inputs_NT: Tensor, targets_NT: Tensor, *, causal: bool = False) -> Watched:
    """Run all windows, a few rows at a time.

    Raises:
        ValueError: if the module cannot route causally and is asked to, or there are no windows, or a target is
            missing.
    """
    device = device_of(module)
    if inputs_NT.ndim != 2 or inputs_NT.shape != targets_NT.shape or not inputs_NT.numel():
        raise ValueError(
            f"windows [N, T] and as many targets; got {list(inputs_NT.shape)} and {list(targets_NT.shape)}"
        )
    if int(targets_NT.min()) < 0:
        raise ValueError(f"every target must be a token; one is {int(targets_NT.min())}")
    losses, entropies, seen = [], [], []
    with undisturbed(module):
        for inputs_BT, targets_BT in zip(inputs_NT.split(ROWS), targets_NT.split(ROWS), strict=True):
            found = observe(module, inputs_BT.to(device), causal=causal)
            loss_BT, entropy_BT = loss_and_entropy(found.logits, targets_BT.to(device))
            losses.append(loss_BT.double().cpu().numpy())
            entropies.append(entropy_BT.double().cpu().numpy())
            # Of logits only their number is used below; kept, they could fill the memory that training needs.
            seen.append(found._replace(logits=found.logits.new_empty(len(found.logits), 0)))
    gates = _gates(seen[0].decisions)
    layers = tuple(gates)
    places = [[_gates(each.decisions)[layer] for each in seen] for layer in layers]
    return Watched(
        np.concatenate(losses),
        np.concatenate(entropies),
        layers,
        _stacked(places, "chosen_BT", inputs_NT.shape, bool),
        _stacked(places, "score_BT", inputs_NT.shape, np.float64),
        None if _lacks(places, "weight_BT") else _stacked(places, "weight_BT", inputs_NT.shape, np.float64),
        None if _lacks(places, "predicted_BT") else _stacked(places, "predicted_BT", inputs_NT.shape, bool),
        _loads([decision for each in seen for decision in each.decisions]),
        _depths(module, inputs_NT, seen, device),
    )


def _gates(decisions: Sequence[Decision]) -> dict[int, Decision]:
    """The decision that routes tokens, by layer: the token router's, or the experts' where there is no router before them."""
    routers = {decision.layer: decision for decision in decisions if decision.taken_BET is None}
    return {decision.layer: routers.get(decision.layer, decision) for decision in decisions}


def _lacks(places: list[list[Decision]], name: str) -> bool:
    return not places or any(getattr(each, name) is None for batches in places for each in batches)


def _stacked(places: list[list[Decision]], name: str, shape: torch.Size, dtype: npt.DTypeLike) -> Array:
    layers = [torch.cat([getattr(each, name).cpu() for each in batches]).numpy().astype(dtype) for batches in places]
    return np.stack(layers) if layers else np.zeros((0, *shape), dtype=dtype)


def _loads(decisions: Sequence[Decision]) -> dict[int, Load]:
    loads: dict[int, Load] = {}
    for decision in decisions:
        if decision.taken_BET is not None:
            taken_E = decision.taken_BET.sum((0, 2)).cpu().numpy()
            tokens, none = decision.chosen_BT.numel(), int((~decision.chosen_BT).sum())
            old = loads.get(decision.layer, Load(np.zeros_like(taken_E), 0, 0))
            choices = old.choices + tokens * (decision.choices or 0)
            loads[decision.layer] = Load(old.taken_E + taken_E, old.tokens + tokens, old.none + none, choices)
    return loads


def _depths(module: nn.Module, inputs_NT: Tensor, seen: list[Observation], device: torch.device) -> Array | None:
    """Blocks that each window ran, if that is what the module reports: some report what each block computed."""
    depths = [each.depth_B for each in seen if each.depth_B is not None]
    if len(depths) < len(seen):
        return None
    with undisturbed(module):
        alone = observe(module, inputs_NT[:1].to(device)).depth_B
    per_row = alone is not None and len(alone) == 1
    per_row = per_row and all(len(depth_B) == len(each.logits) for depth_B, each in zip(depths, seen, strict=True))
    return np.concatenate(depths) if per_row else None
