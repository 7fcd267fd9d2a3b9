"""Bases for torch's modes, which see what runs while they are entered. The one file of this package that loads torch.

A subclass overrides the hooks; it calls nothing and returns nothing, so it cannot change what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Operator = OpOverload[..., Any]


class OperatorMode(TorchDispatchMode):
    """Sees every operator that the dispatcher runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own

    def before(self, operator: Operator, args: Sequence[Any]) -> None:
        """Called before each operator, with its positional arguments."""

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Called after each operator that did not raise, with what it returned."""

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        self.before(func, args)
        out = func(*args, **(kwargs or {}))
        self.after(func, args, out)
        return out


class FunctionMode(TorchFunctionMode):
    """Sees every function of torch's Python API that is given a tensor."""

    def before(self, name: str) -> None:
        """Called before each function, with its name; empty if it has none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        self.before(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def name_of(operator: Operator) -> str:
    """An operator's name without namespace and overload: `addmm`."""
    return str(operator.overloadpacket.__name__)


def makes_a_view(operator: Operator) -> bool:
    """Whether an operator returns a view of its input, by its signature."""
    returns = operator._schema.returns  # noqa: SLF001  # no public way to a signature
    return any(each.alias_info is not None and not each.alias_info.is_write for each in returns)
