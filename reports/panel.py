"""The panel type: one section of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from modbench.reports.model import Block

if TYPE_CHECKING:
    from modbench.reports.tables.load import Loaded


@dataclass(frozen=True)
class Panel:
    """One section of the page.

    Attributes:
        title: heading.
        order: position on the page, ascending.
        span: width on a wide screen, in twelfths.
        render: pure function from a loaded run to its blocks, or to HTML; to None or nothing if the run has nothing to show here.
        folded: whether it is collapsed at first.
        draws: whether there are figures among its blocks, which `modbench figure` saves.
        reading: how to read it, for somebody who sees it for the first time: what it shows, and what it does not say.
    """

    title: str
    order: int
    span: int
    render: Callable[[Loaded], Iterable[Block | Markup] | Markup | None]
    folded: bool = False
    draws: bool = False
    reading: str = ""
