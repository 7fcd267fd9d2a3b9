"""Problems of files: where something is wrong, and what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Path_ = tuple[str | int, ...]
# Whole numbers beyond this are no counts of anything, and no float holds those of 400 digits.
MOST_WHOLE = 2**63
# Characters of a damaged value or name that a message shows.
MOST_SHOWN = 60


class Problem(NamedTuple):
    """A problem of a file.

    Attributes:
        place: keys and indices that lead to the field.
        what: what is wrong there, in words.
    """

    place: Path_
    what: str

    def __str__(self) -> str:
        where = place_text(self.place)
        return f"damaged at {where}: {self.what}" if where else f"damaged: {self.what}"


def shown(value: object) -> str:
    """A value as a message shows it: on one line, escaped, and short even if it has ten million characters."""
    if isinstance(value, int) and abs(value) >= MOST_WHOLE:
        return "a whole number beyond 2^63"  # Python refuses to print one of 5,000 digits
    if isinstance(value, list | tuple | dict):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = ascii(value[: 2 * MOST_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def place_text(place: Sequence[str | int]) -> str:
    """A place in a file: `outcomes.0.samples.wall_s[3]`."""
    parts = [str(part) if isinstance(part, int) else _plain(part) for part in place]
    if len(place) > 2 and isinstance(place[-1], int) and place[-3] in {"samples", "columns"}:
        return f"{'.'.join(parts[:-1])}[{parts[-1]}]"
    return ".".join(parts)


def _plain(key: str) -> str:
    return key if key.isascii() and key.isprintable() and len(key) <= MOST_SHOWN else shown(key)
