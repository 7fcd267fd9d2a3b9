"""torch's FLOP counter with the operators it misses: the executed second opinion beside the closed form.

Up to torch 2.13 `FlopCounterMode` has no formula for the fused attention that runs on a CPU and counts it as 0 without a
word (pytorch issue 195460). On the meta device attention decomposes into matrix products, which every version counts;
where real tensors run, the formulas below are registered for all fused kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


def count_forward(module: nn.Module, tokens_BT: Tensor, *, causal: bool = False) -> int:
    """FLOPs of one forward pass.

    Args:
        module: the model, on the device of `tokens_BT`; on meta nothing is computed.
        tokens_BT: input.
        causal: count fused attention with `is_causal` over the lower triangle instead of the full square.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_attention_formulas(causal=causal))
    with torch.no_grad(), counter:
        module(tokens_BT)
    return int(counter.get_total_flops())


def count_train(module: nn.Module, tokens_BT: Tensor) -> int:
    """FLOPs of forward and backward on the meta device (there attention's backward is exactly twice its forward)."""
    counter = FlopCounterMode(display=False)
    with counter:
        logits_BTV = module(tokens_BT)
        F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT.flatten()).backward()  # type: ignore[no-untyped-call]  # torch's own
    return int(counter.get_total_flops())


def _attention_formulas(*, causal: bool) -> dict[Any, Any]:
    packets = [getattr(torch.ops.aten, name) for name in _FUSED_ATTENTION if hasattr(torch.ops.aten, name)]
    return {packet: _attention_formula(packet, causal=causal) for packet in packets}


def _attention_formula(packet: Any, *, causal: bool) -> Callable[..., int]:  # noqa: ANN401  # an OpOverloadPacket
    names = [argument.name for argument in packet.default._schema.arguments]  # noqa: SLF001  # no public way to a signature
    place = names.index("is_causal")

    def formula(query: Tensor, key: Tensor, value: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:  # noqa: ANN401, ARG001  # the counter's calling convention
        rest = dict(zip(names[3:], args, strict=False)) | kwargs
        *_, q, width = query.shape
        k = key.shape[-2]
        pairs = sum(min(i + 1, k) for i in range(q)) if causal and rest.get(names[place]) else q * k
        heads = query.shape[0] * query.shape[1]
        return int(2 * heads * pairs * (width + value.shape[-1]))

    formula._get_raw = True  # type: ignore[attr-defined]  # noqa: SLF001  # asks the counter for tensors, not shapes
    return formula
