"""Which operators one call launches, and their sizes: recorded on real tensors, or on the meta device without computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from modbench.harness.core.torch_modes import Operator, OperatorMode, makes_a_view, name_of
from modbench.harness.roofline.work import Kind, Listed, listed

if TYPE_CHECKING:
    from modbench.harness.core.case import Case

# Kinds by operator; what is not named here is taken for elementwise work.
_NAMES: dict[Kind, set[str]] = {
    "sigmoid": {
        "silu",
        "silu_backward",
        "sigmoid",
        "sigmoid_backward",
        "tanh",
        "tanh_backward",
        "exp",
        "log",
        "softplus",
    },
    "gelu": {"gelu", "gelu_backward"},
    "softmax": {
        *("_log_softmax", "_log_softmax_backward_data", "_softmax", "_softmax_backward_data"),
        *("binary_cross_entropy_with_logits", "logsumexp"),
    },
    "layer_norm": {"native_layer_norm", "native_layer_norm_backward"},
    "look_up": {"embedding", "index_select", "take"},
    "index": {"index", "gather", "_unsafe_index"},
    "scatter": {
        *("index_add", "index_add_", "index_put", "index_put_", "_index_put_impl_", "scatter", "scatter_"),
        *("embedding_dense_backward", "scatter_add", "scatter_add_", "_unsafe_index_put", "index_copy_"),
    },
    "pad": {"slice_backward", "select_backward", "constant_pad_nd"},
    "fill": {"zeros", "zeros_like", "new_zeros", "zero_", "fill_", "full", "full_like", "ones", "ones_like", "arange"},
    "top_k": {"topk"},
    "sort": {"sort", "argsort"},
    "power": {"rsqrt", "sqrt", "reciprocal"},
    "optimizer": {"_fused_adamw_", "_foreach_add_"},
}
_KINDS: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names}
_REDUCTIONS = {"sum", "mean", "amax", "amin", "argmax", "argmin", "max", "min", "any", "all", "linalg_vector_norm"}
_ATTENTION = "scaled_dot_product"
# They launch nothing of their own.
_SILENT = {"device", "_record_function_enter_new", "_record_function_exit", "is_same_size", "sym_size", "detach"}


class Recorder(OperatorMode):
    """Records every operator that the dispatcher runs while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Kind, tuple[int, ...]]] = []

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Note an operator's kind and size."""
        name = name_of(operator)
        if name not in _SILENT:
            self.found.append(_work(name, operator, args, out))


def _work(name: str, operator: Operator, args: Sequence[Any], out: object) -> tuple[Kind, tuple[int, ...]]:
    if name in {"mm", "bmm", "addmm", "baddbmm"}:
        return _product(*args[-2:] if name.startswith(("add", "badd")) else args[:2])
    if name in {"mv", "addmv"}:
        matrix: Tensor = args[-2] if name == "mv" else args[1]
        return "product", (1, matrix.shape[0], matrix.shape[1], 1)
    if _ATTENTION in name:
        return _attention(name, args)
    if makes_a_view(operator) or name in {"_unsafe_view", "empty", "empty_like", "new_empty", "lift_fresh"}:
        return "view", ()
    tensors = [leaf for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor)]
    kind, size = _kind(name, args, tensors), (_bytes(name, tensors, out),)
    if kind == "optimizer":
        lists = [each for each in args if isinstance(each, list | tuple) and each and isinstance(each[0], Tensor)]
        return kind, (*size, len(lists[0]) if lists else 1)
    return kind, size


def _product(a: Tensor, b: Tensor) -> tuple[Kind, tuple[int, ...]]:
    *batch, m, k = a.shape
    kind: Kind = "product_of_transposed" if a.stride(-1) != 1 and a.stride(-2) == 1 else "product"
    return kind, (batch[0] if batch else 1, m, k, b.shape[-1])


def _attention(name: str, args: Sequence[Any]) -> tuple[Kind, tuple[int, ...]]:
    backward = "backward" in name
    q, k = args[1:3] if backward else args[:2]
    causal = any(each is True for each in args)
    kinds: dict[tuple[bool, bool], Kind] = {
        (False, False): "attention",
        (True, False): "causal_attention",
        (False, True): "attention_backward",
        (True, True): "causal_attention_backward",
    }
    heads, extents = q.shape[0] * q.shape[1], (q.shape[2], k.shape[2])
    return kinds[causal, backward], (heads, *((extents[0] * extents[1],) if causal else extents), q.shape[3])


def _kind(name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> Kind:
    if name in _KINDS:
        return _KINDS[name]
    if name == "pow":
        return "square" if args[1] == 2 else "power"
    if name in _REDUCTIONS:
        dims = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else [-1]
        last = args[0].ndim - 1
        return "row_sum" if last in {dim % max(1, args[0].ndim) for dim in dims} else "column_sum"
    if any(_in_pieces(each) for each in tensors):
        return "strided"
    return "pointwise"


def _in_pieces(x: Tensor) -> bool:
    """Whether rows of a tensor lie apart in memory."""
    return x.numel() > 1 and not x.is_contiguous() and x.ndim > 1 and 0 not in x.stride() and not x.mT.is_contiguous()


def _bytes(name: str, tensors: Sequence[Tensor], out: object) -> int:
    """Bytes that are read and written; of a table in which rows are looked up, only those rows."""
    made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    if _KINDS.get(name) in {"look_up", "index"}:
        return 2 * sum(each.numel() * each.element_size() for each in made)
    return sum(each.numel() * each.element_size() for each in tensors)


def record(call: Callable[[], object], *, training: bool) -> Listed:
    """Record the operators of one call."""
    with Recorder() as recorder:
        call()
    return listed(recorder.found, training=training)


def why_not(case: Case) -> str | None:
    """Why the operators of a case say nothing about its time; None if they do."""
    if case.place.device != "cpu":
        return "the peaks by shape are measured on CPUs only"
    if case.place.compile or case.place.graph:
        return "compiled code fuses operators: their peaks say nothing about it"
    return None


def of_real_tensors(case: Case, seed: int, *, training: bool) -> Listed:
    """The operators of a forward pass, or of a training step after the first, on the case's own input."""
    from modbench.harness.subject.subject import Subject

    subject = Subject(case, seed)
    tokens_BT = subject.inputs(seed, 1)[0]
    subject.module.train(training)
    if not training:
        return record(lambda: subject.forward(tokens_BT), training=False)
    for parameter in subject.module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    subject.optimizer.step()  # makes the optimizer's state, as after a first step
    return record(lambda: subject.train_step(tokens_BT), training=True)
