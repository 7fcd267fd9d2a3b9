"""The typer application that the command files add their commands to. Every command gets `--include`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from modbench.harness.core import exits
from modbench.harness.core.errors import brief

IncludeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="DIR",
        help="Also use DIR/models, DIR/routers and so on; or agree to a modbench.toml by naming it.",
    ),
]


# Characters up to which click takes the first sentence of a docstring for the one-line help; beyond, it cuts.
UNCUT = 1000
# Commands by purpose, in the order of `modbench --help`; a command that is missing here is not shown.
GROUPS = {
    "Measure": ("run", "resume", "watch", "plan", "train", "profile", "doctor"),
    "Decide": ("compare", "recommend", "report", "figure"),
    "Gate": ("gate",),
    "Look up": ("cost", "verify", "list", "demo"),
    "Yours": ("init", "validate", "convert", "schema"),
}


class _Group(TyperGroup):
    """Lists commands by group, and shortens the parser's messages about long arguments."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  # click's, or the copy of click that newer versions of typer have
        """Names of all commands, in the order of the help."""
        return [name for names in GROUPS.values() for name in names]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as above
        """Write the purpose and the commands: the options, which click puts first, are few and rarely needed."""
        super().format_help_text(ctx, formatter)
        width = max(map(len, GROUPS)) + 2
        rows = [
            (f"{'' if at else group:<{width}}{name}", self.commands[name].get_short_help_str(UNCUT))
            for group, names in GROUPS.items()
            for at, name in enumerate(names)
        ]
        formatter.write_paragraph()
        formatter.write_dl(rows)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as above
        """Write nothing: the commands stand above the options."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # as above
        try:
            return super().invoke(ctx)
        except Exception as raised:
            error: Any = raised
            if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
                error.message = brief(error.message)
                _hint(error)
            raise


def _hint(error: Any) -> None:  # noqa: ANN401  # as above
    """Suggest --set for a suite's key that was typed as an option, such as --metrics: other options only look like it."""
    option, command = getattr(error, "option_name", None), getattr(getattr(error, "ctx", None), "command", None)
    if not option or not any("--set" in known.opts for known in getattr(command, "params", ())):
        return
    from modbench.harness.planning.overrides import keys

    key = option.lstrip("-").replace("-", "_")
    if key in keys():
        error.possibilities = None
        error.message = f"No such option: {option}. Did you mean --set {key}=…?"


class _App(typer.Typer):
    """Gives each command `--include`: its suite or run may name additions of the user."""

    def command(self, *args: Any, include: bool = True, **settings: Any) -> Callable[[Callable[..., Any]], Any]:  # noqa: ANN401  # as typer's
        """Register a command; without `include` it takes no folders."""
        register = super().command(*args, **settings)
        return (lambda function: register(_including(function))) if include else register


def include_additions(folders: Iterable[str]) -> None:
    """Search folders for additions, and what `modbench.toml` names; from now on in this process.

    Raises:
        UsageError: if one cannot be used.
    """
    from modbench.harness.core import discovery, project

    note = project.include(folders, discovery.ROOMS)
    if note is not None:
        exits.remark(note)


def _including(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with `--include`, which is applied before the command runs."""
    signature = inspect.signature(function, eval_str=True)
    flag = inspect.Parameter("include", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=IncludeFlag)

    @functools.wraps(function)
    def including(*args: object, include: list[str] | None = None, **values: object) -> Any:  # noqa: ANN401  # the command's
        include_additions(include or ())
        return function(*args, **values)

    including.__signature__ = signature.replace(parameters=[*signature.parameters.values(), flag])  # type: ignore[attr-defined]  # read by inspect
    return including


app = _App(
    name="modbench",
    cls=_Group,
    help="Does skipping tokens pay? Measure it, and decide.",
    subcommand_metavar="COMMAND",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
