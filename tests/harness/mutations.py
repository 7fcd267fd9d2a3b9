"""Damages suite files at random: as text and as trees. The same seed makes the same damage."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

GridPoint = tuple[str | int, ...]

# Numbers that no measurement makes, then numbers that some might.
ABSURD: tuple[Any, ...] = (
    *(float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-320, -1, -0.5, 10**400, -(10**30), 2**64),
)
STRANGE: tuple[Any, ...] = (0, 0.0, 1e-300, 1, 2**62, 0.1)
OTHER_TYPES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "5",
    "nan",
    "Infinity",
    [],
    {},
    [[]],
    {"a": 1},
    "\x00",
    "é\u202e",
)
HUGE = 20_000


class Mutation(NamedTuple):
    """A damaged file.

    Attributes:
        name: what was done to it, and where.
        content: the file.
    """

    name: str
    content: bytes


def grid_points(tree: Any, grid_point: GridPoint = ()) -> Iterator[GridPoint]:
    """Yield the places of a tree, without its root."""
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        yield (*grid_point, key)
        yield from grid_points(value, (*grid_point, key))


def at(tree: Any, grid_point: GridPoint) -> Any:
    for step in grid_point:
        tree = tree[step]
    return tree


def _set(tree: Any, grid_point: GridPoint, value: Any) -> None:
    at(tree, grid_point[:-1])[grid_point[-1]] = value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Each changes the tree at the place, or says that it does not apply there.
Change = Callable[[Any, GridPoint, random.Random], bool]


def _delete(tree: Any, grid_point: GridPoint, _rng: random.Random) -> bool:
    del at(tree, grid_point[:-1])[grid_point[-1]]
    return True


def _repeat(tree: Any, grid_point: GridPoint, _rng: random.Random) -> bool:
    within = at(tree, grid_point[:-1])
    if not isinstance(within, list):
        return False
    within.insert(int(grid_point[-1]), within[int(grid_point[-1])])
    return True


def _rename(tree: Any, grid_point: GridPoint, _rng: random.Random) -> bool:
    within = at(tree, grid_point[:-1])
    if not isinstance(within, dict):
        return False
    within[f"{grid_point[-1]}x"] = within.pop(grid_point[-1])
    return True


def _retype(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    before, value = at(tree, grid_point), rng.choice(OTHER_TYPES)
    if type(before) is type(value):
        return False
    _set(tree, grid_point, value)
    return True


def _absurd(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    if not _number(at(tree, grid_point)):
        return False
    _set(tree, grid_point, rng.choice(ABSURD))
    return True


def _strange(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    if not _number(at(tree, grid_point)):
        return False
    _set(tree, grid_point, rng.choice(STRANGE))
    return True


def _scale(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    if not _number(at(tree, grid_point)):
        return False
    _set(tree, grid_point, at(tree, grid_point) * rng.choice((0.5, 1.1, 3, 100)))
    return True


def _swap(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    alike = [other for other in grid_points(tree) if type(at(tree, other)) is type(at(tree, grid_point))]
    alike = [other for other in alike if not _within(other, grid_point) and not _within(grid_point, other)]
    if not alike:
        return False
    other = rng.choice(alike)
    one, two = at(tree, grid_point), at(tree, other)
    _set(tree, grid_point, two)
    _set(tree, other, one)
    return True


def _retarget(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    """Let a name be another one of the file: a case, a metric, a unit."""
    if not isinstance(at(tree, grid_point), str):
        return False
    _set(
        tree,
        grid_point,
        rng.choice([at(tree, other) for other in grid_points(tree) if isinstance(at(tree, other), str)]),
    )
    return True


def _huge(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    _set(tree, grid_point, rng.choice(("x" * HUGE, "9" * HUGE, [0] * HUGE)))
    return True


def _deep(tree: Any, grid_point: GridPoint, rng: random.Random) -> bool:
    nest: Any = 1
    for _ in range(rng.choice((50, 300))):
        nest = [nest] if rng.random() < 0.5 else {"a": nest}
    _set(tree, grid_point, nest)
    return True


CHANGES: tuple[Change, ...] = (
    *(_delete, _repeat, _rename, _retype, _retype, _absurd, _absurd, _strange, _scale, _swap, _retarget, _huge, _deep),
)


def _within(grid_point: GridPoint, other: GridPoint) -> bool:
    return grid_point[: len(other)] == other


def of_tree(tree: Any, rng: random.Random, write: Callable[[Any], bytes]) -> Mutation:
    """Change one place of a tree."""
    while True:
        changed = json.loads(json.dumps(tree))
        grid_point, change = rng.choice([*grid_points(changed)]), rng.choice(CHANGES)
        if change(changed, grid_point, rng):
            return Mutation(f"{change.__name__} {'.'.join(map(str, grid_point))}", write(changed))


def of_text(content: bytes, rng: random.Random) -> Mutation:
    """Change the bytes of a file."""
    where = rng.randrange(len(content))
    how = rng.choice(("cut", "flip", "flip", "garbage", "empty", "utf-16", "latin-1", "twice", "nested", "nan", "bom"))
    if how == "cut":
        made = content[:where]
    elif how == "flip":
        made = content[:where] + bytes([content[where] ^ 1 << rng.randrange(8)]) + content[where + 1 :]
    elif how == "garbage":
        made = content[:where] + rng.randbytes(8) + content[where:]
    elif how == "empty":
        made = b""
    elif how in {"utf-16", "latin-1"}:
        made = content.replace(b":", ":é".encode(how), 1) if how == "latin-1" else content.decode().encode(how)
    elif how == "twice":
        made = content + content
    elif how == "nested":
        made = rng.choice((b"[", b'{"a":')) * 100_000
    elif how == "nan":
        made = content.replace(b": 1", b": NaN", 1).replace(b":1", b":Infinity", 1)
    else:
        made = b"\xef\xbb\xbf" + content
    return Mutation(f"{how} at byte {where}", made)


def of_toml(table: dict[str, Any], seed: str) -> Mutation:
    """Damage a suite file, once to three times."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return of_text(toml(table), rng)
    names = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            made = of_tree(table, rng, lambda tree: json.dumps(tree).encode())
        except IndexError:  # nothing is left of it
            break
        table = json.loads(made.content)
        names.append(made.name)
    return Mutation(", ".join(names), toml(table))


def toml(table: Any) -> bytes:
    """Write a table as TOML, its own tables inline."""
    if not isinstance(table, dict):
        return _toml_value(table).encode("utf-8", "surrogatepass")
    lines = (f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in table.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


# Nested deeper than any suite, and less than Python can recurse.
DEEPEST = 100


def _toml_value(value: Any, depth: int = 0) -> str:
    if depth == DEEPEST:
        return '"deeper"'
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(key)} = {_toml_value(item, depth + 1)}" for key, item in value.items())
            + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item, depth + 1) for item in value) + "]"
    if value is None:
        return '"none"'
    return str(value) if isinstance(value, float) else json.dumps(value)
