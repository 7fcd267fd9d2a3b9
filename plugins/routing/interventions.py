"""Test whether the gate's scores predict worth: reverse single decisions, and measure what each does to the loss.

Shapes: N windows, T positions, m rows of one window, L blocks, n flips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modbench.extend import parts_of
from modbench.plugins.routing.collect import ROWS, device_of, loss_and_entropy, observe, undisturbed
from modbench.plugins.routing.ngram import Array
from modbench.plugins.routing.rank_correlation import rank_correlation
from modbench.plugins.routing.tally import plain, ratio

WINDOWS = 16
NOTHING_TO_FLIP = "no router here decides on single tokens: there is no decision to reverse"
COLUMNS = ("window", "layer", "position", "passed", "score", "effect", "later")


def flip_effects(
    module: nn.Module,
    inputs_NT: Tensor,
    targets_NT: Tensor,
    number: int = 256,
    seed: int = 0,
) -> dict[str, Any]:
    """Reverse sampled decisions, one at a time, and compare the router's score with what each pass is worth.

    effect = loss without the token's pass - loss with it, in nats, mean over the window: positive where passing helps,
    whichever way the router had decided. A good gate scores high where the effect is large: rank correlation > 0.

    Routed by top-k as in training. Later blocks choose anew after a flip; half of the flips take a token that
    passed, half one that did not, so that `all` is a correlation under that design, not under the capacity. Always in the
    weights' own precision: the effect of one token is lost in the rounding of bf16.

    Args:
        module: with `observe`; left as it was.
        inputs_NT: int64 windows; up to 16 of them are used.
        targets_NT: the token after each.
        number: flips in all.
        seed: chooses windows and positions.

    Returns:
        `reason` (None, or why all else is None), `number`, `windows`, `unit`, `flips` (columns `window`,
        `layer`, `position`, `passed` as the router had decided, `score`, `effect`, and `later`: the same of the mean loss
        from the position on), `correlation` and `correlation_later` (by `all`, `passed`, `skipped`: `rho`, `low`, `high`, a
        bootstrap over windows, `n`, `windows`, `reason`; ranks are taken within a layer), `by_layer` (`layer`, and the same
        three), `worth` (by side the mean effect and its standard error between windows: `effect`, `effect_se`).

    Raises:
        ValueError: if no flip is requested, or there are no windows.
    """
    if number < 1 or inputs_NT.ndim != 2 or not inputs_NT.numel():
        raise ValueError(
            f"{number} flips of windows {list(inputs_NT.shape)}: there must be at least one flip of one window"
        )
    parts = parts_of(module, type(module).__name__)
    if not parts.accepts("observe", "flip_LBT"):
        return dict.fromkeys(KEYS) | {"reason": parts.lacks("observe(..., flip_LBT=…)")}
    rng = np.random.default_rng(seed)
    device = device_of(module)
    windows = np.sort(rng.permutation(len(inputs_NT))[: min(WINDOWS, number)])
    rows: list[tuple[float, ...]] = []
    with undisturbed(module), torch.autocast(device.type, enabled=False):
        for i, window in enumerate(windows):
            flips = number // len(windows) + (i < number % len(windows))
            one = (inputs_NT[window].to(device), targets_NT[window].to(device))
            used: set[tuple[int, int]] = set()
            for start in range(0, flips, ROWS):
                m = min(ROWS, flips - start)
                found = _flip(module, *one, m, len(rows), used, rng)
                if found is None:
                    return dict.fromkeys(KEYS) | {"reason": NOTHING_TO_FLIP}
                rows += [(int(window), *row) for row in found]
    return plain(_summarised(dict(zip(COLUMNS, map(np.array, zip(*rows, strict=True)), strict=True)), seed))


KEYS = ("reason", "number", "windows", "unit", "flips", "correlation", "correlation_later", "by_layer", "worth")


def _flip(
    module: nn.Module,
    inputs_T: Tensor,
    targets_T: Tensor,
    m: int,
    done: int,
    used: set[tuple[int, int]],
    rng: np.random.Generator,
) -> list[tuple[float, ...]] | None:
    """Make m flips of one window in one call. The rows are also run unflipped: a router's noise may differ between rows."""
    inputs_mT, targets_mT = inputs_T.expand(m, -1).contiguous(), targets_T.expand(m, -1)
    before = observe(module, inputs_mT)
    routers = {each.layer: each for each in before.decisions if each.taken_BET is None}
    if not routers:
        return None
    layers = sorted(routers)
    flip_LmT = torch.zeros(layers[-1] + 1, *inputs_mT.shape, dtype=torch.bool, device=inputs_mT.device)
    picked = []
    for row in range(m):
        side, turn = (done + row) % 2, (done + row) // 2
        layer = layers[turn % len(layers)]
        chosen_T = routers[layer].chosen_BT[row].cpu().numpy()
        position = _pick(chosen_T, bool(side), {place for other, place in used if other == layer}, rng)
        used.add((layer, position))
        flip_LmT[layer, row, position] = True
        score = float(routers[layer].score_BT[row, position])
        picked.append((layer, position, bool(chosen_T[position]), score))
    after = observe(module, inputs_mT, flip_LBT=flip_LmT)
    # Per token in float32, summed in float64: the mean changes by thousandths.
    change_mT = (
        loss_and_entropy(after.logits, targets_mT)[0].double() - loss_and_entropy(before.logits, targets_mT)[0].double()
    )
    found: list[tuple[float, ...]] = []
    for row, (layer, position, passed, score) in enumerate(picked):
        sign = 1 if passed else -1
        effects = (float(change_mT[row].mean()), float(change_mT[row, position:].mean()))
        found.append((layer, position, passed, score, *(sign * effect for effect in effects)))
    return found


