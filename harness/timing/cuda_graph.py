"""Capture a call as one CUDA graph: warm up on a side stream, check that nothing waits for the host, then capture."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from modbench.harness.core.errors import Unmeasured, in_short
from modbench.harness.process.graceful_stop import DeviceLost
from modbench.harness.timing import host_sync

T = TypeVar("T")

WARM_UP = 3


def capture(call: Callable[[], T], before: Callable[[], object] = lambda: None) -> tuple[Any, T]:
    """Capture a call; returns the graph and the call's result, which every replay overwrites.

    A failed capture leaves torch's allocator as if it were still capturing, which would harm the other arms. So the last
    warm-up call must not wait for the host; only then is the call captured, and if that fails, the process has to end.

    Args:
        call: reads its input from memory that stays in place.
        before: called before each warm-up call and before the capture.

    Raises:
        Unmeasured: if the call waits for the host.
        DeviceLost: if the capture fails for another reason.
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
    collects = gc.isenabled()
    gc.collect()
    gc.disable()  # freeing another graph or event meanwhile would break the capture
    try:
        with torch.cuda.graph(graph):
            out = call()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {in_short(error)}"
        raise DeviceLost(f"the capture of a CUDA graph failed and left the allocator undefined: {said}") from error
    finally:
        if collects:
            gc.enable()
    return graph, out


def _unwaiting(call: Callable[[], object]) -> None:
    """Call once; raises if it waits for the host, by an operator, a copy, or a wait that it asks for by name."""
    try:
        with host_sync.sync_debug("error"), host_sync.explicit(_refuse, queries=True):
            call()
    except RuntimeError as error:
        raise Unmeasured(f"cannot be captured as a CUDA graph (it waits for the host): {in_short(error)}") from error


def _refuse(name: str) -> None:
    raise RuntimeError(f"it called {name}")
