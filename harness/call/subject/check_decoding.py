"""Validity checks of a user's model that decodes: token by token it must compute what one forward pass computes.

Models of the catalogue are held to the same by tests, at any length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from modbench.harness.call.subject.check_causality import LEAST
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.model_methods import PAGE

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject

# Rows, the longest prompt, and the most and fewest steps after it. A cache that wrongly keeps skipped tokens is seen only where a
# processed token follows a skipped one: of two routed blocks at capacity 1/4, four steps of two rows have no such pair in 5 %.
ROWS, PROMPT, STEPS, LEAST_STEPS = 2, 512, 16, 4
# Nats by which log-probabilities may differ: one token at a time is rounded otherwise than all at once.
TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6, torch.bfloat16: 0.3, torch.float16: 0.05}
# A cache may keep as much more than it says: positions and lengths.
UNSAID, FREE = 1.05, 4096


class Compared(NamedTuple):
    """How prefill and decode compare with one forward pass.

    Attributes:
        nats: by how much log-probabilities differ: the most, in half precision typically.
        exact: whether it is the most.
        causal: whether the forward pass was asked to route without the future.
        within: whether rounding explains it.
        steps: tokens that were decoded.
    """

    nats: float
    exact: bool
    causal: bool
    within: bool
    steps: int


def check(subject: Subject, read: Callable[[Tensor, int], tuple[Tensor, Any]]) -> None:
    """Compare prefill and 4 to 16 steps with one forward pass, without the future where `forward` takes `causal`.

    Args:
        subject: the model.
        read: `read(tokens_BT, max_len)` returns logits [B, V] after the prompts, and a cache with room for `max_len` tokens.

    Raises:
        ValueError: if they differ, or return something else than logits [B, V].
    """
    found = compare(subject, read)
    if found.within:
        return
    advice = "" if found.causal else "; a router that decides otherwise while decoding needs forward(..., causal=True)"
    raise ValueError(
        f"{subject.case.model}: prefill and decode do not compute what one forward pass computes: log-probabilities differ by "
        f"{'up to' if found.exact else 'typically'} {found.nats:.2g} nats{advice} ({PAGE})"
    )


@torch.no_grad()
def compare(subject: Subject, read: Callable[[Tensor, int], tuple[Tensor, Any]]) -> Compared:
    """How prefill and a few steps differ from one forward pass, without the future where `forward` takes `causal`.

    In half precision a router may decide otherwise where two scores are nearly equal, so most positions must agree; else all.

    Args:
        subject: the model.
        read: as for `check`.

    Raises:
        ValueError: if they return something else than logits [B, V].
    """
    module, parts, name = subject.module, subject.parts, subject.case.model
    x_BT = torch.cat(subject.inputs(subject.seed + 2, 2), 1)[:ROWS]
    length = min(PROMPT, subject.case.grid_point.seq_len)
    steps = min(STEPS, max(LEAST_STEPS, length // 2))
    n = max(1, length - steps)
    x_BT = x_BT[:, : n + steps]
    steps = x_BT.shape[1] - n
    prompt_B = torch.full((len(x_BT),), n, device=x_BT.device)
    how = parts.given("forward", causal=True, prompt_B=prompt_B)
    wanted_BTV = _log_p(module(x_BT, **how))
    logits_BV, cache = read(x_BT[:, :n], n + steps)
    found, dtype = [], _checked(logits_BV, wanted_BTV, f"{name}: prefill").dtype
    found.append(_apart(logits_BV, wanted_BTV[:, n - 1]))
    for i in range(n, n + steps):
        logits_BV = _checked(module.decode(x_BT[:, i], cache), wanted_BTV, f"{name}: decode")  # type: ignore[operator]
        found.append(_apart(logits_BV, wanted_BTV[:, i]))
    apart = torch.cat(found)
    exact = dtype in {torch.float32, torch.float64}
    worst = float(apart.max() if exact else apart.median())
    within = worst <= TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    return Compared(worst, exact, "causal" in how, within, steps)


def check_rewind(
    name: str, step: Callable[[Tensor], Tensor], rewind: Callable[[], None], feed_BT: Tensor, steps: int
) -> None:
    """Check that a cache is put back by what is called before every timed call.

    Raises:
        Unmeasured: if the same step then computes something else.
    """
    seen = []
    for _ in range(2):
        rewind()
        for i in range(steps):
            logits_BV = step(feed_BT[:, i % feed_BT.shape[1]])
            if i == 0:
                seen.append(_log_p(logits_BV.clone()))
    # The reason of the second call is the first: a cache that was not put back is one call further on.
    if float((seen[0] - seen[1]).abs().max()) > TOLERANCE.get(logits_BV.dtype, TOLERANCE[torch.float32]):
        raise Unmeasured(
            f"not reported: the cache of {name} could not be put back; give it mark() and rewind(mark) ({PAGE})"
        )


def kept_bytes(subject: Subject, cache: object) -> float:
    """Bytes that a cache says it keeps.

    Raises:
        Unmeasured: if it says nothing.
        ValueError: if its tensors are larger.
    """
    from modbench.harness.call.subject.rewinding import held_bytes

    said = getattr(cache, "nbytes", None)
    name = subject.case.model
    if isinstance(said, bool) or not isinstance(said, int):
        raise Unmeasured(f"not reported: the cache of {name} has no number nbytes ({PAGE})")
    held = held_bytes(cache, subject.module) if subject.case.is_user_model else 0
    if held > UNSAID * said + FREE:
        raise ValueError(
            f"the cache of {name} says that it keeps {said} B, but its tensors take {held} B, views with all "
            f"that they look into: a view keeps the whole tensor alive. Keep copies, k.contiguous() or k.clone() ({PAGE})"
        )
    return float(said)


def _checked(logits_BV: object, wanted_BTV: Tensor, what: str) -> Tensor:
    b, _, v = wanted_BTV.shape
    if not isinstance(logits_BV, Tensor) or list(logits_BV.shape) != [b, v]:
        got = list(logits_BV.shape) if isinstance(logits_BV, Tensor) else type(logits_BV).__name__
        raise ValueError(f"{what} must return logits [{b}, {v}], one row for each sequence; it returned {got} ({PAGE})")
    return logits_BV


def _log_p(logits: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).clamp(min=LEAST)


def _apart(logits_BV: Tensor, wanted_BV: Tensor) -> Tensor:
    """Largest difference in each row."""
    return (_log_p(logits_BV) - wanted_BV).abs().amax(-1)
