"""Damages suite files at random: as text and as trees. The same seed makes the same damage."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

Place = tuple[str | int, ...]

OTHER_TYPES: tuple[Any, ...] = (None, True, "", "5", "nan", "Infinity", [], {}, [[]], {"a": 1}, "\x00", "é\u202e")
# Numbers that no suite has, then some that it might.
ABSURD = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-320, -1, -0.5, 10**400, -(10**30), 2**64)
STRANGE = (0, 0.0, 1e-300, 1, 2**62, 0.1)
HUGE = ("x" * 20_000, "9" * 20_000, [0] * 20_000)
# Nested deeper than any suite, and less than Python can recurse.
DEEPEST = 100


class Mutation(NamedTuple):
    """A damaged file.

    Attributes:
        name: what was done to it, and where.
        content: the file.
    """

    name: str
    content: bytes


def places(tree: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of a tree, without its root."""
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from places(value, (*place, key))


def at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


def _deep(rng: random.Random) -> Any:
    nest: Any = 1
    for _ in range(rng.choice((50, 300))):
        nest = [nest] if rng.random() < 0.5 else {"a": nest}
    return nest


def _change(tree: Any, place: Place, rng: random.Random) -> str:
    """Change the tree at the place, and say how."""
    within, key, before = at(tree, place[:-1]), place[-1], at(tree, place)
    hows = ["delete", "retype", "retype", "retarget", "huge", "repeat" if isinstance(within, list) else "rename"]
    if isinstance(before, int | float) and not isinstance(before, bool):
        hows += ["number"] * 3
    how = rng.choice(hows)
    if how == "delete":
        del within[key]
    elif how == "repeat":
        within.insert(int(key), before)
    elif how == "rename":
        within[f"{key}x"] = within.pop(key)
    elif how == "retype":
        within[key] = copy.deepcopy(rng.choice(OTHER_TYPES))
    elif how == "number":
        within[key] = rng.choice((*ABSURD, *STRANGE, *(before * by for by in (0.5, 1.1, 3, 100))))
    elif how == "retarget":  # the value of another place, such as another name
        alike = [value for other in places(tree) if type(value := at(tree, other)) is type(before)]
        within[key] = copy.deepcopy(rng.choice(alike))
    else:
        within[key] = rng.choice((*HUGE, _deep(rng)))
    return how


def of_text(content: bytes, rng: random.Random) -> Mutation:
    """Change the bytes of a file."""
    where = rng.randrange(len(content))
    before, after = content[:where], content[where:]
    made = {
        "cut": before,
        "flip": before + bytes([after[0] ^ 1 << rng.randrange(8)]) + after[1:],
        "latin-1": content.replace(b"=", "=é".encode("latin-1"), 1),
        "nested": b"a = " + b"[" * 100_000,
    }
    how = rng.choice(("flip", *made))
    return Mutation(f"{how} at byte {where}", made[how])


def of_toml(table: dict[str, Any], seed: str) -> Mutation:
    """Damage a suite file, once to three times."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return of_text(toml(table), rng)
    table, names = copy.deepcopy(table), list[str]()
    for _ in range(rng.choice((1, 1, 2, 3))):
        if there := [*places(table)]:
            place = rng.choice(there)
            names.append(f"{_change(table, place, rng)} {'.'.join(map(str, place))}")
    return Mutation(", ".join(names), toml(table))


def toml(table: dict[str, Any]) -> bytes:
    """Write a table as TOML, its own tables inline."""
    lines = (f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in table.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


def _toml_value(value: Any, depth: int = 0) -> str:
    if depth == DEEPEST:
        return '"deeper"'
    if isinstance(value, dict):
        items = (f"{json.dumps(key)} = {_toml_value(item, depth + 1)}" for key, item in value.items())
        return f"{{ {', '.join(items)} }}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item, depth + 1) for item in value) + "]"
    if value is None:
        return '"none"'
    return str(value) if isinstance(value, float) else json.dumps(value)
