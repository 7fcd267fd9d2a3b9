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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)

# Operators of aten that compute much, beside those that the counter knows; whatever is not aten's is suspected too.
_HEAVY = {
    *(
        "mv",
        "addmv",
        "dot",
        "vdot",
        "addr",
        "_int_mm",
        "_grouped_mm",
        "_scaled_mm",
        "_scaled_grouped_mm",
        "_cdist_forward",
    ),
    *("mkldnn_rnn_layer", "_cudnn_rnn", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm", "gru", "rnn_tanh"),
    *("_transformer_encoder_layer_fwd", "_native_multi_head_attention", "_weight_int8pack_mm", "_weight_int4pack_mm"),
}


def count_forward(module: nn.Module, tokens_BT: Tensor, *, causal: bool = False) -> int:
    """FLOPs of one forward pass.

    Args:
        module: the model, on the device of `tokens_BT`; on meta nothing is computed.
        tokens_BT: input.
        causal: count fused attention with `is_causal` over the lower triangle instead of the full square.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_attention_formulas(causal=causal))
    module.eval()
    with torch.no_grad(), counter:
        module(tokens_BT)
    return int(counter.get_total_flops())


class _Seen(TorchDispatchMode):
    """Names of the operators that ran."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.packets: set[Any] = set()

    def __torch_dispatch__(  # torch's protocol
        self,
        func: Any,  # noqa: ANN401  # torch's protocol
        types: Any,  # noqa: ANN401  # torch's protocol
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the operator returns
        self.packets.add(func._overloadpacket)  # noqa: SLF001  # the key of the counter's registry
        return func(*args, **(kwargs or {}))


def uncounted(module: nn.Module, tokens_BT: Tensor) -> list[str]:
    """Operators of a forward pass that compute much and that the counter has no formula for: their zero is no fact."""
    seen = _Seen()
    with torch.no_grad(), seen:
        module(tokens_BT)
    known = {*flop_registry, *_attention_formulas(causal=False)}
    names = {str(packet) for packet in seen.packets if packet not in known}
    return sorted(name for name in names if not name.startswith(("aten.", "prim")) or name[5:] in _HEAVY)


def count_train(module: nn.Module, tokens_BT: Tensor) -> int:
    """FLOPs of forward and backward on the meta device (there attention's backward is exactly twice its forward)."""
    counter = FlopCounterMode(display=False)
    module.train()
    with counter:
        if getattr(module, "has_auxiliary", False):
            logits, auxiliary = module(tokens_BT, auxiliary=True)
        else:
            logits, auxiliary = module(tokens_BT), 0.0
        # Any scalar of the logits will do: what is counted is matrix products.
        (logits.float().square().mean() + auxiliary).backward()
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
