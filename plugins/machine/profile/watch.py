"""A breakdown of one call: time, FLOPs, bytes and memory by module and by component, each from a run of its own.

Ranges are the modules (hooks name them by path) and the steps that the model names (`models/layers/kernels.py`). Every
moment belongs to the innermost range around it, so that components add up to the whole. Profiling costs time: shares come from
the profiled run, seconds from one without a profiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modbench.extend import Operator, OperatorMode, StorageTracker, makes_a_view, name_of
from modbench.plugins.machine.profile.ranges import MODULE


@contextmanager
def _around_modules(module: nn.Module, enter: Callable[[str], None], leave: Callable[[str], None]) -> Iterator[None]:
    """Call two functions with a module's path, before and after its forward pass, for every module inside this one."""
    handles = []
    for path, part in module.named_modules():
        if path:
            handles.append(part.register_forward_pre_hook(lambda *_, path=path: enter(path)))
            handles.append(part.register_forward_hook(lambda *_, path=path: leave(path), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def named_modules(module: nn.Module) -> Iterator[None]:
    """Make every module's forward pass a range named by its path, while this is entered."""
    stack: list[torch.profiler.record_function] = []

    def enter(path: str) -> None:
        stack.append(torch.profiler.record_function(f"{MODULE}{path}"))
        stack[-1].__enter__()

    def leave(_path: str) -> None:
        stack.pop().__exit__(None, None, None)

    with _around_modules(module, enter, leave):
        yield


LOOK_UPS = {"embedding", "gather", "index", "index_select", "_unsafe_index", "take"}


class Traffic(OperatorMode):
    """Counts the bytes that operators read and write, by the module that is running; views move nothing.

    Args:
        module: gives the paths.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.stack = module, [""]
        self.moved: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[Traffic]:
        """Enter the mode and follow the modules."""

        def leave(_path: str) -> None:
            self.stack.pop()

        with _around_modules(self.module, self.stack.append, leave), self:
            yield self

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Add the bytes of one operator to the module that is running and to all around it."""
        if makes_a_view(operator):
            return
        read, made = ([leaf for leaf in tree_leaves(side) if isinstance(leaf, Tensor)] for side in (args, out))
        if name_of(operator) in LOOK_UPS:
            read[0] = made[0]  # only the rows that are looked up are read from the table
        bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in (*read, *made))
        for path in _ancestors(self.stack[-1]):
            self.moved[path] = self.moved.get(path, 0.0) + bytes_


def _ancestors(path: str) -> Iterator[str]:
    """A path and all above it, up to the whole model ("")."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


class Kept:
    """Counts the bytes that each module saves for the backward pass.

    Args:
        module: gives the paths.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.tracker = module, StorageTracker()
        self.tracker.watch((*module.parameters(), *module.buffers()))  # what exists already is not saved by a module
        self.bytes: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[Kept]:
        """Enter the tracker, and compare live bytes before and after each module."""
        before: dict[str, int] = {}

        def enter(path: str) -> None:
            before[path] = self.tracker.live

        def leave(path: str) -> None:
            self.bytes[path] = self.bytes.get(path, 0) + self.tracker.live - before[path]

        with _around_modules(self.module, enter, leave), self.tracker:
            yield self
