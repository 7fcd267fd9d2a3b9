"""Axes of a run: the fields in which its cases differ, and their values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from modbench.harness.core.config import SHAPE_KEYS
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.domain.case import Case, GridPoint
from modbench.reports import wording
from modbench.reports.markup.number_format import grid_point, typed

Value: TypeAlias = str | int | float | bool | None
Fields: TypeAlias = dict[str, Value]

# Fields of a case that belong to its place: cases that differ in one of them were measured in different processes.
PLACE = tuple(GridPoint.model_fields)
# Fields that follow from others unless they are set.
DERIVED = {"n_heads", "n_kv_heads", "head_dim", "d_ff"}
FOLLOWS = "as derived"
# Fields that are read only where another one has this value.
ONLY_WITH: dict[str, tuple[str, Value]] = {
    "window": ("mixer", "window"),
    "kernel_size": ("mixer", "convolution"),
    "n_classes": ("bidirectional", True),
    "decode_rows": ("decode_policy", "budget"),
}
# Conditions of a case that are fields whether or not a case of the run has them.
CONDITIONS = ("task", "train_flops")
# Before the name of a user's option where a field of each case has that name.
OPTION = "options."
# How fields of the grid are called in a heading.
_LETTERS = {"seq_len": "T", "batch_size": "B"}


def fields(case: Case) -> Fields:
    """Return every field of a case by name, and the options of a user's model; None where a model does not read it."""
    config: Fields = case.config.model_dump()
    unread = {key for key, (by, needed) in ONLY_WITH.items() if config[by] != needed}
    if case.facts.keys is not None:
        unread |= config.keys() - {*SHAPE_KEYS, *case.facts.keys}
        unread |= set() if case.facts.keys else {"decode_policy"}  # nothing is routed, so that no row is chosen
    known: Fields = {key: None if key in unread else value for key, value in config.items()}
    known |= case.grid_point.model_dump() | {"new_tokens": case.grid_point.new_tokens or None}
    known |= {"model": case.model, "variant": case.variant, **dict.fromkeys(CONDITIONS)}
    known |= {each.key: each.value for each in case.conditions}
    for name, value in case.options:
        # An option takes the place of a key of the same name that the model does not read.
        taken = name in known and (name not in config or known[name] is not None)
        known[f"{OPTION}{name}" if taken else name] = str(value) if isinstance(value, tuple) else value
    return known


def of(cases: Sequence[Case]) -> dict[str, Fields]:
    """Return the fields of cases by id, with the options of each for all: None where a model does not have it."""
    found = {case.id: fields(case) for case in cases}
    names: Fields = dict.fromkeys(name for each in found.values() for name in each)
    return {case: names | each for case, each in found.items()}


def differing(known: Sequence[Fields]) -> list[str]:
    """Return the names of the fields that differ among these cases."""
    return [name for name in known[0] if len({each.get(name) for each in known}) > 1] if known else []


def rest(case: Case, own: Fields, names: Iterable[str]) -> tuple[tuple[str, Value], ...]:
    """Return the values of some fields of a case as a key, without those that only follow from others."""
    chosen = json.loads(case.config_diff())
    return tuple((name, FOLLOWS if name in DERIVED and name not in chosen else own[name]) for name in names)


def agree(one: tuple[tuple[str, Value], ...], other: tuple[tuple[str, Value], ...]) -> bool:
    """Whether two keys are equal wherever a field applies to both."""
    return all(mine == theirs or None in {mine, theirs} for (_, mine), (_, theirs) in zip(one, other, strict=True))


def checked_axis(name: str, known: Sequence[Fields]) -> str:
    """Return the axis. An option of a user's model may be named without the prefix that a field of the same name needs.

    Raises:
        UsageError: if there is no such field, or it has one value alone in this run.
    """
    axes = [each for each in differing(known) if len({case[each] for case in known} - {None}) > 1]
    for known_as in (name, f"{OPTION}{name}", name.removeprefix(OPTION)):
        if known_as in axes:
            return known_as
    if known and name in known[0]:
        values = {case[name] for case in known} - {None}
        said = f"is {', '.join(map(str, values))} wherever it applies" if values else "applies to no case"
        raise UsageError(f"--by {name}: it {said}, so there is nothing to compare. This run has: {', '.join(axes)}.")
    raise unknown("axis", name, axes)


def value_named(axis: str, text: str, values: Iterable[Value]) -> Value:
    """Return the value of an axis that a text names, such as `0.25` or `c0.25`, `512` or `T512`; None if it names none."""
    asked = text.strip().casefold()
    for value in values:
        if value is not None and asked in {str(value).casefold(), in_words(axis, value).casefold()}:
            return value
    letter = {"seq_len": "t", "batch_size": "b", "capacity": "c"}.get(axis, "")
    try:
        wanted = float(asked.removeprefix(letter).replace(",", ""))
    except ValueError:
        return None
    found = (value for value in values if isinstance(value, int | float) and math.isclose(value, wanted, rel_tol=1e-12))
    return next(found, None)


def in_words(axis: str, value: Value) -> str:
    """Write one value of an axis: `0.25`, `bf16`, `MoD`."""
    if value is None:
        return "none"
    if axis in {"compile", "graph"}:
        return {"compile": ("eager", "compiled"), "graph": ("no graph", "CUDA graph")}[axis][bool(value)]
    if axis == "model":
        return wording.model_name(str(value))
    return typed(value) if isinstance(value, float) else str(value)


def heading(axis: str, value: Value) -> str:
    """Write a field with its value: `T = 512`, `B = 4`, `bf16`, `router=norm`."""
    if axis in _LETTERS and isinstance(value, int):
        return grid_point(_LETTERS[axis], value)
    text = in_words(axis, value)
    return text if axis in {"dtype", "model", "compile", "graph", "device", "task", "variant"} else f"{axis}={text}"


def ordered(values: Iterable[Value]) -> list[Value]:
    """Return the values once each: numbers ascending, others in the order of the plan."""
    once = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in once):
        return sorted(once, key=lambda value: value if isinstance(value, int | float) else 0.0)
    return once
