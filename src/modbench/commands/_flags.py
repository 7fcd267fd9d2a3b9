"""Flags that several commands share, how shells complete them, and the decorator that gives them to a command.

Completion takes names from the catalogue, which reads files without importing them. A word that begins none of the names is left
to the shell, which completes paths.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar, get_type_hints

import typer

from modbench.harness.core import variant_titles
from modbench.harness.core.errors import UsageError, shown, unknown
from modbench.harness.core.units import margin, share

if TYPE_CHECKING:
    from modbench.harness.planning.overrides import Overrides


Completion = Callable[[str], list[tuple[str, str]]]
P = ParamSpec("P")
T = TypeVar("T")


def flag(names: str, takes: str, about: str, complete: Completion | None = None, **more: Any) -> Any:  # noqa: ANN401  # as typer
    """A flag that takes a value, for typer.

    Args:
        names: how it is typed, such as `-o --out`.
        takes: the word for its value.
        about: its help.
        complete: completes the value.
        **more: further arguments of typer's.
    """
    return typer.Option(*names.split(), metavar=takes, help=about, autocompletion=complete, **more)


def names_in(kind: str) -> Completion:
    """Complete the name of an entry of a kind, with its first line."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        from modbench.harness.registry import catalogue

        return matching(((name, entry.about) for name, entry in catalogue.entries(kind).items()), incomplete)

    return complete


def matching(named: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """The names that begin as typed; after a comma the next name of a list is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", about) for name, about in named if name.startswith(last)]


def one_of(*names: str) -> Completion:
    """Complete one of these words."""
    return lambda incomplete: matching(((name, "") for name in names), incomplete)


suites, models, routers, formats = names_in("suites"), names_in("models"), names_in("routers"), names_in("formats")
corpora, launchers = names_in("corpora"), names_in("launchers")


def kinds(incomplete: str) -> list[tuple[str, str]]:
    """Complete what `modbench list` lists."""
    from modbench.harness.registry import catalogue

    return matching(((name, "") for name in catalogue.KINDS), incomplete)


def settings(incomplete: str) -> list[tuple[str, str]]:
    """Complete the key of `--set`: a key of a suite or of a model; for `metrics=`, a metric."""
    key, equals, typed = incomplete.partition("=")
    if equals:
        if key != "metrics":
            return []
        return [(f"metrics={name}", about) for name, about in metrics(typed)]
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.planning import suite_tables
    from modbench.harness.planning.overrides import TOP_KEYS

    in_tables = (f"{table}.{name}" for table, kind in suite_tables.plans().items() for name in kind.model_fields)
    return matching(((f"{name}=", "") for name in (*TOP_KEYS, *ModelConfig.model_fields, *in_tables)), incomplete)


def options(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of an option: one that the build of a model of the command line takes."""
    from modbench.harness.core.errors import UsageError
    from modbench.harness.core.model_specs import is_user_model, parse_spec, split
    from modbench.harness.registry import user_models

    typed = ctx.params.get("model") or []
    names = dict[str, None]()
    try:
        for text in [typed] if isinstance(typed, str) else [each for value in typed for each in split(value)]:
            model, given = parse_spec(text)
            if is_user_model(model):
                names |= dict.fromkeys(name for name in user_models.option_names(model) if name not in given)
    except (UsageError, ValueError):  # what is typed wrong is refused when the command runs
        return []
    return [] if "=" in incomplete else matching(((f"{name}=", "") for name in names), incomplete)


def metrics(incomplete: str) -> list[tuple[str, str]]:
    """Complete the key of a metric."""
    from modbench.harness.registry import catalogue

    return matching(((name, metric.about) for name, metric in catalogue.metrics().items()), incomplete)


def runs(incomplete: str) -> list[tuple[str, str]]:
    """Complete a run folder in `runs/`, the newest first."""
    from modbench.harness.results.layout import stored

    return matching(((str(run), "") for run in stored()), incomplete)


SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A shipped suite's name, or a TOML file.", autocompletion=suites)
]
RunOrNewest = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run folder; default the newest in runs/.", autocompletion=runs),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A catalogue model, or 'FILE.py:build(OPTION=VALUE)'.", autocompletion=models),
]
DeviceFlag = Annotated[
    str | None, flag("--device", "NAME", "cpu or cuda; default cuda if there is a GPU.", one_of("cpu", "cuda"))
]
TitleFlag = Annotated[
    list[str] | None,
    flag("--title", "VARIANT=TEXT", "What tables and figures call a variant: 'mod[c0.125]=Ours'. May be repeated."),
]
OptionFlag = Annotated[
    list[str] | None,
    flag(
        "--option", "K=V", "An option of your own models that take it, or several values: threshold=0.5,0.7.", options
    ),
]
SeqLenFlag = Annotated[list[str] | None, flag("--seq-len", "LIST", "Sequence lengths, such as 128,512.")]
SetFlag = Annotated[list[str] | None, flag("--set", "KEY=VALUE", "Any other key of a suite.", settings)]
SelectFlag = Annotated[str | None, flag("-k", "EXPR", "Only matching cases: 'mod and not c0.5'.")]
TimeoutFlag = Annotated[
    str | None, flag("--timeout", "DURATION", "Longest time of a job, such as 90s or 10min; default: by prediction.")
]
FormatFlag = Annotated[
    str, flag("--format", "text|github", "github: annotations, and a job summary in $GITHUB_STEP_SUMMARY.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print only where the report is, and what failed.")]
