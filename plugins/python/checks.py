"""Checks of callables that are timed in one process: settings that a call must leave, and what it is called again for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from modbench.extend import Label, in_short
from modbench.plugins.python.callables import LeftBehind

if TYPE_CHECKING:
    from torch import Tensor, nn


def settings() -> Callable[[], None]:
    """Note torch's and Python's settings as they are; returns the check that a call left them so, which raises `LeftBehind`.

    Torch is not loaded for it.
    """
    if "torch" not in sys.modules:
        return lambda: None
    from modbench.extend import process_settings

    before = process_settings.read()

    def check() -> None:
        if found := process_settings.changed(before):
            raise LeftBehind(f"cannot be compared: its call changed {found}, for every model of the process.")

    return check


def labels(call: Callable[[Tensor], object], timed: Tensor, language_model: nn.Module | None) -> dict[str, str]:
    """What further calls show of a callable that was timed: by label, a sentence.

    Args:
        call: the call, a function of a tensor of its inputs.
        timed: the tensor that it was timed on.
        language_model: the module, in evaluation mode, whose only input is tokens; None: it is none.
    """
    from modbench.extend import check_caching, check_skipping

    guards: dict[Label, Callable[[], str | None]] = {
        Label.REUSES_OUTPUT: partial(check_caching.kept, call, check_caching.drawn_from(timed))
    }
    if language_model is not None:
        guards[Label.MASKS_COMPUTE] = partial(check_skipping.masked, language_model, timed.clone())
    found = dict[str, str]()
    for label, guard in guards.items():
        try:
            if said := guard():
                found[str(label)] = said
        except Exception as error:  # noqa: BLE001  # its timed calls raised nothing: a validity check asks more of it
            found[str(Label.UNCHECKED)] = f"{type(error).__name__}: {in_short(error)}"
    return found
