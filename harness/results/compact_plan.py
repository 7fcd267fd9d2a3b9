"""The plan of a large run in run.json: every configuration, case, comparison and protocol once, and units that refer to them.

Written in full, the launches of one comparison repeat each other: 24,000 units would make 280 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.problems import Problem, shown
from modbench.harness.domain.case import Case, CaseFacts, Comparison, Protocol, UnitFacts
from modbench.harness.planning.plan import Plan
from modbench.harness.results.reading import DamagedError, first_problem

Made = TypeVar("Made", bound=BaseModel)


class _OfArms(Frozen):
    """The facts of all arms of a comparison, which those at other places have too."""

    arms: tuple[CaseFacts, ...]


class _Pool:
    """Values that are written once; a value's number is its place."""

    def __init__(self, written: Callable[[Any], dict[str, Any]]) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.body: list[dict[str, Any]] = []
        self.written = written

    def number(self, value: Hashable) -> int:
        if value not in self.numbers:
            body = self.written(value)
            self.numbers[value] = len(self.body)
            self.body.append(body)
        return self.numbers[value]


def packed(plan: Plan) -> dict[str, Any]:
    """A plan as JSON values, with `parts` that its comparisons and units refer to by number."""
    configs, protocols, facts = _Pool(_dumped), _Pool(_dumped), _Pool(_dumped)
    cases = _Pool(lambda case: _dumped(case, "config") | {"config": configs.number(case.config)})
    models = _Pool(_dumped)
    comparisons = _Pool(
        lambda each: (
            _dumped(each, "arms", "facts")
            | {
                "arms": [cases.number(case) for case in each.arms],
                "facts": models.number(_OfArms(arms=each.facts)),
            }
        )
    )
    units = [
        _dumped(unit, "comparison", "protocol", "facts")
        | {
            "comparison": comparisons.number(unit.comparison),
            "protocol": protocols.number(unit.protocol),
            "facts": facts.number(unit.facts),
        }
        for unit in plan.units
    ]
    body = _dumped(plan, "comparisons", "units")
    body |= {"comparisons": [comparisons.number(each) for each in plan.comparisons], "units": units}
    pools = {
        "configs": configs,
        "cases": cases,
        "models": models,
        "comparisons": comparisons,
        "protocols": protocols,
        "facts": facts,
    }
    return body | {"parts": {name: pool.body for name, pool in pools.items()}}


def _dumped(value: BaseModel, *without: str) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude=set(without))


def unpacked(body: dict[str, Any], file: Path) -> dict[str, Any]:
    """A plan's JSON with its parts in place of their numbers; one that was written in full is returned as it is.

    Raises:
        DamagedError: if a part is damaged, or is missing.
    """
    if "parts" not in body:
        return body
    parts = body["parts"]
    configs = _validated(ModelConfig, "configs", parts, file)
    cases = _validated(
        Case, "cases", parts, file, lambda each: {**each, "config": _pick(configs, each.get("config"), file)}
    )
    models = _validated(_OfArms, "models", parts, file)
    comparisons = _validated(
        Comparison,
        "comparisons",
        parts,
        file,
        lambda each: {
            **each,
            "arms": tuple(_pick(cases, number, file) for number in _once(each.get("arms"), file)),
            "facts": _pick(models, each.get("facts"), file).arms,
        },
    )
    protocols = _validated(Protocol, "protocols", parts, file)
    facts = _validated(UnitFacts, "facts", parts, file)
    units = [
        unit
        | {
            "comparison": _pick(comparisons, unit.get("comparison"), file),
            "protocol": _pick(protocols, unit.get("protocol"), file),
            "facts": _pick(facts, unit.get("facts"), file),
        }
        for unit in (_table(each, file) for each in _list(body.get("units"), file))
    ]
    chosen = [_pick(comparisons, number, file) for number in _once(body.get("comparisons"), file)]
    return {name: value for name, value in body.items() if name != "parts"} | {"comparisons": chosen, "units": units}


def _validated(
    kind: type[Made],
    name: str,
    parts: object,
    file: Path,
    filled: Callable[[Mapping[str, Any]], Any] = lambda each: each,
) -> list[Made]:
    found: list[Made] = []
    for i, each in enumerate(_list(_table(parts, file).get(name), file)):
        try:
            found.append(kind.model_validate(filled(_table(each, file))))
        except ValidationError as error:
            first = first_problem(error)
            raise DamagedError(file, Problem(("plan", "parts", name, i, *first.place), first.what)) from error
    return found


def _once(value: object, file: Path) -> list[Any]:
    """A list of numbers none of which is there twice: a short file could otherwise name very many cases."""
    numbers = _list(value, file)
    if len(set(map(repr, numbers))) < len(numbers):
        raise DamagedError(file, Problem(("plan", "parts"), "a number is there twice"))
    return numbers


def _list(value: object, file: Path) -> list[Any]:
    if not isinstance(value, list):
        raise DamagedError(file, Problem(("plan", "parts"), f"{shown(value)} where a list belongs"))
    return value


def _table(value: object, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DamagedError(file, Problem(("plan", "parts"), f"{shown(value)} where a table belongs"))
    return value


def _pick(pool: Sequence[Made], number: object, file: Path) -> Made:
    if type(number) is not int or not 0 <= number < len(pool):
        raise DamagedError(file, Problem(("plan", "parts"), f"there is no part {shown(number)}"))
    return pool[number]
