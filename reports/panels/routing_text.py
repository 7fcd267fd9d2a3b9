"""Text coloured by the routed blocks that each token used, and who passed where: a learned router beside a control."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel, figure
from modbench.reports.panels import _routing as routing
from modbench.reports.panels import _routing_parts as parts
from modbench.reports.panels._routing import Arm
from modbench.reports.style import new_figure, to_svg

# Per cent of the arm's colour in a token that used every block: more, and text on it would fall below 4.5 to 1.
FULL = 46
_SHOWN = {"\n": "↵\n", "\t": "⇥\t", "\r": "␍"}
TOP = 8


def render(loaded: Loaded) -> Markup | None:
    """One passage of held-out text for two arms; below each, its decisions by block and position."""
    arms = routing.arms_of(loaded)
    focus = routing.focus_of(arms)
    if focus is None:
        return None
    pair = [focus, *routing.controls_of(arms, focus)[:1]]
    said = parts.side_by_side((_of_arm(arm) for arm in pair), 440)
    return Markup("{}{}").format(
        said,
        parts.note(
            "One held-out window of the first seed, routed by top-k as in training. The stronger a token's ground, the more "
            "routed blocks it used; point at it for the number. Vertical bands in the map: positions that most blocks agree on."
        ),
    )


def _of_arm(arm: Arm) -> Markup:
    matrix = arm.first["matrix"]
    layers, used = len(matrix["layers"]), matrix["used"]
    head = Markup(
        '<p style="margin:0 0 6px;font-weight:600"><span style="color:var(--series-{})">{}</span> {}</p>'
    ).format(_series(arm), arm.look.glyph, arm.name)
    return Markup("<div>{}{}{}{}{}</div>").format(
        head,
        _scale(arm, layers),
        _passage(arm, matrix),
        figure(_map(arm, matrix), _reading(used, layers), wide=True),
        _words(arm.first["words"]),
    )


def _series(arm: Arm) -> int:
    return int(arm.look.color[-2:])


def _ground(arm: Arm, used: int, layers: int) -> str:
    return f"background:color-mix(in srgb,var(--series-{_series(arm)}) {round(FULL * used / layers)}%,transparent)"


def _scale(arm: Arm, layers: int) -> Markup:
    cells = Markup("").join(
        Markup('<span style="padding:1px 8px;color:var(--ink);{}">{}</span>').format(_ground(arm, n, layers), n)
        for n in range(layers + 1)
    )
    return Markup('<p class="note" style="margin:0 0 6px">routed blocks used: {}</p>').format(cells)


def _passage(arm: Arm, matrix: dict[str, Any]) -> Markup:
    layers = len(matrix["layers"])
    spans = []
    for used, run in groupby(zip(matrix["used"], matrix["pieces"], strict=True), key=lambda pair: pair[0]):
        text = "".join("".join(_SHOWN.get(letter, letter) for letter in piece) for _, piece in run)
        style = f' style="{_ground(arm, used, layers)}"' if used else ""
        spans.append(Markup('<span{} title="{} of {}">{}</span>').format(Markup(style), used, layers, text))  # noqa: S704  # ours
    return Markup(
        "<div class=\"passage\" style=\"font:13px/1.75 ui-monospace,'Cascadia Mono','DejaVu Sans Mono',monospace;"
        'white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--hair);border-radius:4px;padding:8px 10px">{}</div>'
    ).format(Markup("").join(spans))


def _map(arm: Arm, matrix: dict[str, Any]) -> str:
    """Runs of passing positions as bars: a row for each routed block, the deepest on top."""
    rows, layers = matrix["rows"], matrix["layers"]
    made, axes = new_figure(6.2, 0.75 + 0.22 * len(rows))
    axis: Any = axes[0]
    for y, row in enumerate(rows):
        runs, start = [], 0
        for passed, run in groupby(row):
            length = len(list(run))
            if passed == "1":
                runs.append((start - 0.5, length))
            start += length
        axis.broken_barh(runs, (y - 0.42, 0.84), facecolors=arm.look.color, linewidth=0)
    axis.set_yticks(range(len(layers)), [f"block {layer}" for layer in layers])
    axis.set_xlim(-0.5, len(rows[0]) - 0.5)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.grid(visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"position in the window of {matrix['of']} tokens")
    return to_svg(made, f"matrix-{arm.case.arm}", f"Which positions passed each routed block of {arm.name}")


def _reading(used: list[int], layers: int) -> str:
    counts = [used.count(n) for n in range(layers + 1)]
    parts = [
        f"{count} used {'none' if n == 0 else 'all ' + str(n) if n == layers else n}" for n, count in enumerate(counts)
    ]
    return f"Of {len(used)} tokens, by routed blocks: {', '.join(parts)}."


def _words(words: dict[str, Any]) -> Markup:
    if not words["deep"]:
        return Markup("")
    said = Markup("")
    for title, key in (("Deepest words", "deep"), ("shallowest", "shallow")):
        listed = Markup(", ").join(
            Markup("<code>{}</code> {}").format(row["word"], f"{row['share']:.0%}") for row in words[key][:TOP]
        )
        said += Markup("{}: {}. ").format(title, listed)
    return Markup('<p class="note">{}Share of routed blocks used, of {} words that occur {} times or more.</p>').format(
        said, words["words"], words["at_least"]
    )


PANEL = Panel(title="Which words go deep?", order=62, span=12, render=render)
