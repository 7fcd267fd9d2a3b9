"""`modbench compare A B`: what differs, what changed, and what cannot be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from planted_compare import VARIANTS, compared_run

from modbench.harness.core.errors import UsageError
from modbench.reports.questions.compare_runs import Against, compare_runs
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import NOT_ALTERNATED, Pair
from modbench.reports.terminal import compare

TIME, MEMORY = "latency/forward", "memory/peak_allocated"
SMALL: dict[str, Any] = {"grid": {"seq_len": [64]}}
MIRRORED = {"better": "worse", "worse": "better", "new": "missing", "missing": "new"}


def small(folder: Path, **changes: Any) -> Loaded:
    """A run at one length in one number format."""
    suite = SMALL | dict(changes.pop("suite", {}))
    return compared_run(folder, suite=suite, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """A run, and one after a change: MoD 0.125 takes 20 % more, MoD 0.5 20 % less, MoE fails."""
    here = tmp_path_factory.mktemp("runs")
    slower = {"mod[c0.125]": 1.2, "mod[c0.5]": 0.8}
    return [small(here / "before", seed=1), small(here / "after", seed=2, slower=slower, fails="moe")]


def rows(found: Against, metric: str = TIME) -> dict[str, Pair]:
    return {row.case.variant: row for row in found.rows if row.metric.key == metric}


def test_a_gate_fails_on_what_is_worse(runs: list[Loaded]) -> None:
    ours = {(r.case.id, r.metric.key) for r in compare_runs(runs).against[0].rows if r.verdict == "worse"}
    theirs = {(f.what, f.metric) for f in gate.gate(runs[0], runs[1], 0.02).findings if f.verdict == "fail"}
    assert ours == theirs != set()


def test_swapping_two_runs_mirrors_ratios_and_verdicts(runs: list[Loaded]) -> None:
    there, back = (compare_runs(order).against[0] for order in (runs, runs[::-1]))
    assert len(there.rows) == len(back.rows)
    mirrored = {(row.case.id, row.metric.key): row for row in back.rows}
    for row in there.rows:
        other = mirrored[row.case.id, row.metric.key]
        change, turned = row.change(), other.change()
        assert other.verdict == MIRRORED.get(str(row.verdict), row.verdict), row
        assert back.values(other) == there.values(row)[::-1]
        if change.value is not None:
            assert turned.value == pytest.approx(1 / change.value)
        if change.low is not None:
            assert turned.high == pytest.approx(1 / change.low)


@pytest.mark.slow
def test_unlike_machines_are_refused_unless_named_and_then_ratios_to_the_anchor_are_compared(
    runs: list[Loaded], tmp_path: Path, modbench: Any
) -> None:
    elsewhere = small(tmp_path / "elsewhere", seed=4, speed=3.0, environment={"cpu": "another", "machine": "n"})
    with pytest.raises(UsageError, match=r"unlike machines \(processor: a fake and another\)"):
        compare_runs([runs[0], elsewhere])
    done = modbench("compare", runs[0].path, elsewhere.path)
    assert (done.returncode, done.stdout) == (2, "")
    (against,) = compare_runs([runs[0], elsewhere], across_machines=True).against
    found = rows(against)
    assert {found[variant].verdict for variant in ("mod[c0.125]", "mod[c0.25]", "moe")} == {NOT_ALTERNATED}
    assert found["dense"].verdict == "not compared"
    assert against.values(found["dense"])[1].value == pytest.approx(0.06, rel=0.01)
    done = modbench("compare", runs[0].path, elsewhere.path, "--across-machines")
    assert (done.returncode, "each run's own baseline" in " ".join(done.stdout.split())) == (0, True), done.stderr


def test_no_time_of_two_runs_has_a_verdict_and_every_one_is_shown(runs: list[Loaded], tmp_path: Path) -> None:
    """Nor has one of a smoke run or of a machine that was not checked, whose counts are compared all the same."""
    found = rows(compare_runs(runs).against[0])
    assert {variant: row.verdict for variant, row in found.items()} == dict.fromkeys(found, NOT_ALTERNATED) | {
        "moe": "worse"
    }
    assert found["mod[c0.125]"].change().value == pytest.approx(1 / 1.2, rel=0.01)
    text = compare.side_by_side(compare_runs(runs), 80)
    assert "· not alternated" in text
    assert "did not alternate" in " ".join(text.split())
    unknown = small(tmp_path / "unknown", environment={"certificate": None}, slower={"moe": 2.0})
    smoke = small(tmp_path / "smoke", suite={"effort": "smoke", "processes": 5}, slower={"moe": 2.0})
    for other in (unknown, smoke):
        for order in ((runs[0], other), (other, runs[0])):
            told = compare_runs(order).against[0]
            assert {row.verdict for row in rows(told).values()} <= {NOT_ALTERNATED, "not compared"}
            assert {row.verdict for row in rows(told, MEMORY).values()} == {"equivalent"}


def test_new_and_missing_cases_of_other_suites_are_named(tmp_path: Path) -> None:
    more = [*VARIANTS, {"model": "mod", "capacity": 0.75}]
    first, second = small(tmp_path / "a"), small(tmp_path / "b", suite={"variants": more, "metrics": [TIME]})
    found = compare_runs([first, second])
    assert rows(found.against[0])["mod[c0.75]"].verdict == "new"
    assert {row.verdict for row in rows(found.against[0], MEMORY).values()} == {"missing"}
    assert [each.what for each in found.differences] == ["variants", "metrics"]
    assert "mod[c0.75-T64-B1-fp32-cpu1]" in compare.side_by_side(found, 80, verbose=True)
    other = small(tmp_path / "c", suite={"shape": {"d_model": 128, "n_layers": 2}})
    apart = compare_runs([first, other]).against[0]
    assert len(apart.said) == 1
    assert {row.verdict for row in apart.rows} == {"not compared"}


def test_a_damaged_unit_is_named_and_ends_with_4(runs: list[Loaded], tmp_path: Path, modbench: Any) -> None:
    broken = small(tmp_path / "broken", seed=5)
    next((broken.path / "jobs").glob("time-forward*")).write_text("{")
    before = {path: path.stat().st_mtime_ns for path in broken.path.rglob("*")}
    done = modbench("compare", runs[0].path, broken.path)
    assert done.returncode == 4
    assert "not JSON" in done.stderr
    said = " ".join(done.stdout.split())
    assert re.search(r"not compared: [^:]*: .*: dense\[T64-B1-fp32-cpu1\]", said)
    assert re.search(r"^B over A: .*equivalent", done.stdout)  # memory is compared all the same
    told = json.loads(modbench("compare", runs[0].path, broken.path, "--json").stdout)
    assert [len(each["damaged"]) for each in told["runs"]] == [0, 1]
    assert told["runs"][1]["incomplete"]
    assert before == {path: path.stat().st_mtime_ns for path in broken.path.rglob("*")}


def test_losses_are_compared_seed_by_seed_as_differences(tmp_path: Path) -> None:
    suite = {"metrics": ["loss/val"], "seeds": [0, 1, 2]}
    found = compare_runs([small(tmp_path / name, suite=suite) for name in "ab"])
    (row, *_) = found.against[0].rows
    assert (row.verdict, row.change().value, row.change().kind) == ("equivalent", 0.0, "difference")
    assert "forward" not in compare.side_by_side(found, 80)


def test_three_runs_are_each_compared_with_the_first(runs: list[Loaded], tmp_path: Path) -> None:
    found = compare_runs([*runs, small(tmp_path / "third", seed=6)])
    assert [each.name for each in found.against] == ["B", "C"]
    assert rows(found.against[1])["mod[c0.125]"].verdict == NOT_ALTERNATED
    text = compare.side_by_side(found, 80)
    assert "C over A: " in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("A  ", "B  ", "C  "))) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "one run was named"),
        (("SELF",), "named twice"),
        (("OTHER", "--baseline", "dense"), "--baseline needs --by AXIS"),
        (("OTHER",) * 8, "9 runs: name two to 8"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    more: tuple[str, ...], said: str, runs: list[Loaded], modbench: Any
) -> None:
    paths = {"SELF": runs[0].path, "OTHER": runs[1].path}
    done = modbench("compare", runs[0].path, *(paths.get(each, each) for each in more))
    assert done.returncode == 2
    assert said in done.stderr


def test_a_strangers_names_cannot_steer_the_terminal(tmp_path: Path, runs: list[Loaded]) -> None:
    loud = small(tmp_path / "loud", environment={"packages": {"modbench": "0", "evil\x1b[2J\nname": "1\x1b[31m"}})
    text = compare.side_by_side(compare_runs([runs[0], loud]), 80)
    assert "\x1b" not in text
    assert "evil\\x1b[2J" in text
