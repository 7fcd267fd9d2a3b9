"""`modbench compare RUN --by AXIS`: any axis and baseline; pairs within a grid point, else independent samples; one table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from planted_compare import VARIANTS, compared_run, own_run
from present import of_type, present
from scipy import stats

from modbench.harness.core.errors import UsageError
from modbench.reports.blocks import Finding, Table
from modbench.reports.questions.compare_axis import AlongAxis, Column, Filter, compare_by, one_table
from modbench.reports.tables import axes, pairs
from modbench.reports.tables.comparisons import NOT_INTERLEAVED
from modbench.reports.tables.load import Loaded, load

TIME, MEMORY = "latency/forward", "memory/peak_allocated"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Five variants at two lengths in two number formats, whose processes differ by 0.3 %."""
    return compared_run(tmp_path_factory.mktemp("compared") / "run")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def column(table: AlongAxis, metric: str = TIME, **wanted: Any) -> Column:
    """The only column with these fields in its heading."""
    columns = [each for each in table.columns if each.metric.key == metric]
    (found,) = (each for each in columns if wanted.items() <= dict(each.heading).items())
    return found


def found(there: Column, value: Any) -> tuple[Any, Any]:
    """A ratio and its verdict."""
    row = present(there.cells[value].row)
    return row["ratio"], row["verdict"]


def test_a_row_of_a_figure_turned_round_is_its_mirror(run: Loaded) -> None:
    rows: list[Any] = [row for row in run.pairs.itertuples(index=False) if row.metric == TIME]
    turned = pairs.figure_rows(run, [pairs.of_pair(run, row).mirrored() for row in rows]).to_dict("records")
    assert {row.verdict for row in rows} >= {"better", "worse", "equivalent"}
    for row, back in zip(rows, turned, strict=True):
        assert (back["case_id"], back["baseline_variant"]) == (row.baseline_case_id, row.variant)
        told = [back[each] for each in ("ratio", "theoretical", "ci_low", "ci_high")]
        assert told == [1 / each for each in (row.ratio, row.theoretical, row.ci_high, row.ci_low)]
        assert back["verdict"] == {"better": "worse", "worse": "better"}.get(row.verdict, row.verdict)


def test_values_of_an_axis_have_words() -> None:
    assert [axes.in_words("graph", each) for each in (False, True)] == ["no graph", "CUDA graph"]
    assert [axes.in_words("compile", each) for each in (False, True)] == ["eager", "compiled"]
    assert [axes.in_words("capacity", each) for each in (0.25, None)] == ["0.25", "none"]


@pytest.mark.slow
@pytest.mark.parametrize("named", [" C0.25 ", "0.250"])
def test_a_value_of_the_axis_is_the_baseline_where_all_else_is_equal(run: Loaded, named: str) -> None:
    table = compare_by(run, "capacity", named)
    assert table.rows == [0.125, 0.25, 0.5]
    assert len(table.columns) == 2 * 2 * 2  # metrics, lengths, number formats
    for each in (column(table, seq_len=length, dtype=dtype) for length in (64, 128) for dtype in ("fp32", "bf16")):
        assert each.cells[0.25].is_baseline
        assert found(each, 0.125) == (pytest.approx(1.6, rel=0.01), "better")
        assert found(each, 0.5) == (pytest.approx(0.8, rel=0.01), "worse")
    assert "left out, without capacity: dense; MoE" in table.notes


def test_pairs_are_those_of_the_report_against_that_variant(run: Loaded) -> None:
    """Ratio, interval and verdict, to the last digit."""
    columns = ["ratio", "ci_low", "ci_high", "verdict"]
    rows = load(run.path, "mod[c0.25]").comparisons.set_index(["case_id", "metric"])[columns]
    theirs = {key: tuple(None if each != each else each for each in row) for key, *row in rows.itertuples()}  # noqa: PLR0124
    cells = [(each, cell) for each in compare_by(run, "variant", "MoD 0.25").columns for cell in each.cells.values()]
    ours = {
        (cell.case.id, each.metric.key): tuple(cell.row.get(name) for name in columns)
        for each, cell in cells
        if cell.row is not None
    }
    assert ours == theirs


@pytest.mark.parametrize(
    ("axis", "baseline", "value", "truth"), [("seq_len", "T64", 128, 1 / 2), ("dtype", "FP32", "bf16", 1 / 0.8)]
)
def test_values_across_grid_points_are_two_independent_samples_without_a_verdict(
    run: Loaded, axis: str, baseline: str, value: Any, truth: float
) -> None:
    table = compare_by(run, axis, baseline)
    assert any(NOT_INTERLEAVED in note for note in table.notes)
    rows = [present(each.cells[value].row) for each in table.columns if each.metric.key == TIME]
    assert sum(row["ci_low"] < truth < row["ci_high"] for row in rows) >= 0.8 * len(rows)  # 95 % in the long run
    for row in rows:
        assert row["ratio"] == row["mean_ratio"] == pytest.approx(truth, rel=0.01)
        assert (row["paired"], row["verdict"], "not alternated" in row["labels"]) == (False, None, True)
        assert NOT_INTERLEAVED in row["reason"]
    counts = [present(each.cells[value].row) for each in table.columns if each.metric.key == MEMORY]
    assert not any(NOT_INTERLEAVED in str(row) for row in counts)


