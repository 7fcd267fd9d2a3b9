"""From Python values to the flags of the command line, so that both mean the same and are checked by the same code."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from modbench.commands._flags import Flags
from modbench.harness.core import discovery, project
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS
from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.printable import escaped

NAMES = tuple(field.name for field in dataclasses.fields(Flags) if field.name != "settings")
# Flags that take several values.
LISTS = {name for name, kind in get_type_hints(Flags).items() if list[str] in get_args(kind)}
# Near enough to a flag's name to be that name, misspelled.
NEAR = 0.8


def flags_of(given: Mapping[str, object], settings: Mapping[str, object]) -> Flags:
    """The flags, as if they had been typed.

    Args:
        given: values of flags by name; None: not given.
        settings: all other keys, which the command line takes by `--set`; flags that have no parameter of their own too.

    Raises:
        UsageError: if a name looks like a flag that was misspelled, or a value cannot be typed.
    """
    flags: dict[str, Any] = {name: _typed(name, value) for name, value in given.items() if value is not None}
    others = list[str]()
    for name, value in settings.items():
        if name in NAMES:
            flags[name] = _typed(name, value)
            continue
        near = difflib.get_close_matches(name, (*NAMES, *SHAPE_KEYS, *ROUTING_KEYS), n=1, cutoff=NEAR)
        if near and near[0] in NAMES:  # what is nearer to a key is refused with all keys, or is one
            raise UsageError(f"unknown argument {name!r}. Did you mean {near[0]!r}?")
        others.append(f"{name}={_toml(name, value)}")
    return dataclasses.replace(Flags(), **flags | ({"settings": others} if others else {}))


def _typed(name: str, value: object) -> object:
    """A value as the flag takes it: a list of texts, a text or a truth value."""
    if isinstance(value, bool):
        return value
    if name in LISTS:
        every = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        return [_text(name, each) for each in every]
    return _text(name, value)


def texts(**given: object) -> None:
    """Check arguments that are text, such as names, durations and paths.

    Args:
        **given: values by name; None: not given.

    Raises:
        UsageError: if one is something else.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, str | Path):
            raise UsageError(f"{name} takes text; got {shown(value)}.")


def merged(settings: object, more: Mapping[str, object]) -> dict[str, object]:
    """All further keys of a suite.

    Raises:
        UsageError: if `settings` is no dict.
    """
    if settings is None:
        return dict(more)
    if not isinstance(settings, Mapping):
        raise UsageError(f"settings must be a dict, as in {{'train.steps': 100}}; got {shown(settings)}.")
    return {**more, **settings}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise UsageError(f"{name} takes text or numbers, or a list of them; got {shown(value)}.")
    return str(value)


def _toml(name: str, value: object) -> str:
    """A value as it is written behind `--set KEY=`."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(list(value) if isinstance(value, tuple) else value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} = {shown(value)} cannot be written in a suite: {error}.") from error


def words(flags: Flags) -> list[str]:
    """The flags as words of a command line."""
    said = list[str]()
    for field in dataclasses.fields(flags):
        value, flag = getattr(flags, field.name), _spelled(field.name)
        if isinstance(value, bool):
            said += [flag] if value else []
        elif isinstance(value, list):
            # A comma may be a part of one, as in the options of a model.
            plain = field.name != "settings" and not any("," in each for each in value)
            said += [flag, ",".join(value)] if plain else [word for each in value for word in (flag, each)]
        elif value is not None:
            said += [flag, value]
    return said


def _spelled(name: str) -> str:
    return "--set" if name == "settings" else f"--{name.replace('_', '-')}"


def including(folders: str | Path | Sequence[str | Path] | None) -> None:
    """Search these folders for additions, and what `modbench.toml` names, as every command does; from now on in this process.

    Raises:
        UsageError: if one cannot be used.
    """
    if folders is not None and not isinstance(folders, str | Path | Sequence):
        raise UsageError(f"include takes a folder, or a list of folders; got {shown(folders)}.")
    every = [folders] if isinstance(folders, str | Path) else folders or ()
    said = project.include(map(str, every), discovery.ROOMS)
    if said is not None:
        sys.stderr.write(f"modbench: {escaped(said)}\n")
