"""What all models of a process share in torch, and one of them may change for the others."""

from __future__ import annotations

import torch


def restore(threads: int) -> list[str]:
    """Put torch back as the harness wants it; what had been changed, in words.

    Args:
        threads: of the case.
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
    """Raise if a call has changed anything, after putting it back.

    Raises:
        RuntimeError: naming what.
    """
    changed = restore(threads)
    if changed:
        raise RuntimeError(f"its call changed {' and '.join(changed)} for every model of the process")
