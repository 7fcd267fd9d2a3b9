"""One observed forward pass: logits and the decisions of every router (`harness/core/language_model.py`)."""

from __future__ import annotations

from torch import Tensor, nn

from modbench.harness.core.language_model import Observation


def observe(module: nn.Module, tokens_BT: Tensor, **how: Tensor | bool) -> Observation:
    """One forward pass of a module that has `observe`.

    Args:
        module: with `observe(tokens_BT, lengths_B=None, *, causal=..., prompt_B=..., flip_LBT=...)`.
        tokens_BT: int64.
        how: keywords of `observe`.

    Raises:
        ValueError: if the module cannot route as it is asked to.
    """
    found: Observation = module.observe(tokens_BT, **how)  # type: ignore[operator]  # a method, to torch a tensor or a module
    return found