def _pick(chosen_T: Array, side: bool, used: set[int], rng: np.random.Generator) -> int:  # noqa: FBT001  # a value, not a switch
    """Pick a position on the wanted side that was not used before, if there is one."""
    fresh_T = np.ones(len(chosen_T), dtype=bool)
    fresh_T[list(used)] = False
    wanted = ((chosen_T == side) & fresh_T, chosen_T == side, fresh_T, np.ones_like(fresh_T))
    return int(rng.choice(np.flatnonzero(next(mask for mask in wanted if mask.any()))))


def _summarised(table: dict[str, Array], seed: int) -> dict[str, Any]:
    passed_n = table["passed"].astype(bool)
    masks = {"all": np.ones_like(passed_n), "passed": passed_n, "skipped": ~passed_n}

    def by_side(effect: str, inside_n: Array) -> dict[str, Any]:
        found = {}
        for side, mask_n in masks.items():
            x, y, layer, window = (table[name][mask_n & inside_n] for name in ("score", effect, "layer", "window"))
            found[side] = rank_correlation(x, y, layer, window, seed).as_dict()
        return found

    layers = sorted(set(table["layer"].tolist()))
    every = masks["all"]
    return {
        "reason": None,
        "number": len(passed_n),
        "windows": len(set(table["window"].tolist())),
        "unit": "nat",
        "flips": {name: column.tolist() for name, column in table.items()},
        "correlation": by_side("effect", every),
        "correlation_later": by_side("later", every),
        "by_layer": [{"layer": int(layer), **by_side("effect", table["layer"] == layer)} for layer in layers],
        "worth": {side: _worth(table, mask) for side, mask in masks.items()},
    }


def _worth(table: dict[str, Array], mask_n: Array) -> dict[str, float | None]:
    """Mean effect, with windows as the unit of evidence."""
    _, at_n = np.unique(table["window"], return_inverse=True)
    sums_N = np.bincount(at_n, weights=table["effect"] * mask_n)
    mean, se = ratio(sums_N, np.bincount(at_n, weights=mask_n))
    return {"effect": mean, "effect_se": se}
