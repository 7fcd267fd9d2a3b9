"""`modbench report`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, QuietFlag, RunOrNewest, TitleFlag, VerboseFlag, flag, refuse, runs
from modbench.commands._flags import formats as formats_named
from modbench.commands._output import chosen_run, print_summary


@command()
def report(
    run_folder: RunOrNewest = None,
    baseline: Annotated[
        str | None, flag("--baseline", "VARIANT", "Compare all variants with this one; default the suite's baseline.")
    ] = None,
    all_pairs: Annotated[
        bool,
        typer.Option("--all-pairs", help="Compare any two variants, even where that makes thousands of rows."),
    ] = False,
    pool: Annotated[
        list[str] | None,
        flag(
            "--pool", "RUN", "Add the seeds of another run of the same cases on the same tasks. May be repeated.", runs
        ),
    ] = None,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    formats: Annotated[
        str | None,
        flag(
            "--format",
            "LIST",
            "html, csv, md, tex, json, pytest-benchmark, joined by commas; default csv,html.",
            formats_named,
        ),
    ] = None,
    out: Annotated[str | None, flag("-o --out", "DIR", "Where to write; default the run folder.")] = None,
    title: TitleFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Render a stored run or comparison again.

    Without --format: the HTML report and its tables, and the summary. With it: the paths of the files; -v: the summary too.
    """
    from modbench import api
    from modbench.harness.core import variant_titles
    from modbench.harness.core.errors import IncompleteError, UsageError
    from modbench.harness.machine.process import exit_codes
    from modbench.harness.registry import catalogue
    from modbench.harness.results.user_files import missing_sources
    from modbench.reports.output_format import DEFAULT, parse_formats

    if out is not None and not out.strip():
        raise UsageError("--out '' names no folder. Name one, or omit --out.")
    other = _made_by(Path(run_folder)) if run_folder is not None else None
    if run_folder is not None and other is not None:
        more = {"--baseline": baseline, "--all-pairs": all_pairs or None, "--pool": pool, "--format": formats}
        refuse({**more, "-o": out, "--title": title}, "a run")
        catalogue.load("reports", other)(Path(run_folder), as_json=as_json, quiet=quiet)
        return
    chosen = DEFAULT if formats is None else parse_formats(formats)
    folder = chosen_run(run_folder, quiet=quiet, as_json=as_json)
    finished = api.report(
        folder,
        baseline,
        all_pairs=all_pairs,
        formats=chosen,
        out=out,
        title=variant_titles.listed(title or ()),
        pool=pool or (),
    )
    only_files = formats is not None and not verbose
    print_summary(finished, as_json=as_json, quiet=quiet or only_files, verbose=verbose, every_file=formats is not None)
    run = finished.loaded.run
    for origin in missing_sources(run.included):
        said = f"this run began with {origin.in_words()}. What it adds to the report, such as sections, is not there."
        exit_codes.remark(said)
    for damaged in run.damaged:
        exit_codes.remark(str(damaged.error))
    if run.damaged:
        raise IncompleteError(
            f"{len(run.damaged)} of {len(run.plan.jobs)} jobs are damaged. Their cells have failed; `modbench resume "
            f"{folder}` measures them again."
        )
    if run.missing:
        raise IncompleteError(
            f"the run is incomplete: {len(run.missing)} of {len(run.plan.jobs)} jobs have no record "
            f"({', '.join(run.missing[:3])}{' …' if len(run.missing) > 3 else ''}). The report says so."
        )
    if run.incomplete:
        raise IncompleteError(f"{run.incomplete.removesuffix('.')}: `modbench resume {folder}` decides.")


def _made_by(folder: Path) -> str | None:
    """The name in `reports` of what renders a folder that is none of a run: it holds NAME.json; None: it may be a run's.

    Raises:
        UsageError: if the plug-in is absent that the folder's JSON file names as what made it.
    """
    from modbench.harness.core.errors import UsageError, shown
    from modbench.harness.registry import catalogue
    from modbench.harness.results import json_files, layout

    if layout.is_run(folder):
        return None
    known = catalogue.entries("reports")
    for file in filter(Path.is_file, sorted(folder.glob("*.json"))):
        if file.stem in known:
            return file.stem
        with contextlib.suppress(OSError, json_files.DamagedError):
            if plugin := json_files.load(file).get("plugin"):
                raise UsageError(f"{folder} needs the plug-in {shown(plugin)}, which made it and is absent.")
    return None
