"""Capture a call as one CUDA graph: warm up on a side stream, check that nothing waits for the host, then capture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from modbench.harness.core.errors import Unmeasured, in_short

T = TypeVar("T")

WARM_UP = 3


def capture(call: Callable[[], T], before: Callable[[], object] = lambda: None) -> tuple[Any, T]:
    """Capture a call; returns the graph and the call's result, which every replay overwrites.

    A failed capture leaves the process on the capture's stream and its allocator in an undefined state, which would harm the
    other arms. So the last warm-up call must not wait for the host; only then is the call captured.

    Args:
        call: reads its input from memory that stays in place.
        before: called before each warm-up call and before the capture.

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
