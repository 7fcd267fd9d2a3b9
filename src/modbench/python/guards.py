"""The guards of a run, for callables in this process: what a call must leave as it was, and what its FLOPs do not tell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.harness.core import clocks
from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.labels import Label
from modbench.harness.timing.callables import LeftBehind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modbench.python.inputs import Inputs, Lent

WROTE = "wrote into its input, on which all calls are made: let it work on a copy, such as x.clone()."


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


def untouched(name: str, lent: Lent, *, closely: bool = True) -> None:
    """Check that a call did not write into its inputs.

    Args:
        name: what was called, for the message.
        lent: its inputs.
        closely: whether values are compared; else only where torch counted a write.

    Raises:
        UsageError: if it did.
    """
    if lent.written(closely=closely):
        raise UsageError(f"{name!r} {WROTE}")


def found(model: nn.Module, inputs: Inputs) -> dict[Label, str]:
    """What the guards find of a language model that was timed, by label; calls it some more times.

    Args:
        model: a module in evaluation mode.
        inputs: what it was timed on, a batch of tokens; on anything else the guards could make no other batch.
    """
    import torch

    from modbench.harness.flops import counter
    from modbench.harness.subject import claims, reuse
    from modbench.python.calls import plain

    tokens_BT = inputs.tokens
    if tokens_BT is None:
        return {}
    if plain(model) is not model:
        return {Label.UNCHECKED: "whether the timed calls were computed: compiled code is not seen by a counter"}

    def flops(x_BT: Tensor) -> int:
        with reuse.same_draws(x_BT), torch.no_grad():
            return counter.count(torch.nn.Identity(), lambda: model(x_BT)).total

    said: dict[Label, str] = {}
    try:
        kept = reuse.kept(flops, [tokens_BT], int(tokens_BT.max()) + 1, None)
        masked = [claim for claim in claims.claims(model, tokens_BT.clone()) if claim.masked]
    except Exception as error:  # noqa: BLE001  # its timed calls raised nothing: a guard asks more of it
        return {Label.UNCHECKED: f"{type(error).__name__}: {in_short(error)}"}
    if kept:
        said[Label.REUSES_OUTPUT] = kept
    if masked:
        said[Label.MASKS_COMPUTE] = masked[0].said
    return said