VerboseFlag = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print all tables, and what the summary leaves out.")
]


FORMATS = ("text", "github")
# Flags that take several values, and the kind of each.
LISTS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "capacity": share,
    "router": str,
    "seq_len": int,
    "batch_size": int,
    "dtype": str,
    "input_len": int,
    "output_len": int,
    "seeds": int,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that change a suite, as typed by the user. `--help` shows them in this order."""

    model: Annotated[
        list[str] | None,
        flag(
            "--model",
            "LIST",
            "Keep only these models and the baseline, or add yours: 'FILE.py:build(OPTION=VALUE)'.",
            models,
        ),
    ] = None
    only: Annotated[
        bool, typer.Option("--only", help="Compare the models of --model alone; the first one is the baseline.")
    ] = False
    match: Annotated[
        str | None,
        flag(
            "--match",
            "NAME",
            "For each model of yours a matched baseline, dense of equal flops, params or time; or none.",
            one_of("flops", "params", "time", "none"),
        ),
    ] = None
    option: OptionFlag = None
    capacity: Annotated[
        list[str] | None, flag("--capacity", "LIST", "Capacities, shares of tokens such as 0.125,0.5.")
    ] = None
    router: Annotated[
        list[str] | None,
        flag("--router", "LIST", "Routers, such as learned,norm, or a class of your own as FILE.py:ROUTER.", routers),
    ] = None
    seq_len: SeqLenFlag = None
    batch_size: Annotated[list[str] | None, flag("--batch-size", "LIST", "Batch sizes.")] = None
    dtype: Annotated[
        list[str] | None, flag("--dtype", "LIST", "Number formats: fp32, bf16, fp16.", one_of("fp32", "bf16", "fp16"))
    ] = None
    input_len: Annotated[
        list[str] | None, flag("--input-len", "LIST", "End-to-end requests: input tokens; default the lengths.")
    ] = None
    output_len: Annotated[
        list[str] | None, flag("--output-len", "LIST", "End-to-end requests: output tokens of each, such as 128.")
    ] = None
    device: DeviceFlag = None
    compile: Annotated[bool, typer.Option("--compile", help="Wrap every model in torch.compile.")] = False
    seeds: Annotated[list[str] | None, flag("--seeds", "LIST", "Seeds, such as 0,1,2.")] = None
    corpus: Annotated[
        str | None, flag("--corpus", "TEXT", "Text to train on: stdlib, a file, a folder or hf:NAME.", corpora)
    ] = None
    settings: SetFlag = None
    effort: Annotated[
        str | None,
        flag(
            "--effort", "NAME", "smoke, draft, standard or rigorous.", one_of("smoke", "draft", "standard", "rigorous")
        ),
    ] = None
    variants_from: Annotated[
        str | None,
        flag(
            "--variants-from",
            "RUN",
            "With the baseline, the MoD and the MoDE variant of a run with the lowest held-out loss.",
            runs,
        ),
    ] = None
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Audit each model of yours as `modbench audit` does; the report shows the result."
        ),
    ] = False
    title: TitleFlag = None

    def overrides(self) -> Overrides:
        """Parse the flags.

        Raises:
            UsageError: if a value cannot be parsed, or the device or effort is unknown.
        """
        from modbench.harness.core import model_specs
        from modbench.harness.planning.overrides import Overrides, setting_of

        lists: dict[str, Any] = {
            name: listed(f"--{name.replace('_', '-')}", getattr(self, name), kind) for name, kind in LISTS.items()
        }
        return Overrides(
            **lists,
            only=self.only,
            match=self.match,
            option=model_specs.listed(self.option or ()),
            device=self.device,
            compile=self.compile,
            corpus=self.corpus,
            effort=self.effort,
            variants_from=self.variants_from,
            audit=self.audit,
            title=variant_titles.listed(self.title or ()),
            settings=dict(map(setting_of, self.settings or ())),
        )


def with_flags(*names: str, kind: type[Any] = Flags) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the `flags` parameter of a command by one parameter for each shared flag: typer reads these.

    Args:
        names: fields that the command offers, in the order of its help; none: all of them.
        kind: the dataclass of the flags.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # mypy doubts that a class is hashable
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    offered = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hints[name])
        for name in names or defaults
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            parameters += offered if parameter.name == "flags" else [parameter]

        @functools.wraps(command)
        def expanded(*args: object, **values: object) -> None:
            given: dict[str, Any] = {flag.name: values.pop(flag.name) for flag in offered if flag.name in values}
            command(*args, flags=kind(**given), **values)

        return with_parameters(expanded, parameters)

    return decorate


def with_parameters(function: Callable[P, T], parameters: Sequence[inspect.Parameter]) -> Callable[P, T]:
    """The function with the parameters that typer shall see; their types are evaluated, so that typer need not compile each."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


