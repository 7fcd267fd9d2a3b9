"""Operators whose result the host must wait for: on a GPU each of them stops the queue.

On a GPU torch says so itself. On a CPU it is seen from the dispatcher, so that a run there tells what a GPU would have to do: a
value read by Python, or a shape that depends on data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = {
    *("_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "nonzero_numpy", "masked_select", "bincount"),
    *("unique_consecutive", "unique_dim", "_unique", "_unique2", "repeat_interleave", "argwhere"),
}

WARNING = "called a synchronizing CUDA operation"


class _Syncs(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.seen: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  # torch's protocol
        types: Any,  # noqa: ANN401  # torch's protocol
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the operator returns
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__  # noqa: SLF001  # no public way to an operator's name
        if name in _WAITS or _indexes_by_mask(name, args):
            self.seen.append(name)
        return out


class _Lists(TorchFunctionMode):
    """`tolist` and `numpy` pass no operator on a CPU, and copy from the device on a GPU: one wait each."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401  # torch's protocol
        types: Any,  # noqa: ANN401  # torch's protocol
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the function returns
        if getattr(func, "__name__", "") in {"tolist", "numpy"}:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def _indexes_by_mask(name: str, args: tuple[Any, ...]) -> bool:
    if name not in {"index", "index_put", "index_put_", "_index_put_impl_"} or len(args) < 2:
        return False
    return any(isinstance(index, Tensor) and index.dtype in {torch.bool, torch.uint8} for index in args[1])


def syncs(call: Callable[..., object], *args: Any, **kwargs: Any) -> list[str]:  # noqa: ANN401  # whatever the call takes
    """What makes the host wait in one call, in order: operators on a CPU, places in the source on a GPU."""
    if any(isinstance(arg, Tensor) and arg.device.type == "cuda" for arg in args):
        return _warned(call, *args, **kwargs)
    mode = _Syncs()
    with _Lists(mode.seen), mode:
        call(*args, **kwargs)
    return mode.seen


def _warned(call: Callable[..., object], *args: Any, **kwargs: Any) -> list[str]:  # noqa: ANN401  # as above
    """What torch warns of: copies in either direction too, which no dispatch mode sees."""
    was = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call(*args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode(was)
    return [f"{Path(each.filename).name}:{each.lineno}" for each in said if WARNING in str(each.message)]


def count_syncs(module: nn.Module, tokens_BT: Tensor) -> int:
    """How many times one forward pass makes the host wait."""
    with torch.no_grad():
        return len(syncs(module, tokens_BT))
