"""Figures of the report alone, for a paper: the width of a column or of the text, 8 pt, the light theme, fonts embedded.

The bytes are a function of the run: no dates, no names of programs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from modbench.extend import Figure as Block
from modbench.extend import page_layout, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

# Width in inches of a column of two, and of the whole text.
WIDTHS = MappingProxyType({"column": 3.3, "text": 6.9})
FORMATS = ("pdf", "svg", "png")
# Largest size of text in points.
LARGEST = 8.0
DPI = 300
# A legend's row in inches; of a column its mark, and each letter.
ROW_OF_KEY, MARK_OF_KEY, LETTER_OF_KEY = 0.18, 0.45, 0.075
# Share of a line's height that its letters take.
LETTERS = 0.6
# Labels that an axis keeps.
FEWEST = 3
# Entries that would date a file or name the program that wrote it.
_METADATA: Mapping[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": style.SVG_METADATA,
    "png": {"Software": None},
}
_SETTINGS: Any = {
    **dict.fromkeys((*style.SIZES, *style.TICK_SIZES, "legend.fontsize"), LARGEST),
    **dict.fromkeys(style.BACKGROUNDS, "white"),
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.fonttype": "path",  # text as outlines: no font is needed to show it
    "svg.hashsalt": "modbench",
}


@functools.cache
def light_colors() -> Mapping[str, str]:
    """Return the light theme's colour of each CSS variable of figures, from the report's style sheet."""
    sheet = page_layout.THEME.read_text(encoding="utf-8")
    first = sheet[sheet.index(":root {") : sheet.index("}")]
    return MappingProxyType(dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", first)))


@contextlib.contextmanager
def canvas(width: str) -> Iterator[None]:
    """Draw for paper meanwhile: figures by `style.new_figure` have this width of `WIDTHS`, sentinel colours are real ones."""
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


def saved(drawing: Block, kind: str) -> bytes:
    """Return a figure that was drawn on this canvas as a file of one of `FORMATS`."""
    from matplotlib.text import Text

    _add_key(drawing)
    texts = cast("list[Text]", drawing.figure.findobj(Text))
    for text in texts:
        text.set_fontsize(min(LARGEST, float(text.get_fontsize())))
    _keep_inside(drawing.figure, texts)
    _thin_ticks(drawing.figure)
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=kind, dpi=DPI, metadata=_METADATA[kind])
    return buffer.getvalue()


def narrowest(drawing: Block) -> float:
    """Return the width in inches that labels and names leave to the narrowest axes of a figure that was saved."""
    drawing.figure.draw_without_rendering()
    return min(float(axis.get_position().width) * drawing.figure.get_figwidth() for axis in drawing.figure.axes)


def printed_over(drawing: Block) -> list[tuple[str, str]]:
    """Return the texts of a figure that lie on each other, in pairs."""
    boxes = [(text, box.expanded(1, LETTERS)) for text, box in _shown(drawing)]
    return [(one, other) for (one, a), (other, b) in itertools.combinations(boxes, 2) if a.overlaps(b)]


def cut_off(drawing: Block) -> list[str]:
    """Return the texts of a figure that reach beyond its edges."""
    frame = drawing.figure.bbox
    return [text for text, box in _shown(drawing) if box.x0 < frame.x0 - 1 or box.x1 > frame.x1 + 1]


def _shown(drawing: Block) -> list[tuple[str, Bbox]]:
    """The texts of a figure, and where they lie; matplotlib keeps ticks beyond the ends of an axis, which are not drawn."""
    from matplotlib.text import Text

    figure = drawing.figure
    figure.draw_without_rendering()
    unseen = set[Text]()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        unseen |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    texts = [text for text in cast("list[Text]", figure.findobj(Text)) if text.get_visible() and text not in unseen]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]


def _add_key(drawing: Block) -> None:
    """Add a legend of the variants that the report names above the figure, below it and in as many rows as fit; once."""
    if not drawing.key or drawing.figure.legends:
        return
    from matplotlib.lines import Line2D

    figure, looks = drawing.figure, [(style.look(case), style.in_lines(case)) for case in drawing.key]
    lines = [line for _, name in looks for line in name.split("\n")]
    width = MARK_OF_KEY + LETTER_OF_KEY * max(map(len, lines))
    columns = max(1, min(len(looks), int(figure.get_figwidth() / width)))
    tallest = max(name.count("\n") + 1 for _, name in looks)
    figure.set_figheight(figure.get_figheight() + ROW_OF_KEY * tallest * math.ceil(len(looks) / columns))
    handles = [
        Line2D([], [], color=look.color, alpha=look.opacity, marker=look.marker, linestyle="none", label=name)
        for look, name in looks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=LARGEST, labelcolor=style.MUTED)


def _thin_ticks(figure: Figure) -> None:
    """Leave out every other label of an axis below the axes while two of them overlap, but never fewer than three."""
    figure.draw_without_rendering()
    for axis in figure.axes:
        labels = [label for label in axis.get_xticklabels() if label.get_visible() and label.get_text()]
        while len(labels) > FEWEST and any(
            one.get_window_extent().x1 + 2 > other.get_window_extent().x0
            for one, other in itertools.pairwise(sorted(labels, key=lambda label: label.get_window_extent().x0))
        ):
            kept = labels[::2] if len(labels[::2]) >= FEWEST else [labels[0], labels[len(labels) // 2], labels[-1]]
            for label in labels:
                label.set_visible(label in kept)
            labels = kept


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
