"""The blocks of a model, found by calling it: what maps the residual stream [B, T, D] to itself, and what it was called with.

Shapes: B rows, T tokens, D width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modbench.extend import evaluating, same_draws


@dataclass(frozen=True)
class BlockCall:
    """One call of a block.

    Attributes:
        path: of the module; a block that is used several times has several calls.
        module: the block.
        args: what it was called with.
        kwargs: the same by name.
        at: where the stream is among them: a position, or a name.
        x_BTD: the stream before it.
        y_BTD: the stream after it.
        reset: puts back what earlier calls left behind in the model.
    """

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    at: int | str
    x_BTD: Tensor
    y_BTD: Tensor
    reset: Callable[[], None]

    @property
    def moved_BT(self) -> Tensor:  # noqa: N802  # a tensor of that shape
        """Tokens that did not leave the block bit for bit as they came."""
        return (self.x_BTD != self.y_BTD).any(-1)

    def again(self, x_BTD: Tensor | None = None) -> Tensor:
        """The stream after the block for another stream before it, everything else as it was; None: for the same stream.

        Gradients are taken where autograd is on, and nowhere else does a caller want them.
        """
        x_BTD = self.x_BTD.clone() if x_BTD is None else x_BTD
        args, kwargs = list(self.args), dict(self.kwargs)
        if isinstance(self.at, int):
            args[self.at] = x_BTD
        else:
            kwargs[self.at] = x_BTD
        self.reset()
        with evaluating(self.module), same_draws(x_BTD):
            y_BTD = _stream_of(self.module(*args, **kwargs))
        assert y_BTD is not None, "it returned one before"
        return y_BTD


def _stream_of(output: object) -> Tensor | None:
    """The first tensor of what a module returned."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    return None


@torch.no_grad()
def calls_of_blocks(
    module: nn.Module, tokens_BT: Tensor, reset: Callable[[], None] = lambda: None, **how: bool
) -> list[BlockCall]:
    """The calls of blocks in one forward pass: of the outermost modules with weights that map [B, T, D] to the same shape.

    A container of blocks is none itself, nor are a single linear layer and an embedding. A module is a container if it calls
    blocks one after the other, each with what the last one returned, and some of them are of one class.

    Args:
        module: the model.
        tokens_BT: int64.
        reset: called before each call, to put back what the last one left behind.
        **how: arguments of its `forward`.
    """
    found: list[BlockCall] = []
    # A block may write into its input: copies of what it might be, the innermost call last.
    entered: list[list[object]] = []

    def enter(_part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append([value.clone() if isinstance(value, Tensor) else value for value in (*args, *kwargs.values())])

    def leave(path: str, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        given, y_BTD = entered.pop(), _stream_of(output)
        if y_BTD is None or y_BTD.ndim != 3 or y_BTD.shape[:2] != tokens_BT.shape or not y_BTD.is_floating_point():
            return
        names = [*range(len(args)), *kwargs]
        for at, value in zip(names, given, strict=True):
            if isinstance(value, Tensor) and value.shape == y_BTD.shape and value.dtype == y_BTD.dtype:
                found.append(BlockCall(path, part, args, kwargs, at, value, y_BTD.clone(), reset))
                return

    hooks = []
    for path, part in module.named_modules():
        weighty = any(p.ndim > 1 for p in part.parameters())
        if path and weighty and not isinstance(part, nn.Sequential | nn.ModuleList | nn.Linear | nn.Embedding):
            hooks.append(part.register_forward_pre_hook(enter, with_kwargs=True))
            hooks.append(part.register_forward_hook(partial(leave, path), with_kwargs=True))
    reset()
    try:
        with evaluating(module), same_draws(tokens_BT):
            module(tokens_BT, **how)
    finally:
        for hook in hooks:
            hook.remove()
    return _outermost(found)


def _outermost(calls: list[BlockCall]) -> list[BlockCall]:
    """The calls that lie in no other one, in their order; a container's place is taken by what it holds."""
    outer = [each for each in calls if not any(each.path.startswith(f"{other.path}.") for other in calls)]
    for each in outer:
        inner = _outermost([other for other in calls if other.path.startswith(f"{each.path}.")])
        chained = all(torch.equal(one.y_BTD, after.x_BTD) for one, after in itertools.pairwise(inner))
        if chained and len({type(other.module) for other in inner}) < len({id(other.module) for other in inner}):
            return _outermost([other for other in calls if other.path != each.path])
    return outer
