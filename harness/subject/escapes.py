"""Work that torch's dispatcher does not see, so that a counter cannot: another thread of the model's own, or numpy."""

from __future__ import annotations

import time
from collections.abc import Callable

from modbench.harness.core.torch_modes import FunctionMode

# Of a call's CPU time; less is what clocks and the interpreter's own threads leave.
SHARE, LEAST_S = 0.2, 1e-3
CALLS = 3
_LEAVES = {"numpy", "__array__", "__dlpack__"}


class _Crossings(FunctionMode):
    """Tensors that are handed to another library."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def before(self, name: str) -> None:
        """Count a function that hands its tensor over."""
        self.seen += name in _LEAVES


def escapes(call: Callable[[], object], *, one_thread: bool) -> dict[str, int]:
    """What a call did out of sight, by name, and how often.

    Args:
        call: run a few times.
        one_thread: whether the thread that calls should be the only one that works; with more, torch's own are others too.
    """
    found = {}
    with _Crossings() as crossings:
        call()
    if crossings.seen:
        found["a tensor given to numpy"] = crossings.seen
    elsewhere = []
    for _ in range(CALLS):
        thread, process = time.thread_time(), time.process_time()
        call()
        process, thread = time.process_time() - process, time.thread_time() - thread
        elsewhere.append((process - thread) > max(LEAST_S, SHARE * process))
    if one_thread and all(elsewhere):
        found["work on another thread"] = 1
    return found
