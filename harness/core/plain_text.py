"""Text as it may be printed: control characters are shown as escapes, so that data cannot steer a terminal.

Escaped are C0 and C1 controls, DEL, marks and overrides of the text's direction, line and paragraph separators, unpaired
surrogates, and characters of no width, which make two names look the same (but for joiners, which scripts and emoji need).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

CONTROLS = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f"
)
DEL = 0x7F
# Columns and lines of a terminal that holds a short answer.
WIDTH, SCREEN = 80, 40
_ANY = re.compile(f"[{CONTROLS}]")
# Lines and columns of text are no attack.
_BUT_LINES = re.compile(f"(?![\n\t])[{CONTROLS}]")


def is_printable(text: str) -> bool:
    """Whether a text holds no control characters at all."""
    return _ANY.search(text) is None


def escaped(text: str, *, lines: bool = True) -> str:
    r"""The text with control characters as escapes, such as `\x1b` and `\u202e`.

    Args:
        text: any text.
        lines: whether line feeds and tabs stay.
    """
    return (_BUT_LINES if lines else _ANY).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escaped_json(text: str) -> str:
    """JSON with control characters as JSON's own escapes."""
    return _BUT_LINES.sub(lambda match: json.dumps(match[0])[1:-1] if ord(match[0]) != DEL else "\\u007f", text)


def aligned(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), gap: str = "  ", whole: bool = False
) -> list[str]:
    """Rows as lines of aligned columns, the same on a terminal and in a pipe.

    Not with rich: it strips a right-aligned cell, and a blank in the place of a mark keeps numbers aligned.

    Args:
        rows: cells; all rows have the same number.
        right: indices of the columns that are aligned to the right.
        gap: what stands between two columns.
        whole: whether lines keep the blanks at their end.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        gap.join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return lines if whole else [line.rstrip() for line in lines]
