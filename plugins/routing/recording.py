"""What is watched of routers while a model trains, and afterwards; a user's model is watched if it has `observe`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.extend import Missing, attempt, workspace

if TYPE_CHECKING:
    from modbench.extend import Subject, Windows
    from modbench.plugins.routing.drift import Drift

# Held-out tokens of a look during training, and those on which routers are described.
LOOK_TOKENS = 2048
WATCH_TOKENS = 16_384


def watched(subject: Subject, windows: Windows) -> Watch | str:
    """Return what watches the routers of a training run, or why they cannot be watched."""
    if subject.case.is_user_model:
        from modbench.plugins.routing.collect import undisturbed, why_not_watched

        with undisturbed(subject.module):
            tokens_BT = next(windows.val()).tokens_BT.to(subject.case.grid_point.device)
            if reason := why_not_watched(subject.module, tokens_BT, subject.case.model):
                return reason
    return Watch(subject, windows)


class Watch:
    """Watches the routers of one training run, on the same few held-out sequences."""

    def __init__(self, subject: Subject, windows: Windows) -> None:
        from modbench.extend import joined
        from modbench.plugins.routing.drift import Drift

        self._subject, self._windows = subject, windows
        some = joined(windows.val(LOOK_TOKENS))
        self._drift = Drift(some.tokens_BT, some.targets_BT, windows.tokens)
        self.carried = self._drift.carried

    def look(self, step: int) -> None:
        """Look at the routers after so many steps."""
        self._drift.look(self._subject.module, step)

    def described(self, subject: Subject) -> tuple[dict[str, Any] | None, str]:
        """Return the summary of what the routers do, or None and the reason: of a user's model `observe` may fail."""
        look = partial(_look_closely, subject, self._windows, self._drift)
        found = attempt(look) if subject.case.is_user_model else look()
        return (None, f"not reported: {found.reason}") if isinstance(found, Missing) else (found, "")


def _look_closely(subject: Subject, windows: Windows, drift: Drift) -> dict[str, Any]:
    """Describe what the routers do, save it as an artifact, and return its summary."""
    from modbench.extend import autocast_of, joined, why_not_causal
    from modbench.plugins.routing.describe import describe
    from modbench.plugins.routing.interventions import flip_effects

    some = joined(windows.val(min(WATCH_TOKENS, windows.run.val_tokens))).to(subject.case.grid_point.device)
    with autocast_of(subject.case):
        description = describe(
            subject.module,
            some.tokens_BT,
            some.targets_BT,
            windows.tokens,
            seed=subject.seed,
            causal_too=subject.case.is_user_model or not why_not_causal(subject),  # a user's `observe` says why not
        )
    found = {"routing": description, "drift": drift.as_dict()}
    if windows.run.flips:
        found["flips"] = flip_effects(subject.module, some.tokens_BT, some.targets_BT, windows.run.flips, subject.seed)
    if workspace.HERE is not None:
        workspace.HERE.keep(found)
    return dict(description["summary"])


RECORDER = watched
