"""Chosen tokens attend to one another alone, each at its own position."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen
from modbench.plugins.audit.routed import ALL_MOVED, Routed, largest, need

# Share of what a chosen token gets by which rounding may change it.
ROUNDING = 1e-4
# How many places a token is tried at. Results at two places count as equal below this share of the largest difference.
GRID_POINTS, SAME = 4, 0.01
OTHERS = {
    "compacted": "chosen tokens are numbered anew, not at their positions",
    "shared": "neighbouring places have one position",
}


def check(audited: Audited) -> Finding:
    """Change bypassed tokens before a routed block, the choice as it was; then move chosen ones to other positions."""
    routed = [each for each in need(audited) if each.bypasses and bool(each.chosen_BT.any())]
    if not routed:
        return unseen(ALL_MOVED)
    found = [_block(each) for each in routed]
    return next((each for each in found if each.verdict == "no"), found[0])


def _block(routed: Routed) -> Finding:
    x_BTD, chosen_BT = routed.call.x_BTD, routed.chosen_BT
    base = (routed.held(x_BTD) - x_BTD)[chosen_BT]
    draw = torch.Generator().manual_seed(0)
    noise_BTD = torch.randn(x_BTD.shape, generator=draw) * float(x_BTD.std())
    # Without pinned scores the change must be small, or others would be chosen.
    other_BTD = x_BTD + (1.0 if routed.candidates else 0.01) * noise_BTD * ~chosen_BT[..., None]
    found_BTD = routed.held(other_BTD)
    if not torch.equal((found_BTD != other_BTD).any(-1), chosen_BT):
        return unseen("its choice moves with bypassed tokens, and no router is seen that could be held")
    moved = largest((found_BTD - other_BTD)[chosen_BT], base)
    if moved > ROUNDING:
        share = Number(value=moved, kind="share")
        return deviates("bypassed tokens move what chosen ones get by {share}", "share", share=share)
    later = _later(routed)
    if later > ROUNDING:
        share = Number(value=later, kind="share")
        return deviates("later chosen tokens move what earlier ones get by {share}", "share", share=share)
    mixes = _mixes(routed)
    if not mixes:
        return unseen("its routed blocks mix no tokens, so nothing attends")
    positions = _positions(routed)
    facts = {"positions": positions}
    share = Number(value=moved, kind="share")
    if positions in OTHERS:
        one = Number(value=1.0, kind="share")
        return deviates(OTHERS[positions], "one", one=one, facts=facts)
    words = {
        "own": "to one another, at their own positions",
        "none": "to one another; its blocks know no positions",
        "": "to one another alone",
    }
    return holds(words[positions], "share", share=share, facts=facts)


def _later(routed: Routed) -> float:
    """By what share other content of the last chosen token of each row, its score as it was, moves what earlier ones gain."""
    x_BTD, chosen_BT = routed.call.x_BTD, routed.chosen_BT
    if not routed.candidates:
        return 0.0
    other_BTD, earlier_BT = x_BTD.clone(), chosen_BT.clone()
    for row, mask_T in enumerate(chosen_BT):
        places = torch.nonzero(mask_T).flatten()
        if len(places):
            other_BTD[row, places[-1]] = x_BTD[row, places[-1]].flip(-1)
            earlier_BT[row, places[-1]] = False
    base_BTD, found_BTD = (routed.held(each) for each in (x_BTD, other_BTD))
    return largest((found_BTD - other_BTD)[earlier_BT], (base_BTD - x_BTD)[earlier_BT])


def _mixes(routed: Routed) -> bool:
    """Whether a chosen token's gain depends on another chosen token of its row."""
    x_BTD, chosen_BT = routed.call.x_BTD, routed.chosen_BT
    other_BTD, last_BT = x_BTD.clone(), torch.zeros_like(chosen_BT)
    for row, mask_T in enumerate(chosen_BT):
        places = torch.nonzero(mask_T).flatten()
        if len(places) > 1:
            other_BTD[row, places[0]] = x_BTD[row, places[0]].flip(-1)
            last_BT[row, places[-1]] = True
    if not bool(last_BT.any()):
        return True
    base_BTD, found_BTD = (routed.held(each) for each in (x_BTD, other_BTD))
    return largest((found_BTD - other_BTD)[last_BT], (base_BTD - x_BTD)[last_BT]) > ROUNDING


def _positions(routed: Routed) -> str:
    """`own` positions, `compacted` or `shared` ones, `none`, or empty if that is not seen. The choice of a router is moved."""
    x_BTD = routed.call.x_BTD
    row, places, at, free = _widest(routed.chosen_BT)
    if not routed.candidates or not free:
        return ""
    last = places[-1]
    base = (routed.held(x_BTD) - x_BTD)[row, last]
    moved = [_exchanged(routed, row, at, place) for place in free[: GRID_POINTS - 1]]
    found = [base, *(each[row, last] for each in moved if each is not None)]
    if len(found) < 2:
        return ""
    apart = [float((one - other).abs().max()) for one, other in combinations(found, 2)]
    if max(apart) > ROUNDING * float(base.abs().max()):
        return "own" if min(apart) > SAME * max(apart) else "shared"
    # Two earlier chosen tokens change places: without positions the last one gets the same.
    swapped = _exchanged(routed, row, places[0], places[1])
    return "compacted" if swapped is not None and largest(swapped[row, last], base) > ROUNDING else "none"


def _widest(chosen_BT: Tensor) -> tuple[int, list[int], int, list[int]]:
    """The chosen token with the most free places between its chosen neighbours: gaps change there, the order stays.

    Returns:
        Its row, the chosen places of that row, its own and the free ones, the nearest first; never the last of a row.
    """
    widest: tuple[int, list[int], int, list[int]] = (0, [], 0, [])
    for row, mask_T in enumerate(chosen_BT):
        places = [int(place) for place in torch.nonzero(mask_T).flatten()]
        for number, at in enumerate(places[:-1] if len(places) > 2 else []):
            start = places[number - 1] + 1 if number else 0
            free = sorted({*range(start, places[number + 1])} - {at}, key=lambda place: abs(place - at))
            if len(free) > len(widest[3]):
                widest = (row, places, at, free)
    return widest


def _exchanged(routed: Routed, row: int, one: int, other: int) -> Tensor | None:
    """What tokens gain when two of a row change places, with their scores; None if the choice does not follow."""
    order = torch.arange(routed.chosen_BT.shape[1])
    order[one], order[other] = other, one
    x_BTD, wanted_BT = routed.call.x_BTD.clone(), routed.chosen_BT.clone()
    x_BTD[row], wanted_BT[row] = x_BTD[row, order], wanted_BT[row, order]

    scores = routed.scores

    def follow(number: int, score: Tensor) -> Tensor:
        by_token = scores[number].reshape(*wanted_BT.shape, -1).clone()
        by_token[row] = by_token[row, order]
        return by_token.reshape(score.shape)

    y_BTD = routed.scored(follow, x_BTD)
    return y_BTD - x_BTD if torch.equal((y_BTD != x_BTD).any(-1), wanted_BT) else None


PROBE = Probe("attention among chosen", check, order=118, of=("mod",))
