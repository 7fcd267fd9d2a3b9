"""`modbench convert`: a Hugging Face model into one with routed layers, or pytest-benchmark's times into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modbench.extend import JsonFlag, UsageError, checked_capacity, command, say, say_json, shown


@command(group="Yours")
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="LOADER", help="hf:FOLDER, hf:FOLDER/FILE.gguf, or a JSON file of pytest-benchmark."),
    ],
    to: Annotated[str | None, typer.Option("--to", metavar="KIND", help="For a model: mod.")] = None,
    out: Annotated[str | None, typer.Option("-o", "--out", metavar="DIR", help="New folder for the model.")] = None,
    capacity: Annotated[
        float | None,
        typer.Option(
            "--capacity",
            metavar="SHARE",
            parser=str,
            callback=checked_capacity,
            help="Share of tokens that a routed layer processes; default 0.125.",
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", metavar="N", help="Every n-th layer is routed; default 2.")
    ] = None,
    first_routed: Annotated[
        int | None, typer.Option("--first-routed", metavar="N", help="First routed layer, counted from 0; default 1.")
    ] = None,
    causal: Annotated[
        str | None,
        typer.Option(
            "--causal", metavar="RULE", help="How generation chooses tokens: threshold (default) or predictor."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="WAY",
            help="Routers start with what the dense layers change most (change, default), or random.",
        ),
    ] = None,
    tune_steps: Annotated[
        int | None, typer.Option("--tune-steps", metavar="N", help="Steps that train the routers alone; default 0.")
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="TEXT", help="Text to calibrate, tune and measure on; default stdlib."),
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option("--seq-len", metavar="N", help="Tokens of a sequence; default 256.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Sequences of a step; default 4.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", metavar="RATE", help="Peak learning rate of the tuning; default 0.003.")
    ] = None,
    val_tokens: Annotated[
        int | None, typer.Option("--val-tokens", metavar="N", help="Held-out tokens to measure on; default 8192.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed of routers and sequences; default 0.")
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="RUN", help="For a pytest-benchmark file: the run that takes it.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Convert layers of a checkpoint to Mixture-of-Depths.

    Also adds the times of a JSON file of pytest-benchmark to a run.

    modbench convert hf:FOLDER --to mod --capacity 0.125 --every 2 --out FOLDER-mod

    modbench convert FILE.json --into RUN
    """
    routing = {"capacity": capacity, "every": every, "first_routed": first_routed, "causal": causal}
    tuning = {
        "start": start,
        "tune_steps": tune_steps,
        "corpus": corpus,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "lr": lr,
        "val_tokens": val_tokens,
        "seed": seed,
    }
    model_flags = [
        f"--{name.replace('_', '-')}"
        for name, value in {"to": to, "out": out, **routing, **tuning}.items()
        if value is not None
    ]
    if source.startswith("hf:") or to is not None:
        _convert_model(source, to, out, into, routing, tuning, as_json=as_json)
    elif model_flags:
        raise UsageError(
            f"{', '.join(model_flags)}: for a Hugging Face model, which is named as hf:FOLDER; got {shown(source)}."
        )
    elif into is None:
        raise UsageError(
            f"convert {shown(source)}: a pytest-benchmark file needs --into RUN; a Hugging Face model is named as hf:FOLDER and "
            "needs --to mod --out DIR."
        )
    else:
        _import_times(source, into, as_json=as_json)


def _convert_model(
    source: str,
    to: str | None,
    out: str | None,
    into: str | None,
    routing: dict[str, Any],
    tuning: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Convert a model."""
    if not source.startswith("hf:"):
        raise UsageError(
            f"--to {to}: converts a model that is named as hf:FOLDER or hf:FOLDER/FILE.gguf; got {shown(source)}."
        )
    from modbench.plugins.huggingface.model.spec import local

    local(source)  # a model that is missing is named before flags that are
    if to != "mod":
        raise UsageError(
            f"convert {shown(source)}: "
            + ("needs --to mod." if to is None else f"--to {shown(to)} is unknown; known: mod.")
        )
    if into is not None:
        raise UsageError("--into is for a pytest-benchmark file; a model needs --out DIR.")
    if out is None:
        raise UsageError(f"convert {shown(source)} --to mod: needs --out DIR, a new folder for the model.")
    from modbench.plugins.huggingface import to_mod

    if tuning["start"] not in {None, "change", "random"}:
        raise UsageError(f"--start {shown(tuning['start'])}: must be change or random.")
    tuning_flags = {name: value for name, value in tuning.items() if value is not None}
    done = to_mod.to_mod(to_mod.Request(source, out, to_mod.routing_options(routing), **tuning_flags))
    if as_json:
        say_json(done.as_json())
    else:
        say(done.as_text())


def _import_times(file: str, into: str, *, as_json: bool) -> None:
    """Import pytest-benchmark's times of single components into a run, whose report then shows them."""
    from modbench.extend import api, counted, read
    from modbench.plugins.components import imported

    run = read(into)
    found = imported.read_times(Path(file))
    kept = imported.keep(run.path, found)
    finished = api.report(into)
    if as_json:
        say_json({"components": len(found.components), "file": str(kept), "report": str(finished.report)})
    else:
        number = counted(len(found.components), "component")
        say(
            f"{number} of {found.source} kept in {kept}: one process each, so no verdicts.\n\nreport: {finished.report}"
        )
