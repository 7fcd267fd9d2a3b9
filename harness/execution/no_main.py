"""Starts processes that do not run the user's script again.

multiprocessing lets every process that it starts import the parent's main module, in case that what it shall do is defined
there. Workers need nothing of it: a user's models are files or modules of their own. A script that measures at its top level
would measure again in each worker, and fail there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Let a process that multiprocessing starts in the `with` block see an empty main module in place of the user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # without a file or a name by which it could be imported
    try:
        yield
    finally:
        sys.modules["__main__"] = main
