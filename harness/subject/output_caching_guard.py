"""Guard: does every call compute its output? A stored output would be timed as if it had been computed."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from modbench.harness.flops import counter

# A second call on the same tokens may save the making of a table, but not half of its work.
LEAST_SHARE = 0.5
# After many calls every table is made: a call on what was timed costs what a call on anything else costs.
KEPT_SHARE = 0.95
# Inputs of each kind that are compared: first a few, which decide where the cost does not depend on the input.
FEW, MANY = 2, 8
# One in so many honest models whose cost varies may be accused by chance, and the most fresh inputs that are drawn for that:
# enough for two timed ones.
RARE, MOST_FRESH = 12_870, 160
# Seed of what a model draws in a call, so that calls differ in their input alone.
SEED = 7

# FLOPs of a call on these tokens.
Flops = Callable[[Tensor], int]


def reused(module: nn.Module, tokens_BT: Tensor, other_BT: Tensor) -> str | None:
    """What is wrong, in words, if a call repeats an output instead of computing it; else None.

    Args:
        module: a language model; called four times.
        tokens_BT: tokens, which it may have seen before.
        other_BT: tokens that differ from them.
    """
    counts = [counter.forward(module, tokens_BT).total for _ in range(2)]
    if counts[1] < LEAST_SHARE * counts[0]:
        return f"cached output: a second call on the same tokens ran {counts[1]:.3g} FLOPs where the first ran {counts[0]:.3g}"
    with torch.no_grad():
        # The first output is copied: a model may return the same memory at every call.
        first = module(tokens_BT).clone()
        second = module(other_BT)
    if torch.equal(first, second):
        return "the same output for different tokens: it is stored, or the input is ignored"
    return None


@contextlib.contextmanager
def same_draws(tokens_BT: Tensor) -> Iterator[None]:
    """Let a call draw the same random numbers as every other call in such a block; afterwards as if it had drawn none."""
    # What a model draws by numpy's old functions, it draws from their one state.
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # as above
    try:
        with torch.random.fork_rng([tokens_BT.device] if tokens_BT.is_cuda else []):
            torch.manual_seed(SEED)
            random.seed(SEED)
            np.random.seed(SEED)  # noqa: NPY002  # as above
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002  # as above


def counted(
    call: Callable[[Tensor], object],
    within: AbstractContextManager[object],
    first: Callable[[], object] = lambda: None,
) -> Flops:
    """The counter of a call, which draws the same numbers each time.

    Args:
        call: what is counted.
        within: what is entered for each call.
        first: called before each.
    """

    def flops(tokens_BT: Tensor) -> int:
        first()
        with same_draws(tokens_BT), within:
            return counter.count(nn.Identity(), partial(call, tokens_BT)).total

    return flops


def kept(flops: Flops, timed: Sequence[Tensor], vocab_size: int, rebuilt: Callable[[], Flops] | None) -> str | None:
    """What is wrong, in words, if calls on batches that were timed compute less than others; else None.

    Three comparisons, none of which accuses a model whose cost depends on its input. The same tokens at another address must
    cost the same. Fresh tokens come from the same distribution as the timed ones: with eight of each, all timed ones are
    cheaper than all fresh ones once in 12,870 times; of fewer timed ones, so many fresh ones are drawn that it is as rare, and
    of a single one only that nothing at all is computed says something. The same tokens are also given to the model as it was
    built.

    Args:
        flops: counts a call exactly as it was timed; in training from the same state each time.
        timed: the tensors that were timed.
        vocab_size: fresh tokens are below it; fresh numbers are drawn from the timed ones.
        rebuilt: makes the counter of a model that has seen nothing, with the same weights; None in training, where what the
            model learnt from the timed batches may make them cheaper, but not by half.
    """
    seen = timed[:MANY]
    moved = _moved(seen)
    fresh = [_fresh(timed[0], vocab_size) for _ in seen]
    found: list[list[int]] = [[], [], []]
    seen_flops, moved_flops, fresh_flops = found

    def look(numbers: range) -> None:
        """Count three calls for each number, in one order and then in reverse: what drifts cancels."""
        for number in numbers:
            for kind in (0, 1, 2) if number % 2 else (2, 1, 0):
                found[kind].append(flops((seen, moved, fresh)[kind][number]))

    look(range(min(FEW, len(seen))))
    if len({count for counts in found for count in counts}) == 1:
        return None
    look(range(min(FEW, len(seen)), len(seen)))
    if sum(seen_flops) < KEPT_SHARE * sum(moved_flops):
        return f"calls on tensors that were timed ran {_mean(seen_flops)} FLOPs, on copies of them {_mean(moved_flops)}"
    enough = math.comb(len(seen) + MOST_FRESH, len(seen)) >= RARE  # with fewer no number of fresh ones tells
    while (cheaper := _cheaper(*found[::2], trains=rebuilt is None)) and not _shown(*found[::2]):
        if not enough or len(fresh_flops) >= MOST_FRESH:
            break
        fresh_flops.append(flops(_fresh(timed[0], vocab_size)))
    if cheaper and _shown(*found[::2]):
        return (
            f"a call on tokens that were timed ran {_mean(seen_flops)} FLOPs, one on fresh tokens {_mean(fresh_flops)}"
        )
    if rebuilt is None:
        return None
    anew = rebuilt()
    anew(_fresh(timed[0], vocab_size))  # makes its tables
    anew_flops = [anew(each.clone()) for each in seen]
    if sum(seen_flops) < KEPT_SHARE * sum(anew_flops):
        return (
            f"calls on tokens that were timed ran {_mean(seen_flops)} FLOPs, by the model as built {_mean(anew_flops)}"
        )
    return None


def _moved(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies at addresses at which the model was given nothing: where an earlier tensor lay, another may lie by now."""
    first = tensors[0]
    room = torch.empty((len(tensors) + 1, first.numel()), dtype=first.dtype, device=first.device)
    return [part.view(first.shape).copy_(each.detach()) for part, each in zip(room[1:], tensors, strict=True)]


def _fresh(timed: Tensor, vocab_size: int) -> Tensor:
    """A tensor of the same kind: tokens, or numbers drawn from its own."""
    if not timed.is_floating_point():
        return torch.randint_like(timed, vocab_size)
    drawn = torch.randint(timed.numel(), timed.shape, device=timed.device)
    return timed.detach().flatten()[drawn]


def _cheaper(seen: Sequence[int], fresh: Sequence[int], *, trains: bool) -> bool:
    """Whether all that were timed cost less than all fresh ones."""
    if not any(seen):
        return all(fresh)
    depends = len(set(fresh)) > 1 or len(set(seen)) > 1
    return max(seen) < (LEAST_SHARE if depends and trains else KEPT_SHARE) * min(fresh)


def _shown(seen: Sequence[int], fresh: Sequence[int]) -> bool:
    """Whether chance is ruled out; no output comes from no work, however few were timed."""
    return not any(seen) or _chances(seen, fresh) >= RARE


def _chances(seen: Sequence[int], fresh: Sequence[int]) -> int:
    """In how many orders of equal chance they may come: in one of them all that were timed come first."""
    return math.comb(len(seen) + len(fresh), len(seen))


def _mean(counts: Sequence[int]) -> str:
    return f"{sum(counts) / len(counts):.3g}"
