"""Did a module skip what it claims to skip? Compares its claim with the rows that each weight was multiplied with.

**The protocol.** Any module, in a catalogue model or a user's, may have two attributes; it needs no base class:

    capacity         the share of its input's tokens that it claims to process
    executed_tokens  how many tokens it claims to have processed in its last call, over the whole batch

and optionally `routed_parts`, the names of the submodules that the claim is about (default: all of it). Of a module with
stacked weights (experts), both are per slice. A module that states only `capacity`, between 0 and 1, is held to that share of
the batch's tokens in every call. On a module that holds others with claims of their own, on a part of a module that has both
attributes, and on a router, whose weights are small, it is a setting and not a claim. Without any claim, the report says "not
reported".

**The detector.** A dispatch mode (`rows.py`) watches every matrix product and counts the rows that each parameter, or a copy of
it, was multiplied with. If most weights of a module (by elements, so that a small router does not decide) met more rows than the
module claims to have processed, and these rows come from more tokens than that, it computed all of them and masked: its FLOPs
were not saved.

**From how many tokens the rows come.** A block that runs twice on the tokens that it chose multiplies its weights with twice as
many rows, and skips what it claims to. One that computes all tokens, in one piece or in several, and masks, does not. So what
counts is not how many rows there are but whose: the gradient of what weights were multiplied with names the tokens that these
rows come from. A gradient can be cut, so it is not believed alone: all other tokens are then moved a little, and the rows may not
change in a single bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from modbench.harness.call.subject.check_caching import same_draws
from modbench.harness.call.subject.weight_rows import RowWatch
from modbench.harness.domain.notes import Claim
from modbench.harness.results.measured_or_missing import attempt

# A router may choose another token where two scores are almost equal: other tokens are moved by so many units in the last place,
# and so often.
MOVED, TRIES = 8.0, 3


@dataclass(frozen=True)
class Call:
    """What a module was called with, and how many tokens it stated that it processed in that call."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    stated: int = 0


class _Factors(RowWatch):
    """Keeps what each of some weights is multiplied with."""

    def __init__(self, module: nn.Module, names: frozenset[str]) -> None:
        super().__init__(module)
        self.names, self.factors = names, dict[str, list[Tensor]]()

    def met(self, name: str, other: Tensor) -> None:
        """Keep the other factor; where it can have no gradient, as it is now."""
        if name in self.names:
            self.factors.setdefault(name, []).append(other if other.requires_grad else other.clone())


def rows_of_few(part: nn.Module, call: Call, sizes: Mapping[str, int], most: float) -> dict[str, float] | None:
    """Rows that each weight meets in a call, if most weights, by elements, meet those of a few tokens alone; else None.

    Args:
        part: the module, whose first argument is `[..., D]`, one vector for each token.
        call: one of its calls.
        sizes: elements of the weights that its claim is about, by their names in it.
        most: tokens that count as few.
    """
    given = call.args[0] if call.args else None
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.ndim < 2:
        return None
    x_BTD = given.detach().clone().requires_grad_()
    with torch.enable_grad():
        watch = _watched(part, x_BTD.clone(), call, sizes)
        reached = {name: _reached(x_BTD, factors) for name, factors in watch.factors.items()}
    held = {name: mask_BT for name, mask_BT in reached.items() if int(mask_BT.sum()) <= most}
    chosen_BT = torch.stack([torch.zeros_like(given[..., 0], dtype=torch.bool), *held.values()]).any(dim=0)
    if int(chosen_BT.sum()) > most:
        return None
    step = MOVED * torch.finfo(given.dtype).eps * ~chosen_BT[..., None]
    for _ in range(TRIES):
        with torch.no_grad():
            first = _watched(part, given.clone(), call, sizes).factors
            again = _watched(part, given * (1 + step * torch.randn_like(given).sign()), call, sizes).factors
        same = {name for name in held if _equal(first.get(name, ()), again.get(name, ()))}
        if 2 * sum(sizes[name] for name in same) >= sum(sizes[name] for name in watch.factors):
            return {name: watch.work[name] / sizes[name] for name in watch.factors}
    return None


def _watched(part: nn.Module, x_BTD: Tensor, call: Call, sizes: Mapping[str, int]) -> _Factors:
    """What each weight is multiplied with in a call, the same random numbers in each."""
    watch = _Factors(part, frozenset(sizes))
    with same_draws(x_BTD), watch:
        part(x_BTD, *call.args[1:], **call.kwargs)
    return watch


