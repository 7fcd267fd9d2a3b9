"""One CUDA graph of a call: warmed up beside, checked for what a capture would stumble over, then captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from modbench.harness.core.errors import Unmeasured, in_short

T = TypeVar("T")

WARM_UP = 3


def capture(call: Callable[[], T], before: Callable[[], object] = lambda: None) -> tuple[Any, T]:
    """The graph, and what the call returned: memory that every replay writes anew.

    A capture that fails leaves the process on the capture's stream and its allocator in a state that torch does not vouch for:
    the other arms would suffer. So the last warm-up must not make the host wait, and only then is anything captured.

    Args:
        call: takes no input but memory that stays in place.
        before: what each warm-up call needs done first.

    Raises:
        Unmeasured: if the call waits for the host, or cannot be captured for another reason.
    """
    side, here = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            before()
            call()
        before()
        _unwaiting(call)
    here.wait_stream(side)
    before()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            out = call()
    except RuntimeError as error:
        torch.cuda.set_stream(here)
        raise Unmeasured(f"cannot be captured as a CUDA graph: {in_short(error)}") from error
    return graph, out


def _unwaiting(call: Callable[[], object]) -> None:
    was = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        raise Unmeasured(f"cannot be captured as a CUDA graph (it waits for the host): {in_short(error)}") from error
    finally:
        torch.cuda.set_sync_debug_mode(was)
