"""What every wrapper of a model of `transformers` needs: tables that keep their precision, and calls on shapes alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor


class Wrapper(nn.Module):
    """A module around a model of the library."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Wrapper:  # noqa: FBT001, FBT002  # torch's own
        """Move or convert, but leave computed tables (such as rotary frequencies) in float32, as the library does.

        `module.to(torch.bfloat16)` would round the frequencies: at position 1,000 an angle would be off by radians.
        """
        tables = [
            (part, name, part._buffers[name])  # noqa: SLF001  # the only way to a buffer that is not persistent
            for part in self.modules()
            for name in part._non_persistent_buffers_set  # noqa: SLF001
        ]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part, name, before in tables:
            after = part._buffers[name]  # noqa: SLF001
            if before is not None and after is not None and after.dtype != before.dtype:
                part._buffers[name] = before.to(after.device)  # noqa: SLF001
        return self


def built_on_shapes() -> bool:
    """Whether a module that is made now gets no values: on the meta device, or of fake tensors."""
    return torch.get_default_device().type == "meta" or detect_fake_mode() is not None


def called_with(tokens_BT: Tensor) -> AbstractContextManager[None]:
    """The context for a call of the library with these tokens."""
    return _on_shapes() if tokens_BT.is_meta or isinstance(tokens_BT, FakeTensor) else contextlib.nullcontext()


@contextlib.contextmanager
def _on_shapes() -> Iterator[None]:
    """Where tokens have no values, say what the library finds by looking at them: that no row holds several sequences.

    Otherwise it cannot go on (meta tensors), or makes a mask that a real call does not (fake tensors).
    """
    from transformers import masking_utils

    name = "find_packed_sequence_indices"
    found = getattr(masking_utils, name, None)
    if found is not None:
        setattr(masking_utils, name, lambda _position_ids: None)
    try:
        yield
    finally:
        if found is not None:
            setattr(masking_utils, name, found)
