"""Flags that several commands share, typed or made from Python values, and the decorator that gives them to a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from modbench.commands._complete import corpora, models, one_of, routers, settings, suites
from modbench.harness.core.errors import UsageError, shown, unknown
from modbench.harness.core.options import split
from modbench.harness.core.units import margin

if TYPE_CHECKING:
    from modbench.harness.planning.overrides import Overrides

T = TypeVar("T")
# How near a name must be to that of a flag to be the flag, misspelled.
NEAR = 0.8

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A shipped suite's name, or a TOML file.", autocompletion=suites)
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A catalogue model, or 'FILE.py:build(OPTION=VALUE)'.", autocompletion=models),
]
DeviceFlag = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="cpu or cuda; default cuda if there is a GPU.",
        autocompletion=one_of("cpu", "cuda"),
    ),
]
SelectFlag = Annotated[str | None, typer.Option("-k", metavar="EXPR", help="Only matching cases: 'mod and not c0.5'.")]
TimeoutFlag = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="DURATION", help="Longest time of a unit, such as 90s or 10min; default: by prediction."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print only where the report is, and what failed.")]
VerboseFlag = Annotated[bool, typer.Option("--verbose", "-v", help="Print what the short answer leaves out.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that change a suite, as typed by the user. `--help` shows them in this order."""

    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="LIST",
            help="Keep only these models and the anchor, or add yours: 'FILE.py:build(OPTION=VALUE)'.",
            autocompletion=models,
        ),
    ] = None
    only: Annotated[
        bool, typer.Option("--only", help="Compare the models of --model alone; the first one is the baseline.")
    ] = False
    capacity: Annotated[
        list[str] | None, typer.Option("--capacity", metavar="LIST", help="Capacities, such as 0.125,0.5.")
    ] = None
    router: Annotated[
        list[str] | None,
        typer.Option(
            "--router",
            metavar="LIST",
            help="Routers, such as learned,norm, or a class of your own as FILE.py:ROUTER.",
            autocompletion=routers,
        ),
    ] = None
    seq_len: Annotated[
        list[str] | None, typer.Option("--seq-len", metavar="LIST", help="Sequence lengths, such as 128,512.")
    ] = None
    batch_size: Annotated[list[str] | None, typer.Option("--batch-size", metavar="LIST", help="Batch sizes.")] = None
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            metavar="LIST",
            help="Number formats: fp32, bf16, fp16.",
            autocompletion=one_of("fp32", "bf16", "fp16"),
        ),
    ] = None
    device: DeviceFlag = None
    compile: Annotated[bool, typer.Option("--compile", help="Wrap every model in torch.compile.")] = False
    seeds: Annotated[list[str] | None, typer.Option("--seeds", metavar="LIST", help="Seeds, such as 0,1,2.")] = None
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            metavar="TEXT",
            help="Text to train on: stdlib, a file, a folder or hf:NAME.",
            autocompletion=corpora,
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of a suite.", autocompletion=settings),
    ] = None
    effort: Annotated[
        str | None,
        typer.Option(
            "--effort",
            metavar="NAME",
            help="smoke, draft, standard or rigorous.",
            autocompletion=one_of("smoke", "draft", "standard", "rigorous"),
        ),
    ] = None

    def overrides(self) -> Overrides:
        """Parse the flags.

        Raises:
            UsageError: if a value cannot be parsed, or the device or effort is unknown.
        """
        from modbench.harness.machine import accelerators
        from modbench.harness.planning.efforts import EFFORTS
        from modbench.harness.planning.overrides import Overrides

        if self.effort is not None and self.effort not in EFFORTS:
            raise unknown("effort", self.effort, EFFORTS)
        accelerators.check(self.device)
        return Overrides(
            model=listed("--model", self.model, str),
            only=self.only,
            capacity=listed("--capacity", self.capacity, float),
            router=listed("--router", self.router, str),
            seq_len=listed("--seq-len", self.seq_len, int),
            batch_size=listed("--batch-size", self.batch_size, int),
            dtype=listed("--dtype", self.dtype, str),
            device=self.device,
            compile=self.compile,
            seeds=listed("--seeds", self.seeds, int),
            corpus=self.corpus,
            effort=self.effort,
            settings=tuple(self.settings or ()),
        )

    @classmethod
    def from_values(cls, values: Mapping[str, object], settings: Mapping[str, object]) -> Flags:
        """The flags for Python values, as if they had been typed.

        Args:
            values: values of flags by name; None: not given.
            settings: all other keys, which the command line takes by `--set`; flags that have no parameter of their own too.

        Raises:
            UsageError: if a name looks like a flag that was misspelled, or a value cannot be typed.
        """
        import difflib

        from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS

        names = tuple(field.name for field in dataclasses.fields(cls) if field.name != "settings")
        lists = {name for name, kind in get_type_hints(cls).items() if list[str] in get_args(kind)}
        typed = {name: value for name, value in values.items() if value is not None}
        others = list[str]()
        for name, value in settings.items():
            if name in names:
                typed[name] = value
                continue
            near = difflib.get_close_matches(name, (*names, *SHAPE_KEYS, *ROUTING_KEYS), n=1, cutoff=NEAR)
            if near and near[0] in names:  # what is nearer to a key is refused with all keys, or is one
                raise UsageError(f"unknown argument {name!r}. Did you mean {near[0]!r}?")
            others.append(f"{name}={_setting_text(name, value)}")
        flags: dict[str, Any] = {name: _flag_value(name, value, several=name in lists) for name, value in typed.items()}
        return cls(**flags | ({"settings": others} if others else {}))

    def words(self) -> list[str]:
        """The words of a command line that sets these flags."""
        words = list[str]()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            flag = "--set" if field.name == "settings" else f"--{field.name.replace('_', '-')}"
            if isinstance(value, bool):
                words += [flag] if value else []
            elif isinstance(value, list):
                # A comma may be a part of one, as in the options of a model.
                plain = field.name != "settings" and not any("," in each for each in value)
                words += [flag, ",".join(value)] if plain else [word for each in value for word in (flag, each)]
            elif value is not None:
                words += [flag, value]
        return words


