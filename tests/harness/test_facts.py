"""What a plan stores of passes, metrics and models, so that nobody looks it up once a case is planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modbench.harness.execution.limits import allowance
from modbench.harness.execution.runner import phases
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results.json_files import DamagedError
from modbench.harness.results.record_files import read_record, write_record
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record
from modbench.reports.tables import axes

LOOK_UPS = "passes metrics pass_of with_sources is_shipped model_options entries load facts_of_job"
SAME = ("phase", "timed", "times", "repeated", "trains", "samples", "column")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def build(config): ...\n")
    variants = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}, {"model": "mine.py:build"}]
    metrics = ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val"]
    return planted_plan("draft", variants=variants, metrics=metrics)


def test_what_was_planned_is_looked_up_no_more(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.loads(json.dumps(stored_plan(plan)))
    usual = [allowance(job) for job in plan.jobs]
    for name in LOOK_UPS.split():
        monkeypatch.setattr(catalogue, name, lambda *_, asked=name: pytest.fail(f"catalogue.{asked} was called"))
    read = plan_of(body, Path("run.json"))
    assert read == plan
    assert [job.facts for job in read.jobs] == [job.facts for job in plan.jobs]
    assert [len(slots.jobs) for slots in phases(read, 2)] == [len(slots.jobs) for slots in phases(plan, 2)]
    assert [allowance(job) for job in read.jobs] == usual
    assert [case.facts.short for case in read.cases][:3] == ["dense", "mod", "mine:build"]
    assert [axes.fields(case) for case in read.cases] == [axes.fields(case) for case in plan.cases]
    assert {case.model for case in read.comparisons[0].shipped} == {"dense", "mod"}
    assert not read.groups


def test_a_record_names_its_job_which_stands_in_the_plan(plan: Plan, tmp_path: Path) -> None:
    job, other = [job for job in plan.jobs if job.facts.times][:2]
    file = tmp_path / "job.json"
    write_record(file, planted_record(job, PlantedTrouble()))
    stored = json.loads(file.read_bytes())["job"]
    assert stored == {"name": job.name, "cases": [case.id for case in job.comparison.variants]}
    assert read_record(file, job).job is job
    with pytest.raises(DamagedError, match="the record of another job"):
        read_record(file, other)


def test_facts_are_those_of_the_pass_and_the_model(plan: Plan) -> None:
    for job in plan.jobs:
        made_in, facts = catalogue.passes()[job.made_in], job.facts
        assert [getattr(facts, name) for name in SAME] == [getattr(made_in, name) for name in SAME]
        assert (facts.alone, facts.cold) == (made_in.exclusive, made_in.fresh_interpreter)
        assert (facts.most, facts.besides_s) == (made_in.timeout_factor(job), made_in.fixed_overhead_s(job))
        assert [each.unit for each in facts.makes] == [catalogue.metrics()[each.key].unit for each in facts.makes]
    told = [(case.facts.routes, case.facts.sees_future, case.facts.runs_user_code) for case in plan.cases[:3]]
    assert told == [(False, False, False), (True, True, False), (False, None, True)]
