"""Audit of a FLOP count: classifies every operator that ran by what its 0 means, so that no zero is silent.

`counted`: it has a formula. `cheap`: 0 by convention, since it computes no products over an inner dimension (elementwise,
reductions, copies, look-ups, sorting). `unknown`: everything else, custom operators above all: if one ran, the count is reported
as a lower bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from modbench.harness.process.torch_modes import Operator, OperatorMode, makes_a_view, name_of

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
    return operator.namespace == "aten" and name_of(operator) in _PRODUCTS


_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_grouped_mm"}
