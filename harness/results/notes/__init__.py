"""What each pass leaves beside its samples, as models: a pass fills one in, a doubt or a report reads its attributes."""

from __future__ import annotations

from typing import TypeVar

from modbench.harness.core.frozen import Frozen


class Notes(Frozen):
    """What else a reader of a number should know. A pass that has nothing to say leaves this."""


SomeNotes = TypeVar("SomeNotes", bound=Notes)
