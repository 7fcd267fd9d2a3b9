"""The time of a run: from planted peaks it is arithmetic. No seconds are measured."""

from __future__ import annotations

from typing import Any

import pytest
from planted_peaks import planted
from present import present

from modbench.harness.call.timing.interleave import SHORTEST_SAMPLE_S
from modbench.harness.domain.case import Job
from modbench.harness.execution.run_time import DRAW_S, FIRST_CALLS, VARIANT_S, RunTime, operators
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import Plan, make_plan, predicted_seconds


def plan_of(**changes: Any) -> Plan:
    suite = {
        "name": "planned",
        "effort": "draft",
        "metrics": ["latency/forward", "latency/train_step", "latency/decode"],
        "shape": {"d_model": 32, "n_layers": 2, "vocab_size": 64},
        "grid": {"seq_len": [64]},
        "variants": [{"model": "dense"}, {"model": "mod"}],
        "aa_control": False,
        **changes,
    }
    return make_plan(parse_suite(suite, "planned"), device="cpu")


def timed(plan: Plan, workload: str) -> Job:
    return next(job for job in plan.jobs if job.made_in == "time" and job.workload == workload)


def test_a_timed_job_takes_its_variants_its_warm_up_and_its_rounds() -> None:
    plan = plan_of()
    job, table = timed(plan, "forward"), planted(1e7)
    calls = []
    for case in job.comparison.variants:
        found = present(operators(case, "forward"))
        calls.append(table.seconds(found))
    assert min(calls) > SHORTEST_SAMPLE_S  # so one call is a sample
    from modbench.harness.planning.flops.closed_form import case_cost

    params = sum(cost.params for case in job.comparison.variants if (cost := case_cost(case)))
    start = predicted_seconds(plan, job.model_copy(update={"flops": 0.0}), 1)
    protocol = job.protocol
    expected = (
        start
        + 2 * VARIANT_S
        + DRAW_S * params
        + (1 + FIRST_CALLS) * sum(calls)
        + max(protocol.warm_up_s, protocol.warm_up_calls * sum(calls))
        + 2 * protocol.rounds * sum(calls)
    )
    assert RunTime(plan, {"fp32": table}).seconds(job, 1) == pytest.approx(expected)


def test_the_peaks_are_measured_once_where_times_claim_something() -> None:
    measured = [job.name for job in plan_of(grid={"seq_len": [64, 128]}).jobs if job.made_in == "roofline"]
    assert measured == ["roofline-fp32-cpu"]
    for plan in (plan_of(effort="smoke"), plan_of(metrics=["flops/forward", "latency/decode"])):
        assert not [job for job in plan.jobs if job.made_in == "roofline"]
    suite = parse_suite({"name": "s", "metrics": ["latency/forward"], "variants": [{"model": "dense"}]}, "s")
    assert not [job for job in make_plan(suite, device="cuda").jobs if job.made_in == "roofline"]
