"""Links and headings of a page of Markdown: anchors as GitHub makes them, in the site too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# The target of a link or image, and its anchor.
LINK = re.compile(r"(?<=\]\()([^)\s#]*)(#[^)\s]*)?(?=[)\s])")
FENCED = re.compile(r"^(```|~~~).*?^\1$", flags=re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) (.*?)[ \t]*$", flags=re.MULTILINE)


def outside_blocks(text: str, change: Callable[[str], str]) -> str:
    """A page with its text changed, but not its fenced blocks."""
    parts, at = list[str](), 0
    for block in FENCED.finditer(text):
        parts += [change(text[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, change(text[at:])])


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")


def anchors(text: str) -> list[str]:
    """The anchors of a page's headings, in order."""
    found: list[str] = []
    for heading in HEADING.finditer(FENCED.sub("", text)):
        base = slug(heading[2])
        number = sum(each == base or re.fullmatch(rf"{re.escape(base)}-\d+", each) is not None for each in found)
        found.append(f"{base}-{number}" if number else base)
    return found


def with_anchors(text: str) -> str:
    """A page whose headings name their anchors, so that the site has those of GitHub."""
    names = iter(anchors(text))
    return outside_blocks(text, lambda part: HEADING.sub(lambda each: f"{each[0].rstrip()} {{ #{next(names)} }}", part))


def links(text: str) -> Iterator[tuple[str, str]]:
    """The target and the anchor of every link and image of a page; either may be empty."""
    for link in LINK.finditer(FENCED.sub("", text)):
        yield link[1], (link[2] or "").removeprefix("#")
