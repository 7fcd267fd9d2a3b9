"""How a model is named: by a catalogue name, or as a user's own with the options of its build in parentheses. No look-ups.

Options are typed beside the name too, kept as pairs, and named in ids.
"""

from __future__ import annotations

import ast
import hashlib
import json
import keyword
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from modbench.harness.core.errors import UsageError, shown

# A tuple holds such values in turn; pydantic cannot say so without a recursive type.
Value: TypeAlias = bool | int | float | str | tuple[Any, ...] | None

CLOSES = {"(": ")", "[": "]", "{": "}"}
# Characters of a text that an id shows.
MOST_SHOWN = 24


def split(text: str) -> list[str]:
    """Split at commas that stand in no parentheses, brackets or quotes; empty parts are left out.

    Raises:
        ValueError: if a bracket or a quote is not closed, or closes what is not open.
    """
    parts, begin, end = [], 0, 0
    for i, depth, letter in _letters(text):
        if letter == "," and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
        end = depth
    if end:
        raise ValueError(f"a bracket in {shown(text)} is not closed")
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


def _letters(text: str) -> Iterator[tuple[int, int, str]]:
    """Letters outside quotes: their place, how many brackets are open after them, and the letter.

    A quote begins a text only where a value can begin: the apostrophe in `it's` does not.
    """
    opened: list[str] = []
    quote, before = "", ","
    for i, letter in enumerate(text):
        if quote:
            if letter == quote and before != "\\":
                quote = ""
            before = letter
            continue
        if letter in "'\"" and before in ",=([{":
            quote = letter
        elif letter in CLOSES:
            opened.append(CLOSES[letter])
        elif letter in CLOSES.values() and (not opened or opened.pop() != letter):
            raise ValueError(f"{letter!r} in {shown(text)} closes nothing")
        if not letter.isspace():
            before = letter
        if not quote:
            yield i, len(opened), letter
    if quote:
        raise ValueError(f"a quote in {shown(text)} is not closed")


def in_parentheses(text: str) -> tuple[str, str | None]:
    """The text before the parentheses that end it, and what stands in them; None where it does not end so.

    `a (1)/m.py:build(x=(1, 2))` is `a (1)/m.py:build` and `x=(1, 2)`.
    """
    if not text.endswith(")"):
        return text, None
    for start in (i for i, letter in enumerate(text) if letter == "("):
        try:
            closed = next(i for i, depth, _ in _letters(text[start:]) if depth == 0)
        except (StopIteration, ValueError):
            continue
        if start + closed == len(text) - 1:
            return text[:start], text[start + 1 : -1]
    return text, None


def parse(text: str, of: str) -> dict[str, Any]:
    """Parse `threshold=0.7,mode=hard`.

    Values are read as in Python or TOML (`0.7`, `True`, `true`, `None`, `'hard'`); any other word is a text. A list is swept:
    one variant for each of its values. A list inside the list, or a tuple, is one value.

    Args:
        text: what stands in the parentheses.
        of: what the options belong to, for messages.

    Raises:
        UsageError: if a part is not NAME=VALUE, or a name is repeated.
    """
    found: dict[str, Any] = {}
    try:
        parts = split(text)
    except ValueError as error:
        raise UsageError(f"{of}: {error}.") from error
    for part in parts:
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not value:
            raise UsageError(f"{of}: {shown(part)} is no option. Write NAME=VALUE, such as threshold=0.7.")
        if name in found:
            raise UsageError(f"{of}: option {name!r} is given twice. To try several values, write {name}=[…, …].")
        found[name] = _value(value, of)
    return found


