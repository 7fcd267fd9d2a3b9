"""`modbench audit`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modbench.extend import (
    Flags,
    JsonFlag,
    command,
    listed,
    matching,
    names_in,
    one_of,
    say,
    say_json,
    with_flags,
)


def _architectures(incomplete: str) -> list[tuple[str, str]]:
    """Complete what a model may be expected to be."""
    from modbench.plugins.audit.report import ARCHITECTURES

    return matching(((name, "") for name in ARCHITECTURES), incomplete)


@command(group="Look up")
@with_flags("option", "settings", "capacity", "seq_len", "batch_size", "dtype")
def audit(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Catalogue models, 'FILE.py:build(OPTION=VALUE)' or hf:FOLDER; several make one table.",
            autocompletion=names_in("models"),
        ),
    ],
    *,
    of: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="NAME",
            help="What it should be, and is checked against: dense, mod, mode, moe or early_exit.",
            autocompletion=_architectures,
        ),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="LIST",
            help="Only these properties; the exit code is 5 if one is not observable.",
            autocompletion=names_in("probes"),
        ),
    ] = None,
    flags: Flags,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help="Files beside audit.json: html, md, tex.",
            autocompletion=one_of("html", "md", "tex"),
        ),
    ] = "html",
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Folder; default runs/audit-MODEL-DATE-N.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="Longest time of the audit, such as 10min; default 30min."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find out by calls alone what a model computes.

    Does it skip, is it causal, do rows depend on each other? With --expect mod: is it the paper's? Its source is not read.
    """
    from modbench.extend import parse_duration
    from modbench.plugins.audit import request as auditing

    timeout_s = parse_duration(timeout, "--timeout") if timeout is not None else None
    asked = listed("--property", properties, str)
    named = listed("--format", [formats], str)
    request = auditing.Request(tuple(targets), flags.overrides(), of, asked, named, timeout_s)
    done = auditing.run(request, out, ["modbench", *sys.argv[1:]])
    if as_json:
        say_json(done.as_json())
    else:
        say(done.as_text())
    code = auditing.exit_code(done.cards, asked)
    if code:
        raise typer.Exit(code)
