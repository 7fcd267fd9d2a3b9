"""Converts stored runs of schemas 10 and 11 to 12; goes when the words of records have changed under that number too.

    PYTHONPATH=tests/harness:tests/reports:tests/goldens:tests/bench python tests/goldens/convert.py

Goldens and the runs of `modbench demo` are rewritten in place. Nothing that was measured changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from goldens import HERE

from modbench.harness.core.titles import short_name
from modbench.harness.domain.records import SCHEMA
from modbench.harness.planning.plan import Plan, assigned
from modbench.harness.registry import catalogue
from modbench.harness.registry.user_routers import has_closed_form
from modbench.harness.results import layout
from modbench.harness.results.run_file import stored_plan
from modbench.harness.results.sealed_records import as_record
from modbench.reports import demo

Body = dict[str, Any]

# Fields of run.json and of records that are gone, and of the notes of a time.
LEFT_OUT = {"digest", "token", "own_files", "restored", "began_s"}
LEFT_OUT_OF_TIMES = {"clock_changed", "other_precision", "train_forward_share"}


def converted(files: Mapping[str, Body]) -> dict[str, Body]:
    """The files of a packed run in schema 12."""
    run = {key: value for key, value in files["run.json"].items() if key not in LEFT_OUT}
    made = dict[str, Body]()
    if run["schema_version"] == SCHEMA:
        return dict(files)
    plan = whole_plan(run["plan"], early=run["schema_version"] < 11)
    units = {unit.name: unit for unit in plan.units}
    for name, content in files.items():
        if name.startswith("units/"):
            unit = units[content["unit"]["name"]]
            named = {"name": unit.name, "cases": [case.id for case in unit.comparison.arms]}
            body = {key: value for key, value in content.items() if key not in LEFT_OUT}
            body["outcomes"] = [each | {"notes": kept(each["notes"])} for each in content["outcomes"]]
            made[name] = body | {"schema_version": SCHEMA, "unit": named}
            as_record(json.dumps(made[name]).encode(), unit, Path(name))
        elif name.split("/")[0] not in EARLY:
            made[name] = content
    made |= dict(early_decisions(files, plan))
    made["run.json"] = {"layout": layout.TOGETHER} | run | {"schema_version": SCHEMA, "plan": stored_plan(plan)}
    return made


def kept(notes: Body) -> Body:
    """An outcome's notes without those that times no longer have."""
    return {key: value for key, value in notes.items() if "clock" not in notes or key not in LEFT_OUT_OF_TIMES}


def whole_plan(body: Body, *, early: bool) -> Plan:
    """The plan of run.json; before schema 11 no facts, groups and rules were stored."""
    if not early:
        return Plan.model_validate(body)
    for unit in body["units"]:
        unit.pop("row", None)
        keys = tuple(unit["comparison"]["metrics"])
        unit["facts"] = catalogue.facts_of_unit(unit["made_in"], unit["workload"], keys)
    for comparison in (*body["comparisons"], *(unit["comparison"] for unit in body["units"])):
        comparison["facts"] = [facts(arm["model"], arm["config"]["router"]) for arm in comparison["arms"]]
    plan = Plan.model_validate(body)
    units, groups = assigned(plan.suite, plan.units)
    return plan.model_copy(update={"units": units, "groups": groups})


def facts(model: str, router: str) -> Body:
    """The facts of a case that are known without importing its model."""
    known = model in catalogue.entries("models")
    return {
        "short": short_name(model),
        "shipped": known and catalogue.is_shipped("models", model),
        "own_router": not has_closed_form(router),
        "keys": (*catalogue.model_options(model),) if known else None,
    }


def early_decisions(files: Mapping[str, Body], plan: Plan) -> Iterator[tuple[str, Body]]:
    """What pilots, searches and confirmations decided before schema 11."""
    for folder, (rule, called, asked) in EARLY.items():
        for group, units in plan.members(rule).items():
            body = files.get(f"{folder}/{group}.json")
            if body is not None:
                found = dict(body)
                decided = {"rule": rule, "group": found.pop(called), "asked": asked(found, units), "ended": True}
                yield f"decisions/{group}.json", decided | {"found": None if rule == "bisection" else found}


def _launches(body: Body, units: Any) -> dict[str, int]:
    return {unit.name: 0 for unit in units if unit.rule and unit.launch < body["made"]}


def _cells(body: Body, units: Any) -> dict[str, int]:
    turns = {cell["series"]: turn for turn, cell in enumerate(body["cells"])}
    return {unit.name: turns[unit.series] for unit in units if unit.series in turns}


def _fresh_runs(body: Body, units: Any) -> dict[str, int]:
    del body["spread"], body["freedom"]
    for chosen in body["chosen"]:
        del chosen["variant"], chosen["predicted"]
    seeds = {chosen["case"]: chosen["seeds"] for chosen in body["chosen"]}
    fresh = [unit for unit in units if unit.rule]
    return {unit.name: 0 for unit in fresh if unit.protocol.seed in seeds.get(unit.comparison.arms[0].id, ())}


# By folder the rule, what a file called its group, and which units it asked for.
EARLY: dict[str, tuple[str, str, Callable[[Body, Any], dict[str, int]]]] = {
    "launches": ("launch_count", "series", _launches),
    "search": ("bisection", "row", _cells),
    "confirm": ("confirmation", "name", _fresh_runs),
}


def main() -> None:
    """Convert all."""
    for file in (*sorted(HERE.glob("*/*.json.xz")), *demo.SHIPPED.values()):
        before = file.stat().st_size
        file.write_bytes(demo.pack(converted(demo.contents(file.read_bytes()))))
        print(f"{file.parent.name}/{file.name}: {before:,} to {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
