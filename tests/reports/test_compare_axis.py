"""`modbench compare RUN --by AXIS`: any axis and baseline; pairs within a grid point, independent samples across them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from fresh_catalogue import forget
from planted_compare import OWN, VARIANTS, compared_run, own_run
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue
from modbench.reports.questions.compare_axis import BASELINE, AlongAxis, Cell, Column, Filter, compare_by
from modbench.reports.tables import axes
from modbench.reports.tables.comparisons import NOT_INTERLEAVED
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import compare

TIME, MEMORY = "latency/forward", "memory/peak_allocated"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Five variants at two lengths in two number formats, whose processes differ by 0.3 %."""
    return compared_run(tmp_path_factory.mktemp("compared") / "run")


def column(table: AlongAxis, metric: str = TIME, **wanted: Any) -> Column:
    """The only column with these fields in its heading."""
    found = [
        each for each in table.columns if each.metric.key == metric and wanted.items() <= dict(each.heading).items()
    ]
    assert len(found) == 1, [each.heading for each in table.columns]
    return found[0]


def ratio(cell: Cell) -> tuple[Any, Any]:
    assert cell.row is not None
    return cell.row["ratio"], cell.row["verdict"]


@pytest.mark.slow
@pytest.mark.parametrize("named", [" C0.25 ", "0.250"])
def test_a_value_of_the_axis_is_the_baseline_where_all_else_is_equal(run: Loaded, named: str) -> None:
    table = compare_by(run, "capacity", named)
    assert table.rows == [0.125, 0.25, 0.5]
    assert len(table.columns) == 2 * 2 * 2  # metrics, lengths, number formats
    for each in (column(table, seq_len=length, dtype=dtype) for length in (64, 128) for dtype in ("fp32", "bf16")):
        assert each.cells[0.25].is_baseline
        assert ratio(each.cells[0.125]) == (pytest.approx(1.6, rel=0.01), "better")
        assert ratio(each.cells[0.5]) == (pytest.approx(0.8, rel=0.01), "worse")
    assert "left out, without capacity: dense; MoE" in table.notes


def test_pairs_are_those_of_the_report_against_that_variant(run: Loaded) -> None:
    """Ratio, interval and verdict, to the last digit."""
    rows = load(run.path, "mod[c0.25]").comparisons
    table = compare_by(run, "variant", "MoD 0.25")
    compared = 0
    for each in table.columns:
        for cell in (cell for cell in each.cells.values() if cell.row is not None):
            (theirs,) = rows[(rows.case_id == cell.case.id) & (rows.metric == each.metric.key)].to_dict("records")
            assert cell.row is not None
            assert cell.row["ratio"] == theirs["ratio"]
            assert cell.row["verdict"] == theirs["verdict"]
            assert cell.row.get("ci_low") == (None if math.isnan(theirs["ci_low"]) else theirs["ci_low"])
            compared += 1
    assert compared == len(rows)


@pytest.mark.parametrize(
    ("axis", "baseline", "value", "truth"), [("seq_len", "T64", 128, 1 / 2), ("dtype", "FP32", "bf16", 1 / 0.8)]
)
def test_values_across_grid_points_are_compared_by_welch_and_say_so(
    run: Loaded, axis: str, baseline: str, value: Any, truth: float
) -> None:
    table = compare_by(run, axis, baseline)
    assert any(NOT_INTERLEAVED in note for note in table.notes)
    rows = [present(found.cells[value].row) for found in table.columns if found.metric.key == TIME]
    assert sum(row["ci_low"] < truth < row["ci_high"] for row in rows) >= 0.8 * len(rows)  # 95 % in the long run
    for row in rows:
        assert row["ratio"] == pytest.approx(truth, rel=0.01)
        assert not row["paired"]
        assert NOT_INTERLEAVED in row["reason"]
        assert row["verdict"] is None
        assert "not alternated" in row["labels"]
        assert row["mean_ratio"] == pytest.approx(row["ratio"])
    counted = column(table, MEMORY, variant="dense", **({"dtype": "fp32"} if axis == "seq_len" else {"seq_len": 64}))
    assert NOT_INTERLEAVED not in str(present(counted.cells[value].row))


def test_an_interval_across_grid_points_is_that_of_two_independent_samples(tmp_path: Path) -> None:
    """Against scipy's own Welch test, on the processes' times."""
    from scipy import stats

    noisy = compared_run(tmp_path / "run", sd=0.02, suite={"metrics": [TIME]})
    row = present(column(compare_by(noisy, "seq_len", "64"), variant="moe", dtype="fp32").cells[128].row)
    cases = {case.id: case for case in noisy.run.plan.cases}
    logs = [
        [
            math.log(o.samples["wall_s"][0])
            for _, o in noisy.tables.cell(cases[f"moe[T{t}-B1-fp32-cpu1]"].id, TIME).outcomes
        ]
        for t in (64, 128)
    ]
    found = stats.ttest_ind(*logs, equal_var=False)
    low, high = found.confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))


@pytest.mark.slow
def test_of_an_unchecked_machine_and_of_smoke_no_time_has_a_verdict(tmp_path: Path) -> None:
    unknown = compared_run(tmp_path / "unknown", environment={"certificate": None})
    smoke = compared_run(tmp_path / "smoke", suite={"effort": "smoke", "processes": 3})
    for loaded in (unknown, smoke):
        for axis, baseline in (("capacity", "0.25"), ("seq_len", "64")):
            table = compare_by(loaded, axis, baseline, Filter(metrics=(TIME,)))
            rows = [cell.row for each in table.columns for cell in each.cells.values() if cell.row is not None]
            assert rows
            assert {row.get("verdict") for row in rows} == {None}, (axis, loaded.path)


