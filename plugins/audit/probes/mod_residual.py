"""A chosen token becomes x + r·f(x), linear in its own score r."""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen
from modbench.plugins.audit.routed import ALL_MOVED, NO_ROUTER, Routed, largest, need, real_scores

# Share of what a chosen token gets by which rounding may change it.
ROUNDING = 1e-3
# Factors and shifts of scores at which what is weighed comes to nothing, or to all: near 0, and beyond both ends of a sigmoid.
LIMITS = ((1e-4, 0.0), (1.0, -30.0), (1.0, 30.0))
PART = "{share} of what a chosen token gets is not weighed by r"


def check(audited: Audited) -> Finding:
    """Scale the scores of a block's router: what a chosen token gets must scale with them."""
    with audited.held_draws():
        routed = [each for each in need(audited, held=True) if each.bypasses]
        if not routed:
            return unseen(ALL_MOVED)
        found = [_block(each) for each in routed]
    return next((each for each in found if each.verdict == "no"), found[0])


def _block(routed: Routed) -> Finding:
    if not routed.candidates:
        return unseen(NO_ROUTER)
    gained = [_gained(routed, factor) for factor in (1.0, 2.0, 0.5)]
    once, twice, half = gained
    if once is None or twice is None or half is None:
        return unseen("scaling the router's scores changes its choice")
    if largest(twice, once) <= ROUNDING:
        return deviates(PART, "share", share=Number(value=1.0, kind="share"), facts={"form": "not weighed"})
    others = _moves_others(routed)
    if others is not None and others > ROUNDING:
        words = "another score moves it {share}: normalised over the chosen"
        return deviates(words, "share", share=Number(value=others, kind="share"), facts={"form": "normalised"})
    return _line(routed, once, twice, half)


def _gained(routed: Routed, factor: float, shift: float = 0.0) -> Tensor | None:
    """What chosen tokens get where all scores are scaled and shifted; None if others are chosen then."""
    chosen_BT, x_BTD = routed.chosen_BT, routed.call.x_BTD
    y_BTD = routed.scored(lambda _number, score: factor * score + shift)
    moved_BT = (y_BTD != x_BTD).any(-1)
    # Where the weight is so small that nothing is added, no token moves.
    known = torch.equal(moved_BT, chosen_BT) or (bool(shift) and not bool(moved_BT.any()))
    return (y_BTD - x_BTD)[chosen_BT].double() if known else None


def _line(routed: Routed, once: Tensor, twice: Tensor, half: Tensor) -> Finding:
    """Whether what is gained lies on a line through 0 over the factor of the scores."""
    slope = twice - once
    fixed = once - slope
    if largest(half, fixed + 0.5 * slope) > ROUNDING:
        if (part := _not_weighed(routed)) is not None:
            return deviates(PART, "share", share=Number(value=part, kind="share"), facts={"form": "part, bent"})
        share = Number(value=largest(twice, 2 * once), kind="share")
        return deviates("not linear in r: {share} off at twice the score", "share", share=share, facts={"form": "bent"})
    apart = Number(value=float(fixed.abs().max()) / max(float(once.abs().max()), 1e-30), kind="share")
    if apart.value <= ROUNDING:
        return holds("x + r·f(x), linear in r", "apart", apart=apart)
    if largest(-fixed, routed.call.x_BTD[routed.chosen_BT].double()) <= 10 * ROUNDING:
        times = Number(value=float(fixed.norm() / once.norm()), kind="ratio")
        return deviates("r·(x + f(x)): the residual is weighed too", "times", times=times, facts={"form": "r(x + f)"})
    share = Number(value=float(fixed.norm() / (fixed.norm() + slope.norm())), kind="share")
    return deviates(PART, "share", share=share, facts={"form": "part"})


def _not_weighed(routed: Routed) -> float | None:
    """Share of what a chosen token gets that no score takes away, without the stream, which `mod_stream` looks at.

    Scores are driven to limits at which the usual weights, such as a sigmoid, are 0 or 1. None: at one of them nothing is left,
    or every limit changes the choice.
    """
    x_ND = routed.call.x_BTD[routed.chosen_BT].double()
    limits = [_gained(routed, factor, shift) for factor, shift in LIMITS]
    left = [_without_stream(each, x_ND) for each in limits if each is not None]
    once = _gained(routed, 1.0)
    if not left or once is None:
        return None
    fixed = min(left, key=lambda each: float(each.norm()))
    if float(fixed.abs().max()) <= 10 * ROUNDING * float(once.abs().max()):
        return None
    weighed = max(float((each - fixed).norm()) for each in left)
    return float(fixed.norm()) / (float(fixed.norm()) + weighed)


def _without_stream(gained_ND: Tensor, x_ND: Tensor) -> Tensor:
    """What is gained without a whole multiple of the stream."""
    times = round(float((gained_ND * x_ND).sum() / x_ND.square().sum()))
    return gained_ND - times * x_ND


def _moves_others(routed: Routed) -> float | None:
    """By what share other chosen tokens' gain changes when the first row's best score rises; None if the choice changes."""
    chosen_BT, x_BTD = routed.chosen_BT, routed.call.x_BTD
    t = chosen_BT.shape[1]
    router = routed.candidates[0]
    score_BT = real_scores(routed.scores[router]).view(chosen_BT.shape)
    row = int(chosen_BT.sum(-1).argmax())
    if int(chosen_BT[row].sum()) < 2:
        return None
    best = int(score_BT[row].masked_fill(~chosen_BT[row], -torch.inf).argmax())

    def raise_best(number: int, score: Tensor) -> Tensor:
        if number != router:
            return score
        flat = score.view(-1, score.shape[-1]) if score.shape[-1] <= 2 else score.view(-1, 1)
        flat[row * t + best, -1] += 1.0
        return score

    y_BTD, base_BTD = routed.scored(raise_best), routed.held(x_BTD)
    if not torch.equal((y_BTD != x_BTD).any(-1), chosen_BT):
        return None
    others_T = chosen_BT[row].clone()
    others_T[best] = False
    return largest((y_BTD - x_BTD)[row][others_T], (base_BTD - x_BTD)[row][others_T])


PROBE = Probe("x + r·f(x)", check, order=114, of=("mod",))
