"""What a file in `probes/` exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modbench.extend import checked
from modbench.plugins.audit.report import Architecture, Finding

if TYPE_CHECKING:
    from modbench.plugins.audit.model import Audited


@dataclass(frozen=True)
class Probe:
    """A property that calls can show, which an addition exports as `PROBE`. The name of its file is the property's.

    Attributes:
        title: the property in a few words, as a row of the audit report.
        check: looks at a model. What it raises makes the property one that cannot be seen.
        order: place in the audit report.
        of: what a model must be held to for this property to be looked at; empty: always.
    """

    title: str
    check: Callable[[Audited], Finding]
    order: int
    of: tuple[Architecture, ...] = ()

    def __post_init__(self) -> None:
        checked(self.title, "PROBE.title")
