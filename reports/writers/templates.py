"""Fills the Jinja templates of the page and its panels."""

from __future__ import annotations

import functools
from pathlib import Path

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parents[1]
# `page/` has the page and shared macros; a panel's template is beside its Python file.
_FOLDERS = (_HERE / "page", _HERE / "panels")


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["lean"] = _lean
    return made


def _lean(text: str) -> Markup:
    """Leave out indentation and whole lines of comment, which are for readers of the files, not of the page."""
    lines = (line.strip() for line in text.splitlines())
    return Markup("\n".join(line for line in lines if line and not line.startswith("//")))  # noqa: S704  # our own files


def fill(name: str, **values: object) -> Markup:
    """Render `NAME.html.j2` with these values; every value that is not `Markup` is escaped."""
    return Markup(_environment().get_template(f"{name}.html.j2").render(values))  # noqa: S704  # escaped by the template
