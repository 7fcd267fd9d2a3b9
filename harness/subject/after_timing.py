"""Guards that run on a user's model after it was timed, in the same process, with calls exactly as they were timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modbench.harness.core.case import Place
from modbench.harness.core.measure_plans import DecodePlan
from modbench.harness.flops import counter
from modbench.harness.results.outcomes import attempt
from modbench.harness.results.records import Gap
from modbench.harness.subject import output_caching_guard, training
from modbench.harness.subject.module_state import ModuleState
from modbench.harness.subject.precision import Precision
from modbench.harness.subject.subject import Subject

# Batches on which training mode is compared with evaluation mode: in the first launch, and in later ones.
COMPARED, AGAIN = 4, 1
# Timers whose call queues kernels behind others, or replays them.
UNSEEN = frozenset({"device", "graph"})

# Why this process does not run the guards: they ran before, on the same code.
_left_out: str | None = None


def leave_out(why: str) -> None:
    """Let this process time users' models without the guards; its records say why as `unchecked`."""
    global _left_out  # noqa: PLW0603  # set once, by what starts the process
    _left_out = why


def why_unseen(place: Place, timer: str) -> str | None:
    """Why a counter does not see what was timed, as `unchecked` of `TimeNotes`; None: it does."""
    if _left_out is not None:
        return _left_out
    if not place.compile and timer not in UNSEEN:
        return None
    how = "compiled code" if place.compile else f"a call timed as {timer!r}"
    return f"whether the timed calls were computed: {how} is not seen by a counter"


def check(
    subject: Subject,
    timed: Callable[[Tensor], object],
    made: Callable[[Subject], Callable[[Tensor], object]],
    batches: Sequence[Tensor],
    *,
    trains: bool,
    launch: int,
) -> dict[str, Any]:
    """What the guards found, as fields of `TimeNotes`; a guard that cannot run is named in `unchecked`.

    Args:
        subject: what was timed; in training its weights change.
        timed: the call that was timed.
        made: what made it of the subject.
        batches: the tensors that it was timed on.
        trains: whether the call was a training step.
        launch: number of the launch, from 0.
    """
    precision = Precision(subject.case.place.dtype)
    rebuilt = None if trains else partial(_rebuilt, subject, made)
    kept = attempt(partial(_kept, subject, timed, batches, precision, rebuilt))
    found: dict[str, Any] = {"other_precision": precision.found()}
    gaps = []
    if isinstance(kept, Gap):
        gaps.append(f"whether the timed calls were computed: {kept.reason}")
    else:
        found["reused"] = kept
    if trains:
        share = attempt(partial(training.forward_share, subject.module, batches[: AGAIN if launch else COMPARED]))
        if isinstance(share, Gap):
            gaps.append(f"whether training mode computes less: {share.reason}")
        else:
            found["train_forward_share"] = share
    return found | {"unchecked": "; ".join(gaps) or None}


def _kept(
    subject: Subject,
    timed: Callable[[Tensor], object],
    batches: Sequence[Tensor],
    precision: Precision,
    rebuilt: Callable[[], output_caching_guard.Flops] | None,
) -> str | None:
    """What `reuse.kept` finds in the timed call.

    Each training step starts from the state in which the timing ended: that a gate decides otherwise after a step says nothing
    about what is kept.
    """
    state = None if rebuilt else ModuleState(subject.module)

    def flops(tokens_BT: Tensor) -> int:
        if state is not None:
            state.put_back()
        with output_caching_guard.same_draws(tokens_BT), precision:
            return counter.count(torch.nn.Identity(), partial(timed, tokens_BT)).total

    return output_caching_guard.kept(flops, batches, subject.case.config.vocab_size, rebuilt)


def _rebuilt(subject: Subject, made: Callable[[Subject], Callable[[Tensor], object]]) -> Callable[[Tensor], int]:
    """Counts the same calls of the case's model as it was built, with the weights of the one that was timed."""
    fresh = Subject(subject.case, subject.seed, decode=DecodePlan(tokens=subject.steps), clock=subject.clock)
    fresh.module.load_state_dict(subject.module.state_dict(), strict=False)
    fresh.module.eval()
    call = made(fresh)

    def flops(tokens_BT: Tensor) -> int:
        with output_caching_guard.same_draws(tokens_BT):
            return counter.count(torch.nn.Identity(), partial(call, tokens_BT)).total

    return flops
