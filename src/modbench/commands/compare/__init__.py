"""`modbench compare`: the cases of one run along an axis, or runs with one another."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from modbench.commands._app import command
from modbench.commands._flags import (
    JsonFlag,
    SelectFlag,
    TitleFlag,
    VerboseFlag,
    checked_margin,
    flag,
    listed,
    matching,
    metrics,
    refuse,
    runs,
)
from modbench.commands._output import chosen_run, say, say_json
from modbench.harness.core import variant_titles
from modbench.harness.core.errors import IncompleteError, UsageError

if TYPE_CHECKING:
    from modbench.reports.html_report.layout import Page
    from modbench.reports.output_format import Fragment
    from modbench.reports.questions.compare_axis import Filter
    from modbench.reports.questions.compare_runs import Compared
    from modbench.reports.tables.load import Loaded


def _formats(incomplete: str) -> list[tuple[str, str]]:
    """Complete what --format names."""
    from modbench.reports.output_format import of_tables

    return matching(((name, "") for name in of_tables()), incomplete)


class _Made(NamedTuple):
    """A comparison, before it is written.

    Attributes:
        runs: what was compared.
        page: makes its page of a command line.
        printed: text, or what JSON holds.
    """

    runs: Sequence[Loaded]
    page: Callable[[list[str]], Page]
    printed: str | dict[str, Any]


def _command_line() -> list[str]:
    """The command line, as it is shown in the report and in a document."""
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
        str | None, flag("--by", "AXIS", "The cases of one run along this axis, such as capacity, seq_len or variant.")
    ] = None,
    baseline: Annotated[
        str | None,
        flag("--baseline", "VALUE", "With --by: a value of the axis, or a variant; default the suite's baseline."),
    ] = None,
    metric: Annotated[list[str] | None, flag("--metric", "LIST", "With --by: only these metrics.", metrics)] = None,
    seq_len: Annotated[list[str] | None, flag("--seq-len", "LIST", "With --by: only these lengths.")] = None,
    workload: Annotated[
        list[str] | None, flag("--workload", "LIST", "With --by: only these workloads, such as decode.")
    ] = None,
    select: SelectFlag = None,
    margin: Annotated[
        float | None,
        flag(
            "--margin",
            "SHARE",
            "Of several runs: equivalence margin, the largest change that does not matter.",
            parser=str,
            callback=checked_margin,
        ),
    ] = None,
    across_machines: Annotated[
        bool,
        typer.Option("--across-machines", help="Of several runs: compare unlike machines, by ratios to the baseline."),
    ] = False,
    title: TitleFlag = None,
    html: Annotated[str | None, flag("--html", "FILE", "Also write an HTML report, into a new file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --html replace a file.")] = False,
    style: Annotated[
        str | None,
        flag(
            "--format",
            "NAME",
            "With --by: print one table in this format, such as md: times, FLOPs, memory, loss.",
            _formats,
        ),
    ] = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare the cases of a run, or runs.

    compare RUN --by AXIS: the cases of one run, along an axis

    compare BASE NEW: a run with an earlier one, or several with the first
    """
    from modbench.reports.output_format import fragment_of

    named, shown = runs or [], variant_titles.listed(title or ())
    if style is not None and as_json:
        raise UsageError(f"--format {style} and --json both print to standard output. Choose one.")
    fragment = fragment_of(style)
    if html is None:
        refuse({"--force": force or None}, "--html FILE")
    if by is not None:
        if len(named) > 1:
            raise UsageError(f"--by compares the cases of one run; {len(named)} were named.")
        refuse({"--margin": margin, "--across-machines": across_machines or None}, "several runs")
        folder = chosen_run(named[0] if named else None, quiet=style is not None, as_json=as_json, with_values=True)
        from modbench.reports.questions.compare_axis import Filter
        from modbench.reports.tables.load import load

        lists = listed("--metric", metric, str), listed("--seq-len", seq_len, int), listed("--workload", workload, str)
        made = _of_axis(
            load(folder, title=shown), by, baseline, Filter(*lists, select), fragment, as_json=as_json, verbose=verbose
        )
    else:
        chosen = {
            "--baseline": baseline,
            "--metric": metric,
            "--seq-len": seq_len,
            "--workload": workload,
            "-k": select,
        }
        refuse({"--format": style, **chosen}, "--by AXIS")
        if len(named) < 2:
            number = "one run was named: name another" if named else "no run was named: name two"
            raise UsageError(f"{number}, or compare the cases of one with --by AXIS, such as --by capacity.")
        for folder in named:
            chosen_run(folder)
        from modbench.reports.questions.compare_runs import compare_runs
        from modbench.reports.tables.load import load_all

        compared = compare_runs(load_all(named, shown), margin, across_machines=across_machines)
        made = _of_runs(compared, as_json=as_json, verbose=verbose)
    if html is not None:
        from modbench.reports.html_report import layout

        layout.write(made.page(_command_line()), html, force=force, compared=made.runs)
    if isinstance(made.printed, str):
        say(made.printed)
    else:
        say_json(made.printed, allow_nan=False)
    if lacks := " ".join(run.run.incomplete for run in made.runs if run.run.incomplete):
        raise IncompleteError(lacks)


def _of_axis(
    loaded: Loaded,
    axis: str,
    baseline: str | None,
    keep: Filter,
    fragment: Fragment | None,
    *,
    as_json: bool,
    verbose: bool,
) -> _Made:
    from modbench.reports.html_report import comparison
    from modbench.reports.markup import text
    from modbench.reports.questions.compare_axis import compare_by, one_table
    from modbench.reports.questions.machine_check import warnings
    from modbench.reports.terminal import compare

    # One table has a loss beside times: that of its own length, whatever length was named for times.
    table = compare_by(loaded, axis, baseline, replace(keep, seq_lens=()) if fragment else keep)
    printed: str | dict[str, Any]
    if fragment is not None:
        first = f"{loaded.path}: {shlex.join(_command_line())}"
        printed = fragment([one_table(loaded, table, keep)], first, warnings(loaded))
    elif as_json:
        printed = compare.axis_as_dict(loaded, table)
    else:
        printed = compare.along_axis(loaded, table, text.width(), every=bool(keep.metrics), verbose=verbose)
    return _Made([loaded], partial(comparison.of_axis, loaded, table), printed)


def _of_runs(compared: Compared, *, as_json: bool, verbose: bool) -> _Made:
    from modbench.reports.html_report import comparison
    from modbench.reports.markup import text
    from modbench.reports.terminal import compare

    printed = (
        compare.runs_as_dict(compared) if as_json else compare.side_by_side(compared, text.width(), verbose=verbose)
    )
    return _Made(compared.runs, partial(comparison.of_runs, compared), printed)
