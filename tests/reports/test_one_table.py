"""`modbench compare --by AXIS --format md`: one table of times, FLOPs, memory and a loss, for a pull request."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_compare import VARIANTS, compared_run
from present import present

from modbench.harness.core.errors import UsageError
from modbench.reports.blocks import Finding, Table
from modbench.reports.questions.compare_axis import Filter, compare_by, one_table
from modbench.reports.tables.load import Loaded, load

Modbench = Callable[..., subprocess.CompletedProcess[str]]
METRICS = [
    "flops/forward",
    "latency/forward",
    "latency/train_step",
    "memory/peak_allocated",
    "loss/val",
    "loss/val_causal",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """MoD at three capacities and dense, at two lengths, with losses at a third."""
    grid = {"seq_len": [64, 128], "dtype": ["fp32"]}
    train = {"seq_len": 256, "tokens": 4096}
    suite = {
        "metrics": METRICS,
        "grid": grid,
        "variants": VARIANTS[:2],
        "train": train,
        "shape": {"d_model": 64, "n_layers": 2},
    }
    return compared_run(tmp_path_factory.mktemp("one") / "run", suite=suite)


def made(run: Loaded, axis: str = "capacity", keep: Filter | None = None) -> Table:
    kept = keep or Filter()
    return one_table(run, compare_by(run, axis, None, Filter(kept.metrics)), kept)


def test_it_has_times_flops_memory_and_a_loss_that_was_measured(run: Loaded) -> None:
    table = made(run)
    assert table.head == ("capacity", "forward", "train step", "FLOPs", "memory", "bits/byte, T = 256")
    assert table.at == "T = 128"
    assert [row[0] for row in table.rows] == ["dense", "MoD 0.125", "MoD 0.25", "MoD 0.5"]
    cells = [[cell for cell in row[1:] if isinstance(cell, Finding)] for row in table.rows]
    assert {len(row) for row in cells} == {5}
    assert [cell.metric for cell in cells[1]] == [
        *("latency/forward", "latency/train_step", "flops/forward", "memory/peak_allocated", "loss/val")
    ]
    assert [cell.grid_point.seq_len for cell in cells[1]] == [128, 128, 128, 128, 256]
    assert all(cell.against is None for cell in cells[0])  # the baseline has values
    assert [cell.typical.kind for cell in cells[1]] == [*["ratio"] * 4, "difference"]
    along = compare_by(run, "capacity")
    for column in along.columns:  # the same numbers as the tables of the terminal
        length = dict(column.heading).get("seq_len")
        for cell in (cell for row in cells[1:] for cell in row):
            if cell.metric == column.metric.key and cell.grid_point.seq_len == length:
                row = present(column.cells[cell.case.config.capacity].row)
                if cell.metric.startswith("loss"):  # stored in nats per byte, shown in bits
                    assert cell.typical.value == pytest.approx(row["difference"] / math.log(2))
                else:
                    assert cell.typical.value == row["ratio"]


def test_a_title_names_the_row_of_its_variant(run: Loaded) -> None:
    shown = load(run.path, title={"c0.25": "a quarter"})
    assert [row[0] for row in made(shown).rows] == ["dense", "MoD 0.125", "a quarter", "MoD 0.5"]
    # Of a row for a length it stands before the length.
    assert [row[0] for row in made(shown, "seq_len").rows if "a quarter" in str(row[0])] == [
        *("a quarter, T = 64", "a quarter, T = 128", "a quarter, T = 256")
    ]


@pytest.mark.parametrize(
    ("keep", "head", "at"),
    [
        (Filter(seq_lens=(64,)), ("forward", "train step", "FLOPs", "memory", "bits/byte, T = 256"), "T = 64"),
        (Filter((METRICS[1],), (64, 128)), ("forward, T = 64", "forward, T = 128"), ""),
        (Filter(("loss/val", METRICS[1])), ("bits/byte, T = 256", "forward"), "T = 128"),
    ],
)
def test_metrics_and_lengths_that_were_named(run: Loaded, keep: Filter, head: tuple[str, ...], at: str) -> None:
    table = made(run, keep=keep)
    assert (table.head[1:], table.at) == (head, at)
    assert all(cell is not None for row in table.rows for cell in row[1:])


def test_a_length_that_nothing_has_is_refused(run: Loaded) -> None:
    with pytest.raises(UsageError, match="--seq-len 300"):
        made(run, keep=Filter(seq_lens=(300,)))


@pytest.mark.parametrize("axis", ["variant", "seq_len"])
def test_any_axis_makes_one_table(run: Loaded, axis: str) -> None:
    table = made(run, axis)
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.head[:2] == (axis, "forward")


def test_several_models_are_named_beside_their_values(tmp_path: Path) -> None:
    variants = [*VARIANTS[:1], *({"model": model, "capacity": [0.25, 0.5]} for model in ("mod", "mode_integrated"))]
    table = made(compared_run(tmp_path / "run", suite={"variants": variants, "metrics": METRICS[:2]}))
    names = ("dense", "MoD 0.25", "MoD 0.5", "MoDE integrated 0.25", "MoDE integrated 0.5")
    assert {row[0] for row in table.rows} == {f"{variant}, {dtype}" for variant in names for dtype in ("fp32", "bf16")}
    assert all(isinstance(cell, Finding) and cell.value for row in table.rows for cell in row[1:])


# --- the command


def test_what_does_not_go_together_is_refused(run: Loaded, modbench: Modbench) -> None:
    for words, said in (
        (("--by", "capacity", "--format", "txt"), "unknown --format 'txt'"),
        (("--by", "capacity", "--format", "md", "--json"), "both print"),
        ((run.path, "--format", "md"), "--by"),
    ):
        done = modbench("compare", run.path, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_newest_run_is_named_beside_a_table_not_in_it(run: Loaded, modbench: Modbench, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "runs" / "one")
    done = modbench("compare", "--by", "capacity", "--format", "md", cwd=tmp_path)
    assert done.stdout.splitlines()[0].startswith("<!-- runs/one")
    assert "runs/one" in done.stderr.splitlines()[0]
