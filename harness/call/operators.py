"""Which operators one call starts, and their sizes: recorded on real tensors, or on the meta device without computing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from modbench.harness.core.errors import Unmeasured, in_short
from modbench.harness.machine.process.torch_modes import FunctionMode, Operator, OperatorMode, makes_a_view, name_of
from modbench.harness.machine.roofline.work import Kind, Listed, listed

if TYPE_CHECKING:
    from modbench.harness.domain.case import Case

Found = tuple[Kind, tuple[int, ...]]
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
# Modules that are kept for other grid points of a plan.
MOST_BUILT = 64
_REDUCTIONS = {"sum", "mean", "amax", "amin", "argmax", "argmin", "max", "min", "any", "all", "linalg_vector_norm"}
_ATTENTION = "scaled_dot_product"
# Elementwise operators whose result has the shape that their operands have together.
_ELEMENTWISE = {
    *("aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"),
    *("aten.add.Scalar", "aten.mul.Scalar", "aten.div.Scalar", "aten.pow.Tensor_Scalar", "aten.rsqrt.default"),
}
# They launch nothing of their own.
_SILENT = {"device", "_record_function_enter_new", "_record_function_exit", "is_same_size", "sym_size", "detach"}


class Recorder(OperatorMode):
    """Records every operator that the dispatcher runs while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Note an operator's kind and size."""
        name = name_of(operator)
        if name not in _SILENT:
            self.found.append(_work(name, operator, args, out))


class _ShapesAlone(Recorder):
    """Records on the meta device, where torch finds the result of elementwise operators in Python, which takes most of the time.

    Where nothing about such a result can be in doubt, since it looks like an operand, it is made here.
    """

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        like = None if kwargs or str(func) not in _ELEMENTWISE else _looks_like(args)
        if like is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        out = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="meta")
        self.after(func, args, out)
        return out


def _looks_like(args: Sequence[Any]) -> Tensor | None:
    """The operand that the result of an elementwise operator looks like: whole, contiguous and of the type of all; else None."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    like = max(tensors, key=lambda each: (each.ndim, each.numel()))
    whole = torch.broadcast_shapes(*(each.shape for each in tensors)) == like.shape
    alike = all(each.dtype == like.dtype and each.is_contiguous() for each in tensors)
    return like if whole and alike and like.is_floating_point() and like.is_meta else None


def _work(name: str, operator: Operator, args: Sequence[Any], out: object) -> Found:
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


def _product(a: Tensor, b: Tensor) -> Found:
    *batch, m, k = a.shape
    kind: Kind = "product_of_transposed" if a.stride(-1) != 1 and a.stride(-2) == 1 else "product"
    return kind, (batch[0] if batch else 1, m, k, b.shape[-1])


def _attention(name: str, args: Sequence[Any]) -> Found:
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
        return "square" if type(args[1]) is int and args[1] == 2 else "power"
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
    if case.grid_point.device != "cpu":
        return "the peaks by shape are measured on CPUs only"
    if case.grid_point.compile or case.grid_point.graph:
        return "compiled code fuses operators: their peaks say nothing about it"
    return None


def of_real_tensors(case: Case, seed: int, *, training: bool) -> Listed:
    """The operators of a forward pass, or of a training step after the first, on the case's own input."""
    from modbench.harness.call.subject.subject import Subject

    subject = Subject(case, seed)
    tokens_BT = subject.inputs(seed, 1)[0]
    subject.module.train(training)
    if not training:
        return record(lambda: subject.forward(tokens_BT), training=False)
    for parameter in subject.module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    subject.optimizer.step()  # makes the optimizer's state, as after a first step
    return record(lambda: subject.train_step(tokens_BT), training=True)


def _module(case: Case) -> torch.nn.Module:
    """The module of a case, on the current device."""
    from modbench.harness.call.subject.build import DTYPES, build_module

    return build_module(case, 0).to(DTYPES[case.grid_point.dtype])


