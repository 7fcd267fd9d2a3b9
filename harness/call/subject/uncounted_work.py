"""Work that torch's dispatcher, and so a FLOP counter, does not see: in numpy, or on a thread that the model started."""

from __future__ import annotations

from collections.abc import Callable

from modbench.harness.machine.process import clocks
from modbench.harness.machine.process.torch_modes import FunctionMode

# Share of a call's CPU time, and least time; below these it is clock error or threads of the interpreter.
SHARE, LEAST_S = 0.2, 1e-3
CALLS = 3
_LEAVES = {"numpy", "__array__", "__dlpack__"}


class _Crossings(FunctionMode):
    """Counts tensors that are handed to another library."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def before(self, name: str) -> None:
        """Count a function that hands its tensor over."""
        self.seen += name in _LEAVES


def escapes(call: Callable[[], object], *, one_thread: bool) -> dict[str, int]:
    """Work of a call that no counter sees: by name, how often.

    Args:
        call: called once; four times where one thread works.
        one_thread: whether only the calling thread should work; otherwise torch's own threads look the same.
    """
    found = {}
    with _Crossings() as crossings:
        call()
    if crossings.seen:
        found["a tensor given to numpy"] = crossings.seen
    if not one_thread:
        return found
    elsewhere = []
    for _ in range(CALLS):
        thread, process = clocks.thread_time(), clocks.process_time()
        call()
        process, thread = clocks.process_time() - process, clocks.thread_time() - thread
        elsewhere.append((process - thread) > max(LEAST_S, SHARE * process))
    if all(elsewhere):
        found["work on another thread"] = 1
    return found
