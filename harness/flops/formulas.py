"""FLOP formulas of operators that torch's counter misses: attention, mat-vec, grouped and integer products, fused encoders.

Up to torch 2.13 `FlopCounterMode` has no formula for the fused attention that runs on a CPU and silently counts it as 0
(pytorch issue 195460); no version counts matrix times vector, `grouped_mm`, `_int_mm`, or the fast path of
`nn.TransformerEncoderLayer`. Conventions are torch's: 1 multiply-add = 2 FLOPs, attention over the full square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

Formula = Callable[..., int]
Packet = OpOverloadPacket[..., Any]

# Forward operators of fused attention whose signature has `is_causal`.
FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


def attention_formulas(*, causal: bool) -> dict[Packet, Formula]:
    """Formulas of fused attention, forward and backward; `causal` counts only the lower triangle where the operator masks."""
    formulas: dict[Packet, Formula] = {}
    for name in FUSED_ATTENTION:
        for suffix, matmuls in (("", 2), ("_backward", 5)):  # the backward pass recomputes the scores
            packet = getattr(torch.ops.aten, name + suffix, None)
            if packet is not None:
                formulas[packet] = _attention(packet, matmuls, causal=causal)
    return formulas


def _attention(packet: Packet, matmuls: int, *, causal: bool) -> Formula:
    names = [argument.name for argument in packet.default._schema.arguments]  # noqa: SLF001  # no public way to a signature
    wanted = ("query", "key", "value", "is_causal")
    places: dict[str, int] = {name: names.index(name) for name in wanted if name in names}

    def formula(*args: object, out_val: object = None, **kwargs: object) -> int:  # noqa: ARG001  # the counter's calling convention
        def given(name: str) -> object:
            place = places[name]
            return args[place] if place < len(args) else kwargs.get(name)

        query, key, value = (cast("Tensor", given(name)) for name in ("query", "key", "value"))
        *_, q, width = query.shape
        k = key.shape[-2]
        pairs = sum(min(i + 1, k) for i in range(q)) if causal and given("is_causal") else q * k
        # Half of a pair's products have the keys' width, half the values'; of the backward pass's five, three the keys'.
        widths = width + value.shape[-1] if matmuls == 2 else 3 * width + 2 * value.shape[-1]
        return int(2 * query.shape[0] * query.shape[1] * pairs * widths)

    return _raw(formula)


def other_formulas() -> dict[Packet, Formula]:
    """Formulas of other products that torch's counter may miss."""
    table: dict[str, Formula] = {
        "mv": lambda a, _vector, **_: 2 * a.numel(),
        "addmv": lambda _bias, a, _vector, **_: 2 * a.numel(),
        "dot": lambda a, _b, **_: 2 * a.numel(),
        "vdot": lambda a, _b, **_: 2 * a.numel(),
        "addr": lambda _bias, a, b, **_: 2 * a.numel() * b.numel(),
        "_int_mm": _product,
        "_scaled_mm": _product,
        "_weight_int8pack_mm": lambda a, b, *_a, **_: 2 * a.shape[0] * a.shape[1] * b.shape[0],
        "_grouped_mm": _grouped,
        "_scaled_grouped_mm": _grouped,
        "_transformer_encoder_layer_fwd": _encoder_layer,
        "_native_multi_head_attention": _multi_head,
    }
    packets = {getattr(torch.ops.aten, name, None): formula for name, formula in table.items()}
    return {packet: _raw(_ints(formula)) for packet, formula in packets.items() if packet is not None}


def _product(a: Tensor, b: Tensor, *_scales: object, **_options: object) -> int:
    return 2 * a.shape[0] * a.shape[1] * b.shape[1]


def _grouped(a: Tensor, b: Tensor, *_offsets: object, **_options: object) -> int:
    """FLOPs of a grouped product, along rows, columns or the inner dimension: groups add up to the whole extents."""
    groups = a.shape[0] if a.ndim == b.ndim == 3 else 1
    return 2 * groups * a.shape[-2] * a.shape[-1] * b.shape[-1]


def _encoder_layer(src: Tensor, embed_dim: int, _heads: int, *args: object, **_options: object) -> int:
    tokens, length = src.numel() // embed_dim, src.shape[-2]
    weights = [arg for arg in args[:15] if isinstance(arg, Tensor) and arg.ndim == 2]  # a mask may follow
    return 2 * tokens * sum(weight.numel() for weight in weights) + 4 * tokens * length * embed_dim


def _multi_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    embed_dim: int,
    _heads: int,
    qkv: Tensor,
    _qkv_bias: object,
    out: Tensor,
    *_rest: object,
    **_options: object,
) -> int:
    tokens = q.numel() // embed_dim
    projected = 2 * (q.numel() + k.numel() + v.numel()) // 3 * int(qkv.numel() // embed_dim)
    return int(projected + 2 * tokens * out.numel() + 4 * tokens * k.shape[-2] * embed_dim)


def _ints(formula: Formula) -> Formula:
    def whole(*args: object, out_val: object = None, **kwargs: object) -> int:  # noqa: ARG001  # as above
        return int(formula(*args, **kwargs))

    return whole


def _raw(formula: Formula) -> Formula:
    formula._get_raw = True  # type: ignore[attr-defined]  # noqa: SLF001  # asks the counter for tensors, not shapes
    return formula