@functools.cache  # of several commands
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def checked_margin(text: str | None) -> float | None:
    """The value of `--margin`, as typer's callback.

    Raises:
        UsageError: if it is no margin.
    """
    return None if text is None else margin(text, asked=f"--margin {shown(text)}")


def checked_format(style: str, *, as_json: bool) -> None:
    """Check `--format`.

    Raises:
        UsageError: if it is unknown, or does not go with `--json`.
    """
    if style not in FORMATS:
        raise unknown("--format", style, FORMATS)
    if style == "github" and as_json:
        raise UsageError("--format github and --json both print to standard output. Choose one.")


def listed(flag: str, values: list[str] | None, kind: Callable[[str], T]) -> tuple[T, ...]:
    """The values of a flag that was given as a comma list, several times, or both; commas in brackets or quotes do not count."""
    from modbench.harness.core.model_specs import split

    try:
        items = [item for value in values or () for item in split(value)]
    except ValueError as error:
        raise UsageError(f"{flag}: {error}.") from None
    if values and not items:
        raise UsageError(f"{flag} needs at least one value.")
    try:
        return tuple(kind(item) for item in items)
    except ValueError:
        raise not_of_kind(flag, kind, items) from None


def not_of_kind(flag: str, kind: Callable[[str], object], items: Sequence[str]) -> UsageError:
    """The error for values of a flag that are no numbers, or no whole ones."""
    what = {"int": "whole numbers", "share": "shares, such as 0.125 or 12.5%,"}[getattr(kind, "__name__", "")]
    return UsageError(f"{flag} takes {what} joined by commas; got {','.join(items)!r}.")


def refuse(given: Mapping[str, object], needs: str) -> None:
    """Refuse flags that belong to another way of using a command.

    Raises:
        UsageError: if one was given.
    """
    for flag, value in given.items():
        if value is not None:
            raise UsageError(f"{flag} needs {needs}: it means nothing here.")
