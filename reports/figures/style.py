"""Colours, markers and names of variants. Figures are drawn in sentinel colours, which CSS variables then replace.

The colours are Okabe-Ito's, each with its own marker.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import io
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import escape

from modbench.harness.core.group_by import grouped
from modbench.harness.domain.case import Case
from modbench.harness.stats.verdicts import APART
from modbench.reports.wording import cut, whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A group of marks as matplotlib writes it, the number of its first mark and of all marks in it; and what can be inside.
_GROUP = re.compile(r'<g id="(?:[^"]*-)?marks-(\d+)-(\d+)">')
_TAG = re.compile(r"<(/?)(g|defs|use|path)\b")


class Mark(NamedTuple):
    """One mark of a figure.

    Attributes:
        text: what it says, in one line.
        variant: the variant that it belongs to, by its id; marks of one variant are highlighted together. Empty: none.
    """

    text: str
    variant: str = ""


class Marks:
    """The marks of one figure, in the order in which they were named."""

    def __init__(self) -> None:
        self.said: list[Mark] = []

    def name(self, artist: Artist, *marks: Mark) -> None:
        """Name what an artist draws: a line's markers or a collection's members, in their order. Its `gid` is used for it."""
        artist.set_gid(f"marks-{len(self.said)}-{len(marks)}")
        self.said += marks

    def written(self, svg: str) -> str:
        """Return the SVG in which each mark is an element with the class `mark`, its number, text (as a label) and variant.

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
        text, variant = self.said[number]
        of_variant = f' data-variant="{escape(variant)}"' if variant else ""
        stop = 0 if number == 0 else -1
        return (
            f' class="mark" data-mark="{number}" role="img" tabindex="{stop}" aria-label="{escape(text)}"{of_variant}'
        )


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


# Sentinel colours, used by no palette; `VARIABLES` has the CSS variable of each.
INK, MUTED, HAIR, PAPER = "#010203", "#010204", "#010205", "#010206"
MAP = tuple(f"#0203{i:02d}" for i in range(9))
MAP_INK = tuple(f"#0204{i:02d}" for i in range(9))
SERIES = tuple(f"#0205{i:02d}" for i in range(7))
VARIABLES = (
    {INK: "--ink", MUTED: "--muted", HAIR: "--hair", PAPER: "--paper"}
    | {color: f"--map-{i}" for i, color in enumerate(MAP)}
    | {color: f"--map-ink-{i}" for i, color in enumerate(MAP_INK)}
    | {color: f"--series-{i}" for i, color in enumerate(SERIES)}
)


@dataclass(frozen=True)
class Look:
    """How a variant is drawn.

    Attributes:
        color: sentinel colour.
        marker: matplotlib marker.
        opacity: of MoD by capacity, of matched baselines by their share of the cost.
    """

    color: str
    marker: str
    opacity: float = 1.0

    @property
    def series(self) -> int:
        """The number of the colour: `var(--series-N)` in the HTML report."""
        return int(self.color[-2:])

    @property
    def outline(self) -> str:
        """The marker as the data of an SVG path, from -0.5 to 0.5: few fonts have all of these shapes as characters."""
        return _outline(self.marker)


