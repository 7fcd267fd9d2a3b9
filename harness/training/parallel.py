"""Sharing of a training run among ranks.

`ddp`: every rank holds the model, gradients are averaged. `fsdp`: parameters, gradients and optimizer states are sharded
(FSDP2, `fully_shard`); block by block where the model has no auxiliary losses, else as one. Either way
the ranks together see the rows of the batch that one rank would see, so a run on N ranks equals the run on one rank up to
the order of sums. Auxiliary losses that multiply means over the batch (balance, depth) are means of the ranks' products.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from modbench.harness.core.train_plan import Parallel
from modbench.harness.machine.process.torchrun import Ranks

if TYPE_CHECKING:
    from torch import nn


@contextlib.contextmanager
def together(ranks: Ranks, device: str) -> Iterator[None]:
    """Join the ranks in a process group while this is entered."""
    if ranks.world == 1:
        yield
        return
    import torch

    if device == "cuda":
        torch.cuda.set_device(ranks.local)
        # Told its device, NCCL connects the ranks now and need not guess it at the first barrier.
        torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", ranks.local))
    else:
        torch.distributed.init_process_group("gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def share(module: nn.Module, ranks: Ranks, how: Parallel, device: str, *, same_buffers: bool = False) -> nn.Module:
    """Wrap a module for training on all ranks; with one rank it is returned as it is.

    Args:
        module: what is trained.
        ranks: the processes that share it.
        how: `ddp` or `fsdp`.
        device: `cpu` or `cuda`.
        same_buffers: whether all ranks have the same buffers without being sent those of the first.
    """
    if ranks.world == 1:
        return module
    import torch

    if how == "ddp":
        # Tables that all ranks computed alike are not sent before every forward pass; a user's model may change its buffers.
        ids = [ranks.local] if device == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(module, ids, broadcast_buffers=not same_buffers)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Raised for every view that a block returns; nothing here changes a block's output in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh = init_device_mesh(device, (ranks.world,))
    # Block by block, so that one is whole at a time. Not with auxiliary losses: FSDP2 loses the gradients of a predictor in the
    # last routed block (torch 2.13; its input is detached), so such a model is whole during a step, its states sharded.
    if not getattr(module, "has_auxiliary", False):
        for part in module.modules():
            if isinstance(part, torch.nn.ModuleList):
                for block in part:
                    if not isinstance(block, torch.nn.ModuleList):
                        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def piece(model: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[object]:
    """Around one piece of an accumulated batch: with DDP the ranks average gradients once, after the last piece."""
    import torch

    inner = getattr(model, "_orig_mod", model)  # compiled
    if last or not isinstance(inner, torch.nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return cast("contextlib.AbstractContextManager[object]", inner.no_sync())


def whole_state(model: nn.Module, ranks: Ranks) -> dict[str, Any]:
    """Gather all weights on the CPU of the first rank; empty on the others. Every rank must call it."""
    if ranks.world == 1:
        return dict(model.state_dict())
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)))
