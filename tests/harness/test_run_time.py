"""The time of a run: from planted peaks it is arithmetic; without peaks it is assumed, as before. No seconds are measured."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from planted_peaks import planted
from present import present

from modbench.commands.doctor import checkup
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


def test_without_peaks_the_time_is_assumed() -> None:
    plan = plan_of()
    run_time = RunTime(plan, {})
    assert not run_time.measured
    assert [run_time.seconds(job, 2) for job in plan.jobs] == pytest.approx(
        [predicted_seconds(plan, job, 2) for job in plan.jobs]
    )


def test_a_call_whose_operators_are_unknown_is_guessed_from_a_forward_pass() -> None:
    """As those of a user's model are before it ran: a decode step is no pass over the whole prompt."""
    plan = plan_of()
    case, run_time = plan.cases[0], RunTime(plan, {})
    forward, step, decoded, request = (
        run_time._known(case, case, workload) for workload in ("forward", "train_step", "decode", "request")
    )
    assert step == pytest.approx(3 * forward)
    assert decoded == pytest.approx(20 * forward / case.grid_point.seq_len)
    assert request == pytest.approx(forward + (case.grid_point.new_tokens or 0) * decoded)


def test_what_depends_on_data_costs_its_share_of_the_anchor() -> None:
    """The host reads which rows pass: shapes alone do not tell what a routed decode step processes."""
    plan = plan_of()
    dense, mod = timed(plan, "decode").comparison.variants
    assert (operators(dense, "decode") is None, operators(mod, "decode") is None) == (False, True)
    run_time = RunTime(plan, {"fp32": planted()})
    whole = run_time._known(dense, dense, "decode")
    assert 0.3 * whole < run_time._known(mod, dense, "decode") < whole


def test_the_list_from_shapes_is_that_of_the_real_call() -> None:
    """Below the lengths at which attention is computed in pieces, which only a CPU does, they agree."""
    from modbench.harness.call.operators import of_real_tensors, of_shapes

    table = planted()
    for case in timed(plan_of(), "forward").comparison.variants:
        for training in (False, True):
            real, shapes = of_real_tensors(case, 0, training=training), of_shapes(case, training=training)
            assert table.seconds(shapes) == pytest.approx(table.seconds(real), rel=0.05)
            products = [
                {(work.size, work.calls) for work in each.work if work.kind.startswith("product")}
                for each in (real, shapes)
            ]
            assert products[0] == products[1]


def test_what_is_made_by_shape_alone_and_built_once_is_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    from modbench.harness.call import operators as calls

    models = [{"model": name} for name in ("dense", "mod", "mode_staged", "moe")]
    cases = plan_of(variants=models, grid={"seq_len": [32, 64]}, metrics=["latency/train_step"]).cases

    def found() -> list[object]:
        calls._shared.cache_clear()
        return [calls.of_shapes(case, training=training) for case in cases for training in (True, False)]

    ours = found()
    assert calls._shared.cache_info().misses == len(models) < len(cases)
    asked = list[object]()
    monkeypatch.setattr(calls, "_looks_like", asked.append)  # finds nothing, so that torch does
    monkeypatch.setattr(calls, "_shared", functools.lru_cache(maxsize=1)(calls._module))
    assert found() == ours
    assert len(asked) > 100 * len(models)


def test_doctor_measures_the_peaks_in_a_job_of_its_own() -> None:
    job = checkup.peaks_job(2)
    assert (job.made_in, job.comparison.grid_point.threads) == ("roofline", 2)


def test_the_peaks_are_measured_once_where_times_claim_something() -> None:
    measured = [job.name for job in plan_of(grid={"seq_len": [64, 128]}).jobs if job.made_in == "roofline"]
    assert measured == ["roofline-fp32-cpu"]
    for plan in (plan_of(effort="smoke"), plan_of(metrics=["flops/forward", "latency/decode"])):
        assert not [job for job in plan.jobs if job.made_in == "roofline"]
    suite = parse_suite({"name": "s", "metrics": ["latency/forward"], "variants": [{"model": "dense"}]}, "s")
    assert not [job for job in make_plan(suite, device="cuda").jobs if job.made_in == "roofline"]