def _reached(x_BTD: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Tokens that any of these tensors depends on, as far as gradients show, as a mask `[...]`."""
    parts = [(factor * torch.rand_like(factor)).sum() for factor in factors if factor.requires_grad]
    if not parts:
        return torch.zeros(x_BTD.shape[:-1], dtype=torch.bool, device=x_BTD.device)
    total = sum(parts[1:], parts[0])
    (slope_BTD,) = torch.autograd.grad(total, x_BTD, retain_graph=True, materialize_grads=True)
    return (slope_BTD != 0).any(dim=-1)


def _equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


# Allows for rounding of k, and for padding rows to the longest of a batch.
TOLERANCE = 0.05
# A module that states a capacity alone, and whose weights have fewer elements than this share of its width squared, is a router:
# it scores all tokens.
ROUTER = 0.25


@runtime_checkable
class StatesTokens(Protocol):
    """A module that claims how many tokens it processes; see the protocol above."""

    capacity: float
    executed_tokens: int


def stating(module: nn.Module) -> dict[str, nn.Module]:
    """The modules that make a claim, by path."""
    parts = dict(module.named_modules())
    both = {path: part for path, part in parts.items() if isinstance(part, StatesTokens)}
    shares = {path for path, part in parts.items() if path not in both and _share(part) is not None}
    held = {
        path
        for path in shares
        if not any(_inside(other, path) for other in (*both, *shares))
        and not any(_inside(path, other) for other in both)
    }
    return {path: part for path, part in parts.items() if path in both or path in held}


def _share(part: nn.Module) -> float | None:
    """Its capacity, if that is a share of tokens; a number of slots, or another thing of that name, is not."""
    capacity = getattr(part, "capacity", None)
    return capacity if isinstance(capacity, float) and 0 < capacity < 1 else None


def _inside(path: str, outer: str) -> bool:
    return path != outer and path.startswith(f"{outer}." if outer else "")


def claims(module: nn.Module, tokens_BT: Tensor) -> list[Claim]:
    """Compare the claims of all modules that make one with one forward pass of the whole model."""
    watch = RowWatch(module)
    module.eval()
    made = stating(module)
    b, t = tokens_BT.shape
    calls: dict[str, list[Call]] = {path: [] for path in made}  # a module may run more than once

    def promised(part: nn.Module) -> int:
        if isinstance(part, StatesTokens):
            return int(part.executed_tokens)
        return b * math.ceil(t * (_share(part) or 1.0))

    def note(path: str, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: object) -> None:
        calls[path].append(Call(args, kwargs, promised(part)))

    hooks = [part.register_forward_hook(partial(note, path), with_kwargs=True) for path, part in made.items()]
    try:
        with torch.no_grad(), watch:
            module(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    sizes = {name: p.numel() for name, p in module.named_parameters() if p.ndim > 1}
    found = []
    for path, part in made.items():
        # Weights of an inner module with its own claim do not count for the outer one.
        inner = tuple(f"{other}." for other in made if _inside(other, path))
        own = [name for name in sizes if name.startswith(_prefixes(path, part)) and not name.startswith(inner)]
        if not isinstance(part, StatesTokens) and sum(sizes[name] for name in own) < ROUTER * _width(calls[path]) ** 2:
            continue
        met = {name: watch.work[name] / sizes[name] for name in own if name in watch.work}
        # Convolutions are not seen, nor are products with copies that were made earlier: what is seen must be most.
        most = 2 * sum(sizes[name] for name in met) >= sum(sizes[name] for name in own)
        rows = _typical(met, sizes) if most else None
        promise = sum(call.stated for call in calls[path]) if calls[path] else promised(part)
        masked = rows is not None and rows > _most(promise)
        if masked:  # or it ran more than once on the tokens that it chose
            inside = {name.removeprefix(f"{path}."): sizes[name] for name in own}
            masked = not _again(part, calls[path], inside, {name.removeprefix(f"{path}."): met[name] for name in met})
        claim = Claim(
            module=path,
            capacity=float(getattr(part, "capacity")),  # noqa: B009  # torch types attributes as Tensor or Module
            tokens=tokens_BT.numel(),
            stated=promise,
            rows=rows,
            masked=masked,
        )
        found.append(claim)
    return found


def masked(module: nn.Module, tokens_BT: Tensor) -> str | None:
    """What a module of it computed and claims to skip, in words; None if there is none."""
    return next((claim.said for claim in claims(module, tokens_BT) if claim.masked), None)


def _again(part: nn.Module, calls: list[Call], sizes: dict[str, int], met: dict[str, float]) -> bool:
    """Whether its calls account for all rows that its weights met, and each met only tokens that it states."""
    seen = dict.fromkeys(met, 0.0)
    for call in calls:
        found = attempt(partial(rows_of_few, part, call, sizes, _most(call.stated)))
        if not isinstance(found, dict):
            return False
        seen |= {name: seen[name] + found.get(name, 0.0) for name in seen}
    return all(round(seen[name]) >= round(rows) for name, rows in met.items())


def _most(stated: int) -> float:
    """Most rows, or tokens, that do not break a claim."""
    return stated * (1 + TOLERANCE) + 1


def _width(calls: list[Call]) -> int:
    """Elements of the vectors that a module was called with; 0 if they are not known."""
    given = [call.args[0] for call in calls if call.args and isinstance(call.args[0], Tensor) and call.args[0].ndim > 1]
    return int(given[-1].shape[-1]) if given else 0


def _prefixes(path: str, part: object) -> tuple[str, ...]:
    """Prefixes of the names of the weights that a claim is about."""
    base = f"{path}." if path else ""
    return tuple(f"{base}{name}." for name in getattr(part, "routed_parts", ())) or (base,)


def _typical(rows: dict[str, float], sizes: dict[str, int]) -> float | None:
    """Median of rows, weighted by the number of elements of each weight."""
    ordered = sorted((value, sizes[name]) for name, value in rows.items())
    half, seen = sum(size for _, size in ordered) / 2, 0.0
    for value, size in ordered:
        seen += size
        if seen >= half:
            return value
    return None
