"""The user's panels and doubts on the page: one that fails stops nothing, and is named with its reason where it would stand."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from modbench.harness.core import catalogue
from modbench.harness.core.discovery import Entry
from modbench.harness.core.errors import in_short
from modbench.reports.figures import blaming_artifacts
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel


def rendered(name: str, panel: Panel, loaded: Loaded) -> Markup | None:
    """Render a panel; instead of one of the user's that raises, return the reason."""
    try:
        with blaming_artifacts(name, loaded):
            return panel.render(loaded)
    except Exception as error:
        if catalogue.is_shipped("panels", name):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        return _said(f"{catalogue.find('panels', name).path} cannot be shown: {said}")


def broken() -> Iterator[tuple[Panel, Markup]]:
    """Yield a section for every panel and doubt of the user's that cannot be used."""
    for entry in (*catalogue.broken("panels"), *catalogue.broken("doubts")):
        yield _stand_in(entry), _said(f"{entry.where} cannot be used: {entry.problem}")


def _stand_in(entry: Entry) -> Panel:
    return Panel(title=f"{entry.one.capitalize()} {entry.name!r}", order=10_000, span=12, render=lambda _: None)


def _said(text: str) -> Markup:
    return Markup("<p>{}</p>").format(text)