def _flag_value(name: str, value: object, *, several: bool) -> object:
    """A Python value as the flag takes it: a list of texts, a text or a truth value."""
    if isinstance(value, bool):
        return value
    if not several:
        return _flag_text(name, value)
    return [
        _flag_text(name, each)
        for each in ([value] if isinstance(value, str) or not isinstance(value, Sequence) else value)
    ]


def _flag_text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise UsageError(f"{name} takes text or numbers, or a list of them; got {shown(value)}.")
    return str(value)


def _setting_text(name: str, value: object) -> str:
    """A Python value as it is written behind `--set KEY=`."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(list(value) if isinstance(value, tuple) else value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} = {shown(value)} cannot be written in a suite: {error}.") from error


def with_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the `flags` parameter of a command by one parameter for each shared flag: typer reads these.

    Args:
        names: fields of `Flags` that the command offers, in the order of its help; none: all of them.
    """
    hints = get_type_hints(Flags, include_extras=True)
    defaults = {field.name: field.default for field in dataclasses.fields(Flags)}
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
            command(*args, flags=dataclasses.replace(Flags(), **given), **values)

        expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by inspect
        return expanded

    return decorate


def checked_margin(value: float | None) -> float | None:
    """The value of `--margin`, as typer's callback.

    Raises:
        UsageError: if it is no margin.
    """
    return None if value is None else margin(value, asked=f"--margin {value:g}")


def listed(flag: str, values: list[str] | None, kind: Callable[[str], T]) -> tuple[T, ...]:
    """The values of a flag that was given as a comma list, several times, or both; commas in brackets or quotes do not count."""
    try:
        items = [item for value in values or () for item in split(value)]
    except ValueError as error:
        raise UsageError(f"{flag}: {error}.") from None
    if values and not items:
        raise UsageError(f"{flag} needs at least one value.")
    try:
        return tuple(kind(item) for item in items)
    except ValueError:
        what = {"int": "whole numbers", "float": "numbers"}[getattr(kind, "__name__", "")]
        raise UsageError(f"{flag} takes {what} joined by commas; got {','.join(items)!r}.") from None
