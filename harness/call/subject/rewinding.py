"""Puts a cache back to an earlier state, so that every timed call starts from the same one; and counts what a cache holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from modbench.harness.core.model_methods import keyword_names

# Positions, lengths and masks are of these types; keys and values are not, as one that quantises them uses eight bits.
COPIED = frozenset({torch.int64, torch.int32, torch.bool})


def rewinder(cache: object) -> Callable[[], None]:
    """A call that returns a cache to its present state, as exactly as its times need.

    By its own `mark` and `rewind`, if it has both. Otherwise all that it refers to is put back: lists, dicts, attributes and
    integer tensors. Contents of other tensors stay: one that was replaced is there again, and what was written beyond a position
    is not read.
    """
    mark, back = getattr(cache, "mark", None), getattr(cache, "rewind", None)
    if inspect.isroutine(mark) and inspect.isroutine(back):
        return partial(back, mark(windows=False) if "windows" in keyword_names(mark) else mark())
    undo: list[Callable[[], object]] = []
    for part in _parts(cache):
        if isinstance(part, Tensor):
            if part.dtype in COPIED:
                undo.append(partial(part.copy_, part.clone()))
        elif isinstance(part, list):
            undo.append(partial(part.__setitem__, slice(None), list(part)))
        elif isinstance(part, dict):
            undo.append(partial(_refill, part, dict(part)))
        else:
            undo += [partial(setattr, part, name, getattr(part, name)) for name in _slots(part)]

    def rewind() -> None:
        for each in undo:
            each()

    return rewind


def tensors_of(cache: object) -> list[Tensor]:
    """The tensors that a cache refers to, each once, in the same order for caches that were made alike."""
    return [part for part in _parts(cache) if isinstance(part, Tensor)]


def held_bytes(cache: object, module: nn.Module) -> int:
    """Bytes of the tensors that a cache refers to, without the model's own; a shared storage counts once."""
    shared = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers())}
    storages = {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in tensors_of(cache)}
    return sum(size for storage, size in storages.items() if storage not in shared)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  # the storage's identity


def _refill(part: dict[Any, Any], held: dict[Any, Any]) -> None:
    part.clear()
    part.update(held)


def _parts(cache: object) -> Iterator[Any]:
    """The cache's tensors, lists, dicts (of attributes too) and objects with slots, each once; never a model's inside."""
    left, seen = [cache], dict[int, object]()
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, nn.Module | type | ModuleType) or inspect.isroutine(part):
            continue
        seen[id(part)] = part
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, Mapping):
            left += part.values()
            if isinstance(part, dict):
                yield part
        elif isinstance(part, list | tuple | set | frozenset):
            left += part
            if isinstance(part, list):
                yield part
        else:
            left += [getattr(part, name) for name in _slots(part)]
            if _slots(part):
                yield part
        if not isinstance(part, Tensor) and hasattr(part, "__dict__"):
            left.append(vars(part))


def _slots(part: object) -> list[str]:
    """Attributes that it keeps in slots."""
    names = [name for each in type(part).__mro__ for name in _as_tuple(vars(each).get("__slots__", ()))]
    return [name for name in names if name not in {"__dict__", "__weakref__"} and hasattr(part, name)]


def _as_tuple(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
