"""The panels of a run, its figures by name, and what stands where a panel of the user's cannot be shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from markupsafe import Markup

from modbench.harness.core import catalogue
from modbench.harness.core.discovery import Entry
from modbench.harness.core.errors import UsageError, in_short, unknown
from modbench.reports.figures import style
from modbench.reports.model import Alert, Figure
from modbench.reports.panel import Panel, panels
from modbench.reports.tables.load import Loaded
from modbench.reports.writers import html


@contextlib.contextmanager
def blaming_artifacts(panel: str, loaded: Loaded) -> Iterator[None]:
    """Turn an error of a panel about routing into one of its data: artifacts have no schema; what one lacks is damage, no bug.

    Raises:
        UsageError: if an artifact is damaged.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        artifacts = loaded.path / "artifacts"
        if isinstance(error, UsageError) or not (panel.startswith("routing_") and artifacts.is_dir()):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        raise UsageError(
            f"{artifacts}: a file in it is damaged ({said}). If you remove it, its panels stay empty."
        ) from error


def drawn(loaded: Loaded) -> Iterator[tuple[str, Figure]]:
    """Yield the panel and every figure that the run has data for, in the order of the page."""
    for name, panel in panels():
        if panel.draws:
            try:
                with blaming_artifacts(name, loaded), style.numbered(loaded.arms):
                    found = [each for each in panel.render(loaded) or () if isinstance(each, Figure)]
            except Exception:
                if catalogue.is_shipped("panels", name):
                    raise
                continue  # the page says what is wrong with it
            yield from ((name, each) for each in found)


def named(loaded: Loaded, name: str) -> Figure:
    """Return the figure of this name, or the only figure of the panel of this name.

    Raises:
        UsageError: if the run has no such figure, or the panel has several.
    """
    passed: dict[str, list[str]] = {}
    for panel, drawing in drawn(loaded):
        if drawing.name == name:
            return drawing
        passed.setdefault(panel, []).append(drawing.name)
    if name in passed:
        if len(passed[name]) > 1:
            raise UsageError(f"panel {name!r} has several figures: {', '.join(passed[name])}. Name one of them.")
        return next(drawing for panel, drawing in drawn(loaded) if panel == name)
    if not passed:
        raise UsageError(f"{str(loaded.path)!r} has no figure: none of its panels has data to draw.")
    raise unknown("figure", name, [each for names in passed.values() for each in names])


def rendered(name: str, panel: Panel, loaded: Loaded) -> Markup | None:
    """Render a panel; instead of one of the user's that raises, return the reason."""
    try:
        with blaming_artifacts(name, loaded):
            made = panel.render(loaded)
            return made if isinstance(made, Markup) else html.written(made or ())
    except Exception as error:
        if catalogue.is_shipped("panels", name):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        return html.written([Alert(f"{catalogue.find('panels', name).path} cannot be shown: {said}")])


def broken() -> Iterator[tuple[Panel, Markup]]:
    """Yield a section for every panel and doubt of the user's that cannot be used."""
    for entry in (*catalogue.broken("panels"), *catalogue.broken("doubts")):
        yield _stand_in(entry), html.written([Alert(f"{entry.where} cannot be used: {entry.problem}")]) or Markup()


def _stand_in(entry: Entry) -> Panel:
    return Panel(title=f"{entry.one.capitalize()} {entry.name!r}", order=10_000, span=12, render=lambda _: None)
