"""The typer application that the command files add their commands to. Every command gets `--include`."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from modbench.harness.core.errors import brief
from modbench.harness.core.printable import escaped

IncludeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="DIR",
        help="Also search DIR/models, DIR/routers, DIR/metrics and so on; or agree to a modbench.toml by naming it.",
    ),
]


class _Brief(TyperGroup):
    """Shortens what the parser of arguments says of a long one, as all other messages are shortened."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # click's, or the copy of click that newer versions of typer have
        try:
            return super().invoke(ctx)
        except Exception as raised:
            error: Any = raised
            if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
                error.message = brief(error.message)
                _hint(error)
            raise


def _hint(error: Any) -> None:  # noqa: ANN401  # as above
    """Lead who typed a suite's key as an option, such as --metrics, to --set: other options only look like it."""
    option, command = getattr(error, "option_name", None), getattr(getattr(error, "ctx", None), "command", None)
    if not option or not any("--set" in known.opts for known in getattr(command, "params", ())):
        return
    from modbench.harness.planning.overrides import keys

    key = option.lstrip("-").replace("-", "_")
    if key in keys():
        error.possibilities = None
        error.message = f"No such option: {option}. Did you mean --set {key}=…?"


class _App(typer.Typer):
    """Gives each command `--include`, since each may read a suite or a run that names what the user added."""

    def command(self, *args: Any, include: bool = True, **settings: Any) -> Callable[[Callable[..., Any]], Any]:  # noqa: ANN401  # as typer's
        """Register a command; without `include` it takes no folders."""
        register = super().command(*args, **settings)
        return (lambda function: register(_including(function))) if include else register


def _including(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with `--include`, which counts before anything else of it happens."""
    signature = inspect.signature(function, eval_str=True)
    flag = inspect.Parameter("include", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=IncludeFlag)

    @functools.wraps(function)
    def including(*args: object, include: list[str] | None = None, **values: object) -> Any:  # noqa: ANN401  # the command's
        from modbench.harness.core import discovery, project

        said = project.include(include or (), discovery.ROOMS)
        if said is not None:
            print(f"modbench: {escaped(said)}", file=sys.stderr)
        return function(*args, **values)

    including.__signature__ = signature.replace(parameters=[*signature.parameters.values(), flag])  # type: ignore[attr-defined]  # read by inspect
    return including


app = _App(
    name="modbench",
    cls=_Brief,
    help="Does skipping tokens pay? Measure dense, Mixture-of-Depths and MoDE transformers, and compare.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
