"""Counts the rows that every parameter is multiplied with, also where a copy of it is multiplied instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modbench.harness.machine.process.torch_modes import Operator, OperatorMode, name_of
from modbench.harness.planning.flops.counter import is_product


class GridPoint(NamedTuple):
    """Elements of a storage that are a parameter's, or a copy of them."""

    first: int
    end: int
    name: str


# Operators that join tensors one after another, if along the first dimension.
_JOINS = {"cat", "stack"}


def factors(operator: Operator, args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The two factors of a product: after the bias where the operator adds one, before the offsets of a grouped product."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    first = 1 if name_of(operator) in {"addmm", "baddbmm"} else 0
    return tensors[first], tensors[first + 1]


class RowWatch(OperatorMode):
    """Counts the rows that every parameter is multiplied with.

    A parameter is identified by its range in a storage, so that transposed and sliced views count. What an operator makes of it
    without changing its size (a copy, a cast, a product with a scale) is followed, unless data of the batch goes into it: the sum
    of a weight and activations is an activation.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.places: dict[int, list[GridPoint]] = {}
        for name, p in module.named_parameters():
            if p.ndim > 1:
                first = int(p.storage_offset())
                self.places.setdefault(_storage(p), []).append(GridPoint(first, first + p.numel(), name))
        self.work: dict[str, float] = {}
        self._own = frozenset({*self.places, *(_storage(p) for p in module.parameters())})
        self._constant = {_storage(buffer) for buffer in module.buffers()} | self._own
        self._data: set[int] = set()

    def before(self, operator: Operator, args: Sequence[Any]) -> None:
        """Count the rows that each factor of a product is multiplied with."""
        if is_product(operator):
            left, right = factors(operator, args)
            self._note(right, left, left.shape[-2] / (right.shape[0] if left.ndim < right.ndim else 1))
            self._note(left, right, right.shape[-1])

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Follow copies. Every new tensor is classified anew, since the storage of one that is gone may be used again."""
        given = list(_tensors(args))
        fresh = not given  # made from nothing, such as zeros
        data = any(self._is_data(tensor) for tensor in given)
        for made in _tensors(out):
            key = _storage(made)
            if key in self._own or (key in {_storage(tensor) for tensor in given} and not _writes(operator)):
                continue
            self._data.discard(key)
            self._constant.discard(key)
            self.places.pop(key, None)
            if data:
                self._data.add(key)
                continue
            self._constant.add(key)
            if not fresh:
                copied = self._copied(operator, given, made)
                if copied:
                    self.places[key] = copied

    def _is_data(self, tensor: Tensor) -> bool:
        """Whether it depends on the batch: it does unless it is known to come from weights and constants alone."""
        return _storage(tensor) not in self._constant

    def _copied(self, operator: Operator, given: Sequence[Tensor], made: Tensor) -> list[GridPoint]:
        """The places in a new tensor, which holds what these tensors held."""
        if is_product(operator):
            return []
        if name_of(operator) in _JOINS:
            places, at = [], 0
            for tensor in given:
                places += [GridPoint(at, at + tensor.numel(), name) for name in self._names(tensor)]
                at += tensor.numel()
            return places
        same = [tensor for tensor in given if tensor.numel() == made.numel()]
        return [
            GridPoint(0, made.numel(), name)
            for name in dict.fromkeys(n for tensor in same for n in self._names(tensor))
        ]

    def _names(self, tensor: Tensor) -> list[str]:
        """The parameter that a tensor shows; none if it shows several."""
        names = {place.name for place, _ in self._shared(tensor)}
        return list(names) if len(names) == 1 else []

    def _shared(self, tensor: Tensor) -> Iterator[tuple[GridPoint, float]]:
        """Places that a tensor shows, each with how many of its elements."""
        start = int(tensor.storage_offset())
        reach = start + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        for place in self.places.get(_storage(tensor), ()):
            if place.first <= start and reach <= place.end:
                yield place, tensor.numel()
            elif place.first < reach and start < place.end:
                # Its share of the stretch; an expanded tensor shows every element several times.
                yield place, tensor.numel() * (min(reach, place.end) - max(start, place.first)) / (reach - start)

    def _note(self, weight: Tensor, other: Tensor, rows: float) -> None:
        for place, elements in self._shared(weight):
            self.work[place.name] = self.work.get(place.name, 0.0) + rows * elements
            self.met(place.name, other)

    def met(self, name: str, other: Tensor) -> None:
        """Called with every parameter that is a factor of a product, and the other factor."""


def _tensors(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  # the storage's identity: wrappers of one storage differ


def _writes(operator: Operator) -> bool:
    """Whether an operator writes into a tensor that it is given."""
    return bool(operator._schema.is_mutable)  # noqa: SLF001  # no public way to a signature