def test_a_smaller_dense_model_is_not_taken_for_the_dense_one(tmp_path: Path) -> None:
    """Its width is its own; what a model does not read decides nothing."""
    matched = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    suite = {"variants": [VARIANTS[0], matched, VARIANTS[1]], "grid": {"seq_len": [64]}, "metrics": [TIME]}
    table = compare_by(compared_run(tmp_path / "run", suite=suite), "model", "dense")
    routed = column(table, capacity=0.125)
    assert ratio(routed.cells["mod"])[0] == pytest.approx(2.0, rel=0.01)
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


@pytest.mark.slow
def test_an_incomplete_run_is_compared_and_ends_with_4(tmp_path: Path, modbench: Any) -> None:
    made = compared_run(tmp_path / "run", leave_out="memory-T64-B1-bf16", suite={"grid": {"seq_len": [64]}})
    assert not made.run.missing
    made = compared_run(tmp_path / "lacks", leave_out="time-forward-T64-B1-bf16")
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    done = modbench("compare", made.path, "--by", "capacity")
    assert done.returncode == 4, done.stderr
    assert re.search(r"\b5 \w+ have no record", done.stderr)
    assert re.search(r"\d×\S*▲", done.stdout)
    assert "has no record" in " ".join(done.stdout.split())
    assert before == {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}  # nothing is written there


def test_the_command_refuses_what_does_not_fit_together(tmp_path: Path, modbench: Any, run: Loaded) -> None:
    for arguments, said in (
        ((run.path, run.path, "--by", "capacity"), "2 were named"),
        ((run.path, "--by", "capacity", "--seq-len", "x"), "--seq-len takes whole numbers"),
        ((tmp_path, "--by", "capacity"), "is not a run folder"),
    ):
        done = modbench("compare", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_fields_that_follow_from_others_are_no_difference(run: Loaded) -> None:
    case = run.run.plan.cases[0]
    assert dict(axes.rest(case, axes.fields(case), ["d_ff", "n_heads", "n_layers"])) == {
        "d_ff": axes.FOLLOWS,
        "n_heads": axes.FOLLOWS,
        "n_layers": 4,
    }
    assert axes.fields(case)["capacity"] is None


def test_a_field_that_another_one_switches_off_is_not_read(run: Loaded) -> None:
    """So that attention and a window can be compared, and dense with a model that chooses rows at decode."""
    dense, routed = run.run.plan.cases[:2]
    assert axes.fields(dense)["decode_policy"] is None
    assert axes.fields(routed)["decode_policy"] == "host"
    assert axes.fields(routed)["window"] is None
    windowed = routed.model_copy(update={"config": routed.config.model_copy(update={"mixer": "window"})})
    window = windowed.with_facts(routed.facts)
    assert axes.fields(window)["window"] == routed.config.window


def test_a_models_file_is_parsed_for_no_stored_case(run: Loaded) -> None:
    """What its models read is in the plan; of thousands of cases it would else take minutes."""
    forget()
    compare_by(run, "capacity", "0.25", Filter(metrics=(MEMORY,)))
    assert catalogue._options_in.cache_info().misses == 0


def test_an_option_of_ones_own_is_an_axis_also_where_it_is_named_like_a_routing_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = own_run(tmp_path)
    table = compare_by(own, "capacity")
    assert (table.rows, compare_by(own, "options.capacity").rows) == ([0.125, 0.25, 0.5], table.rows)
    for each in table.columns:
        assert each.cells[0.5].is_baseline
        assert ratio(each.cells[0.125])[1] == "better"
    head = " ".join(compare.along_axis(own, table, 80).partition("\n\n")[0].split())
    assert head == f"{own.path} by capacity: speed-up over mine:build capacity0.5"
    assert compare.axis_as_dict(own, table)["baseline_by_default"]
    named = compare_by(own, "capacity", "0.25")
    assert (named.baseline, named.by_default) == ("capacity=0.25", False)


@pytest.mark.slow
def test_an_option_stands_beside_the_key_of_that_name_of_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.25]}, *OWN["variants"]]
    loaded = own_run(tmp_path, {"variants": variants}, slower={})
    table = compare_by(loaded, "capacity")
    assert not table.by_default
    assert {model: {*column(table, seq_len=64, model=model).cells} for model in ("mod", "mine.py:build")} == {
        "mod": {BASELINE, 0.125, 0.25},
        "mine.py:build": {BASELINE, 0.5, 0.25, 0.125},
    }


def test_an_option_named_like_a_field_that_every_case_has_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variants = [{"model": "mine.py:build", "options": {"router": ["a", "b"]}}]
    loaded = own_run(tmp_path, {"variants": variants, "aa_control": True}, slower={})
    known = [*axes.of(loaded.run.plan.cases).values()]
    assert {axes.checked_axis(name, known) for name in ("router", "options.router")} == {"options.router"}
    assert axes.checked_axis("seq_len", known) == "seq_len"
    with pytest.raises(UsageError, match=r"options\.router"):
        axes.checked_axis("ruoter", known)
