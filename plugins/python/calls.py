"""From a model in memory to the call that is timed, and its FLOPs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from modbench.extend import UsageError, build, counter, escapes, in_short
from modbench.plugins.python.inputs import Inputs

Workload: TypeAlias = Literal["forward", "train_step"]
Model: TypeAlias = nn.Module | Callable[..., object]
Loss: TypeAlias = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Flops:
    """FLOPs of one call, counted from the operators that ran.

    Attributes:
        total: attention over the full square; None where they could not be counted.
        causal: attention over the lower triangle where an operator says that it is causal.
        unknown: operators without a formula and work that no counter sees, counted as 0: the numbers are lower bounds.
        reason: why there are none.
    """

    total: int | None
    causal: int | None = None
    unknown: tuple[str, ...] = ()
    reason: str | None = None


@contextlib.contextmanager
def evaluating(models: Mapping[str, Model]) -> Iterator[None]:
    """Set the modules to evaluation mode, and each of their parts back to the mode that it was in."""
    with contextlib.ExitStack() as stack:
        for model in models.values():
            if isinstance(model, nn.Module):
                stack.enter_context(build.evaluating(model))
        yield


def forward(model: Model, inputs: Inputs) -> Callable[[], object]:
    """One call; of a module without gradients."""
    if not isinstance(model, nn.Module):
        return lambda: model(*inputs.args, **inputs.kwargs)

    def call() -> object:
        with torch.no_grad():
            return model(*inputs.args, **inputs.kwargs)

    return call


def train_step(
    name: str, model: Model, inputs: Inputs, loss: Loss | None, *, updates: bool = True
) -> Callable[[], object]:
    """Forward, backward and AdamW on a copy of a module, which stays as it is.

    Args:
        name: the model's, for messages.
        model: what is copied.
        inputs: what it is called with.
        loss: function of its output; None: `default_loss`.
        updates: whether the weights are updated. What an update computes is no FLOP of the model.

    Raises:
        UsageError: if it is no module, has nothing to train, or cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{name!r} is no nn.Module, so it has no training step. Use workload='forward', which calls it."
        )
    try:
        own_copy = copy.deepcopy(model).train()
    except Exception as error:
        raise UsageError(
            f"{name!r} cannot be copied, and a training step changes weights: {in_short(error)}. Time a function that takes "
            "the step instead."
        ) from error
    weights = [weight for weight in own_copy.parameters() if weight.requires_grad]
    if not weights:
        raise UsageError(f"{name!r} has no parameter that requires a gradient. Use workload='forward'.")
    loss_function = loss or default_loss

    def backward() -> None:
        loss_function(own_copy(*inputs.args, **inputs.kwargs)).backward()

    if not updates:
        return backward
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        backward()
        optimizer.step()

    return call


def default_loss(output: object) -> Tensor:
    """A scalar to train on: the loss that a model returns, else the mean square of its (first) output.

    Raises:
        UsageError: if there is no tensor of numbers in the output.
    """
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return own
    first = _first(output)
    if not isinstance(first, Tensor) or not first.is_floating_point():
        raise UsageError(
            f"a model returned {type(output).__name__}, which holds no tensor to train on. Give loss=, a function of it."
        )
    return first.float().square().mean()


def uncompiled(model: Model) -> Model:
    """The module that a compiled one was made from; the counter does not see into compiled code."""
    return cast("Model", getattr(model, "_orig_mod", model))


def flops(call: Callable[[], object], *, one_thread: bool) -> Flops:
    """Count the FLOPs of one call, which runs some more times for it."""
    try:
        found, causal = counter.with_causal(lambda: counter.count(nn.Module(), call))
        unseen = escapes(call, one_thread=one_thread) if found.total else {}
    except Exception as error:  # noqa: BLE001  # the call itself ran before: this is the counter's
        return Flops(None, reason=f"its FLOPs could not be counted: {type(error).__name__}: {in_short(error)}")
    if not found.total:
        return Flops(None, reason="the counter saw no FLOPs: what it does is not torch's, or compiled")
    return Flops(found.total, causal, (*found.unknown, *unseen))


def difference(output: object, base: object) -> float | None:
    """Largest difference of two outputs' first tensors, as a share of the largest value of the second; None: not comparable."""
    tensor, base_tensor = (_first(each) for each in (output, base))
    if (
        not isinstance(tensor, Tensor)
        or not isinstance(base_tensor, Tensor)
        or not tensor.numel()
        or tensor.shape != base_tensor.shape
    ):
        return None
    mine, theirs = tensor.detach().double(), base_tensor.detach().double()
    largest, largest_difference = float(theirs.abs().max()), float((mine - theirs).abs().max())
    return largest_difference / largest if largest else largest_difference


def _first(output: object) -> object:
    """What stands first in an output, or in what stands first in it."""
    while isinstance(output, tuple | list | Mapping) and output:
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output
