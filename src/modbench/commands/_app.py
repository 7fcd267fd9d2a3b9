"""The typer application that the command files add their commands to."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from modbench.harness.core.errors import brief


class _Brief(TyperGroup):
    """Shortens what the parser of arguments says of a long one, as all other messages are shortened."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # click's, or the copy of click that newer versions of typer have
        try:
            return super().invoke(ctx)
        except Exception as raised:
            error: Any = raised
            if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
                error.message = brief(error.message)
            raise


app = typer.Typer(
    name="modbench",
    cls=_Brief,
    help="Does skipping tokens pay? Measure dense, Mixture-of-Depths and MoDE transformers, and compare.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
