"""The guard of callables that are timed in one process: settings that a call must leave as they are."""

from __future__ import annotations

import sys
from collections.abc import Callable

from modbench.harness.process import clocks
from modbench.harness.timing.callables import LeftBehind


def settings() -> Callable[[], None]:
    """Note the clocks and torch's settings as they are; returns the check that a call left them so, which puts them back.

    The check raises `LeftBehind`. Torch is not loaded for it.
    """
    if "torch" not in sys.modules:
        here = clocks.in_place()

        def of_clocks() -> None:
            changed = clocks.restored(here)
            if changed:
                raise LeftBehind(f"changed the clock {' and '.join(changed)} for every call of the process.")

        return of_clocks
    from modbench.harness.subject import shared_state

    wanted = shared_state.as_now()

    def of_torch() -> None:
        try:
            shared_state.checked(wanted.threads, wanted)
        except RuntimeError as error:
            raise LeftBehind(f"cannot be compared: {error}.") from None

    return of_torch
