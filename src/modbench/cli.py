"""The command line. Only typer is imported here; everything else waits until a command needs it."""

from __future__ import annotations

import io
import itertools
import json
import signal
import sys
from typing import Annotated

import typer

from modbench import __version__, tools
from modbench.app import app
from modbench.flags import (
    BatchFlag,
    CapacityFlag,
    CompileFlag,
    CorpusFlag,
    DeviceFlag,
    DtypeFlag,
    EffortFlag,
    JsonFlag,
    ModelFlag,
    SeedsFlag,
    SelectFlag,
    SeqLenFlag,
    SetFlag,
    SuiteName,
    overrides,
)
from modbench.harness.errors import ModbenchError, UsageError, unknown

__all__ = ["app", "main", "tools"]  # importing the tools adds their commands


def main() -> None:
    """Run the command line; a mistake of the user's ends in one or two lines and exit code 2."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? instead of ending the run
        _check_arguments()
        app()
    except ModbenchError as error:
        print(f"modbench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("modbench: interrupted. Nothing of it was kept.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is None:
            raise
        # Whatever cannot be looked up, read or written is a path that the user named, or below one.
        print(f"modbench: {error.filename}: {error.strerror}. Check the path and its permissions.", file=sys.stderr)
        sys.exit(2)
    except Exception:  # noqa: BLE001  # the front door: whatever is left is a bug of ours, and says so
        import traceback

        traceback.print_exc()
        print("modbench: this is a bug in modbench; the lines above say where.", file=sys.stderr)
        sys.exit(3)


def _check_arguments() -> None:
    """Arguments stand in JSON, file names and the page: bytes that are no text cannot."""
    for argument in sys.argv[1:]:
        if not argument.isprintable():
            raise UsageError(f"argument {argument!a} is not printable UTF-8 text. Rename what it names.")


def _version(value: bool) -> None:  # noqa: FBT001  # typer's callback
    if value:
        print(f"modbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # the callback prints it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    suite: SuiteName,
    model: ModelFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    compile_: CompileFlag = False,
    seeds: SeedsFlag = None,
    corpus: CorpusFlag = None,
    settings: SetFlag = None,
    effort: EffortFlag = None,
    select: SelectFlag = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Run folder; default runs/SUITE-DATE-N.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a cell failed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure a suite and write its report."""
    from modbench import api
    from modbench.progress import progress_for
    from modbench.reports import summary

    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, effort, settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's end is an interrupt: workers go too
    resolved = api.make_plan(suite, flags, select)
    folder = api.new_folder(resolved, out)
    if not as_json:
        print(summary.opening(resolved), flush=True)
    finished = api.run(resolved, folder, command=["modbench", *sys.argv[1:]], progress=progress_for(resolved, folder))
    if as_json:
        print(json.dumps(summary.as_json(finished.loaded, finished.report, finished.wall_s), indent=1))
    else:
        print(summary.closing(finished.loaded, finished.report, finished.wall_s))
    if strict and not finished.loaded.failed.empty:
        raise typer.Exit(1)


@app.command()
def resume(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run that was interrupted.")],
    as_json: JsonFlag = False,
) -> None:
    """Go on with an interrupted run: what has a record stays, training continues from its checkpoint."""
    from modbench import api
    from modbench.progress import progress_for
    from modbench.reports import summary

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    finished = api.resume(run_folder, progress_for)
    if as_json:
        print(json.dumps(summary.as_json(finished.loaded, finished.report, finished.wall_s), indent=1))
    else:
        print(summary.closing(finished.loaded, finished.report, finished.wall_s))


@app.command()
def plan(
    suite: SuiteName,
    model: ModelFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    compile_: CompileFlag = False,
    seeds: SeedsFlag = None,
    corpus: CorpusFlag = None,
    settings: SetFlag = None,
    effort: EffortFlag = None,
    select: SelectFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the cases of a suite with predicted FLOPs, memory and time; run nothing."""
    from modbench import api, forecast

    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, effort, settings)
    told = forecast.forecast(api.make_plan(suite, flags, select, only_plan=True))
    print(json.dumps(told, indent=1) if as_json else forecast.as_text(told))


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="[WHAT]", help="models, routers, metrics, suites, tasks, corpora, panels or doubts."),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what there is to choose from."""
    from modbench.harness import catalogue

    if what and what not in catalogue.ROOMS:
        raise unknown("list", what, catalogue.ROOMS)
    rooms = {room: _about(room) for room in ([what] if what else catalogue.ROOMS)}
    if as_json:
        print(json.dumps(rooms, indent=1))
        return
    width = max((len(name) for names in rooms.values() for name in names), default=0)
    for i, (room, names) in enumerate(rooms.items()):
        print(("\n" if i else "") + room + ("" if names else " (none yet)"))
        for name, about in names.items():
            print(f"  {name:<{width}}  {about}")


def _about(room: str) -> dict[str, str]:
    from modbench.harness import catalogue

    if room == "metrics":
        return {key: metric.about for key, metric in catalogue.metrics().items()}
    return {name: entry.about for name, entry in catalogue.entries(room).items()}


@app.command()
def validate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A suite's TOML file, or a shipped suite's name.")],
    as_json: JsonFlag = False,
) -> None:
    """Check a suite file without running it."""
    from modbench.harness.arms import resolve_arms
    from modbench.harness.suite import load_suite

    suite = load_suite(file)
    # Rungs are checked, not solved: solving needs closed forms, and those load torch.
    names = itertools.count()
    arms = resolve_arms(suite, lambda _model, base, _target_model, _target, _quantity: (base, next(names)))
    if as_json:
        print(json.dumps({"suite": suite.name, "arms": len(arms), "metrics": list(suite.metrics)}))
    else:
        print(f"{file}: good. Suite {suite.name!r}: {len(arms)} arms, {len(suite.metrics)} metrics.")


@app.command()
def report(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="ARM", help="Hold all arms against this one; default the anchor."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Render a stored run's report.html, cases.csv and comparisons.csv again."""
    from modbench import api
    from modbench.harness.errors import IncompleteError
    from modbench.reports import summary

    rendered = api.report(run_folder, baseline)
    loaded, page = rendered.loaded, rendered.report
    print(json.dumps(summary.as_json(loaded, page, None), indent=1) if as_json else summary.closing(loaded, page, None))
    if loaded.run.missing:
        raise IncompleteError(
            f"the run is incomplete: {len(loaded.run.missing)} of {len(loaded.run.plan.units)} units have no record "
            f"({', '.join(loaded.run.missing[:3])}{' …' if len(loaded.run.missing) > 3 else ''}). The report says so."
        )
