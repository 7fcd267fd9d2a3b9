"""`modbench convert`: a Hugging Face model into one with routed layers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modbench.extend import JsonFlag, UsageError, checked_capacity, command, say, say_json, shown


@command(group="Yours")
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="LOADER", help="hf:FOLDER or hf:FOLDER/FILE.gguf."),
    ],
    to: Annotated[str | None, typer.Option("--to", metavar="KIND", help="mod.")] = None,
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
    as_json: JsonFlag = False,
) -> None:
    """Convert layers of a checkpoint to Mixture-of-Depths.

    modbench convert hf:FOLDER --to mod --capacity 0.125 --every 2 --out FOLDER-mod
    """
    if not source.startswith("hf:"):
        raise UsageError(
            f"convert {shown(source)}: a Hugging Face model is named as hf:FOLDER or hf:FOLDER/FILE.gguf, and needs "
            "--to mod --out DIR."
        )
    from modbench.plugins.huggingface.model.spec import local

    local(source)  # a model that is missing is named before flags that are
    if to != "mod":
        raise UsageError(
            f"convert {shown(source)}: "
            + ("needs --to mod." if to is None else f"--to {shown(to)} is unknown; known: mod.")
        )
    if out is None:
        raise UsageError(f"convert {shown(source)} --to mod: needs --out DIR, a new folder for the model.")
    if start not in {None, "change", "random"}:
        raise UsageError(f"--start {shown(start)}: must be change or random.")
    from modbench.plugins.huggingface import to_mod

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
    given: dict[str, Any] = {name: value for name, value in tuning.items() if value is not None}
    done = to_mod.to_mod(to_mod.Request(source, out, to_mod.routing_options(routing), **given))
    if as_json:
        say_json(done.as_json())
    else:
        say(done.as_text())
