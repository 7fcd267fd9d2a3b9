"""A dispatch mode that counts the bytes of live tensors. Eager mode, any device.

Agrees to the byte with torch's profiler and MemTracker on eager models. Memory that a kernel allocates and frees inside itself
is not seen, and a compiled model runs eagerly under any dispatch mode: do not use it there.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from modbench.harness.process.torch_modes import Operator, OperatorMode


class StorageTracker(OperatorMode):
    """Counts live bytes while it is entered.

    Attributes:
        live: bytes alive now.
        peak: most bytes alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def watch(self, tensors: Iterable[Any]) -> None:
        """Count tensors that were created before the mode was entered."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:  # noqa: ARG002  # the hook's signature
        """Count what an operator returned."""
        self.watch(tree_leaves(out))

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # noqa: SLF001  # the storage's identity: wrappers of one storage differ
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
