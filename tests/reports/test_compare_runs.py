"""`modbench compare A B`: what differs, what changed, what cannot be compared, and its page.

What is compared with what, and why not, `test_gate.py` holds; words and layout, `tests/goldens/gate`.
"""

from __future__ import annotations

from collections.abc import Callable
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
MIRRORED = {"better": "worse", "worse": "better", "new": "missing", "missing": "new"}
EVIL = "<script>alert(1)</script>\x1b[2J\n"
Modbench = Callable[..., Any]


def small(folder: Path, **changes: Any) -> Loaded:
    """A run at one length in one number format."""
    return compared_run(folder, suite={"grid": {"seq_len": [64]}} | dict(changes.pop("suite", {})), **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """A run, and one in which MoD 0.125 takes 20 % more, MoD 0.5 20 % less, MoE fails, MoD 0.75 is new, and a package."""
    here = tmp_path_factory.mktemp("runs")
    after: dict[str, Any] = {"suite": {"variants": [*VARIANTS, {"model": "mod", "capacity": 0.75}]}}
    after |= {"slower": {"mod[c0.125]": 1.2, "mod[c0.5]": 0.8}, "fails": "moe"}
    packages = {"packages": {"modbench": "0", EVIL: "1"}}
    return [small(here / "before", seed=1), small(here / "after", seed=2, environment=packages, **after)]


def rows(found: Against, metric: str = TIME) -> dict[str, Pair]:
    return {row.case.variant: row for row in found.rows if row.metric.key == metric}


def test_a_gate_fails_on_what_is_worse(runs: list[Loaded]) -> None:
    ours = {(row.case.id, row.metric.key) for row in compare_runs(runs).against[0].rows if row.verdict == "worse"}
    theirs = {(each.what, each.metric) for each in gate.gate(runs[0], runs[1]).findings if each.verdict == "fail"}
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


def test_times_have_no_verdict_and_all_else_has(runs: list[Loaded]) -> None:
    found = rows(compare_runs(runs).against[0])
    words = dict.fromkeys(found, NOT_ALTERNATED) | {"moe": "worse", "mod[c0.75]": "new"}
    assert {variant: row.verdict for variant, row in found.items()} == words
    assert found["mod[c0.125]"].change().value == pytest.approx(1 / 1.2, rel=0.01)


@pytest.mark.slow
def test_unlike_machines_are_compared_by_ratios_to_their_own_baselines_if_asked(
    runs: list[Loaded], tmp_path: Path, modbench: Modbench
) -> None:
    elsewhere = small(tmp_path / "elsewhere", seed=4, speed=3.0, environment={"cpu": "another", "machine": "n"})
    with pytest.raises(UsageError, match=r"unlike machines \(processor: a fake and another\)"):
        compare_runs([runs[0], elsewhere])
    (against,) = compare_runs([runs[0], elsewhere], across_machines=True).against
    dense = rows(against)["dense"]
    assert (rows(against)["moe"].verdict, dense.verdict) == (NOT_ALTERNATED, "not compared")
    assert against.values(dense)[1].value == pytest.approx(0.06, rel=0.01)
    done = modbench("compare", runs[0].path, elsewhere.path, "--across-machines")
    assert (done.returncode, "each run's own baseline" in " ".join(done.stdout.split())) == (0, True), done.stderr


def test_what_differs_is_named_and_runs_without_a_case_in_common_say_so(runs: list[Loaded], tmp_path: Path) -> None:
    found = compare_runs([runs[0], small(tmp_path / "a", suite={"metrics": [TIME], "margin": 0.5})])
    assert {row.verdict for row in rows(found.against[0], MEMORY).values()} == {"missing"}
    assert [each.what for each in found.differences] == ["margin", "metrics"]
    assert found.margin == 0.02  # the smaller one
    other = small(tmp_path / "b", suite={"shape": {"d_model": 128, "n_layers": 2}})
    apart = compare_runs([runs[0], other]).against[0]
    assert apart.said == ["the runs have no case in common"]
    assert {row.verdict for row in apart.rows} == {"not compared"}


def test_three_runs_are_each_compared_with_the_first(runs: list[Loaded], tmp_path: Path) -> None:
    found = compare_runs([*runs, small(tmp_path / "third", seed=6)])
    assert [each.name for each in found.against] == ["B", "C"]
    lines = compare.side_by_side(found, 80).splitlines()
    assert any(line.startswith("C over A: ") for line in lines)
    assert max(len(line) for line in lines if not line.startswith(("A  ", "B  ", "C  "))) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("A", "one run was named"),
        ("A A", "named twice"),
        ("A" + " B" * 8, "9 runs: name two to 8"),
        ("A B --by capacity", "2 were named"),
        ("ELSEWHERE --by capacity", "is not a run folder"),
        ("A B --html ELSEWHERE", "is a folder"),
        ("A B --html ELSEWHERE/no/such.html", "no/such.html"),
        ("A --by capacity --html A/new.html --force", "in a run folder"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_line(
    words: str, said: str, runs: list[Loaded], tmp_path: Path, modbench: Modbench
) -> None:
    paths = {"A": runs[0].path, "B": runs[1].path, "ELSEWHERE": tmp_path}
    named = [word.partition("/") for word in words.split()]
    done = modbench("compare", *(f"{paths.get(first, first)}{slash}{rest}" for first, slash, rest in named))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not (runs[0].path / "new.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_page_replaces_a_file_only_if_told_to(runs: list[Loaded], tmp_path: Path, modbench: Modbench) -> None:
    asked, file = ("compare", *(run.path for run in runs), "--html", tmp_path / "new.html"), tmp_path / "new.html"
    assert modbench(*asked).returncode == 0
    first = file.read_text()
    assert "&lt;script&gt;alert(1)" in first
    assert "http" not in first.replace("http://www.w3.org/2000/svg", "")  # the namespace of drawings, no address
    file.write_text("mine")
    refused = modbench(*asked)
    assert (refused.returncode, "--force" in refused.stderr, file.read_text()) == (2, True, "mine")
    assert modbench(*asked, "--force").returncode == 0
    assert len(file.read_text()) > len(first) // 2
