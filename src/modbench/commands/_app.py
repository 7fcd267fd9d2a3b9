"""The typer application that the command files add their commands to."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="modbench",
    help="Does skipping tokens pay? Measure dense, Mixture-of-Depths and MoDE transformers, and compare.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