@functools.lru_cache(maxsize=MOST_BUILT)
def _shared(case: Case) -> torch.nn.Module:
    """The same, built once for all sizes of input: on the meta device it takes no memory."""
    return _module(case)


def of_shapes(case: Case, *, training: bool) -> Listed:
    """The operators of a forward pass or a training step on the meta device: nothing is computed, no memory is taken.

    Raises:
        Unmeasured: if what the model does depends on data, not on shapes alone.
    """
    from modbench.harness.call.subject.subject import Subject

    grid_point = case.grid_point
    sizeless = case.model_copy(update={"grid_point": grid_point.model_copy(update={"seq_len": 1, "batch_size": 1})})
    try:
        with torch.device("meta"):
            own = case.is_user_model or case.facts.runs_user_code  # which may do anything to a module
            module = (_module(case) if own else _shared(sizeless)).train(training)
            module.zero_grad()  # a training step of another size may have left gradients, to which its own would be added
            tokens_BT = torch.zeros(grid_point.batch_size, grid_point.seq_len, dtype=torch.int64)
            subject = Subject(case, 0, module=module)
            call = subject.backward if training else subject.forward
            with _ShapesAlone() as recorder, _FusedAttention(recorder):
                call(tokens_BT)
    except (NotImplementedError, RuntimeError) as error:
        why = f"it cannot run on shapes alone: {type(error).__name__}: {in_short(error, 120)}"
        raise Unmeasured(why) from error
    if training:  # AdamW has no kernel there
        sizes = [parameter.numel() * parameter.element_size() for parameter in module.parameters()]
        recorder.found.append(("optimizer", (4 * sum(sizes), len(sizes))))
    return listed(recorder.found, training=training)


def of_decoding(case: Case) -> Listed:
    """The operators of one decode step after the case's context, on the meta device.

    Raises:
        Unmeasured: if what the model does depends on data, as where the host reads which rows pass.
    """
    from modbench.harness.call.subject.generation import Generation
    from modbench.harness.call.subject.subject import Subject

    grid_point = case.grid_point
    try:
        with torch.device("meta"), torch.no_grad():
            module = _module(case).eval()
            subject = Subject(case, 0, module=module)
            tokens_BT = torch.zeros(grid_point.batch_size, grid_point.seq_len, dtype=torch.int64)
            _, cache = Generation(subject).prefilled(tokens_BT)
            with Recorder() as recorder, _FusedAttention(recorder):
                subject.language_model.decode(tokens_BT[:, 0], cache)
    except (NotImplementedError, RuntimeError) as error:
        why = f"it cannot run on shapes alone: {type(error).__name__}: {in_short(error, 120)}"
        raise Unmeasured(why) from error
    return listed(recorder.found, training=False)


class _FusedAttention(FunctionMode):
    """Notes attention as the one operator that it is on a CPU; on the meta device torch would take it apart."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is F.scaled_dot_product_attention:
            causal = bool((kwargs or {}).get("is_causal"))
            apply: Callable[..., Tensor] = _Attention.apply
            return apply(*args[:3], causal, self.recorder.found)
        return super().__torch_function__(func, types, args, kwargs)


class _Attention(torch.autograd.Function):
    """Stands for fused attention: shapes only."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, found: list[Found]) -> Tensor:  # noqa: ANN401, FBT001  # torch's signature
        """Note one call."""
        ctx.save_for_backward(q, k, v)
        ctx.causal, ctx.found = causal, found
        found.append(_attention("", (q, k, causal)))
        return q.new_empty(*q.shape[:-1], v.shape[-1])

    @staticmethod
    def backward(ctx: Any, _grad: Tensor) -> tuple[Any, ...]:  # noqa: ANN401  # torch's signature
        """Note its gradient."""
        q, k, v = ctx.saved_tensors
        ctx.found.append(_attention("backward", (q, q, k, ctx.causal)))
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None, None
