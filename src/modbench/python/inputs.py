"""What a model is called with, and where that lies."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from modbench.harness.core.errors import UsageError

# A tensor, positional arguments, or keyword arguments.
Given: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Inputs:
    """Arguments of a call.

    Attributes:
        args: positional ones.
        kwargs: keyword ones.
        device: where their tensors lie; None without tensors.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | None = None

    @classmethod
    def of(cls, given: Given) -> Inputs:
        """Read what a user gave.

        Raises:
            UsageError: if tensors lie on several devices, or on one that is not measured.
        """
        if isinstance(given, Mapping):
            return cls.of_call((), given)
        return cls.of_call(() if given is None else tuple(given) if isinstance(given, tuple | list) else (given,), {})

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
        there = {each.device for each in (*model.parameters(), *model.buffers())}
        if self.device is not None and there and there != {self.device}:
            named = " and ".join(sorted(map(str, there)))
            raise UsageError(f"model {name!r} lies on {named}, the inputs on {self.device}. Move one with .to(...).")

    @contextlib.contextmanager
    def called(self, name: str, model: object, example: str) -> Iterator[None]:
        """Say in a line where a call raises because these are not its arguments; other errors stay the caller's.

        Args:
            name: what is called, for the message.
            model: the same.
            example: how inputs are given.

        Raises:
            UsageError: if its signature takes other arguments.
        """
        try:
            yield
        except TypeError as error:
            why = self._refused(model)
            if why is None:
                raise
            given = "without inputs" if not self.args and not self.kwargs else "with these inputs"
            raise UsageError(
                f"{name!r} cannot be called {given}: {why}. Give what it takes, as in {example}."
            ) from error

    def _refused(self, model: object) -> str | None:
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


def _tensors(values: object) -> Iterator[Tensor]:
    """The tensors among values, in containers too."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, tuple | list):
        for each in values:
            yield from _tensors(each)
