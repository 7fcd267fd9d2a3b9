"""What is predicted: the time that follows from planted peaks, and the operators that are recorded. No seconds are asserted."""

from __future__ import annotations

import math
import os
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import case_of
from planted_peaks import planted
from present import present

from modbench.harness.call import operator_peaks
from modbench.harness.call.operators import of_real_tensors, why_not
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import CountNotes
from modbench.harness.machine.roofline import stored
from modbench.harness.machine.roofline.table import Point, Table
from modbench.harness.machine.roofline.work import Kind, Listed, Work
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.registry import catalogue
from modbench.reports.tables.comparisons import achieved_share, predicted

METRICS = catalogue.metrics()


def tiny(model: str = "dense", seq_len: int = 32, **shape: Any) -> Case:
    options = dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 32, "n_layers": 2, "vocab_size": 64, **options, **shape}, seq_len=seq_len)


def test_a_call_takes_its_processes_and_its_work_at_the_planted_rates() -> None:
    work = (
        Work(kind="product", size=(2, 10, 20, 30), calls=3),
        Work(kind="pointwise", size=(500,), calls=2),
        Work(kind="causal_attention", size=(4, 64, 16)),
        Work(kind="optimizer", size=(1000, 7)),
        Work(kind="view", calls=5),
    )
    computed = (3 * 2 * 10 * 20 * 30 + 4 * 64 * 16) / 1e9 + (2 * 500 + 1000) / 1e9 + 7 * 3e-6
    assert planted().seconds(Listed(work=work)) == pytest.approx(7e-6 + 5 * 0.5e-6 + computed)
    assert planted().seconds(Listed(work=work, training=True)) == pytest.approx(2 * (7e-6 + 5 * 0.5e-6) + computed)


def test_rates_between_two_measured_sizes_are_their_geometric_mean_and_beyond_them_the_nearest() -> None:
    points = [Point(kind="fill", size=(100,), seconds=1.0), Point(kind="fill", size=(10_000,), seconds=25.0)]
    table = planted().model_copy(update={"points": tuple(points)})
    seconds = [table.of(Work(kind="fill", size=(size,))) for size in (1, 100, 1000, 10_000, 100_000)]
    # 100 B/s and 400 B/s; below the smallest size its time: it is what such an operator takes at least.
    assert seconds == pytest.approx([1.0, 1.0, 5.0, 25.0, 250.0])


@pytest.mark.parametrize("model", ["dense", "mod", "moe", "early_exit"])
def test_the_products_that_are_recorded_have_the_flops_of_the_closed_form(model: str) -> None:
    case = tiny(model)
    found = of_real_tensors(case, 0, training=False)
    assert not found.training
    seen = sum(2 * work.calls * math.prod(work.size) for work in found.work if work.kind.startswith("product"))
    if model in {"dense", "mod"}:
        cost = present(case_cost(case))
        square = cost.parts["scores"] + cost.parts["values"]
        assert seen == cost.forward - square
    assert seen > 0


def test_a_training_step_is_recorded_with_its_backward_pass_and_its_optimizer() -> None:
    forward, step = (of_real_tensors(tiny("mod"), 0, training=training) for training in (False, True))
    kinds = {work.kind for work in step.work}
    assert {"product_of_transposed", "causal_attention_backward", "optimizer", "scatter"} <= kinds
    assert step.launches > 2 * forward.launches
    assert planted().seconds(step) > planted().seconds(forward)
    optimizer = max((work for work in step.work if work.kind == "optimizer"), key=lambda work: work.size)
    cost = present(case_cost(tiny("mod")))
    # Weights, gradients and two moments are read, all but gradients written; and counts of steps.
    assert optimizer.size[0] == pytest.approx(4 * 4 * cost.params, rel=0.01)


def test_every_kind_of_work_has_probes_on_a_complete_grid() -> None:
    """The rate between points needs all corners around it."""
    with torch.no_grad():
        every = list(operator_peaks.every(operator_peaks.Numbers(torch.float32)))
    assert {probe.kind for probe in every} | {"view"} == set(typing.get_args(Kind))
    points = tuple(Point(kind=probe.kind, size=probe.size, seconds=1.0) for probe in every)
    for grid in planted().model_copy(update={"points": points}).grids.values():
        assert len(grid.rates) == math.prod(map(len, grid.axes))