def listed(texts: Iterable[str], of: str = "--option") -> dict[str, list[Value]]:
    """Parse what stands behind `--option`, each `threshold=0.5,0.7`: the values that each option is tried with.

    Values are read as by `parse`. One list is swept, too; a list among several values is one value.

    Raises:
        UsageError: if a text is not NAME=VALUE, a name is repeated, or a suite cannot have a value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, given = (each.strip() for each in text.partition("="))
        try:
            parts = split(given)
        except ValueError as error:
            raise UsageError(f"{of}: {error}.") from error
        if not equals or not parts:
            raise UsageError(
                f"{of} {shown(text)} lacks a value. Write {of} NAME=VALUE, such as {of} threshold=0.5,0.7."
            )
        another = next((part for part in parts if re.match(r"[A-Za-z_]\w*\s*=", part)), None)
        if another is not None:
            raise UsageError(f"{of} {shown(text)} names two options: write {of} {name}=… {of} {another}.")
        if name in found:
            raise UsageError(f"{of}: option {name!r} is given twice. To try several values, write {of} {name}=V,V.")
        values = [_value(part, of) for part in parts]
        found[name] = values[0] if len(values) == 1 else values
    return checked(found, of)


def written(name: str, values: Iterable[Value]) -> str:
    """An option as `listed` reads it: `threshold=0.5,0.7`, `mode=hard`."""
    return f"{name}={','.join(map(_written, values))}"


def _written(value: Value) -> str:
    if isinstance(value, float):
        return float.__repr__(value)
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./:-]*", value) and _value(value, "") == value
    return str(value) if plain else repr(value)


def _value(text: str, of: str) -> object:
    for opens, kind in (("[", list), ("(", tuple)):
        if text.startswith(opens) and text.endswith(CLOSES[opens]):
            parts = [_value(part, of) for part in split(text[1:-1])]
            return parts[0] if kind is tuple and len(parts) == 1 and "," not in text else kind(parts)
    if text.startswith("{"):
        raise UsageError(f"{of}: {shown(text)} is a table: options are numbers, texts, booleans, or lists of these.")
    for read in (ast.literal_eval, _in_toml):
        try:
            value = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if value is None or isinstance(value, bool | int | float | str):
            return value
    return text  # a bare word


def _in_toml(text: str) -> object:
    return tomllib.loads(f"value = {text}")["value"]


def checked(options: Mapping[str, Any], of: str) -> dict[str, list[Value]]:
    """Check options as a suite or a command names them; returns the values that each is tried with.

    Raises:
        UsageError: if a name is not Python's, or a value is not one that a plan can keep.
    """
    found = {}
    for name, given in options.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UsageError(f"{of}: option {shown(name)} is no name of a parameter in Python.")
        values = given if isinstance(given, list) else [given]
        if not values:
            raise UsageError(f"{of}: option {name} = [] leaves no variant: give at least one value.")
        found[name] = [_frozen(value, f"{of}: option {name!r}") for value in values]
    return found


def _frozen(value: object, of: str) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_frozen(each, of) for each in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{of} is {value}: a finite number is needed.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"{of} is {shown(value)}: options are numbers, texts, booleans, or lists of these.")


def _pairs(given: object) -> object:
    """A table of options as pairs ordered by name, so that the order in which they were typed makes no difference."""
    if not isinstance(given, Mapping):
        return given
    try:
        return tuple(sorted((str(name), _frozen(value, f"option {name!r}")) for name, value in given.items()))
    except UsageError as error:  # of a damaged file: pydantic says where
        raise ValueError(str(error)) from error


Pairs: TypeAlias = tuple[tuple[str, Value], ...]
# Options of a case: a table in JSON, pairs in memory, where they must be hashable.
Options = Annotated[Pairs, BeforeValidator(_pairs), PlainSerializer(dict)]


def label(name: str, value: Value) -> str:
    """An option as a part of an id: `threshold0.7`, `mode_hard`, `layers_0_2`; never with a space or a parenthesis."""
    text = _plain(value)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text)
    if plain != text or len(plain) > MOST_SHOWN:
        digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:6]
        plain = f"{plain[:MOST_SHOWN].strip('_')}-{digest}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{name}{'' if number and not name[-1].isdigit() else '_'}{plain}"


def _plain(value: Value) -> str:
    if isinstance(value, tuple):
        return "_".join(map(_plain, value))
    if isinstance(value, float):
        short = f"{value:g}"
        return (short if float(short) == value else repr(value)).replace("+", "")
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def typed(options: Mapping[str, Any]) -> str:
    """Options as they would be typed: `threshold=0.7, mode='hard'`."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def is_user_model(spec: str) -> bool:
    """Whether a model is named as `FILE.py:build`, `package.module:build` or `PREFIX:WHAT` instead of by a catalogue name."""
    return ":" in spec or spec.endswith(".py")


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Part a model's name from the options in the parentheses behind it. Pure: nothing is looked up.

    `mine.py:build(threshold=[0.5, 0.7], mode=hard)` is `mine.py:build` and `{"threshold": [0.5, 0.7], "mode": "hard"}`. The name
    may be anything in front of the parentheses. A list holds values of which each is tried; any other value is one.

    Args:
        text: as typed behind `--model`, or written as a variant's `model`.

    Returns:
        The name, and the options by name; none for a name without parentheses.

    Raises:
        UsageError: if the parentheses or quotes do not match, or what is inside is not NAME=VALUE.
    """
    spec, inside = in_parentheses(text.strip())
    if inside is None:
        behind = spec.rpartition(":")[2]
        if "(" in behind or ")" in behind:
            raise UsageError(
                f"model {text!r}: a parenthesis or a quote is not closed. Write FILE.py:build(threshold=0.7,mode=hard)."
            )
        return spec, {}
    return spec, parse(inside, f"model {spec!r}")


def parse_single(text: str, more: Mapping[str, list[Value]] | None = None) -> tuple[str, Pairs]:
    """Part a model from its options, where each has one value; options as a case keeps them.

    Raises:
        UsageError: for a list, an option that is given twice, options of a catalogue model, or what `parse_spec` refuses.
    """
    model, typed = parse_spec(text)
    given = together(model, typed, more or {})
    if given and not is_user_model(model):
        raise UsageError(f"model {model!r} is one of modbench's own: it takes --capacity and --set, not options.")
    tried = checked(given, f"model {model!r}")
    for name, values in tried.items():
        if len(values) > 1:
            raise UsageError(f"option {name} = {list(values)}: give one value; `modbench run` and `plan` take lists.")
    return model, tuple((name, values[0]) for name, values in sorted(tried.items()))


def together(model: str, typed: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The options behind a model's name, and those that are given beside it.

    Raises:
        UsageError: for an option in both.
    """
    for name in typed:
        if name in more:
            raise UsageError(f"model {model!r}: option {name!r} is given twice: behind the name and beside it.")
    return {**more, **typed}


def beside(spec: str, folder: Path) -> str:
    """A model that a file in `folder` names: a file that is not in the current folder is looked for in that one."""
    where, colon, attribute = spec.rpartition(":")
    if not where.endswith(".py") or Path(where).is_file() or not (folder / where).is_file():
        return spec
    return f"{folder / where}{colon}{attribute}"