@functools.cache
def _outline(marker: str) -> str:
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path

    style, letters = MarkerStyle(marker), {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    parts = [
        letters[code] + " ".join(str(round(place, 2)) for place in (points * ([1, -1] * (len(points) // 2))).tolist())
        for points, code in style.get_path().transformed(style.get_transform()).iter_segments()
        if code != Path.CLOSEPOLY
    ]
    return "".join(parts) + "z"


_LOOKS = {
    "dense": (0, "o"),
    "mod": (1, "s"),
    "mode_staged": (2, "^"),
    "mode_integrated": (3, "v"),
    "moe": (4, "D"),
    # Whole-input gates share one colour and differ in shape.
    "depth_predictor": (5, "<"),
    "depth_branches": (5, ">"),
    "depth_scale": (5, "p"),
    "early_exit": (5, "X"),
}
OTHER = (6, "P")  # controls
# Controls share one colour and differ in shape, by their router.
_CONTROLS = {"stochastic": "o", "norm": "D", "every_n": "^"}
# Users' models, in the order of their variants; of more than there are looks, some share one.
OWN = (OTHER, (3, "*"), (5, "h"), (2, "8"), (4, "d"))
# The user's variants of the run that is drawn, with their numbers.
OWN_VARIANTS: contextvars.ContextVar[dict[str, int] | None] = contextvars.ContextVar("own_variants", default=None)
# Width of the paper that figures are drawn for, in inches (`paper.py`); None: they are drawn for the page.
CANVAS: contextvars.ContextVar[float | None] = contextvars.ContextVar("canvas", default=None)
# Width of a letter as a share of the size of its type, and points in an inch.
LETTER, POINTS = 0.57, 72
# Letters in a line of a variant's name, and on a canvas of at most so many inches.
LINE, LINE_IN_COLUMN, COLUMN = 26, 18, 4.0
# On paper: the least width of axes in inches, and the least height of a row of them as a share of that on the page.
NARROWEST, SHORTEST = 2.2, 0.75


@contextlib.contextmanager
def numbered(variants: Sequence[Case]) -> Iterator[None]:
    """Give each of the user's variants of a run a look of its own, while it is drawn."""
    own = [case.variant for case in variants if case.is_user_model]
    before = OWN_VARIANTS.set({variant: i for i, variant in enumerate(own)})
    try:
        yield
    finally:
        OWN_VARIANTS.reset(before)


def look(case: Case) -> Look:
    """Return the look of a case's variant: MoD is lighter the more it computes, a matched baseline the less."""
    index, marker = _LOOKS.get(case.model, OTHER)
    if case.is_user_model:
        index, marker = OWN[(OWN_VARIANTS.get() or {}).get(case.variant, 0) % len(OWN)]
    if case.config.router not in {"learned", "synthetic"} and case.config.capacity is not None:
        index, marker = OTHER[0], _CONTROLS.get(case.config.router, OTHER[1])
    if case.matched:
        share = next((float(part[1:]) for part in case.variant_parts if re.fullmatch(r"[a-z][0-9.]+", part)), 0.5)
        return Look(SERIES[index], marker, 0.25 + 0.6 * min(1.0, share))
    capacity = case.config.capacity if case.model == "mod" else None
    return Look(SERIES[index], marker, 1.0 - 0.55 * min(1.0, (capacity or 0.0) / 0.75))


def in_lines(case: Case, *, short: bool = False) -> str:
    """A variant's name in a figure, in lines that leave the figure room: broken between words, or within a word behind `:_/-`.

    Lines are `short` where more text stands beside the name.
    """
    paper = CANVAS.get()
    short |= paper is not None and paper <= COLUMN
    most, lines = LINE_IN_COLUMN if short else LINE, [""]
    for word in whole(case).split():
        for i, piece in enumerate([word] if len(word) <= most else re.split(r"(?<=[:_/-])", word)):
            longer = f"{lines[-1]}{'' if i else ' '}{piece}".strip()
            if lines[-1] and len(longer) > most:
                lines.append(piece)
            else:
                lines[-1] = longer
    return "\n".join(map(cut, lines))


def bin_of(ratio: float, verdict: str | None) -> int:
    """Return the bin (0 to 8) of a speed-up in the map: from one half to double; 4 only where no direction is shown."""
    return _bin(4 * math.log2(ratio), verdict)


def bin_of_share(share: float | None, verdict: str | None) -> int:
    """Return the bin of a loss over the baseline's, as a share of that: one for each per cent, below 4 where it is higher."""
    return _bin(-100 * (share or 0.0), verdict)


def _bin(better: float, verdict: str | None) -> int:
    if verdict not in APART or better == 0:
        return 4
    return 4 + round(math.copysign(min(4, max(1, round(abs(better)))), better))


# Settings of matplotlib that are set alike: sizes of text, colours of frames and their text, of the ground.
SIZES, TICK_SIZES = ("font.size", "axes.titlesize", "axes.labelsize"), ("xtick.labelsize", "ytick.labelsize")
COLORS = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
BACKGROUNDS = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a user's name may hold a dollar sign
    "font.family": "DejaVu Sans",
    **dict.fromkeys(SIZES, 9),
    **dict.fromkeys(TICK_SIZES, 8.5),
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(COLORS, MUTED),
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "grid.linewidth": 0.6,
    "text.color": INK,
    **dict.fromkeys(BACKGROUNDS, "none"),
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}
# What would date an SVG file or name the program that wrote it.
SVG_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@functools.cache
def prepare() -> None:
    """Set matplotlib up once, whatever settings lie about."""
    # matplotlib reads `matplotlibrc` in the current folder, which may be a stranger's run: it may start LaTeX. Its words about
    # that file are not ours.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl

    mpl.rcdefaults()
    mpl.use("svg")
    mpl.rcParams.update(_SETTINGS)


def new_figure(
    width: float, height: float, columns: int = 1, *, share_y: bool = False, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Make a styled figure (in inches, 72 points each) and return it with its axes from left to right.

    On a paper's canvas the figure is as wide as the canvas, and axes that would be too narrow are wrapped into more rows.
    """
    prepare()
    from matplotlib.figure import Figure as Made

    paper, per_row = CANVAS.get(), math.ceil(columns / rows)
    if paper is not None:
        on_page, row = width / per_row, height / rows
        rows = max(rows, math.ceil(columns / max(1, int(paper / NARROWEST))))
        per_row = math.ceil(columns / rows)
        width, height = paper, rows * row * min(1.0, max(SHORTEST, (paper / per_row) / on_page))
    figure = Made(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, per_row, squeeze=False, sharey=share_y).flat)
    for spare in axes[columns:]:
        spare.remove()
    return figure, axes[:columns]


def headline(figure: Figure, text: str) -> None:
    """Write what a figure shows above it; what stands in parentheses goes into a second line where one is too short for both."""
    first, _, behind = text.rpartition(" (")
    long = len(text) * LETTER * 9 / POINTS > figure.get_figwidth()
    figure.suptitle(f"{first}\n({behind}" if first and long else text, x=0.01, ha="left", fontsize=9, color=MUTED)


def beside(axis: Axes, y: float, text: str, color: str = INK) -> None:
    """Write what a row says at the right of the axes."""
    axis.annotate(
        text,
        (1, y),
        (6, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=color,
    )


def draw_dots(axis: Axes, dots: Iterable[tuple[float, float, float, Case, str]], marks: Marks) -> None:
    """Draw x, y, area in square points, variant and what it says on hover, in the looks of the variants."""
    from matplotlib.colors import to_rgba

    drawn = ((x, y, size, look(case), Mark(text, case.variant)) for x, y, size, case, text in dots)
    for shape, group in grouped((each[3].marker, each) for each in drawn).items():
        xs, ys, sizes, looks, named = zip(*group, strict=True)
        colors = [to_rgba(each.color, each.opacity) for each in looks]
        made = axis.scatter(xs, ys, s=sizes, marker=shape, c=colors, edgecolors=INK, linewidths=0.5, zorder=3)
        marks.name(made, *named)


def to_svg(figure: Figure, identity: str, label: str, marks: Marks | None = None) -> str:
    """Return the figure as inline SVG with CSS variables for colours, unique ids, no global style and no fixed size."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": identity}):
        figure.savefig(buffer, format="svg", metadata=SVG_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|url\(#|xlink:href="#|href="#)', lambda found: f"{found[1]}{identity}-", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    text = marks.written(text) if marks else text
    # What an image holds cannot have the focus.
    head = f'<svg role="{"group" if marks and marks.said else "img"}" aria-label="{escape(label)}" '
    return re.sub(r'<svg ([^>]*?)width="[^"]*" ([^>]*?)height="[^"]*"', rf"{head}\1\2", text, count=1)
