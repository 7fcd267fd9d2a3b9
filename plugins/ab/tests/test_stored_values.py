"""`ab values`: what other tools stored, read as they write it, and judged by the same words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line
from scipy import stats

from modbench.plugins.ab.flags import StoredFlags
from modbench.plugins.ab.question import Result
from modbench.plugins.ab.stored_values import compared, runs_of


def table(path: Path, columns: dict[str, Sequence[Any]]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines))
    return str(path)


def drawn(mean: float, n: int = 12, seed: int = 1, sd: float = 0.01) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(mean, sd) for _ in range(n)]


def judged(base: str, new: str, *names: str, pair: str | None = None, better: Sequence[str] = ()) -> Result:
    return compared(base, new, names, better, pair, StoredFlags())


def test_independent_values_are_compared_by_welchs_t(tmp_path: Path) -> None:
    base, new = drawn(3.0), drawn(3.01, 7, 2, 0.03)
    files = [table(tmp_path / f"{name}.csv", {"val_loss": each}) for name, each in (("a", base), ("b", new))]
    (row,) = judged(*files).rows
    expected = stats.ttest_ind(new, base, equal_var=False)
    low, high = expected.confidence_interval()
    assert (row.ratio.low, row.ratio.high) == pytest.approx((low, high))
    assert row.contrast is not None
    assert row.contrast.p_adjusted == pytest.approx(expected.pvalue)


def test_pairs_are_compared_as_pairs_whatever_their_order(tmp_path: Path) -> None:
    seeds, base = [*range(12)], drawn(3.0, sd=0.5)
    new = [each + apart for each, apart in zip(base, drawn(0.02, seed=2), strict=True)]
    one = table(tmp_path / "a.csv", {"seed": [*seeds, 99], "acc": [*base, 9.0]})
    other = table(tmp_path / "b.csv", {"seed": seeds[::-1], "acc": new[::-1]})
    (row,) = judged(one, other, pair="seed").rows
    low, high = stats.ttest_rel(new, base).confidence_interval()
    assert row.verdict == "better"
    assert (row.ratio.low, row.ratio.high) == pytest.approx((low, high))
    assert judged(one, other).rows[-1].verdict == "inconclusive"


@pytest.mark.parametrize(("name", "ratio"), [("train_time_s", 0.5), ("mean_ttft_ms", 0.5), ("output_throughput", 2.0)])
@pytest.mark.parametrize("pair", [None, "seed"])
def test_a_time_that_did_not_alternate_has_an_effect_and_no_verdict(
    tmp_path: Path, name: str, ratio: float, pair: str | None
) -> None:
    files = [
        table(tmp_path / f"{side}.csv", {"seed": range(12), name: drawn(mean, seed=mean)})
        for side, mean in (("a", 1), ("b", 2))
    ]
    found = judged(*files, name, pair=pair)
    (row,) = found.rows
    assert (row.verdict, row.open) == (None, False)
    assert row.ratio.value == pytest.approx(ratio, rel=0.01)
    assert [*map(str, row.labels)] == ["not alternated"]


WRITTEN = {
    "vllm.json": ({"backend": "vllm", "mean_ttft_ms": 9.5, "itls": [1, 2]}, {"mean_ttft_ms": 9.5}),
    "guidellm.json": (
        {"benchmarks": [{"metrics": {"request_latency": {"successful": {"mean": 2.0, "std_dev": 1.0}}}}]},
        {"request_latency.mean": 2.0},
    ),
    "lm_eval.json": (
        {"results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.01}}},
        {"arc/acc,none": 0.5, "arc/acc_stderr,none": 0.01},
    ),
    "list.json": ([{"eval": {"loss": 1.0}}], {"eval.loss": 1.0}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_results_of_other_tools_are_read_as_they_write_them(tmp_path: Path, name: str) -> None:
    found, expected = WRITTEN[name]
    (tmp_path / name).write_text(json.dumps(found))
    (run,) = runs_of(str(tmp_path / name))
    assert {key: value for key, value in run.items() if isinstance(value, float)} == expected
    (tmp_path / f"second_{name}").write_text(json.dumps(found))
    assert runs_of(str(tmp_path)) == runs_of(str(tmp_path / "*.json")) == [run, run]


def test_a_chart_of_weights_and_biases_is_a_run_for_each_line(tmp_path: Path) -> None:
    line: dict[str, Sequence[Any]] = {
        "Step": [1, 2, 3],
        "one - val/loss": [3, 2, 1],
        "one - val/loss__MIN": [0, 0, 0],
        "b - c - val/loss": [3, 2, ""],
    }
    found = runs_of(table(tmp_path / "chart.csv", line))
    assert found == [{"run": "one", "val/loss": "1"}, {"run": "b - c", "val/loss": "2"}]


@pytest.mark.slow
def test_scalars_of_tensorboard_are_read(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    for number in range(3):
        with tensorboard.SummaryWriter(str(tmp_path / "base" / str(number))) as writer:
            for step in range(5):
                writer.add_scalar("val/loss", 5.0 - step + number, step)
    assert [(run["run"], run["val/loss"]) for run in runs_of(str(tmp_path / "base"))] == [
        ("0", 1.0),
        ("1", 2.0),
        ("2", 3.0),
    ]


def test_one_result_of_each_side_is_compared_by_its_errors(tmp_path: Path) -> None:
    for name, acc in (("a", 0.5), ("b", 0.6)):
        told = {"results": {"arc": {"acc,none": acc, "acc_stderr,none": 0.02}}}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    (row,) = judged(str(tmp_path / "a.json"), str(tmp_path / "b.json")).rows
    half = 1.959964 * 0.02 * 2**0.5
    assert row.verdict == "better"
    assert (row.ratio.low, row.ratio.high) == pytest.approx((0.1 - half, 0.1 + half))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no.csv a.csv", "no such file"),
        ("a.csv a.csv --value text", "has 'x'"),
        ("a.csv a.csv --value nope", "Columns of numbers: loss, what"),
        ("a.csv a.csv --value what", "--better what=lower"),
        ("a.csv a.csv --better loss=more", "lower, higher or VALUE=higher"),
        ("a.csv a.csv --pair nope", "no column 'nope'"),
        ("a.csv a.csv --pair text", "several runs"),
        ("a.csv a.csv --fail-on nope:1%", "unknown check"),
        ("a.csv a.csv --fail-on loss:0%", "not above 0%"),
        ("bad.jsonl a.csv", "cannot be read"),
        ("empty.csv a.csv", "holds no run"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path: Path, words: str, said: str) -> None:
    table(tmp_path / "a.csv", {"loss": [1, 2, 3], "what": [1, 2, 3], "text": ["x", "x", "y"]})
    (tmp_path / "bad.jsonl").write_text('{"loss": 1}\n{"loss"')
    (tmp_path / "empty.csv").write_text("loss\n")
    done = command_line("ab", "values", *words.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (2, 1, True), done.stderr


def test_a_limit_fails_and_the_page_is_written(tmp_path: Path) -> None:
    files = [table(tmp_path / f"{side}.csv", {"val_loss": drawn(mean)}) for side, mean in (("a", 3.0), ("b", 3.1))]
    for limit, code in (("1%", 1), ("5%", 0)):
        done = command_line(
            "ab", "values", *files, "--fail-on", f"val_loss:{limit}", "-o", "out", "--json", cwd=tmp_path
        )
        assert (done.returncode, json.loads(done.stdout)["rows"][0]["check"]) == (code, ("pass", "fail")[code])
    assert "val_loss" in (tmp_path / "out" / "report.html").read_text()
