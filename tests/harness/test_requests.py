"""Whole requests, a prompt and new tokens: how they are asked for, what is timed, what is predicted, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planted_peaks import planted
from present import of_type, present
from protocol_cases import decodes, subject

from modbench.harness.call.subject.generation import Generation
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.suite import Suite
from modbench.harness.execution.run_time import RunTime
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Estimate, Sentence, Table
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary, value_tables
from modbench.reports.sections import generation
from modbench.reports.tables import axes, load
from modbench.reports.tables.rerun_command import Again

SUITE = {
    "name": "served",
    "metrics": ["latency/prefill", "latency/decode", "latency/request"],
    "shape": {"d_model": 64, "n_layers": 4},
    "grid": {"seq_len": [64], "batch_size": [1, 4], "input_len": [64, 16], "output_len": [32]},
    "variants": [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}],
}


def planned(suite: Suite | None = None, **changes: Any) -> Plan:
    return make_plan(suite or parse_suite(SUITE | changes, "s"), device="cpu")


def served(plan: Plan) -> list[str]:
    """Labels of the places where requests are timed."""
    return [each.grid_point.label for each in plan.comparisons if "latency/request" in each.metrics]


# --- how they are asked for


def test_a_flag_adds_the_metric_and_its_places_and_leaves_the_grid() -> None:
    without = load_suite("decode")
    asked = override(without, Overrides(input_len=(64, 128, 64), output_len=(32, 32, 32)))
    assert [*asked.metrics] == [*without.metrics, "latency/request"]
    made = planned(asked)
    assert served(made) == [f"T{size}-B{batch}-fp32-cpu1" for batch in (1, 8) for size in ("64-N32", "128-N32")]
    rest = [each.grid_point for each in made.comparisons if not each.grid_point.new_tokens]
    assert rest == [each.grid_point for each in planned(without).comparisons]


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        # Without requests each length has the steps of the decode plan.
        ({"grid": {"seq_len": [16, 64]}, "decode": {"tokens": 8}}, ["T16-N8-B1", "T64-N8-B1"]),
        # An output length alone follows each length of the grid; every prompt is followed by every number of new tokens.
        ({"grid": {"seq_len": [16, 64], "output_len": 4}}, ["T16-N4-B1", "T64-N4-B1"]),
        (
            {"grid": {"seq_len": [8], "input_len": [64, 16], "output_len": [32, 4]}},
            [f"T{size}-B1" for size in ("64-N32", "64-N4", "16-N32", "16-N4")],
        ),
        # Beside decode steps as a graph they are served eagerly, at the batch sizes of these.
        (
            {"decode_grid": {"batch_size": [1, 16], "execution": ["graph"]}},
            [f"T{size}-N32-B{batch}" for batch in (1, 16) for size in (64, 16)],
        ),
    ],
)
def test_where_requests_are_timed(changes: dict[str, Any], labels: list[str]) -> None:
    assert served(planned(**changes)) == [f"{label}-fp32-cpu1" for label in labels]


LONG: dict[str, Any] = {"grid": {"seq_len": [16], "input_len": [500], "output_len": [64]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": {"output_len": [-4]}}, "below 1"),
        ({"metrics": ["latency/decode"]}, "latency/request"),  # no metric reads them
        (LONG | {"shape": {"max_seq_len": 512}}, r"564 .* 512"),
    ],
)
def test_what_cannot_be_requested_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(**changes)


# --- what is timed and predicted


def test_a_request_is_a_prompt_and_its_new_tokens_in_one_call() -> None:
    assert planned(**LONG).cases[0].config.max_seq_len == 564  # there are positions for both
    calls: list[tuple[int, ...]] = []
    own = type(decodes())

    def prefill(self: Any, tokens_BT: Any) -> Any:
        calls.append(tuple(tokens_BT.shape))
        return own.prefill(self, tokens_BT)

    def decode(self: Any, tokens_B: Any, cache: Any) -> Any:
        calls.append(tuple(tokens_B.shape))
        return own.decode(self, tokens_B, cache)

    made = subject(decodes(prefill=prefill, decode=decode), new_tokens=5)
    call = Generation(made).request()
    calls.clear()  # of the guard
    call(made.inputs(0, 1)[0])
    assert calls == [(2, 16), *[(2,)] * 5]
    wrong = decodes(decode=lambda self, tokens_B, _: self(tokens_B[:, None])[:, -1])
    with pytest.raises(ValueError, match="one forward pass"):
        Generation(subject(wrong, new_tokens=5)).request()


def test_a_request_takes_as_long_as_its_parts_in_a_forecast() -> None:
    plan = planned(aa_control=False)
    run_time = RunTime(plan, {"fp32": planted()})
    where = next(each for each in plan.comparisons if each.grid_point.new_tokens == 32)
    dense = where.variants[0]
    parts = {workload: run_time._known(dense, dense, workload) for workload in ("prefill", "decode", "request")}
    assert parts["request"] == pytest.approx(parts["prefill"] + 32 * parts["decode"])
    flops = {job.workload: job.flops for job in plan.jobs if job.comparison.grid_point.batch_size == 1}
    assert flops["request"] > flops["prefill"]


# --- what is said of them


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> load.Loaded:
    """Planted: each call takes 20 ms at dense, however much it does; MoD takes 1/1.6."""
    folder = tmp_path_factory.mktemp("served")
    planted_run(folder, planted_plan("draft", train=None, processes=3, rounds=4, **{**SUITE, "name": "planted"}))
    return load.load(folder / "run")


def test_requests_have_tables_answers_and_places_of_their_own(run: load.Loaded) -> None:
    tables = {made.label: made for made in value_tables.tables(run, value_tables.TIMES, settings=1)}
    heads = [f"T = {size}, B = {batch}" for batch in (1, 4) for size in ("16 + 32", "64 + 32")]
    assert [*map(plain, tables["request"].head[1:])] == heads
    answer, _ = (of_type(Sentence, each) for each in summary.answer(run))
    assert answer.given["all"] == 8
    assert run.lengths == [64]  # a prompt is no length of the grid
    assert {each["new_tokens"] for each in axes.of(run.run.plan.cases).values()} == {None, 32}
    new = run.cases.set_index("metric").new_tokens
    assert set(new["latency/request"]) == {32}
    assert new["latency/decode"].isna().all()
    case = next(each for each in run.run.plan.cases if each.grid_point.new_tokens == 32)
    asked = ["--input-len", "64", "--output-len", "32"]
    again = Again(replace(run.run, command=["modbench", "run", "decode", *asked])).command([case], "latency/request")
    assert " ".join(asked) in again


def test_beside_a_request_stands_what_prefill_and_decode_predict(run: load.Loaded) -> None:
    requests = generation.requests(run)
    found = {
        (each.case.model, each.case.grid_point.seq_len, each.case.grid_point.batch_size): each for each in requests
    }
    dense, short = found["dense", 64, 4], found["dense", 16, 1]
    predicted = present(dense.prefill_s) + 32 * present(dense.step_s)
    assert dense.predicted_s == pytest.approx(predicted)
    assert dense.measured_over_predicted == pytest.approx(present(dense.seconds) / predicted)
    assert dense.reason is None
    assert (short.predicted_s, short.measured_over_predicted) == (None, None)
    assert "T = 16, B = 1" in plain(short.reason)
    frame = generation.TABLE.frame(run)
    assert len(frame) == len(found) == 8
    assert frame.predicted_s.isna().equals(frame.reason.notna())
    shown = of_type(Table, generation.table(run, "latency/request"))
    at = shown.head.index(generation.PREDICTED[0])
    assert [[isinstance(each, Estimate) for each in row[at : at + 2]] for row in shown.rows].count([True] * 2) == 4
