"""The inputs of a call, and the device that they lie on."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from modbench.extend import UsageError

INPUT_CHANGED = "wrote into its input, on which all calls are made: let it work on a copy, such as x.clone()."
# A tensor, positional arguments, or keyword arguments.
CallInputs: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Inputs:
    """Arguments of a call, and where their tensors lie; None without tensors."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | None = None

    @classmethod
    def of(cls, values: CallInputs) -> Inputs:
        """Read the inputs of a user.

        Raises:
            UsageError: if tensors lie on several devices, or on one that is not measured.
        """
        if isinstance(values, Mapping):
            return cls.of_call((), values)
        return cls.of_call(
            () if values is None else tuple(values) if isinstance(values, tuple | list) else (values,), {}
        )

    @classmethod
    def of_call(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """The arguments of a call.

        Raises:
            UsageError: if tensors lie on several devices, or on one that is not measured.
        """
        devices = {each.device for each in _tensors((*args, *kwargs.values()))}
        if len(devices) > 1:
            named = " and ".join(sorted(map(str, devices)))
            raise UsageError(f"the inputs lie on {named}. Move them to one device with .to(...).")
        device = next(iter(devices), None)
        if device is not None and device.type not in {"cpu", "cuda"}:
            raise UsageError(
                f"the inputs lie on {device}: times are measured on cpu and cuda. Move them with .to('cpu')."
            )
        return cls(args, dict(kwargs), device)

    def check(self, name: str, model: nn.Module) -> None:
        """Check that a model lies where its inputs do.

        Raises:
            UsageError: if it does not.
        """
        devices = {each.device for each in (*model.parameters(), *model.buffers())}
        if self.device is not None and devices and devices != {self.device}:
            named = " and ".join(sorted(map(str, devices)))
            raise UsageError(f"model {name!r} lies on {named}, the inputs on {self.device}. Move one with .to(...).")

    @property
    def tokens(self) -> Tensor | None:
        """The only argument, where it may be a batch of tokens: integers [B, T]; else None."""
        first = self.args[0] if len(self.args) == 1 and not self.kwargs else None
        whole = isinstance(first, Tensor) and first.dtype == torch.int64 and first.ndim == 2 and first.numel() > 1
        return first if whole else None

    @property
    def varied(self) -> Tensor | None:
        """The tensor that a check of the calls varies: the first of floating-point numbers or int64; None without one."""
        tensors = _tensors((*self.args, *self.kwargs.values()))
        return next((each for each in tensors if each.is_floating_point() or each.dtype == torch.int64), None)

    def varied_to(self, tensor: Tensor) -> Inputs:
        """These inputs where it is their own; for another one copies of them, with that in its place."""
        if tensor is self.varied:
            return self
        memo: dict[int, Any] = {id(self.varied): tensor}
        args, kwargs = tree_map(lambda leaf: _copy_leaf(leaf, memo), (self.args, dict(self.kwargs)))
        return Inputs(args, kwargs, self.device)

    def copies(self) -> InputCopies:
        """Copies for models to be called on: these stay as they are, whatever a model does."""
        memo: dict[int, Any] = {}
        args, kwargs = tree_map(lambda leaf: _copy_leaf(leaf, memo), (self.args, dict(self.kwargs)))
        return InputCopies(Inputs(args, kwargs, self.device), self)

    @contextlib.contextmanager
    def explaining_refusal(self, name: str, model: object, example: str, own: Sequence[str] = ()) -> Iterator[None]:
        """Explain in one line a call that raises because these are not its arguments; other errors are raised unchanged.

        Raises:
            UsageError: if its signature takes other arguments.
        """
        try:
            yield
        except TypeError as error:
            why = self._signature_error(model)
            if why is None:
                raise
            how = "without inputs" if not self.args and not self.kwargs else "with these inputs"
            near = [
                each for keyword in self.kwargs for each in difflib.get_close_matches(keyword, own, n=1, cutoff=0.7)
            ]
            hint = f"Did you mean {near[0]!r}?" if near else f"Give what it takes, as in {example}."
            raise UsageError(f"{name!r} cannot be called {how}: {why}. {hint}") from error

    def _signature_error(self, model: object) -> str | None:
        """Why its signature does not take these arguments; None: it does, or it has none."""
        called = model.forward if isinstance(model, nn.Module) else model
        try:
            signature = inspect.signature(called)  # type: ignore[arg-type]  # raises if it cannot be called
        except (TypeError, ValueError):
            return None
        try:
            signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            return str(error)
        return None


class InputCopies:
    """Inputs that models are called on, and whether one wrote into them."""

    def __init__(self, inputs: Inputs, originals: Inputs) -> None:
        self.inputs, self.originals = inputs, originals
        self.versions = self._versions()

    def changed(self, *, closely: bool = True) -> bool:
        """Whether they differ from what they are copies of; if not `closely`, whether torch counted a write, which is fast."""
        versions = self._versions()
        if not closely and versions == self.versions:
            return False
        self.versions = versions
        now, before = (tree_leaves((each.args, dict(each.kwargs))) for each in (self.inputs, self.originals))
        return len(now) != len(before) or not all(map(_equal, now, before))

    def check(self, name: str) -> None:
        """Compare all values with those that they are copies of.

        Raises:
            UsageError: if they differ.
        """
        if self.changed():
            raise UsageError(f"{name!r} {INPUT_CHANGED}")

    def _versions(self) -> list[int]:
        leaves = tree_leaves((self.inputs.args, dict(self.inputs.kwargs)))
        return [_writes(leaf) if isinstance(leaf, Tensor) else 0 for leaf in leaves]


def _copy_leaf(leaf: object, memo: dict[int, Any]) -> object:
    """A tensor or array of its own; the same one for each place that a thing stands in. Other things are not copied."""
    if id(leaf) not in memo:
        if isinstance(leaf, Tensor):
            memo[id(leaf)] = leaf.detach().clone().requires_grad_(leaf.requires_grad)
        elif isinstance(leaf, np.ndarray):
            memo[id(leaf)] = leaf.copy()
        else:
            memo[id(leaf)] = leaf
    return memo[id(leaf)]


def _equal(one: object, other: object) -> bool:
    """Whether two tensors or arrays hold the same, NaN too; anything else must be the same object."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.layout != torch.strided or one.is_nested or one.is_quantized:
            return not _writes(one)  # such a copy is compared by the writes that torch counted
        return torch.equal(_bits(one), _bits(other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return one is other


def _writes(tensor: Tensor) -> int:
    """The number of times that torch wrote into a tensor; 0 in inference mode, where it does not count."""
    return 0 if tensor.is_inference() else int(tensor._version)  # noqa: SLF001  # torch has no public name for it


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _tensors(values: object) -> Iterator[Tensor]:
    """The tensors among values, in containers too."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, tuple | list):
        for each in values:
            yield from _tensors(each)
