"""`modbench compare`: the cases of one run along an axis, or runs with one another."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from modbench.commands._app import command
from modbench.commands._flags import (
    JsonFlag,
    SelectFlag,
    TitleFlag,
    VerboseFlag,
    checked_margin,
    listed,
    metrics,
    one_of,
    refuse,
    runs,
)
from modbench.commands._output import chosen_run, say, say_json
from modbench.harness.core import titles
from modbench.harness.core.errors import IncompleteError, UsageError, unknown

if TYPE_CHECKING:
    from modbench.reports.model import Table
    from modbench.reports.questions.compare_axis import Filter
    from modbench.reports.tables.load import Loaded

# Formats of one table.
STYLES = ("md", "tex")


class Output(NamedTuple):
    """The output of a comparison.

    Attributes:
        html: a file for the page; None: none.
        force: whether that file may exist.
        style: `md` or `tex` for one table in that format; None: text.
        as_json: whether JSON is printed instead of text.
        verbose: whether the text leaves nothing out.
    """

    html: str | None
    force: bool
    style: str | None
    as_json: bool
    verbose: bool


def _command_line() -> list[str]:
    """The command line, as it is shown on the page."""
    return ["modbench", *sys.argv[1:]]


@command()
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="With --by one run, default the newest in runs/; else BASE, NEW and more new ones.",
            autocompletion=runs,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="AXIS", help="The cases of one run along this axis, such as capacity, seq_len or arm."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="VALUE", help="With --by: a value of the axis, or an arm; default the anchor."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="LIST", help="With --by: only these metrics.", autocompletion=metrics),
    ] = None,
    seq_len: Annotated[
        list[str] | None, typer.Option("--seq-len", metavar="LIST", help="With --by: only these lengths.")
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", metavar="LIST", help="With --by: only these workloads, such as decode."),
    ] = None,
    select: SelectFlag = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            callback=checked_margin,
            help="Of several runs: largest change that does not matter, as a share.",
        ),
    ] = None,
    across_machines: Annotated[
        bool,
        typer.Option("--across-machines", help="Of several runs: compare unlike machines, by ratios to the anchor."),
    ] = False,
    title: TitleFlag = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also write the comparison as a page, into a new file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --html replace a file.")] = False,
    style: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="With --by: print one table as md or tex: times, FLOPs, memory, loss.",
            autocompletion=one_of(*STYLES),
        ),
    ] = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare the cases of a run, or runs.

    compare RUN --by AXIS: the cases of one run, along an axis

    compare BASE NEW: a run with an earlier one, or several with the first
    """
    named = runs or []
    if style is not None and style not in STYLES:
        raise unknown("--format", style, STYLES)
    if style is not None and as_json:
        raise UsageError(f"--format {style} and --json both print to standard output. Choose one.")
    if html is None:
        refuse({"--force": force or None}, "--html FILE")
    if by is not None:
        if len(named) > 1:
            raise UsageError(f"--by compares the cases of one run; {len(named)} were named.")
        if margin is not None or across_machines:
            raise UsageError("--margin and --across-machines are for several runs; --by takes the suite's margin.")
        folder = chosen_run(named[0] if named else None, quiet=style is not None, as_json=as_json, with_values=True)
        from modbench.reports.questions.compare_axis import Filter
        from modbench.reports.tables.load import load

        lists = listed("--metric", metric, str), listed("--seq-len", seq_len, int), listed("--workload", workload, str)
        _compare_cases(
            load(folder, title=titles.listed(title or ())),
            by,
            baseline,
            Filter(*lists, select),
            Output(html, force=force, style=style, as_json=as_json, verbose=verbose),
        )
        return
    refuse({"--format": style}, "--by AXIS")
    chosen = {"--baseline": baseline, "--metric": metric, "--seq-len": seq_len, "--workload": workload, "-k": select}
    refuse(chosen, "--by AXIS")
    if len(named) < 2:
        number = "one run was named: name another" if named else "no run was named: name two"
        raise UsageError(f"{number}, or compare the cases of one with --by AXIS, such as --by capacity.")
    for folder in named:
        chosen_run(folder)
    _compare_runs(
        named,
        titles.listed(title or ()),
        margin,
        Output(html, force=force, style=None, as_json=as_json, verbose=verbose),
        across_machines=across_machines,
    )


def _compare_cases(loaded: Loaded, axis: str, baseline: str | None, keep: Filter, out: Output) -> None:
    from modbench.reports.page import compare_page
    from modbench.reports.questions.compare_axis import compare_by, one_table
    from modbench.reports.terminal import compare
    from modbench.reports.writers import text

    # One table has a loss beside times: that of its own length, whatever length was named for times.
    table = compare_by(loaded, axis, baseline, keep if out.style is None else replace(keep, seq_lens=()))
    if out.html is not None:
        compare_page.write(
            compare_page.of_axis(loaded, table, _command_line()), out.html, force=out.force, compared=[loaded]
        )
    if out.style is not None:
        say(_in_format(out.style, loaded, one_table(loaded, table, keep)))
    elif out.as_json:
        say_json(compare.axis_as_dict(loaded, table), allow_nan=False)
    else:
        every = bool(keep.metrics)
        say(compare.along_axis(loaded, table, text.width(), every=every, verbose=out.verbose))
    if loaded.run.incomplete:
        raise IncompleteError(loaded.run.incomplete)


def _in_format(style: str, loaded: Loaded, made: Table) -> str:
    """One table for a document. Its first line is a comment that names the run."""
    from modbench.reports.formats import md, tex

    first = f"{loaded.path}: {shlex.join(_command_line())}"
    return tex.fragment(loaded, made, "modbench-compare", first) if style == "tex" else md.fragment(loaded, made, first)


def _compare_runs(
    folders: list[str], title: dict[str, str], margin: float | None, out: Output, *, across_machines: bool
) -> None:
    from modbench.reports.page import compare_page
    from modbench.reports.questions.compare_runs import compare_runs
    from modbench.reports.tables.load import load_all
    from modbench.reports.terminal import compare
    from modbench.reports.writers import text

    compared = compare_runs(load_all(folders, title), margin, across_machines=across_machines)
    if out.html is not None:
        page = compare_page.of_runs(compared, _command_line())
        compare_page.write(page, out.html, force=out.force, compared=compared.runs)
    if out.as_json:
        say_json(compare.runs_as_dict(compared), allow_nan=False)
    else:
        say(compare.side_by_side(compared, text.width(), verbose=out.verbose))
    if compared.incomplete:
        raise IncompleteError(compared.incomplete)
