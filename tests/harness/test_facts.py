"""What a plan stores of passes, metrics and models, so that nobody looks it up once a case is planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import Trouble, fake_record, planted_suite

from modbench.harness.execution.limits import allowance
from modbench.harness.execution.runner import phases
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import facts_of_names
from modbench.harness.results.compact_plan import packed, unpacked
from modbench.harness.results.reading import DamagedError
from modbench.harness.results.sealed_records import edit, read_record, write_record
from modbench.harness.results.upgrade import upgraded
from modbench.reports.tables import axes

LOOK_UPS = (
    "passes",
    "metrics",
    "pass_of",
    "with_sources",
    "is_shipped",
    "model_options",
    "entries",
    "load",
    "facts_of_unit",
)
OWN = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}, {"model": "mine.py:build"}]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def build(config): ...\n")
    metrics = ["flops/forward", "latency/forward", "memory/peak_allocated", "memory/largest_seq_len", "loss/val"]
    return planted_suite("draft", arms=OWN, metrics=metrics)


@pytest.fixture(params=["in full", "packed"])
def body(request: pytest.FixtureRequest, plan: Plan) -> dict[str, Any]:
    return json.loads(json.dumps(packed(plan) if request.param == "packed" else plan.model_dump(mode="json")))  # type: ignore[no-any-return]


def test_what_was_planned_is_looked_up_no_more(
    body: dict[str, Any], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = [allowance(unit) for unit in plan.units]
    for name in LOOK_UPS:
        monkeypatch.setattr(catalogue, name, lambda *_, asked=name: pytest.fail(f"catalogue.{asked} was called"))
    read = Plan.model_validate(unpacked(body, Path("run.json")))
    assert read == plan
    assert [unit.facts for unit in read.units] == [unit.facts for unit in plan.units]
    assert [len(slots.units) for slots in phases(read, 2)] == [len(slots.units) for slots in phases(plan, 2)]
    assert [allowance(unit) for unit in read.units] == usual
    assert [case.facts.short for case in read.cases][:3] == ["dense", "mod", "mine:build"]
    assert [axes.fields(case) for case in read.cases] == [axes.fields(case) for case in plan.cases]
    assert {case.model for case in read.comparisons[0].shipped} == {"dense", "mod"}
    assert not read.groups


def test_facts_are_those_of_the_pass_and_the_model(plan: Plan) -> None:
    for unit in plan.units:
        made_in = catalogue.passes()[unit.made_in]
        same = ("phase", "timed", "times", "repeated", "trains", "confirms", "samples", "column")
        assert {name: getattr(unit.facts, name) for name in same} == {name: getattr(made_in, name) for name in same}
        assert (unit.facts.alone, unit.facts.cold) == (made_in.exclusive, made_in.fresh_interpreter)
        assert unit.facts.most == made_in.timeout_factor(unit)
        assert unit.facts.besides_s == made_in.fixed_overhead_s(unit)
        assert {each.unit for each in unit.facts.makes} == {
            catalogue.metrics()[each.key].unit for each in unit.facts.makes
        }
    (fit, *_) = (unit for unit in plan.units if unit.made_in == "fit")
    assert fit.facts.besides_s > 0
    assert [(case.facts.routes, case.facts.sees_future, case.facts.runs_user_code) for case in plan.cases[:3]] == [
        (False, False, False),
        (True, True, False),
        (False, None, True),
    ]


def test_a_plan_without_facts_gets_them_as_it_is_read(body: dict[str, Any], plan: Plan) -> None:
    """Schemas before 11 have none. What only the model's file knows stays unknown: reading imports no torch."""
    old = json.loads(json.dumps(body))
    for part in (old, old.get("parts", {})):
        for each in part.get("comparisons", ()):
            if isinstance(each, dict):
                del each["facts"]
    for unit in old["units"]:
        del unit["facts"]
        if isinstance(unit["comparison"], dict):
            del unit["comparison"]["facts"]
    for name in ("models", "facts") if "parts" in old else ():
        del old["parts"][name]
    now = upgraded({"schema_version": 10, "plan": old}, "run.json")
    read = Plan.model_validate(unpacked(now["plan"], Path("run.json")))
    assert read.cases == plan.cases
    assert [unit.facts.makes for unit in read.units] == [unit.facts.makes for unit in plan.units]
    assert [each.facts for each in read.cases] == [
        facts_of_names(each.model, each.config.router) for each in plan.cases
    ]


def test_a_record_repeats_no_facts(plan: Plan, tmp_path: Path) -> None:
    """They are in run.json, once; a record that is read has those of the planned unit, however its file is written."""
    unit = next(unit for unit in plan.units if unit.facts.times)
    file = tmp_path / "unit.json"
    write_record(file, fake_record(unit, Trouble()), "token")
    assert b'"facts"' not in file.read_bytes()
    assert read_record(file, unit, "token").unit.facts is unit.facts
    edit(file, lambda body: body.update(wall_s=body["wall_s"] + 1))
    found = read_record(file, unit, "token").unit
    assert (found, found.facts, found.comparison.facts) == (unit, unit.facts, unit.comparison.facts)
    bad = unit.model_copy(update={"flops": unit.flops + 1})
    edit(file, lambda body: body["unit"]["comparison"].update(arms=3))
    with pytest.raises(DamagedError):
        read_record(file, bad, "token")
