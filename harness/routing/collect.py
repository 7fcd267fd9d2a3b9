"""Run held-out windows through a module, and collect losses, entropies and decisions as numpy arrays.

Shapes: B rows of a batch, N windows, T positions, L routed layers, E experts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.language_model import Decision, Observation
from modbench.harness.routing.decisions import observe
from modbench.harness.routing.ngram import Array

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
