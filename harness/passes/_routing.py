"""What is watched of routers while a model trains, and afterwards; a user's model is watched if it has `observe`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core.torchrun import Ranks
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.results import workspace
from modbench.harness.results.outcomes import attempt
from modbench.harness.results.records import Gap

if TYPE_CHECKING:
    from modbench.harness.routing import Drift
    from modbench.harness.subject.subject import Subject
    from modbench.harness.training.batches import Windows

# Held-out tokens per evaluation during training.
LOOK_TOKENS = 2048
# Held-out tokens on which routers are described.
WATCH_TOKENS = 16_384


def why_unwatched(subject: Subject, windows: Windows, plan: TrainRun, ranks: Ranks) -> str:
    """Why routers are not watched; empty if they are."""
    if not plan.watch:
        return "routers were not watched: train.watch is off"
    if ranks.world > 1:
        return "trained by several ranks: routers are watched only with one"
    if not subject.case.own:
        return ""
    from modbench.harness.routing import undisturbed, why_not_watched

    with undisturbed(subject.module):
        tokens_BT = next(windows.val()).tokens_BT.to(subject.case.place.device)
        return why_not_watched(subject.module, tokens_BT, subject.case.model)


def drift_of(windows: Windows) -> Drift:
    """What looks during training collect, on the same few held-out windows."""
    from modbench.harness.routing import Drift
    from modbench.harness.training.batches import joined

    some = joined(windows.val(LOOK_TOKENS))
    return Drift(some.tokens_BT, some.targets_BT, windows.tokens)


def described(subject: Subject, windows: Windows, drift: Drift) -> tuple[dict[str, Any] | None, str]:
    """Summary of what the routers do, or None and the reason: a user's `observe` may fail, but its losses are known."""
    look = partial(_look_closely, subject, windows, drift)
    found = attempt(look) if subject.case.own else look()
    return (None, f"not reported: {found.reason}") if isinstance(found, Gap) else (found, "")


def _look_closely(subject: Subject, windows: Windows, drift: Drift) -> dict[str, Any]:
    """Describe what the routers do, save it as an artifact, and return its summary."""
    from modbench.harness.routing import describe, flip_effects
    from modbench.harness.training.batches import joined
    from modbench.harness.training.held_out import autocast_of, why_not_causal

    some = joined(windows.val(min(WATCH_TOKENS, windows.run.val_tokens))).to(subject.case.place.device)
    with autocast_of(subject.case):
        description = describe(
            subject.module,
            some.tokens_BT,
            some.targets_BT,
            windows.tokens,
            seed=subject.seed,
            causal_too=subject.case.own or not why_not_causal(subject),  # a user's `observe` says why not
        )
    found = {"routing": description, "drift": drift.as_dict()}
    if windows.run.flips:
        found["flips"] = flip_effects(subject.module, some.tokens_BT, some.targets_BT, windows.run.flips, subject.seed)
    if workspace.HERE is not None:
        workspace.HERE.keep(found)
    return dict(description["summary"])
