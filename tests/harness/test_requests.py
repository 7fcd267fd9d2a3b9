"""Whole requests, a prompt and new tokens: how they are asked for, what is timed, what is predicted, and what is refused."""

from __future__ import annotations

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
from modbench.harness.planning.plan import make_plan
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


def served(suite: Suite) -> list[str]:
    """Labels of the places where requests are timed."""
    plan = make_plan(suite, device="cpu")
    return [each.grid_point.label for each in plan.comparisons if "latency/request" in each.metrics]


# --- how they are asked for


def test_a_flag_adds_the_metric_and_its_places_and_leaves_the_grid() -> None:
    asked, plain = (
        override(load_suite("decode"), Overrides(input_len=given, output_len=(32,) * bool(given)))
        for given in ((64, 128, 64), ())
    )
    assert [*asked.metrics] == [*plain.metrics, "latency/request"]
    assert served(asked) == [f"T{size}-B{batch}-fp32-cpu1" for batch in (1, 8) for size in ("64-N32", "128-N32")]
    rest = [each for each in make_plan(asked, device="cpu").comparisons if not each.grid_point.new_tokens]
    assert [each.grid_point for each in rest] == [
        each.grid_point for each in make_plan(plain, device="cpu").comparisons
    ]


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
    assert served(parse_suite(SUITE | changes, "s")) == [f"{label}-fp32-cpu1" for label in labels]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({"grid": {axis: [-4]}}, "below 1") for axis in ("input_len", "output_len")),
        *(({"grid": {axis: [10**30]}}, "more than anything") for axis in ("input_len", "output_len")),
        ({"metrics": ["latency/decode"]}, "latency/request"),  # no metric reads them
    ],
)
def test_what_cannot_be_requested_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_suite(SUITE | changes, "s")


def test_a_model_has_positions_for_prompt_and_new_tokens() -> None:
    (first, *_) = make_plan(
        parse_suite(SUITE | {"grid": {"seq_len": [16], "input_len": [500], "output_len": [64]}}, "s"), device="cpu"
    ).cases
    assert first.config.max_seq_len == 564
    fixed = SUITE | {"shape": {"max_seq_len": 512}, "grid": {"seq_len": [16], "input_len": [500], "output_len": [64]}}
    with pytest.raises(UsageError, match=r"564 .* 512"):
        make_plan(parse_suite(fixed, "s"), device="cpu")


# --- what is timed


def test_a_request_is_a_prompt_and_its_new_tokens_in_one_call() -> None:
    calls: list[tuple[int, ...]] = []
    plain = type(decodes())

    def prefill(self: Any, tokens_BT: Any) -> Any:
        calls.append(tuple(tokens_BT.shape))
        return plain.prefill(self, tokens_BT)

    def decode(self: Any, tokens_B: Any, cache: Any) -> Any:
        calls.append(tuple(tokens_B.shape))
        return plain.decode(self, tokens_B, cache)

    made = subject(decodes(prefill=prefill, decode=decode), new_tokens=5)
    call = Generation(made).request()
    calls.clear()  # of the guard
    call(made.inputs(0, 1)[0])
    assert calls == [(2, 16), *[(2,)] * 5]


def test_a_decode_step_that_computes_something_else_is_refused_in_a_request_too() -> None:
    wrong = decodes(decode=lambda self, tokens_B, _: self(tokens_B[:, None])[:, -1])
    with pytest.raises(ValueError, match="one forward pass"):
        Generation(subject(wrong, new_tokens=5)).request()


def test_a_request_takes_as_long_as_its_parts_in_a_forecast() -> None:
    plan = make_plan(parse_suite(SUITE | {"aa_control": False}, "s"), device="cpu")
    run_time = RunTime(plan, {"fp32": planted()})
    where = next(each for each in plan.comparisons if each.grid_point.new_tokens == 32)
    dense = where.variants[0]
    parts = {workload: run_time._known(dense, dense, workload) for workload in ("prefill", "decode", "request")}
    assert parts["request"] == pytest.approx(parts["prefill"] + 32 * parts["decode"])
    jobs = {
        job.workload: job
        for job in plan.jobs
        if job.comparison.grid_point in {where.grid_point, plan.comparisons[0].grid_point}
    }
    assert jobs["request"].flops > jobs["prefill"].flops


# --- what is said of them


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> load.Loaded:
    """Planted: each call takes 20 ms at dense, however much it does; MoD takes 1/1.6."""
    folder = tmp_path_factory.mktemp("served")
    planted_run(folder, planted_plan("draft", train=None, processes=3, rounds=4, **{**SUITE, "name": "planted"}))
    return load.load(folder / "run")


def test_requests_have_tables_answers_and_places_of_their_own(run: load.Loaded) -> None:
    tables = {made.label: made for made in value_tables.tables(run, value_tables.TIMES, settings=1)}
    assert [*map(plain, tables["request"].head[1:])] == [
        f"T = {size}, B = {batch}" for batch in (1, 4) for size in ("16 + 32", "64 + 32")
    ]
    answer, _ = (of_type(Sentence, each) for each in summary.answer(run))
    assert answer.given["all"] == 8
    assert run.lengths == [64]  # a prompt is no length of the grid
    assert {each["new_tokens"] for each in axes.of(run.run.plan.cases).values()} == {None, 32}


def test_beside_a_request_stands_what_prefill_and_decode_predict(run: load.Loaded) -> None:
    found = {
        (each.case.variant, each.case.grid_point.seq_len, each.case.grid_point.batch_size): each
        for each in generation.requests(run)
    }
    dense = found["dense", 64, 4]
    assert dense.prefill_s is not None
    assert dense.step_s is not None
    assert dense.predicted_s == pytest.approx(dense.prefill_s + 32 * dense.step_s)
    assert dense.measured_over_predicted == pytest.approx(
        present(dense.seconds) / (dense.prefill_s + 32 * dense.step_s)
    )
    assert dense.reason is None
    short = found["dense", 16, 1]
    assert (short.predicted_s, short.measured_over_predicted) == (None, None)
    assert "T = 16, B = 1" in plain(short.reason)
    frame = generation.TABLE.frame(run)
    assert len(frame) == len(found) == 8
    assert frame.predicted_s.isna().equals(frame.reason.notna())
    shown = of_type(Table, generation.table(run, "latency/request"))
    at = shown.head.index(generation.PREDICTED[0])
    assert [[isinstance(each, Estimate) for each in row[at : at + 2]] for row in shown.rows].count([True] * 2) == 4
    new = run.cases.set_index("metric").new_tokens
    assert set(new["latency/request"]) == {32}
    assert new["latency/decode"].isna().all()


def test_a_command_that_measures_again_has_the_requests(run: load.Loaded) -> None:
    stored = run.run
    stored = type(stored)(
        **{**stored.__dict__, "command": ["modbench", "run", "decode", "--input-len", "64", "--output-len", "32"]}
    )
    case = next(each for each in stored.plan.cases if each.grid_point.new_tokens == 32)
    assert "--input-len 64 --output-len 32" in Again(stored).command([case], "latency/request")
