"""A GPU that no longer answers: the process must end, or every other arm would fail with the same error in its own name."""

from __future__ import annotations

import sys

from modbench.harness.core.errors import in_short


class DeviceLost(BaseException):
    """An error after which no CUDA call of this process works or can be trusted: only a new process has a device again.

    No `Exception`, which would fail one arm only. The process ends without a record, and the runner tries again without the
    user's models.
    """

    exit_code = 77


def end_if_lost(error: BaseException) -> None:
    """Check that the device still works after an arm's exception: an index out of range, say, breaks it for good.

    Raises:
        DeviceLost: if it does not. A lack of memory leaves it in order.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as later:
        raise DeviceLost(f"{type(later).__name__}: {in_short(later, 300)}") from error


def last_words(log: str) -> str:
    """The text of the `DeviceLost` that ended a process, from its log."""
    lines = [line for line in log.splitlines() if line.startswith(f"{DeviceLost.__module__}.{DeviceLost.__name__}: ")]
    return lines[-1].partition(": ")[2] if lines else ""
