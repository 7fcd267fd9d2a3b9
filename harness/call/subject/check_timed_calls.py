"""The check of a model around its timing: the same call does the same work, and gives the same answer, before and after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modbench.harness.call.subject import check_caching, check_causality
from modbench.harness.call.subject.build import evaluating
from modbench.harness.call.subject.check_caching import same_draws
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.records import Missing
from modbench.harness.results.measured_or_missing import attempt

# After the timing a call costs what it cost before.
KEPT_SHARE = 0.95
# Decode steps that are counted: counting makes a step much slower.
COUNTED_STEPS = 16
# Positions of the first row at which answers are compared.
COMPARED = 16
# Timers whose call queues kernels behind others, or replays them.
UNSEEN = frozenset({"device", "graph"})
COMPUTED = "whether the timed calls were computed"

# Why this process does not run the guards: they ran before, on the same code.
_left_out: str | None = None


def leave_out(why: str) -> None:
    """Let this process time users' models without the validity checks; its records say why as `unchecked`."""
    global _left_out  # noqa: PLW0603  # set once, by what starts the process
    _left_out = why


def why_unseen(*, compiled: bool, timer: str = "") -> str | None:
    """Why a counter does not see what was timed, as `unchecked` of `TimeNotes`; None: it does."""
    if _left_out is not None:
        return _left_out
    if not compiled and timer not in UNSEEN:
        return None
    how = "compiled code" if compiled else f"a call timed as {timer!r}"
    return f"{COMPUTED}: {how} is not seen by a counter"


class Seen(NamedTuple):
    """What a timed call does.

    Attributes:
        flops: of one call.
        logits: some of the first row, [1, 16, V].
        writes: how often each weight was written into since it was made.
    """

    flops: int
    logits: Tensor
    writes: dict[str, int]


class Watched:
    """A user's model that is about to be timed.

    Training steps change what the next one computes, so that after them only the inputs are compared. The model's contract was
    checked by a call before: tables that a first call makes are made.

    Args:
        subject: the model.
        call: the call that is timed, a function of a batch.
        batches: the batches that it is timed on.
        seed: drew the batches.
        trains: whether the call is a training step.
    """

    def __init__(
        self, subject: Subject, call: Callable[[Tensor], object], batches: Sequence[Tensor], seed: int, *, trains: bool
    ) -> None:
        self.subject, self.call, self.batches, self.seed = subject, call, batches, seed
        self.before = None if trains else attempt(self._look)

    def found(self) -> dict[str, str]:
        """What is wrong after the timing, as fields of `TimeNotes`: `reused`, or `unchecked`; empty if nothing is."""
        drawn = self.subject.inputs(self.seed, len(self.batches))
        if not all(map(torch.equal, drawn, self.batches)):
            return {"unchecked": f"{COMPUTED}: they wrote into their inputs"}
        if self.before is None:
            return {}
        after = attempt(self._look)
        for seen in (self.before, after):
            if isinstance(seen, Missing):
                return {"unchecked": f"{COMPUTED}: {seen.reason}"}
        assert isinstance(self.before, Seen)
        assert isinstance(after, Seen)
        return differs(self.before, after)

    def _look(self) -> Seen:
        tokens_BT, module, steps = self.batches[0], self.subject.module, self.subject.steps
        self.subject.steps = min(steps, COUNTED_STEPS)
        try:
            flops = check_caching.flops_of(self.call, tokens_BT)
        finally:
            self.subject.steps = steps
        with evaluating(module), torch.no_grad(), same_draws(tokens_BT):
            logits: Tensor = module(tokens_BT)[:1]
        few = logits[:, :COMPARED].clone() if logits.ndim > 2 else logits.clone()
        return Seen(flops, few, {name: weight._version for name, weight in module.named_parameters()})  # noqa: SLF001  # torch's count


def differs(before: Seen, after: Seen) -> dict[str, Any]:
    """How a call that was timed differs from the same call before, as fields of `TimeNotes`; empty if it does not."""
    if after.flops < KEPT_SHARE * before.flops:
        said = f"after the timing a call ran {after.flops:.3g} FLOPs, before it {before.flops:.3g} on the same tokens"
        return {"reused": said}
    written = [name for name, writes in after.writes.items() if writes != before.writes.get(name)]
    if written:
        return {"unchecked": f"{COMPUTED}: they changed weights ({written[0]})"}
    one, other = (seen.logits.float().log_softmax(-1).clamp(min=check_causality.LEAST) for seen in (before, after))
    nats = float((one - other).abs().max())
    if nats > check_causality.TOLERANCE.get(before.logits.dtype, check_causality.TOLERANCE[torch.float32]):
        return {
            "unchecked": f"{COMPUTED}: log-probabilities of the same tokens moved by up to {nats:.2g} nats meanwhile"
        }
    return {}