def fake_tables(notes: CountNotes, table: Table | None) -> Any:
    return SimpleNamespace(
        source=lambda metric: METRICS[metric.source] if metric.source else metric,
        counted=lambda _case: notes,
        rooflines={} if table is None else {"fp32": table},
    )


def test_an_aa_control_attains_exactly_1_and_a_cheaper_variant_more() -> None:
    dense, mod = (of_real_tensors(tiny(model, 64), 0, training=False) for model in ("dense", "mod"))
    same = fake_tables(CountNotes(forward_operators=dense), planted())
    assert predicted(same, tiny(), tiny(), METRICS["latency/forward"]) == (1.0, None)
    tables = fake_tables(CountNotes(), planted())
    tables.counted = lambda case: CountNotes(forward_operators=mod if case.model == "mod" else dense)
    value, reason = predicted(tables, tiny("mod", 256), tiny(seq_len=256), METRICS["latency/forward"])
    assert reason is None
    assert present(value) > 1


@pytest.mark.parametrize(
    ("mine", "theirs", "too"),
    [
        ("mod", "dense", "high"),
        ("moe", "dense", "high"),
        ("dense", "mod", "low"),
        ("mod", "moe", ""),
        ("dense", "dense", ""),
    ],
)
def test_the_known_bias_of_routing_at_short_lengths_is_said(mine: str, theirs: str, too: str) -> None:
    """Of a pair in which one side alone routes; between two routed variants it cancels."""
    one = fake_tables(CountNotes(forward_operators=of_real_tensors(tiny(seq_len=64), 0, training=False)), planted())
    for length, bias in ((128, too), (129, "")):
        value, reason = predicted(one, tiny(mine, length), tiny(theirs, length), METRICS["latency/forward"])
        assert value is not None
        said = f"the predicted speed-up is 8 % to 21 % too {bias}: routing at T ≤ 128"
        assert reason == (said if bias else None)


@pytest.mark.parametrize(
    ("notes", "table", "metric", "why"),
    [
        (CountNotes(operators_reason="compiled"), planted(), "latency/forward", "compiled"),
        (CountNotes(), planted(), "latency/forward", "not recorded"),
        (CountNotes(forward_operators=Listed(work=())), None, "latency/forward", "no peaks by shape"),
        (CountNotes(), planted(), "latency/decode", "only whole forward passes"),
    ],
)
def test_what_is_not_known_is_null_with_its_reason(notes: CountNotes, table: Any, metric: str, why: str) -> None:
    value, reason = predicted(fake_tables(notes, table), tiny(), tiny(), METRICS[metric])
    assert value is None
    assert why in str(reason)


def test_a_promised_loss_is_achieved_share_when_it_came() -> None:
    assert achieved_share(0.5, 0.5) == 1.0
    assert achieved_share(1.8, 1.4) == pytest.approx(2.0)


@pytest.mark.parametrize("change", [{}, {"compile": True}, {"device": "cuda"}])
def test_compiled_cases_and_cards_are_not_taken_apart(change: dict[str, Any]) -> None:
    case = tiny()
    found = why_not(case.model_copy(update={"grid_point": case.grid_point.model_copy(update=change)}))
    assert (found is None) == (not change)


def test_peaks_of_today_are_reused_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept by machine and number format; measured within a day with the same torch they are this machine's, else not."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path))
    table = planted()

    def known(torch: str = table.torch) -> tuple[Table | None, Table | None]:
        return stored.recent("here", table.dtype, torch), stored.latest("here", table.dtype)

    assert known() == (None, None)
    assert stored.keep("here", table) is None
    assert stored.latest("there", table.dtype) is stored.latest("here", "bf16") is None
    assert known() == (table, table)
    assert known("another torch") == (None, table)
    (file,) = (tmp_path / "peaks").iterdir()
    long_ago = file.stat().st_mtime - 2 * stored.DAY_S
    os.utime(file, (long_ago, long_ago))
    assert known() == (None, table)
    file.write_text("{")
    assert known() == (None, None)
