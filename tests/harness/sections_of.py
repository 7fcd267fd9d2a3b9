"""What a section makes of a run: its HTML, its figures."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.reports.blocks import Figure
from modbench.reports.markup import html
from modbench.reports.tables.load import Loaded


def shown(section: Any, loaded: Loaded) -> str:
    """The HTML of a section, or of its module; empty where it has nothing to show."""
    made = section.render(loaded)
    return str((made if isinstance(made, Markup) else html.written(made or ())) or "")


def drawn(section: Any, loaded: Loaded) -> list[Figure]:
    """The figures of a section, or of its module."""
    return [each for each in section.render(loaded) or () if isinstance(each, Figure)]
