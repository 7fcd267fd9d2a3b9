"""Reads files of earlier schemas: one function converts their JSON to the current one. Files before schema 9 are refused.

To change the schema: raise `SCHEMA` and describe the change in `records.py`; convert what changed in `_from_earlier`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import UnreadableError, UsageError
from modbench.harness.domain.case import UnitFacts, UnitOfWork
from modbench.harness.domain.records import SCHEMA
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import fill_in, fill_in_arms
from modbench.harness.results import layout
from modbench.harness.results.reading import DamagedError, load

# What release 0.2.0 writes.
EARLIEST = 9


def upgraded(body: dict[str, Any], file: object) -> dict[str, Any]:
    """Convert a file's JSON to the current schema.

    Args:
        body: content of `run.json` or of a unit's file.
        file: its path, for messages.

    Raises:
        UsageError: if its schema is not one that can be read.
    """
    version = body.get("schema_version")
    if not isinstance(version, int) or not EARLIEST <= version <= SCHEMA:
        which = "newer" if isinstance(version, int) and version > SCHEMA else "older"
        raise UnreadableError(
            f"{file}: schema {version!r} cannot be read by this modbench, which reads {EARLIEST} to {SCHEMA}. "
            f"Use the {which} modbench that wrote it, or measure again."
        )
    return body if version == SCHEMA else _from_earlier(body) | {"schema_version": SCHEMA}


def _from_earlier(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 9 or 10: units named a row, and no rule; nothing had facts. Other fields of later schemas have defaults."""
    plan = body.get("plan")
    units = [] if plan is None else plan["units"]
    for unit in (*units, *([body["unit"]] if "unit" in body else [])):
        unit.pop("row", None)
    if plan is not None and "parts" in plan:
        _fill_in_parts(plan["parts"], units)
    elif plan is not None:
        for comparison in plan["comparisons"]:
            fill_in_arms(comparison)
        for unit in units:
            fill_in(unit)
    return body


def _fill_in_parts(parts: dict[str, Any], units: Sequence[dict[str, Any]]) -> None:
    """Look up the facts of a plan whose comparisons and units refer to parts by number."""
    cases = [{**case, "config": parts["configs"][case["config"]]} for case in parts["cases"]]
    parts["models"], numbers = [], dict[UnitFacts, int]()
    for number, comparison in enumerate(parts["comparisons"]):
        found = {"arms": [cases[arm] for arm in comparison["arms"]]}
        fill_in_arms(found)
        parts["models"].append({"arms": found["facts"]})
        comparison["facts"] = number
    for unit in units:
        metrics = parts["comparisons"][unit["comparison"]]["metrics"]
        facts = catalogue.facts_of_unit(unit["made_in"], unit["workload"], tuple(metrics))
        unit["facts"] = numbers.setdefault(facts, len(numbers))
    parts["facts"] = [*map(dict, numbers)]


def earlier_decisions(run: Path, plan: Plan) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return what pilots, searches and confirmations of schema 9 or 10 decided: by group the file, and what one would hold now.

    Raises:
        DamagedError: if a file is damaged.
    """
    found = {}
    for rule, (folder, called, asked) in EARLIER_FOLDERS.items():
        for group, units in plan.members(rule).items():
            file = layout.file_of(run, folder, group, ".json")
            if not file.is_file():
                continue
            body = load(file)
            try:
                decided = {"rule": rule, "group": body.pop(called), "asked": asked(body, units), "ended": True}
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DamagedError(file, "damaged: its content does not match its schema") from error
            found[group] = (
                file,
                decided | {"found": None if rule == "bisection" else body},
            )  # what it rested on is unread
    return found


def _launches(body: dict[str, Any], units: Sequence[UnitOfWork]) -> dict[str, int]:
    return {unit.name: 0 for unit in units if unit.rule and unit.launch < body["made"]}


def _cells(body: dict[str, Any], units: Sequence[UnitOfWork]) -> dict[str, int]:
    turns = {cell["series"]: turn for turn, cell in enumerate(body["cells"])}
    return {unit.name: turns[unit.series] for unit in units if unit.series in turns}


def _fresh_runs(body: dict[str, Any], units: Sequence[UnitOfWork]) -> dict[str, int]:
    del body["spread"], body["freedom"]  # schema 11 has none of these
    for chosen in body["chosen"]:
        del chosen["variant"], chosen["predicted"]
    seeds = {chosen["case"]: chosen["seeds"] for chosen in body["chosen"]}
    fresh = [unit for unit in units if unit.rule]
    return {unit.name: 0 for unit in fresh if unit.protocol.seed in seeds.get(unit.comparison.arms[0].id, ())}


# By rule its folder, what a file called its group, and which units it asked for.
EARLIER_FOLDERS: dict[str, tuple[str, str, Callable[[dict[str, Any], Sequence[UnitOfWork]], dict[str, int]]]] = {
    "launch_count": ("launches", "series", _launches),
    "bisection": ("search", "row", _cells),
    "confirmation": ("confirm", "name", _fresh_runs),
}


def refuse_earlier(version: int, run: Path) -> None:
    """Refuse to add records to a run of an earlier schema: a run has one.

    Raises:
        UsageError: if its schema is not the current one.
    """
    if version != SCHEMA:
        raise UsageError(
            f"{run}: a run of schema {version} is read by this modbench, but not continued. "
            "Use the older modbench that wrote it, or measure again."
        )
