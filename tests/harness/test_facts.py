"""What a plan stores of passes, metrics and models, so that nobody looks it up once a case is planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planted import Trouble, fake_record, planted_suite

from modbench.harness.execution.limits import allowance
from modbench.harness.execution.runner import phases
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.json_files import DamagedError
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.harness.results.sealed_records import read_record, write_record
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


def test_what_was_planned_is_looked_up_no_more(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.loads(json.dumps(stored_plan(plan)))
    usual = [allowance(unit) for unit in plan.units]
    for name in LOOK_UPS:
        monkeypatch.setattr(catalogue, name, lambda *_, asked=name: pytest.fail(f"catalogue.{asked} was called"))
    read = plan_of(body, Path("run.json"))
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


def test_a_record_names_its_unit_which_stands_in_the_plan(plan: Plan, tmp_path: Path) -> None:
    unit = next(unit for unit in plan.units if unit.facts.times)
    file = tmp_path / "unit.json"
    write_record(file, fake_record(unit, Trouble()))
    stored = json.loads(file.read_bytes())["unit"]
    assert stored == {"name": unit.name, "cases": [case.id for case in unit.comparison.arms]}
    assert read_record(file, unit).unit is unit
    other = next(other for other in plan.units if other.facts.times and other.name != unit.name)
    with pytest.raises(DamagedError, match="the record of another unit"):
        read_record(file, other)