def test_an_interval_across_grid_points_is_that_of_welchs_test(tmp_path: Path) -> None:
    """Against scipy's, on the processes' times."""
    noisy = compared_run(tmp_path / "run", sd=0.02, suite={"metrics": [TIME]})
    row = present(column(compare_by(noisy, "seq_len", "64"), variant="moe", dtype="fp32").cells[128].row)
    cells = (noisy.tables.cell(f"moe[T{length}-B1-fp32-cpu1]", TIME) for length in (64, 128))
    logs = [[math.log(outcome.samples["wall_s"][0]) for _, outcome in cell.outcomes] for cell in cells]
    low, high = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"environment": {"certificate": None}}, {"suite": {"effort": "smoke", "processes": 3}}],
    ids=["unchecked machine", "smoke"],
)
def test_a_time_that_supports_no_claim_has_no_verdict(changes: dict[str, Any], tmp_path: Path) -> None:
    loaded = compared_run(tmp_path / "run", **changes)
    for axis, baseline in (("capacity", "0.25"), ("seq_len", "64")):
        table = compare_by(loaded, axis, baseline, Filter(metrics=(TIME,)))
        rows = [cell.row for each in table.columns for cell in each.cells.values() if cell.row is not None]
        assert {row.get("verdict") for row in rows} == {None}, axis


def test_a_smaller_dense_model_is_not_taken_for_the_dense_one(tmp_path: Path) -> None:
    """Its width is its own; what a model does not read decides nothing."""
    matched = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    suite = {"variants": [VARIANTS[0], matched, VARIANTS[1]], "grid": {"seq_len": [64]}, "metrics": [TIME]}
    routed = column(compare_by(compared_run(tmp_path / "run", suite=suite), "model", "dense"), capacity=0.125)
    assert found(routed, "mod")[0] == pytest.approx(2.0, rel=0.01)
    assert routed.cells["dense"].case.variant == "dense"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("capacty",), "unknown axis 'capacty'. Did you mean 'capacity'?"),
        (("batch_size",), "it is 1 wherever it applies"),
        (("capacity", "0.3"), "Or name a value of capacity: 0.125, 0.25, 0.5."),
        (("capacity", "0.25", Filter(metrics=("loss/val",))), "unknown metric 'loss/val'"),
        (("capacity", "0.25", Filter(seq_lens=(999,))), "loosen --metric, --seq-len, --workload or -k"),
        (("capacity", "0.25", Filter(select="c0.25")), "only the baseline itself is left"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_would_work(
    run: Loaded, arguments: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        compare_by(run, *arguments)
    assert said in str(refused.value)


# --- fields that are no difference


def test_fields_that_follow_from_others_or_are_switched_off_are_not_compared(run: Loaded) -> None:
    """So that attention and a window can be compared, and dense with a model that chooses rows at decode."""
    dense, routed = run.run.plan.cases[:2]
    follows = dict.fromkeys(("d_ff", "n_heads"), axes.FOLLOWS)
    assert dict(axes.rest(dense, axes.fields(dense), ["d_ff", "n_heads", "n_layers"])) == follows | {"n_layers": 4}
    windowed = routed.model_copy(update={"config": routed.config.model_copy(update={"mixer": "window"})})
    read = [
        [axes.fields(case)[name] for name in ("capacity", "decode_policy", "window")]
        for case in (dense, routed, windowed.with_facts(routed.facts))
    ]
    assert read == [[None, None, None], [0.125, "host", None], [0.125, "host", routed.config.window]]


# --- options of a user's model


def test_an_option_is_an_axis_also_where_it_is_named_like_a_routing_key(here: Path) -> None:
    own = own_run(here)
    table = compare_by(own, "capacity")
    assert (table.rows, compare_by(own, "options.capacity").rows) == ([0.125, 0.25, 0.5], table.rows)
    for each in table.columns:
        assert each.cells[0.5].is_baseline
        assert found(each, 0.125)[1] == "better"
    assert (table.baseline, table.by_default) == ("mine:build capacity0.5", True)
    named = compare_by(own, "capacity", "0.25")
    assert (named.baseline, named.by_default) == ("capacity=0.25", False)


# --- one table of all: `--format md`


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """MoD at three capacities and dense, at two lengths, with losses at a third."""
    suite = {
        "metrics": ["flops/forward", TIME, "latency/train_step", MEMORY, "loss/val", "loss/val_causal"],
        "grid": {"seq_len": [64, 128], "dtype": ["fp32"]},
        "variants": VARIANTS[:2],
        "train": {"seq_len": 256, "tokens": 4096},
        "shape": {"d_model": 64, "n_layers": 2},
    }
    return compared_run(tmp_path_factory.mktemp("one") / "run", suite=suite)


def one(loaded: Loaded, axis: str = "capacity", keep: Filter | None = None) -> Table:
    kept = keep or Filter()
    return one_table(loaded, compare_by(loaded, axis, None, Filter(kept.metrics)), kept)


def test_one_table_has_the_numbers_of_each_metric_at_its_longest_length(trained: Loaded) -> None:
    table, along = one(trained), compare_by(trained, "capacity")
    assert table.head == ("capacity", "forward", "train step", "FLOPs", "memory", "bits/byte, T = 256")
    assert (table.at, [row[0] for row in table.rows]) == ("T = 128", ["dense", "MoD 0.125", "MoD 0.25", "MoD 0.5"])
    metrics = [TIME, "latency/train_step", "flops/forward", MEMORY, "loss/val"]
    assert [of_type(Finding, cell).against for cell in table.rows[0][1:]] == [None] * len(metrics)  # the baseline
    for row in table.rows[1:]:
        for cell, metric in zip((of_type(Finding, each) for each in row[1:]), metrics, strict=True):
            length = 256 if metric == "loss/val" else 128
            there = column(along, metric, seq_len=length).cells[present(cell.case).config.capacity]
            # A loss is stored in nats per byte, and shown in bits.
            wanted = present(there.row)["difference"] / math.log(2) if length == 256 else present(there.row)["ratio"]
            assert (cell.metric, cell.grid_point.seq_len) == (metric, length)
            assert cell.typical.value == pytest.approx(wanted)
