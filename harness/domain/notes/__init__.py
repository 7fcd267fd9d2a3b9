"""Notes that passes keep with their samples, as typed models: a pass fills one in; doubts and reports read it."""

from __future__ import annotations

from typing import TypeVar

from modbench.harness.core.frozen import Frozen


class Notes(Frozen):
    """Base of all notes: further facts about a number. A pass without notes uses it as it is."""


SomeNotes = TypeVar("SomeNotes", bound=Notes)
