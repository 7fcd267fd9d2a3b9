"""Draws docs/img/mod.svg and docs/img/mode.svg: which tokens each block computes. python docs/site/docs_drawing.py.

A column is a token, a row a block, read upwards. A square is computed; a line passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "img"
# Distance of columns and rows, and the side of a square, in pixels.
COLUMN, ROW, SIDE = 26, 44, 18
TOKENS = 8
# Which tokens each routed block takes, chosen to be easy to follow.
FIRST, SECOND = (1, 4), (1, 6)
ALL = tuple(range(TOKENS))
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.small { font-size: 11.5px; fill: #57606a; }
.title { font-weight: 600; }
.pass { stroke: #8c959f; stroke-width: 1.5; fill: none; }
.among { stroke: #0a5fa8; stroke-width: 4; opacity: 0.35; }
.done { fill: #0a5fa8; }
.a { fill: #a84a00; }
.b { fill: #22703b; }
.letter { font-size: 11px; font-weight: 600; fill: #ffffff; text-anchor: middle; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9aa4af; }
  .pass { stroke: #7d8590; }
  .among { stroke: #6cb6ff; }
  .done { fill: #6cb6ff; }
  .a { fill: #f0a35e; }
  .b { fill: #6bd08b; }
  .letter { fill: #0d1117; }
}
"""


def square(x: int, y: int, kind: str) -> str:
    """A computed token; of an expert with its letter."""
    shape = f'<rect class="{kind}" x="{x - SIDE // 2}" y="{y - SIDE // 2}" width="{SIDE}" height="{SIDE}" rx="3"/>'
    letter = f'<text class="letter" x="{x}" y="{y + 4}">{kind.upper()}</text>' if kind in {"a", "b"} else ""
    return shape + letter


def stack(x: int, y: int, title: str, about: str, rows: Sequence[tuple[str, dict[int, str]]]) -> Iterator[str]:
    """A stack of blocks above its tokens.

    Args:
        x: left end.
        y: top.
        title: what it is.
        about: one line below the title.
        rows: from bottom to top, the label of a block, and the kind of square of each token that it computes.
    """
    yield f'<text class="title" x="{x}" y="{y}">{title}</text><text class="small" x="{x}" y="{y + 17}">{about}</text>'
    top, bottom = y + 34, y + 50 + ROW * len(rows)
    columns = [x + SIDE // 2 + COLUMN * token for token in ALL]
    for column in columns:
        yield f'<path class="pass" d="M{column} {bottom}V{top}"/><circle class="pass" cx="{column}" cy="{bottom + 5}" r="5"/>'
    for i, (label, kinds) in enumerate(rows):
        middle = bottom - ROW // 2 - ROW * i
        chosen = [columns[token] for token in kinds]
        if chosen and "MLP" not in label:
            yield f'<path class="among" d="M{chosen[0]} {middle}H{chosen[-1]}"/>'
        yield from (square(columns[token], middle, kind) for token, kind in kinds.items())
        yield f'<text class="small" x="{columns[-1] + 20}" y="{middle + 4}">{label}</text>'
    yield f'<text class="small" x="{columns[-1] + 20}" y="{bottom + 9}">tokens</text>'


def drawing(width: int, height: int, about: str, parts: Iterator[str]) -> str:
    """An SVG whose colours follow the reader's system."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join([head, f"<title>{about}</title>", f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def done(tokens: Sequence[int]) -> dict[int, str]:
    """Tokens that a block computes."""
    return dict.fromkeys(tokens, "done")


def mod() -> str:
    """Dense beside MoD: four blocks, the second and fourth routed with capacity 0.25."""

    def parts() -> Iterator[str]:
        rows = [(f"block {i}", done(ALL)) for i in range(1, 5)]
        yield from stack(12, 22, "Dense", "every block computes every token", rows)
        routed = [("block 1", done(ALL)), ("2, routed: top 2 of 8", done(FIRST)), ("block 3", done(ALL))]
        routed.append(("4, routed: top 2 of 8", done(SECOND)))
        yield from stack(332, 22, "Mixture-of-Depths, capacity 0.25", "a routed block computes its top tokens", routed)

    about = (
        "Dense: all blocks compute all tokens. MoD: every other block computes two of eight, the others pass unchanged."
    )
    return drawing(700, 270, about, parts())


def mode() -> str:
    """One routed block of both kinds of MoDE, attention and MLP apart."""
    experts = {0: "a", 1: "b", 3: "a", 4: "b", 6: "a"}

    def parts() -> Iterator[str]:
        staged = [("attention: top 2 of 8", done(FIRST)), ("MLP: an expert each", {1: "b", 4: "a"})]
        yield from stack(12, 22, "MoDE, staged", "skip first, then choose an expert", staged)
        integrated = [("attention: all", done(ALL)), ("MLP: expert or no-op", experts)]
        yield from stack(372, 22, "MoDE, integrated", "a no-op is one of the experts", integrated)

    about = "Staged: two of eight tokens go through attention and an expert. Integrated: all attend, five go to experts A and B."
    return drawing(740, 190, about, parts())


DRAWINGS = {"mod.svg": mod, "mode.svg": mode}


if __name__ == "__main__":
    for name, made in DRAWINGS.items():
        (IMAGES / name).write_text(made(), encoding="utf-8")
