"""Arms of one model that differ in a setting and agree, bit for bit, in FLOPs, parameters and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from modbench.harness.core.case import Case
from modbench.harness.core.config import GENERATION_KEYS

if TYPE_CHECKING:
    from modbench.reports.tables import Tables

# Where a number was measured, what it is, its launch or seed, and its samples.
Number: TypeAlias = tuple[str, str, int, tuple[float, ...]]
# Without these nobody can tell whether two arms are one.
NEEDED = {"flops/forward", "params", "loss/val"}
# What was found, by tables: many cells ask for it.
_FOUND: WeakKeyDictionary[Tables, Mapping[str, Mapping[str, Sequence[str]]]] = WeakKeyDictionary()


def alike_to(arm: str, tables: Tables) -> Mapping[str, Sequence[str]]:
    """Return the arms that agree with one, each with the settings that differ."""
    if tables not in _FOUND:
        _FOUND[tables] = alike(tables)
    return _FOUND[tables].get(arm, {})


def alike(tables: Tables) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return, by arm, the other arms that agree with it, each with the settings that differ."""
    arms: dict[str, list[Case]] = {}
    for case in tables.run.plan.cases:
        arms.setdefault(case.arm, []).append(case)
    groups: dict[tuple[str, frozenset[Number]], list[Case]] = {}
    for cases in arms.values():
        numbers = frozenset(_numbers(tables, cases))
        if {what for _, what, _, _ in numbers} >= NEEDED:
            groups.setdefault((cases[0].model, numbers), []).append(cases[0])
    return {
        case.arm: {other.arm: keys for other in group if (keys := _differing(case, other))}
        for group in groups.values()
        for case in group
    }


def _numbers(tables: Tables, cases: Sequence[Case]) -> Iterator[Number]:
    """What an arm computes, at each of its places: counts, and whatever training ends with. Times and bytes are left out."""
    for case in cases:
        where = f"{case.place.label} {case.task} {case.budget}"
        params = tables.counted(case).params
        if params is not None:
            yield where, "params", 0, (float(params),)
        for key, metric in tables.metrics.items():
            trained = bool(metric.made_in) and tables.made_in(metric).samples == "seeds"
            if (trained or key.startswith("flops/")) and (case.id, key) in tables.cells:
                for number, outcome in tables.cells[case.id, key].outcomes:
                    yield where, key, number, tuple(outcome.samples.get("value", ()))


def _differing(one: Case, other: Case) -> tuple[str, ...]:
    """The settings in which two arms differ, without those that only matter to a model that generates."""
    mine, theirs = ({**case.config.model_dump(), **case.given} for case in (one, other))
    keys = dict.fromkeys((*mine, *theirs))
    return tuple(key for key in keys if mine.get(key) != theirs.get(key) and key not in GENERATION_KEYS)
