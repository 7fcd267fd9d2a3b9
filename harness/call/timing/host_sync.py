"""Waits for a device: torch's own debug mode sees those of operators and copies, not those that a model asks for by name.

On a GPU each operator whose result the host must wait for stops the queue. There torch warns of them, and explicit waits are
counted beside them. On a CPU the dispatcher shows them, so that a run there predicts what a GPU would wait for: a value read by
Python, or a shape that depends on data. One operator may wait more than once and a copy to the GPU waits too, so the two counts
are not compared.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from modbench.harness.machine.process.torch_modes import FunctionMode, Operator, OperatorMode, name_of


def set_sync_debug(mode: int | str) -> None:
    """Set torch's sync-debug mode; its first use warns that it is a prototype, which must not become an error of a variant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode(mode)


@contextlib.contextmanager
def sync_debug(mode: str) -> Iterator[None]:
    """Let torch report waits (`warn` or `error`) inside the `with` block."""
    was = torch.cuda.get_sync_debug_mode()
    try:
        set_sync_debug(mode)
        yield
    finally:
        set_sync_debug(was)


@contextlib.contextmanager
def explicit(on_wait: Callable[[str], None], *, queries: bool = False) -> Iterator[None]:
    """Call `on_wait` with the name of each explicit wait inside the `with` block, before it happens.

    Args:
        on_wait: may raise, which prevents the wait.
        queries: also for questions whether work is done, which wait for nothing but may not be asked during a capture.
    """
    cuda: Any = torch.cuda
    owners = (cuda, cuda.Event, cuda.Stream, torch.accelerator)
    calls = [(owner, "synchronize") for owner in owners]
    calls += [(cuda.Event, "query"), (cuda.Stream, "query")] if queries else []
    were = [(owner, name, getattr(owner, name)) for owner, name in calls]
    for owner, name, was in were:
        setattr(owner, name, _noting(was, f"{owner.__name__}.{name}", on_wait))
    try:
        yield
    finally:
        for owner, name, was in were:
            setattr(owner, name, was)


def _noting(was: Callable[..., object], name: str, on_wait: Callable[[str], None]) -> Callable[..., object]:
    @functools.wraps(was)
    def wait(*args: object, **kwargs: object) -> object:
        on_wait(name)
        return was(*args, **kwargs)

    return wait


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
        with sync_debug("warn"), explicit(_warn):
            call(*args, **kwargs)
    return [f"{Path(each.filename).name}:{each.lineno}" for each in said if WARNING in str(each.message)]


def _warn(name: str) -> None:
    """Say of an explicit wait what torch says of its own, in the name of whoever called it."""
    warnings.warn(f"{WARNING}: {name}", stacklevel=3)


def count_syncs(module: nn.Module, tokens_BT: Tensor) -> int:
    """Count how often one forward pass makes the host wait."""
    with torch.no_grad():
        return len(syncs(module, tokens_BT))
