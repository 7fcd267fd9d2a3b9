"""`modbench train`."""

from __future__ import annotations

import dataclasses
import signal
import sys
from typing import Annotated

import typer

from modbench.extend import Flags, JsonFlag, ModelName, command, print_summary, say, with_flags


@command(group="Measure")
@with_flags(
    *("option", "capacity", "router", "seq_len", "batch_size", "dtype", "device", "compile", "seeds", "corpus"),
    *("settings", "title"),
)
def train(
    model: ModelName,
    *,
    flags: Flags,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Folder; default runs/train-DATE-N. An interrupted run there is continued.",
        ),
    ] = None,
    log_to: Annotated[
        str | None,
        typer.Option("--log-to", metavar="NAME", help="Also send losses to tensorboard, trackio or wandb, below DIR."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train and evaluate one model, also under torchrun."""
    from modbench.plugins.training import run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM is handled like Ctrl-C
    given = flags.overrides()
    if log_to is not None:
        given = dataclasses.replace(given, settings={**given.settings, "train.log_to": log_to})
    plan = run.make_plan(model, given)
    done = run.run(plan, out, ["modbench", *sys.argv[1:]])
    if done is None:
        return
    from modbench.extend import check_measured  # it imports pandas: what does not exist is refused before

    if as_json:
        print_summary(done, as_json=True)
    else:
        say(run.as_text(done))
    check_measured(done.loaded, done.report)
