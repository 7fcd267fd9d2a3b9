"""Counts of the FLOPs of what ran, to compare with the closed form: by torch's counter, audited, and by fvcore.

Up to torch 2.13 `FlopCounterMode` has no formula for the fused attention that runs on a CPU and silently counts it as 0
(pytorch issue 195460); no version counts matrix times vector, `grouped_mm`, `_int_mm`, or the fast path of
`nn.TransformerEncoderLayer`. The formulas of these are here, in torch's conventions: 1 multiply-add = 2 FLOPs, attention over
the full square.
"""

from __future__ import annotations

import copy
import functools
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverloadPacket
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from modbench.harness.core.errors import in_short
from modbench.harness.flops.operators import Audit
from modbench.harness.process.torch_modes import Operator

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


@dataclass(frozen=True)
class Count:
    """FLOPs of one call, counted from the operators that ran.

    Attributes:
        total: all of them.
        modules: by module path (`blocks.0.attention`), its children included.
        operators: calls without a formula: `cheap` ones, 0 by convention, and `unknown` ones, which make this a lower bound.
    """

    total: int
    modules: dict[str, int]
    operators: dict[str, dict[str, int]]

    @property
    def unknown(self) -> list[str]:
        """Operators that may compute FLOPs but were counted as 0."""
        return sorted(self.operators["unknown"])


def count(module: nn.Module, call: Callable[[], object], *, causal: bool = False) -> Count:
    """Count the FLOPs of one call of a module.

    Args:
        module: gives the module paths.
        call: what is counted; on the meta device nothing is computed.
        causal: count fused attention that masks over the lower triangle instead of the full square.
    """
    formulas = _formulas(causal=causal)
    counter, audit = FlopCounterMode(display=False, custom_mapping=formulas), Audit()
    with audit, counter:
        call()
    root = type(module).__name__
    modules = {
        path.removeprefix(f"{root}."): int(sum(flops.values()))
        for path, flops in counter.get_flop_counts().items()
        if path.startswith(f"{root}.")
    }
    return Count(int(counter.get_total_flops()), modules, audit.without_formula({*flop_registry, *formulas}))


def formula_of(operator: Operator) -> Formula | None:
    """The formula of an operator's FLOPs, called with its arguments and `out_val`; None if it has none."""
    packet = operator.overloadpacket
    return _formulas(causal=False).get(packet) or flop_registry.get(packet)


@functools.cache
def _formulas(*, causal: bool) -> dict[Packet, Formula]:
    missing = {packet: formula for packet, formula in other_formulas().items() if packet not in flop_registry}
    return attention_formulas(causal=causal) | missing


def forward(module: nn.Module, tokens_BT: Tensor, *, causal: bool = False) -> Count:
    """Count one forward pass of a language model in evaluation mode, without gradients."""
    module.eval()
    with torch.no_grad():
        return count(module, lambda: module(tokens_BT), causal=causal)


def both(module: nn.Module, tokens_BT: Tensor) -> tuple[Count, int]:
    """Count one forward pass of a language model in evaluation mode, and the same call with causal attention."""
    return with_causal(lambda: forward(module, tokens_BT))


def with_causal(counting: Callable[[], Count]) -> tuple[Count, int]:
    """What `counting` counts, and the FLOPs of the same calls with causal attention."""
    whole = FlopCounterMode(display=False, custom_mapping=_formulas(causal=True))
    with whole:
        found = counting()
    return found, int(whole.get_total_flops())


def train(module: nn.Module, tokens_BT: Tensor, loss: Callable[[Tensor], Tensor] | None = None) -> Count:
    """Count forward and backward, of a `loss` of the tokens if that is given.

    On the meta device attention's backward is twice its forward; fused, it is 2.5 times.
    """

    def call() -> None:
        if loss is not None:
            loss(tokens_BT).backward()
            return
        if getattr(module, "has_auxiliary", False):
            logits, auxiliary = module(tokens_BT, auxiliary=True)
        else:
            logits, auxiliary = module(tokens_BT), 0.0
        # Any scalar of the logits will do: only matrix products count.
        (logits.float().square().mean() + auxiliary).backward()

    module.train()
    return count(module, call)


# Operators that count: by our convention norms and softmax are 0, though fvcore counts some of them.
_PRODUCTS = {"linear", "matmul", "bmm", "baddbmm", "addmm", "mm", "einsum", "conv", "scaled_dot_product_attention"}


def by_fvcore(module: nn.Module, tokens_BT: Tensor) -> tuple[dict[str, int] | None, str | None]:
    """FLOPs of a forward pass by module path ("" is the whole model): fvcore's multiply-adds, doubled; or None and the reason.

    It is loaded late (1.6 s, and TorchScript's warnings). It has had no release since 2022: it may not import, or its trace fail.

    Args:
        module: on any device, meta included; a copy is traced, since a failing trace leaves hooks behind.
        tokens_BT: input; a model whose path depends on it is traced on this one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from fvcore.nn import FlopCountAnalysis

            logging.getLogger("fvcore").setLevel(logging.ERROR)  # its list of uncounted cheap operators
            with torch.no_grad():
                analysis = FlopCountAnalysis(copy.deepcopy(module).eval(), tokens_BT)
                analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
                analysis.set_op_handle("aten::scaled_dot_product_attention", _fvcore_attention)
                found = analysis.by_module_and_operator()
        except Exception as error:  # noqa: BLE001  # an import or a trace may fail in any way; its message is the reason
            return None, f"fvcore failed: {type(error).__name__}: {in_short(error, 120)}"
    return {path: round(2 * sum(macs.get(name, 0) for name in _PRODUCTS)) for path, macs in found.items()}, None


def _fvcore_attention(inputs: list[Any], _outputs: list[Any]) -> int:
    from fvcore.nn.jit_handles import get_shape

    (b, h, q, d), (_, _, k, _), (*_, v) = (get_shape(tensor) for tensor in inputs[:3])
    return int(b * h * q * k * (d + v))
