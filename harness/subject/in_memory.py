"""The guards of a run for callables in memory: settings that a call must leave, and what language models claim."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core import clocks
from modbench.harness.core.errors import in_short
from modbench.harness.core.labels import Label
from modbench.harness.timing.callables import LeftBehind

if TYPE_CHECKING:
    from torch import Tensor, nn


def settings() -> Callable[[], None]:
    """Note the clocks and torch's settings as they are; returns the check that a call left them so, which puts them back.

    The check raises `LeftBehind`. Torch is not loaded for it.
    """
    if "torch" not in sys.modules:
        here = clocks.in_place()

        def of_clocks() -> None:
            changed = clocks.restored(here)
            if changed:
                raise LeftBehind(f"changed the clock {' and '.join(changed)} for every call of the process.")

        return of_clocks
    from modbench.harness.subject import shared_state

    wanted = shared_state.as_now()

    def of_torch() -> None:
        try:
            shared_state.checked(wanted.threads, wanted)
        except RuntimeError as error:
            raise LeftBehind(f"cannot be compared: {error}.") from None

    return of_torch


def found(model: nn.Module, tokens_BT: Tensor) -> dict[Label, str]:
    """What the guards find of a language model that was timed, by label; calls it some more times.

    Args:
        model: a module in evaluation mode.
        tokens_BT: the tensor that it was timed on: integers [B, T], of which the guards can make another batch.
    """
    import torch

    from modbench.harness.flops import counter
    from modbench.harness.subject import output_caching_guard, skip_claims

    def flops(x_BT: Tensor) -> int:
        with output_caching_guard.same_draws(x_BT), torch.no_grad():
            return counter.count(torch.nn.Identity(), lambda: model(x_BT)).total

    said: dict[Label, str] = {}
    try:
        kept = output_caching_guard.kept(flops, [tokens_BT], int(tokens_BT.max()) + 1, None)
        masked = [claim for claim in skip_claims.claims(model, tokens_BT.clone()) if claim.masked]
    except Exception as error:  # noqa: BLE001  # its timed calls raised nothing: a guard asks more of it
        return {Label.UNCHECKED: f"{type(error).__name__}: {in_short(error)}"}
    if kept:
        said[Label.REUSES_OUTPUT] = kept
    if masked:
        said[Label.MASKS_COMPUTE] = masked[0].said
    return said
