"""Held-out loss of a trained language model: as trained, without the future, and by position.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.call.subject.check_causality import guard
from modbench.harness.core.errors import NumericsError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import Causality
from modbench.harness.planning.flops.user_router import routers_in

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.training.batches import Batch, Windows


# Stretches of the held-out text of which each has a loss of its own.
BLOCKS = 64


class Mean(NamedTuple):
    """A mean held-out loss, in nats per token.

    Attributes:
        loss: over all tokens.
        by_position: at each position of a window.
        by_block: of each of up to 64 stretches of the text, as even as windows allow.
    """

    loss: float
    by_position: list[float]
    by_block: list[float]


@dataclass(frozen=True)
class HeldOut:
    """Loss of a trained model on held-out text.

    Attributes:
        loss: nats per token, routed as while training.
        by_position: the same at each position of the window.
        by_block: of the routing by which the loss is judged, of each stretch of the text.
        causal: nats per token with routers that decide without the future; None where the model has none.
        causal_reason: why it is None.
        sees_future: whether top-k routing looked ahead, as the model's own file declares; None for a user's model.
        causality: what the validity check found when it changed later tokens.
        causal_causality: the same of the routing by which `causal` was measured; None where that is the one above.
    """

    loss: float
    by_position: list[float]
    causal: float | None
    causal_reason: str
    sees_future: bool | None
    causality: Causality
    causal_causality: Causality | None = None
    by_block: list[float] = field(default_factory=list)


def evaluate(subject: Subject, windows: Windows) -> HeldOut:
    """Measure held-out loss as trained, and without the future. Thresholds come from training text, never from held-out text."""
    case = subject.case
    subject.module.eval()
    set_progress(subject, 1.0)
    loss, by_position, by_block = mean_loss(subject, windows.val())
    inputs_BT = next(windows.val()).tokens_BT[:1].to(case.grid_point.device)
    vocabulary = min(case.config.vocab_size, windows.tokens.vocab_size)
    found = guard(subject.module, inputs_BT, vocabulary, subject.seed)
    if case.is_user_model:
        if subject.parts.accepts("forward", "causal"):
            return _of_own_router(
                subject, windows, HeldOut(loss, by_position, None, "", None, found), inputs_BT, vocabulary
            )
        reason = f"{Label.NOT_AUTOREGRESSIVE}: logits changed with later tokens; {why_not_causal(subject)}"
        if found.reads_future is None:
            reason = f"whether it reads later tokens could not be tested: {found.reason}"
        causal = loss if found.reads_future is False else None
        return HeldOut(loss, by_position, causal, reason, None, found, by_block=by_block)
    sees_future = case.facts.sees_future
    if case.facts.own_router and found.reads_future is False:
        sees_future = False  # nobody declares it for a user's router: what was measured counts
    if not case.facts.routes:  # nothing is routed differently in training and at decode
        return HeldOut(loss, by_position, loss, "", sees_future, found, by_block=by_block)
    why = why_not_causal(subject)
    if why:
        return HeldOut(loss, by_position, None, why, sees_future, found)
    calibrate(subject, windows.train(windows.run.steps).tokens_BT.to(case.grid_point.device))
    judged = mean_loss(subject, windows.val(), causal=True)
    return HeldOut(loss, by_position, judged.loss, "", sees_future, found, by_block=judged.by_block)


def _of_own_router(
    subject: Subject, windows: Windows, held_out: HeldOut, inputs_BT: Tensor, vocabulary: int
) -> HeldOut:
    """The same of a user's model, routed causally as it says; the validity check decides whether that is so."""
    calibrate(subject, windows.train(windows.run.steps).tokens_BT.to(subject.case.grid_point.device))
    found = guard(partial(subject.module, causal=True), inputs_BT, vocabulary, subject.seed)
    if found.reads_future:
        reason = f"{Label.NOT_AUTOREGRESSIVE}: logits of forward(causal=True) changed with later tokens"
        return replace(held_out, causal_reason=reason)
    if found.reads_future is None:
        return replace(held_out, causal_reason=f"whether forward(causal=True) reads later tokens: {found.reason}")
    judged = mean_loss(subject, windows.val(), causal=True)
    return replace(held_out, causal=judged.loss, causal_causality=found, by_block=judged.by_block)


def set_progress(subject: Subject, done: float) -> None:
    """Tell the model what share of training is done, if it wants to know."""
    if subject.parts.has("set_progress"):
        subject.language_model.set_progress(done)


def calibrate(subject: Subject, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
    """Let the model set the thresholds of its causal routing, if it has any."""
    if subject.parts.has("calibrate"):
        with torch.no_grad(), autocast_of(subject.case):
            subject.language_model.calibrate(tokens_BT, **subject.parts.given("calibrate", lengths_B=lengths_B))


def autocast_of(case: Case) -> torch.autocast:
    """The autocast of a case: bf16 over fp32 weights, or none."""
    return torch.autocast(case.grid_point.device, torch.bfloat16, enabled=case.grid_point.dtype == "bf16")


def why_not_causal(subject: Subject) -> str:
    """The reason why a model cannot route without the future; empty if it can."""
    if subject.case.is_user_model:
        return "" if subject.parts.accepts("forward", "causal") else subject.parts.lacks("forward(..., causal=True)")
    config, keys = subject.case.config, subject.case.facts.keys or ()
    if "router" in keys and config.router == "learned" and config.causal == "none":
        return "causal = 'none': no causal router"
    for router in routers_in(subject.module, own=subject.case.facts.own_router).values():
        if not router.has_causal_rule:
            return f"the router {config.router} has no causal rule: it defines no `selects`"
    return ""


def mean_loss(subject: Subject, batches: Iterable[Batch], *, causal: bool = False) -> Mean:
    """Mean loss, by position and by stretch of the text, whose windows are in order.

    Raises:
        NumericsError: if it is not finite.
    """
    device, sum_T = subject.case.grid_point.device, torch.zeros(())
    rows: list[float] = []
    with torch.no_grad(), autocast_of(subject.case):
        for batch in batches:
            here = batch.to(device)
            logits_BTV, _ = subject.logits(here.tokens_BT, causal=causal)
            loss_BT = F.cross_entropy(logits_BTV.float().flatten(0, 1), here.targets_BT.flatten(), reduction="none")
            loss_BT = loss_BT.view(here.tokens_BT.shape).double()
            sum_T = sum_T + loss_BT.sum(0).cpu()
            rows += loss_BT.mean(1).tolist()
    by_position = (sum_T / len(rows)).tolist()
    mean = sum(by_position) / len(by_position)
    if not math.isfinite(mean):
        raise NumericsError(f"held-out loss {mean} after training")
    blocks = np.array_split(rows, min(BLOCKS, len(rows)))
    return Mean(mean, by_position, [float(block.mean()) for block in blocks])
