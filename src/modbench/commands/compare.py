"""`modbench compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import app
from modbench.commands._flags import JsonFlag, SelectFlag, listed
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import IncompleteError, UsageError

if TYPE_CHECKING:
    from modbench.reports.axis_table import Filter


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN [RUN …]", help="Run folders: one with --by, else several.")],
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="AXIS", help="Compare the cases of one run along this axis: capacity, seq_len, arm."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="ARM|VALUE", help="With --by: a value of the axis, or an arm; default the anchor."
        ),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="With --by: only these metrics.")] = None,
    seq_len: Annotated[list[str] | None, typer.Option("--seq-len", help="With --by: only these lengths.")] = None,
    workload: Annotated[
        list[str] | None, typer.Option("--workload", help="With --by: only these workloads, such as decode.")
    ] = None,
    select: SelectFlag = None,
    alternate: Annotated[
        bool,
        typer.Option(
            "--paired",
            help="Time two revisions in alternating processes: compare --paired REV_A REV_B SUITE. A revision is a git "
            "revision, `.` for the files as they are, or the path of a Python interpreter.",
        ),
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="With --paired: FILE.py:build, taken from both revisions.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With --paired: any key of a suite.")
    ] = None,
    launches: Annotated[
        int | None, typer.Option("--launches", help="With --paired: blocks of three launches; default 8.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="With --paired: largest difference that does not matter, as a share."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="DIR", help="With --paired: folder for the runs.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare the cases of a run along an axis, runs with one another, or revisions; writes nothing into run folders."""
    if alternate:
        from modbench.commands._paired import paired

        if margin is not None and not 0 < margin < 1:
            raise UsageError(f"--margin {margin:g} is outside (0, 1): it is a share, such as 0.02.")
        paired(
            runs,
            models=listed("--model", model, str),
            settings=settings or (),
            lengths=listed("--seq-len", seq_len, int),
            select=select,
            launches=launches,
            margin=margin,
            out=out,
            as_json=as_json,
        )
        return
    if by is None:
        raise UsageError("name an axis: --by capacity.")
    if len(runs) != 1:
        raise UsageError(f"--by compares the cases of one run; {len(runs)} were named.")
    from modbench.reports.axis_table import Filter

    keep = Filter(
        listed("--metric", metric, str),
        listed("--seq-len", seq_len, int),
        listed("--workload", workload, str),
        select,
    )
    _by(runs[0], by, baseline, keep, as_json=as_json)


def _by(folder: str, axis: str, baseline: str | None, keep: Filter, *, as_json: bool) -> None:
    from modbench.reports import compare_text, text_table
    from modbench.reports.compare_by import compare_by
    from modbench.reports.load import load

    loaded = load(folder)
    table = compare_by(loaded, axis, baseline, keep)
    if as_json:
        say_json(compare_text.as_dict(loaded, table), allow_nan=False)
    else:
        say(compare_text.as_text(loaded, table, text_table.width(), every=bool(keep.metrics)))
    if loaded.run.incomplete:
        raise IncompleteError(loaded.run.incomplete)
