"""The typer application that the command files add their commands to. Every command gets `--plugin`."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from modbench.commands._flags import flag, with_parameters
from modbench.harness.core.errors import UsageError, brief, shown

PluginFlag = Annotated[
    list[str] | None, flag("--plugin", "DIR", "Also use the plug-in in this folder, which holds a plugin.toml.")
]


# Characters up to which click takes the first sentence of a docstring for the one-line help; beyond, it cuts.
UNCUT = 1000
# Commands by purpose, in the order of `modbench --help`. Those of plug-ins come after them, in the group that they name.
Group = Literal["Measure", "Decide", "Look up", "Yours"]
GROUPS: dict[Group, list[str]] = {
    "Measure": ["run", "resume", "watch", "plan", "doctor"],
    "Decide": ["compare", "report", "gate"],
    "Look up": ["cost", "list", "demo"],
    "Yours": ["init"],
}


class _Group(TyperGroup):
    """Lists commands by group, and shortens the parser's messages about long arguments."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002  # as click calls it
        """Names of all commands, in the order of the help."""
        return [name for names in GROUPS.values() for name in names if name in self.commands]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # click's, or those of the copy of click in typer
        """Write the purpose and the commands: the options, which click puts first, are few and rarely needed."""
        super().format_help_text(ctx, formatter)
        width = max(map(len, GROUPS)) + 2
        rows = [
            (f"{'' if at else group:<{width}}{name}", self.commands[name].get_short_help_str(UNCUT))
            for group, names in GROUPS.items()
            for at, name in enumerate(filter(self.commands.__contains__, names))
        ]
        formatter.write_paragraph()
        formatter.write_dl(rows)

    def format_commands(self, ctx: object, formatter: object) -> None:
        """Write nothing: the commands stand above the options."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # as above
        """Find the command; of a suite that was typed as one say how it is run.

        Raises:
            UsageError: for a suite.
        """
        if args and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            from modbench.harness.planning.load_suite import is_suite

            if is_suite(args[0]):
                raise UsageError(f"{shown(args[0])} is a suite: modbench run {shlex.join(args)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401  # as above
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, _Refusal) and isinstance(error.message, str):
                error.message = brief(error.message)
                _hint(error)
            raise


@runtime_checkable
class _Refusal(Protocol):
    """An error of click, or of the copy of click in typer: the parser's, or a command's."""

    message: str

    def format_message(self) -> str: ...


def _hint(error: _Refusal) -> None:
    """Suggest --set for a suite's key that was typed as an option, such as --metrics: other options only look like it."""
    option, command = getattr(error, "option_name", None), getattr(getattr(error, "ctx", None), "command", None)
    if not option or not any("--set" in known.opts for known in getattr(command, "params", ())):
        return
    from modbench.harness.planning.overrides import keys

    key = option.lstrip("-").replace("-", "_")
    if key in keys():
        error.message = f"No such option: {option}. Did you mean --set {key}=…?"
        vars(error)["possibilities"] = None  # others are not suggested


def command(
    name: str | None = None, *, plugin: bool = True, on: typer.Typer | None = None, group: Group | None = None
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register a command, by default under the name of its function. It gets `--plugin`: its suite or run may name additions.

    Args:
        name: of the command.
        plugin: whether it gets `--plugin`.
        on: the command that it is a part of, such as `ab`; None: it is a command of its own.
        group: where `modbench --help` lists the command of a plug-in.
    """

    def registered(function: Callable[..., object]) -> Callable[..., object]:
        list_in(group, name or function.__name__)
        return (on or app).command(name)(_including(function) if plugin else function)

    return registered


def list_in(group: Group | None, name: str) -> None:
    """List a command in a group of `modbench --help`."""
    if group is not None and name not in GROUPS[group]:
        GROUPS[group].append(name)


def _including(function: Callable[..., object]) -> Callable[..., object]:
    """The same command with `--plugin`."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    flag = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PluginFlag)

    @functools.wraps(function)
    def including(*args: object, plugin: list[str] | None = None, **values: object) -> object:
        del plugin  # `cli.main` has read it: a plug-in may add the command itself
        return function(*args, **values)

    return with_parameters(including, [*parameters, flag])


app = typer.Typer(
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
