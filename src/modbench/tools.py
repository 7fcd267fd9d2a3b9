"""Commands beside a run: what a model costs, whether the machine is fit, one case opened up, a gate between two runs."""

from __future__ import annotations

import json
import signal
import sys
from typing import Annotated

import typer

from modbench.app import app
from modbench.flags import (
    BatchFlag,
    CapacityFlag,
    CompileFlag,
    CorpusFlag,
    DeviceFlag,
    DtypeFlag,
    JsonFlag,
    ModelFlag,
    SeedsFlag,
    SelectFlag,
    SeqLenFlag,
    SetFlag,
    SuiteName,
    check_device,
    listed,
    overrides,
)
from modbench.harness.errors import IncompleteError, UnfitError, UsageError, unknown


@app.command()
def cost(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A catalogue model, or FILE.py:build.")],
    settings: SetFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a model of any size costs: parameters, FLOPs, bytes, memory. Nothing is allocated or run."""
    from modbench.cost import Asked, as_text, costs

    told = costs(
        Asked(
            model,
            tuple(settings or ()),
            listed("--capacity", capacity, float),
            listed("--seq-len", seq_len, int) or (512,),
            listed("--batch-size", batch_size, int) or (1,),
            listed("--dtype", dtype, str) or ("fp32",),
        )
    )
    print(json.dumps(told, indent=1) if as_json else as_text(told))


@app.command()
def doctor(
    comparisons: Annotated[int, typer.Option("-n", "--comparisons", help="A/A comparisons to make now.")] = 20,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads of a worker.")] = 1,
    device: DeviceFlag = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier checks of this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare identical models: is this machine fit to tell times apart? Under a minute; pooled over calls."""
    from modbench import api, checkup
    from modbench.harness.doctor import LAUNCHES
    from modbench.progress import counting

    check_device(device)
    place = api.device_named(device)
    found = checkup.check(comparisons, place, threads, counting(comparisons * LAUNCHES, "launches"), fresh=fresh)
    print(json.dumps(checkup.as_json(found), indent=1) if as_json else checkup.as_text(found))
    if found.certificate.verdict == "unfit":
        raise UnfitError(f"this machine is unfit to compare times. {found.certificate.in_words()}.")


@app.command()
def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A catalogue model, or FILE.py:build.")],
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    compile_: CompileFlag = False,
    seeds: SeedsFlag = None,
    corpus: CorpusFlag = None,
    settings: SetFlag = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Folder; default runs/train-DATE-N. An interrupted one is gone on with.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train one model and evaluate it; under torchrun on as many ranks as it starts."""
    from modbench import train as training
    from modbench.reports import summary

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    flags = overrides(None, capacity, seq_len, batch_size, dtype, device, compile_, seeds, corpus, None, settings)
    made = training.run(training.make_plan(model, flags), out, ["modbench", *sys.argv[1:]])
    if made is None:
        return
    print(
        json.dumps(summary.as_json(made.loaded, made.report, made.wall_s), indent=1)
        if as_json
        else training.as_text(made)
    )


@app.command()
def profile(
    suite: SuiteName,
    select: SelectFlag = None,
    workload: Annotated[str, typer.Option("--workload", help="forward or train_step.")] = "forward",
    model: ModelFlag = None,
    capacity: CapacityFlag = None,
    seq_len: SeqLenFlag = None,
    batch_size: BatchFlag = None,
    dtype: DtypeFlag = None,
    device: DeviceFlag = None,
    settings: SetFlag = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Folder; default runs/profile-SUITE-DATE-N.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Open up one case: time, FLOPs, bytes and memory by module and component, and a trace for Perfetto."""
    from modbench import api
    from modbench import profile as profiles
    from modbench.harness import store
    from modbench.progress import counting

    if workload not in profiles.WORKLOADS:
        raise unknown("workload", workload, profiles.WORKLOADS)
    flags = overrides(model, capacity, seq_len, batch_size, dtype, device, False, None, None, None, settings)
    resolved = api.make_plan(suite, flags)
    profiles.choose(resolved, select)  # before a folder is made
    folder = store.create(out, f"profile-{resolved.suite.name}")
    done = profiles.profile(resolved, select, workload, folder, counting(1, "profile"))
    print(json.dumps(profiles.as_json(done), indent=1) if as_json else profiles.as_text(done))


@app.command()
def gate(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="The run folder that is judged.")],
    against: Annotated[str, typer.Option("--against", metavar="BASE", help="An earlier run of the same suite.")],
    margin: Annotated[float, typer.Option("--margin", help="What is too small to matter, as a share.")] = 0.02,
    as_json: JsonFlag = False,
) -> None:
    """Hold a run against an earlier one: exit 1 if anything got worse, 5 if the machine cannot tell."""
    import dataclasses

    from modbench.reports import gate as gates
    from modbench.reports.load import load

    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin:g} is outside (0, 1): it is a share, such as 0.02.")
    run, base = load(run_folder), load(against)
    findings = gates.gate(run, base, margin)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        timed = {key for key, metric in run.tables.metrics.items() if metric.made_in == "time"}
        print("\n".join(gates.as_text(findings, margin, timed)))
    if any(finding.verdict == "worse" for finding in findings):
        raise typer.Exit(1)
    for loaded in (run, base):
        if loaded.run.missing:
            raise IncompleteError(f"{loaded.path} is incomplete: {len(loaded.run.missing)} units have no record.")
