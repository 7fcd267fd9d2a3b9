"""From keywords of Python to values that override a suite's, and to the words of a command line that does the same."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modbench.commands._flags import LISTS, listed, not_of_kind
from modbench.harness.core import model_specs, variant_titles
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS
from modbench.harness.core.errors import UsageError, shown
from modbench.harness.planning.overrides import Overrides

T = TypeVar("T")
NAMES = tuple(field.name for field in dataclasses.fields(Overrides) if field.name != "settings")
SWITCHES = ("only", "compile", "audit")
# How near a name must be to that of a flag to be the flag, misspelled.
NEAR = 0.8


def overrides(values: Mapping[str, object], settings: Mapping[str, object]) -> Overrides:
    """The values that override a suite's.

    Args:
        values: by name of a flag; None: not given.
        settings: all other keys, which the command line takes by `--set`; flags that have no parameter of their own too.

    Raises:
        UsageError: if a name looks like a flag that was misspelled, or a value cannot be one of a suite.
    """
    given = {name: value for name, value in values.items() if value is not None}
    others = dict[str, object]()
    for name, value in settings.items():
        if name in NAMES:
            given[name] = value
            continue
        near = difflib.get_close_matches(name, (*NAMES, *SHAPE_KEYS, *ROUTING_KEYS), n=1, cutoff=NEAR)
        if near and near[0] in NAMES:  # what is nearer to a key is refused with all keys, or is one
            raise UsageError(f"unknown argument {name!r}. Did you mean {near[0]!r}?")
        others[name] = list(value) if isinstance(value, tuple) else value
        setting_text(name, value)  # it raises if a suite cannot have the value
    typed: dict[str, Any] = {name: _typed(name, value) for name, value in given.items()}
    return Overrides(**typed, settings=others)


def _typed(name: str, value: object) -> object:
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise UsageError(f"{name} takes True or False; got {shown(value)}.")
        return value
    if name == "option":
        return _options(value)
    if name == "title":
        return variant_titles.of(value, name)  # type: ignore[arg-type]  # it checks that it is a dict
    if name not in LISTS:
        return str(value if isinstance(value, Path) else _plain(name, value))
    return several(name, value, LISTS[name])


def several(name: str, value: object, kind: Callable[[Any], T]) -> tuple[T, ...]:
    """One value or a list of them, as Python or as a text of the command line: `0.125,0.5`.

    Raises:
        UsageError: if it holds none, or one of another kind.
    """
    items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    if not items:
        raise UsageError(f"{name} needs at least one value; got {shown(value)}.")
    return tuple(each for item in items for each in _values(name, _plain(name, item), kind))


def _options(value: object) -> dict[str, list[model_specs.Value]]:
    """Options as a dict of values, a list of which is swept, or as texts of the command line: `threshold=0.5,0.7`."""
    if isinstance(value, Mapping):
        return model_specs.checked({str(name): each for name, each in value.items()}, "option")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"option takes a dict, such as {{'threshold': [0.5, 0.7]}}; got {shown(value)}.")
    return model_specs.listed(texts, "option")


def _plain(name: str, value: object) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{name} takes text or numbers, or a list of them; got {shown(value)}.")
    return value


def _values(name: str, value: str | float, kind: Callable[[Any], T]) -> tuple[T, ...]:
    """The values that an item stands for: a text may list several, as on the command line."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, str):
        return listed(flag, [value], kind)
    if kind is int and not isinstance(value, int):
        raise not_of_kind(flag, kind, [str(value)])
    return (kind(value),)


def words(given: Overrides) -> list[str]:
    """The words of a command line that overrides the same."""
    words = list[str]()
    for name in NAMES:
        value, flag = getattr(given, name), f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else []
        elif isinstance(value, tuple) and value:
            texts = [str(each) for each in value]
            # A comma may be a part of one, as in the options of a model.
            plain = not any("," in text for text in texts)
            words += [flag, ",".join(texts)] if plain else [word for text in texts for word in (flag, text)]
        elif isinstance(value, Mapping):
            texts = [f"{k}={v}" if name == "title" else model_specs.written(k, v) for k, v in value.items()]
            words += [word for text in texts for word in (flag, text)]
        elif value:
            words += [flag, value]
    settings = (f"{key}={setting_text(key, value)}" for key, value in given.settings.items())
    return words + [word for setting in settings for word in ("--set", setting)]


def setting_text(name: str, value: object) -> str:
    """A value as it is written behind `--set KEY=`.

    Raises:
        UsageError: if a suite cannot have it.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(list(value) if isinstance(value, tuple) else value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} = {shown(value)} cannot be written in a suite: {error}.") from error
