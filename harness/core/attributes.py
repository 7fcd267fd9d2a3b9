"""Reads what a class's docstring says of each attribute: the help of a key has one place."""

from __future__ import annotations

import inspect
import re

# `    name: text` below "Attributes:"; a longer text goes on with more indentation.
_FIRST = re.compile(r"^    (\w+): (.*)$")


def attributes(kind: type) -> dict[str, str]:
    """Return what the section `Attributes:` of a class's docstring says, by name, each in one line.

    Args:
        kind: the class; what only its bases say is not looked for.
    """
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):  # another section
            break
        if first := _FIRST.match(line):
            name, found[first[1]] = first[1], first[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def summary(kind: type) -> str:
    """Return the first paragraph of a class's docstring, in one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())
