"""What the marks of a figure stand for, as text that a reader gets on hover and focus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import escape

if TYPE_CHECKING:
    from matplotlib.artist import Artist

# A group of marks as matplotlib writes it, the number of its first mark and of all marks in it; and what can be inside.
_GROUP = re.compile(r'<g id="(?:[^"]*-)?marks-(\d+)-(\d+)">')
_TAG = re.compile(r"<(/?)(g|defs|use|path)\b")


class Mark(NamedTuple):
    """One mark of a figure.

    Attributes:
        text: what it says, in one line.
        arm: the arm that it belongs to, by its id; marks of one arm are highlighted together. Empty: none.
    """

    text: str
    arm: str = ""


class Marks:
    """The marks of one figure, in the order in which they were named.

    Attributes:
        said: all of them.
    """

    def __init__(self) -> None:
        self.said: list[Mark] = []

    def name(self, artist: Artist, *marks: Mark) -> None:
        """Name what an artist draws: a line's markers or a collection's members, in their order. Its `gid` is used for it."""
        artist.set_gid(f"marks-{len(self.said)}-{len(marks)}")
        self.said += marks

    def written(self, svg: str) -> str:
        """Return the SVG in which each mark is an element with the class `mark`, its number, its text as its label and its arm.

        A figure is one stop of the Tab key: mark 0. From there a script moves the focus on, by number: the elements lie in the
        order in which they were drawn.

        Raises:
            ValueError: if an artist drew more or fewer marks than were named.
        """
        pieces, end = [], 0
        for group in _GROUP.finditer(svg):
            first, number = int(group[1]), int(group[2])
            places = _members(svg, group.end())
            if len(places) != number:
                raise ValueError(f"{number} marks were named, from number {first} on, but {len(places)} were drawn.")
            for mark, place in enumerate(places, first):
                pieces += [svg[end:place], self._attributes(mark)]
                end = place
        return "".join([*pieces, svg[end:]])

    def _attributes(self, number: int) -> str:
        text, arm = self.said[number]
        of_arm = f' data-arm="{escape(arm)}"' if arm else ""
        stop = 0 if number == 0 else -1
        return f' class="mark" data-mark="{number}" role="img" tabindex="{stop}" aria-label="{escape(text)}"{of_arm}'


def _members(svg: str, start: int) -> list[int]:
    """Where the attributes of each drawn element of a group begin; what `defs` holds is not drawn."""
    found, depth, defined = [], 1, False
    for tag in _TAG.finditer(svg, start):
        closing, name = tag[1] == "/", tag[2]
        if name == "g":
            depth += -1 if closing else 1
            if depth == 0:
                break
        elif name == "defs":
            defined = not closing
        elif not defined and not closing:
            found.append(tag.end())
    return found
