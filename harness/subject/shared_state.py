"""Global state of torch, which one model could change for all others in the process."""

from __future__ import annotations

import torch


def restore(threads: int) -> list[str]:
    """Restore the settings of the harness; return what had been changed, in words.

    Args:
        threads: number of threads of the case.
    """
    changed = []
    if torch.get_num_threads() != threads:
        changed.append(f"the number of threads to {torch.get_num_threads()}")
        torch.set_num_threads(threads)
    if not torch.is_grad_enabled():
        changed.append("gradients to off")
        torch.set_grad_enabled(True)
    if torch.get_default_dtype() != torch.float32:
        changed.append(f"the default number format to {torch.get_default_dtype()}")
        torch.set_default_dtype(torch.float32)
    if torch.get_default_device().type != "cpu":
        changed.append(f"the default device to {torch.get_default_device()}")
        torch.set_default_device(None)
    return changed


def checked(threads: int) -> None:
    """Restore the settings, and raise if a call had changed any.

    Raises:
        RuntimeError: naming what.
    """
    changed = restore(threads)
    if changed:
        raise RuntimeError(f"its call changed {' and '.join(changed)} for every model of the process")
