"""What a panel makes of a run: its HTML, its figures."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from modbench.reports.model import Figure
from modbench.reports.tables.load import Loaded
from modbench.reports.writers import html


def shown(panel: Any, loaded: Loaded) -> str:
    """The HTML of a panel, or of its module; empty where it has nothing to show."""
    made = panel.render(loaded)
    return str((made if isinstance(made, Markup) else html.written(made or ())) or "")


def drawn(panel: Any, loaded: Loaded) -> list[Figure]:
    """The figures of a panel, or of its module."""
    return [each for each in panel.render(loaded) or () if isinstance(each, Figure)]
