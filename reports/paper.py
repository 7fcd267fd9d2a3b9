"""Figures of the page alone, for a paper: the width of a column or of the text, 8 pt, the light theme, fonts embedded.

The bytes are a function of the run: no dates, no names of programs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from modbench.reports import style
from modbench.reports.panel import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Width in inches of a column of two, and of the whole text.
WIDTHS = MappingProxyType({"column": 3.3, "text": 6.9})
FORMATS = ("pdf", "svg", "png")
# Largest size of text in points.
LARGEST = 8.0
DPI = 300
# Entries that would date a file or name the program that wrote it.
_METADATA: Mapping[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}
_SETTINGS: Any = {
    "font.size": LARGEST,
    "axes.titlesize": LARGEST,
    "axes.labelsize": LARGEST,
    "xtick.labelsize": LARGEST,
    "ytick.labelsize": LARGEST,
    "legend.fontsize": LARGEST,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.fonttype": "path",  # text as outlines: no font is needed to show it
    "svg.hashsalt": "modbench",
}


@functools.cache
def light_colors() -> Mapping[str, str]:
    """Return the light theme's colour of each CSS variable of figures, from the page's style sheet."""
    sheet = (Path(__file__).parent / "page" / "page.css").read_text(encoding="utf-8")
    first = sheet[sheet.index(":root {") : sheet.index("}")]
    return MappingProxyType(dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", first)))


@contextlib.contextmanager
def canvas(width: str) -> Iterator[None]:
    """Draw for paper meanwhile: figures made by `style.new_figure` have this width, and sentinel colours are real ones.

    Args:
        width: a key of `WIDTHS`.
    """
    style.prepare()
    import matplotlib as mpl
    from matplotlib.colors import get_named_colors_mapping

    # matplotlib looks a colour up by its name first: a sentinel is the name of the colour that it stands for.
    known = get_named_colors_mapping()
    light = light_colors()
    for sentinel, variable in style.VARIABLES.items():
        known[sentinel] = light[variable]  # one by one: `update` would keep what was looked up before
    before = style.CANVAS.set(WIDTHS[width])
    try:
        with mpl.rc_context():
            mpl.rcParams.update(_SETTINGS)
            yield
    finally:
        style.CANVAS.reset(before)
        for sentinel in style.VARIABLES:
            del known[sentinel]


def saved(drawing: Drawing, kind: str) -> bytes:
    """Return a figure that was drawn on this canvas as a file of one of `FORMATS`."""
    from matplotlib.text import Text

    texts = cast("list[Text]", drawing.figure.findobj(Text))
    for text in texts:
        text.set_fontsize(min(LARGEST, float(text.get_fontsize())))
    _keep_inside(drawing.figure, texts)
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=kind, dpi=DPI, metadata=_METADATA[kind])
    return buffer.getvalue()


def _keep_inside(figure: Figure, texts: Sequence[Text]) -> None:
    """Break labels and titles that are wider than the paper into two lines, or three."""
    for _ in range(2):
        figure.draw_without_rendering()
        frame = figure.bbox
        for text in texts:
            box, words = text.get_window_extent(), text.get_text()
            long = max(words.split("\n"), key=len)
            outside = box.x0 < frame.x0 - 1 or box.x1 > frame.x1 + 1
            if text.get_visible() and outside and text.get_rotation() == 0 and " " in long:
                at = min((i for i, letter in enumerate(long) if letter == " "), key=lambda i: abs(i - len(long) / 2))
                text.set_text(words.replace(long, f"{long[:at]}\n{long[at + 1 :]}"))
