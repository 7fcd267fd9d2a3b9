"""What malloc does with memory that is freed."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt, and their values in B: the largest thresholds that all versions take.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER_TRIM, LARGEST_IN_HEAP = 2**31 - 1, 32 * 2**20


def keep_freed_memory() -> None:
    """Let malloc keep what is freed until the process ends; nothing happens where it is not glibc's.

    Otherwise it returns the end of its heap after each training step and faults in the same pages in the next: some 1,000 per
    step at width 48.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)
