"""Counts of the FLOPs of what ran, to compare with the closed form: by torch's counter, audited, and by fvcore.

Up to torch 2.13 `FlopCounterMode` has no formula for the fused attention that runs on a CPU and silently counts it as 0
(pytorch issue 195460); no version counts matrix times vector, `grouped_mm`, `_int_mm`, or the fast path of
`nn.TransformerEncoderLayer`. The formulas of these are here, in torch's conventions: 1 multiply-add = 2 FLOPs, attention over
the full square.

The audit classifies every operator that ran by what its 0 means, so that no zero is silent. `counted`: it has a formula. `cheap`:
0 by convention, since it computes no products over an inner dimension (elementwise, reductions, copies, look-ups, sorting).
`unknown`: everything else, custom operators above all: if one ran, the count is reported as a lower bound.

Closed form, torch's counter and doubled fvcore are compared module by module: an unexplained difference fails a case.
"""

from __future__ import annotations

import copy
import functools
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverloadPacket
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from modbench.harness.core.contracts import Cost
from modbench.harness.core.errors import in_short
from modbench.harness.core.units import percent
from modbench.harness.domain.notes import WHOLE
from modbench.harness.machine.process.torch_modes import Operator, OperatorMode, makes_a_view, name_of

# Cheap operators of aten that torch's own tags (pointwise, reduction, view) do not cover.
_CHEAP = {
    *("_local_scalar_dense", "_log_softmax", "_log_softmax_backward_data", "_softmax", "_softmax_backward_data"),
    *("_to_copy", "_unsafe_view", "_reshape_alias", "any", "all", "argmax", "argmin", "max", "min", "amax", "amin"),
    *("binary_cross_entropy_with_logits", "nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward"),
    *("huber_loss", "bincount", "cat", "stack", "constant_pad_nd", "copy_", "copy", "_copy_from", "cumsum"),
    *("cumprod", "cummax", "embedding", "embedding_dense_backward", "_embedding_bag", "one_hot", "flip", "roll"),
    *("repeat", "tile", "floor_divide", "fill", "fill_", "full", "full_like", "zeros", "zeros_like", "zero_", "ones"),
    *("ones_like", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"),
    *("new_full", "new_zeros", "new_ones", "arange", "linspace", "eye", "scalar_tensor", "rand", "rand_like"),
    *("randn", "randn_like", "randint", "randperm", "bernoulli", "bernoulli_", "multinomial", "normal_", "uniform_"),
    *("exponential_", "native_dropout", "native_dropout_backward", "gather", "scatter", "scatter_", "scatter_add"),
    *("scatter_add_", "scatter_reduce", "index", "index_add", "index_add_", "index_copy", "index_copy_"),
    *("index_fill", "index_fill_", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "index_select"),
    *("masked_select", "masked_scatter", "take", "nonzero", "sort", "argsort", "topk", "kthvalue", "searchsorted"),
    *("bucketize", "unique_dim", "_unique2", "tril", "triu", "unique_consecutive", "repeat_interleave"),
    *("select_backward", "slice_backward", "diagonal_backward", "set_", "native_layer_norm"),
    *("native_layer_norm_backward", "native_group_norm", "native_group_norm_backward", "native_batch_norm"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm_backward", "_fused_rms_norm"),
    *("_fused_rms_norm_backward", "rms_norm", "std", "var", "var_mean", "mean", "sum", "prod", "logsumexp", "glu"),
    *("glu_backward", "logcumsumexp", "median", "mode", "norm", "linalg_vector_norm", "equal", "avg_pool1d"),
    *("avg_pool2d", "max_pool2d_with_indices", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest1d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "reflection_pad1d", "replication_pad1d", "_foreach_add_"),
    *("_foreach_mul_", "_fused_adamw_", "_foreach_norm", "is_same_size", "resize_", "lift", "lift_fresh", "sym_size"),
    *("sym_stride", "sym_numel", "record_stream", "_pin_memory", "is_pinned", "_nested_tensor_size"),
    *("nested_to_padded_tensor", "_nested_from_padded", "_nested_tensor_from_mask", "unfold_backward", "where"),
    *("unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "_safe_softmax", "_masked_softmax"),
    *("_masked_softmax_backward", "mse_loss", "smooth_l1_loss", "nonzero_static", "isin", "scatter_reduce_"),
    *("masked_scatter_", "_embedding_bag_dense_backward", "max_pool2d_with_indices_backward", "nll_loss2d_backward"),
    *("native_batch_norm_backward", "_weight_norm_interface", "_prelu_kernel", "_fused_dropout", "_assert_async"),
    *("cumsum_", "slice_scatter", "select_scatter"),
    # What only CUDA runs: normalisation, the pointwise half of recurrent cells, and the copies of sharded training.
    *("cudnn_batch_norm", "cudnn_batch_norm_backward", "_batch_norm_with_update", "_batch_norm_no_update"),
    *("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "split_with_sizes_copy", "_chunk_cat"),
}
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
TOLERANCE = 0.005


class Audit(OperatorMode):
    """Counts the calls of every operator while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Operator] = Counter()

    def before(self, operator: Operator, args: Sequence[Any]) -> None:  # noqa: ARG002  # the hook's signature
        """Count one call."""
        self.calls[operator] += 1

    def without_formula(self, known: Collection[object]) -> dict[str, dict[str, int]]:
        """Calls of operators without a formula, `{"cheap": {name: calls}, "unknown": {…}}`, most frequent first."""
        found: dict[str, dict[str, int]] = {"cheap": {}, "unknown": {}}
        for operator, calls in self.calls.most_common():
            packet = operator.overloadpacket  # the key of the counter's registry
            if packet in known:
                continue
            side = found["cheap" if is_cheap(operator) else "unknown"]
            side[str(packet)] = side.get(str(packet), 0) + calls
        return found


def is_cheap(operator: Operator) -> bool:
    """Whether an operator computes no products over an inner dimension, by its tags, signature or name."""
    if operator.namespace not in {"aten", "prim", "prims"}:
        return False
    tags = {tag.name for tag in operator.tags}
    tagged = bool(tags & {"pointwise", "reduction", "inplace_view"})
    return tagged or makes_a_view(operator) or name_of(operator) in _CHEAP


def is_product(operator: Operator) -> bool:
    """Whether an operator multiplies matrices or stacks of them."""
    return operator.namespace == "aten" and name_of(operator) in _DENSE


_DENSE = {"mm", "addmm", "bmm", "baddbmm", "_grouped_mm"}


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
    grid_points: dict[str, int] = {name: names.index(name) for name in wanted if name in names}

    def formula(*args: object, out_val: object = None, **kwargs: object) -> int:  # noqa: ARG001  # the counter's calling convention
        def given(name: str) -> object:
            grid_point = grid_points[name]
            return args[grid_point] if grid_point < len(args) else kwargs.get(name)

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


@dataclass(frozen=True)
class Row:
    """Three counts of one module.

    Attributes:
        module: its path, or words for the whole.
        closed_form: None for a user's model.
        counter: torch's; None where it saw no such module.
        fvcore: doubled; None where it is not available.
    """

    module: str
    closed_form: float | None
    counter: float | None
    fvcore: float | None = None


def rows(cost: Cost | None, counter: Count, fvcore: Mapping[str, int] | None) -> list[Row]:
    """Make one row for each module that a closed form or (a user's model) the counter names, and one for the whole."""
    third = fvcore or {}
    if cost is None:
        leaves = [path for path in counter.modules if not any(o.startswith(f"{path}.") for o in counter.modules)]
        parts = [Row(path, None, counter.modules[path], third.get(path)) for path in leaves]
    else:
        parts = [Row(path, flops, counter.modules.get(path), third.get(path)) for path, flops in cost.modules.items()]
    whole = Row(WHOLE, None if cost is None else cost.forward, counter.total, third.get("") if fvcore else None)
    return [*parts, whole]


def mismatch(table: Sequence[Row], explained: Mapping[str, str]) -> str | None:
    """Find the first unexplained disagreement over 0.5 %, as a sentence; or None.

    Args:
        table: rows to compare.
        explained: `OPINION MODULE` (`fvcore gate`; `fvcore *` for every module) to why that count differs there.
    """
    for row in table:
        for opinion, value in (("counter", row.counter), ("fvcore", row.fvcore)):
            if opinion == "fvcore" and value is None:
                continue
            if {f"{opinion} {row.module}", f"{opinion} *"} & explained.keys():
                continue
            said = disagreement(row.module, row.closed_form or 0.0, value or 0.0, opinion)
            if said:
                return said
    return None


def disagreement(what: str, closed_form: float, other: float, opinion: str = "counter") -> str | None:
    """Describe a difference of more than 0.5 % in one sentence; None if there is none."""
    if closed_form == other:
        return None
    gap = abs(other / closed_form - 1) if closed_form else float("inf")
    if gap <= TOLERANCE:
        return None
    return (
        f"{what}: closed form {closed_form:.6g}, {opinion} {other:.6g}, {percent(gap, 2)} apart (limit {percent(TOLERANCE)}): "
        "one of them is wrong, so no result of this case is used"
    )
