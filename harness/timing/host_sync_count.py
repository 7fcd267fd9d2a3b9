"""Operators whose result the host must wait for: on a GPU each of them stops the queue.

On a GPU torch warns of them, and explicit waits are counted beside them. On a CPU the dispatcher shows them, so that a run
there predicts what a GPU would wait for: a value read by Python, or a shape that depends on data. One operator may wait more
than once and a copy to the GPU waits too, so the two counts are not compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from modbench.harness.process.torch_modes import FunctionMode, Operator, OperatorMode, name_of
from modbench.harness.timing import host_sync

P = ParamSpec("P")

_WAITS = {
    *("_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "nonzero_numpy", "masked_select", "bincount"),
    *("unique_consecutive", "unique_dim", "_unique", "_unique2", "repeat_interleave", "argwhere"),
}

WARNING = "called a synchronizing CUDA operation"


class _Syncs(OperatorMode):
    """Operators whose result the host waits for, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:  # noqa: ARG002  # the hook's signature
        """Note an operator that makes the host wait."""
        name = name_of(operator)
        if name in _WAITS or _indexes_by_mask(name, args):
            self.seen.append(name)


class _Lists(FunctionMode):
    """Calls of `tolist` and `numpy`, which run no operator on a CPU and copy from the device on a GPU: one wait each."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def before(self, name: str) -> None:
        """Note a function that copies a tensor to the host."""
        if name in {"tolist", "numpy"}:
            self.seen.append(name)


def _indexes_by_mask(name: str, args: Sequence[Any]) -> bool:
    if name not in {"index", "index_put", "index_put_", "_index_put_impl_"} or len(args) < 2:
        return False
    return any(isinstance(index, Tensor) and index.dtype in {torch.bool, torch.uint8} for index in args[1])


def syncs(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> list[str]:
    """List what makes the host wait in one call, in order: operators on a CPU, places in the source on a GPU."""
    if any(isinstance(arg, Tensor) and arg.device.type == "cuda" for arg in args):
        return _warned(call, *args, **kwargs)
    mode = _Syncs()
    with _Lists(mode.seen), mode:
        call(*args, **kwargs)
    return mode.seen


def _warned(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> list[str]:
    """List what torch warns of, including copies in either direction, which no dispatch mode sees, and explicit waits."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with host_sync.sync_debug("warn"), host_sync.explicit(_warn):
            call(*args, **kwargs)
    return [f"{Path(each.filename).name}:{each.lineno}" for each in said if WARNING in str(each.message)]


def _warn(name: str) -> None:
    """Say of an explicit wait what torch says of its own, in the name of whoever called it."""
    warnings.warn(f"{WARNING}: {name}", stacklevel=3)


def count_syncs(module: nn.Module, tokens_BT: Tensor) -> int:
    """Count how often one forward pass makes the host wait."""
    with torch.no_grad():
        return len(syncs(module, tokens_BT))
