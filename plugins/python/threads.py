"""The threads that compute in this process, as far as they are known: torch's, where it is loaded.

More threads than free cores do not share the work: each waits for the slowest, which waits for a core. A call then takes many
times as long, and that is the machine's time, not the call's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from modbench.extend import UsageError, shown, units


def working_threads() -> int:
    """Threads that compute in this process."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 1


@contextlib.contextmanager
def at_threads(number: int | None) -> Iterator[None]:
    """Let so many threads compute in the `with` block, and as many as before after it; what is not torch's is left alone.

    Args:
        number: of threads; None: as many as there are.

    Raises:
        UsageError: if it is no whole number from 1 on.
    """
    checked(number)
    torch = sys.modules.get("torch")
    if torch is None or number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checked(number: object) -> None:
    """Check a number of threads.

    Raises:
        UsageError: if it is no whole number from 1 on, or more than anybody has.
    """
    whole = isinstance(number, int) and not isinstance(number, bool)
    if number is not None and not (whole and 1 <= number <= units.MOST_THREADS):  # type: ignore[operator]  # it is whole
        raise UsageError(f"threads = {shown(number)}: give a whole number from 1 to {units.MOST_THREADS:,}.")


def crowded() -> str:
    """The threads and the cores that this process may use, where other programs use them too."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return f"{working_threads()} threads on {cores} core{'s' * (cores != 1)}, busy"
