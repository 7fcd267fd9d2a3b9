"""`modbench figure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from modbench.extend import (
    IncompleteError,
    JsonFlag,
    TitleFlag,
    UsageError,
    aligned,
    chosen_run,
    command,
    exit_codes,
    known_runs,
    refuse,
    say,
    say_json,
    slug,
    unknown,
    variant_titles,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from modbench.extend import Figure, Loaded

# Folder of a run that takes figures.
FOLDER = "figures"
# Width of axes in inches below which another width is suggested.
NARROW = 1.0


@command(group="Decide")
def figure(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=known_runs)],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The figure, such as map; without a name all are listed.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", metavar="LIST", help="pdf, svg, png or several joined by commas; default pdf."),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            "--width",
            metavar="NAME",
            help="column (3.3 inches) or text (6.9 inches); default column, or text where names need it.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="The file, replaced with its CSV; default RUN/figures/NAME.pdf."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="VARIANT", help="Compare all variants with this one; default the suite's baseline."
        ),
    ] = None,
    title: TitleFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Save one figure of the report for a paper.

    Its data are written as CSV, too.
    """
    if name is None:
        refuse({"--format": formats, "--width": width, "--out": out}, "the NAME of a figure")
    chosen_run(run_folder)
    from modbench.extend import load, page_render, plain, refuse_inside
    from modbench.plugins.paper import canvas

    if width is not None and width not in canvas.WIDTHS:
        raise unknown("width", width, canvas.WIDTHS)
    kinds, stem = _target(formats, out, canvas.FORMATS)
    loaded = load(run_folder, baseline, title=variant_titles.listed(title or ()))
    if name is None:
        listed = {drawing.name: drawing.label for _, drawing in page_render.drawn(loaded)}
        if as_json:
            say_json(listed)
        else:
            say("\n".join(aligned([*listed.items()])) or "This run has no figure.")
        return
    if stem is not None:
        refuse_inside(loaded.path, _stem(loaded, name, stem), asked=f"--out {out!r}", part=FOLDER)
    made = _drawn(loaded, name, width or "column", kinds)
    squeezed = made.squeezed
    if squeezed and width is None:
        made = _drawn(loaded, name, "text", kinds)
    drawing, images = made.drawing, made.images
    written = _write(images, drawing.data, _stem(loaded, drawing.name, stem))
    if as_json:
        said = {"figure": drawing.name, "files": [str(path) for path in written], "width": made.width}
        say_json(said | {"caption": plain(drawing.caption)})
    else:
        say("\n".join([*map(str, written), "", plain(drawing.caption)]))
    if squeezed and width is None:
        exit_codes.remark(f"drawn as wide as the text ({canvas.WIDTHS['text']} inches): in a column {squeezed}.")
    elif squeezed and width == "column":
        exit_codes.remark(f"in a column {squeezed}: --width text shows more.")
    if loaded.run.incomplete:
        raise IncompleteError(f"{loaded.run.incomplete} The figure shows what there is.")


class Drawn(NamedTuple):
    """A figure on paper.

    Attributes:
        drawing: the figure.
        width: of the paper: a key of `canvas.WIDTHS`.
        images: its files by format.
        squeezed: what is wrong where the paper is too narrow for it; empty: nothing.
    """

    drawing: Figure
    width: str
    images: dict[str, bytes]
    squeezed: str


def _drawn(loaded: Loaded, name: str, width: str, kinds: Sequence[str]) -> Drawn:
    from modbench.extend import page_render, style
    from modbench.plugins.paper import canvas

    with canvas.canvas(width), style.numbered(loaded.variants):
        drawing = page_render.figure_named(loaded, name)
        images = {kind: canvas.saved(drawing, kind) for kind in kinds}
        inches, over = canvas.narrowest(drawing), canvas.printed_over(drawing) or canvas.cut_off(drawing)
    squeezed = (
        f"names leave {inches:.1f} inches to its axes"
        if inches < NARROW
        else "its labels have too little room" * bool(over)
    )
    return Drawn(drawing, width, images, squeezed)


def _target(formats: str | None, out: str | None, known: tuple[str, ...]) -> tuple[list[str], str | None]:
    """Return the formats, and the path that was named without its ending.

    Raises:
        UsageError: if a format is unknown, or the file's ending is that of another one.
    """
    requested = list(dict.fromkeys(each.strip() for each in (formats or "").split(",") if each.strip()))
    if formats is not None and not requested:
        raise UsageError(f"--format needs at least one of {', '.join(known)}.")
    for each in requested:
        if each not in known:
            raise unknown("format of figures", each, known)
    if out is None or not out.strip():
        if out is not None:
            raise UsageError("--out '' names no file. Name one, or omit --out.")
        return requested or ["pdf"], None
    ending = Path(out).suffix.removeprefix(".")
    if ending not in known:
        return requested or ["pdf"], out
    if requested and ending not in requested:
        raise UsageError(f"--out {out!r} ends in .{ending}, which --format {','.join(requested)} does not name.")
    return requested or [ending], out.removesuffix(f".{ending}")


def _stem(loaded: Loaded, name: str, requested: str | None) -> Path:
    """Return the path of the files without their ending."""
    plain = slug(name)
    if requested is None:
        return loaded.path / FOLDER / plain
    return Path(requested) / plain if requested.endswith("/") or Path(requested).is_dir() else Path(requested)


def _write(images: dict[str, bytes], data: pd.DataFrame, stem: Path) -> list[Path]:
    """Write the figure's files and its data, and return their paths."""
    from modbench.extend import csv, write_atomically

    stem.parent.mkdir(parents=True, exist_ok=True)
    contents: dict[str, str | bytes] = {**images, "csv": csv(data)}
    paths = {stem.with_name(f"{stem.name}.{kind}"): content for kind, content in contents.items()}
    for path, content in paths.items():
        write_atomically(path, content)
    return list(paths)
