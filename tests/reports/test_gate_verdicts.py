"""The gate's verdicts: times, which have none between two runs that took no turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_gate import gate_run
from present import present

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.tables.load import Loaded, load
from modbench.reports.tables.two_runs import ELSEWHERE, NOT_ALTERNATED
from modbench.reports.terminal import gate as gate_text

TIME = "latency/forward"


def timed(found: Gate, variant: str) -> set[str | None]:
    return {each.verdict for each in found.findings if each.what.startswith(f"{variant}[") and each.metric == TIME}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    suite = {"metrics": [TIME, "flops/forward"], "grid": {"seq_len": [64]}}
    return gate_run(tmp_path_factory.mktemp("gate") / "base", suite=suite, seed=1)


def again(folder: Path, **more: Any) -> Loaded:
    return gate_run(folder, suite={"metrics": [TIME, "flops/forward"], "grid": {"seq_len": [64]}}, seed=2, **more)


@pytest.mark.slow
@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_a_time_of_two_runs_is_printed_and_has_no_verdict(
    slower: float, base: Loaded, tmp_path: Path, modbench: Any
) -> None:
    """Of twice the time as of the same: two visits to a machine differ by an amount that no process of either shows."""
    now = again(tmp_path / "now", slower={"moe": slower})
    found = gate.gate(base, now)
    assert timed(found, "moe") == timed(found, "dense") == {NOT_ALTERNATED}
    assert (found.verdict, found.exit_code()) == ("pass", 0)
    (moe,) = (each for each in found.findings if each.what.startswith("moe[") and each.metric == TIME)
    assert moe.typical.value == pytest.approx(1 / slower, rel=0.01)
    assert present(moe.typical.low) < 1 / slower < present(moe.typical.high)
    assert "modbench ab revisions" in gate_text.as_text(found, 80, 0)[-1]
    done = modbench("gate", base.path, now.path, "--json")
    assert done.returncode == 0
    told = [each for each in json.loads(done.stdout)["findings"] if each["metric"] == TIME]
    assert {each["verdict"] for each in told} == {NOT_ALTERNATED}
    assert all(each["low"] <= each["change"] <= each["high"] for each in told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("slower:5%", "ab revisions BASE NEW SUITE --model FILE.py:build --fail-on slower:5%"),
        ("flops:0%,cpu:3%", "ab revisions BASE NEW SUITE --model FILE.py:build --fail-on cpu:3%"),
        ("energy:2%", "`modbench compare` prints how it changed"),
    ],
)
def test_a_check_of_times_needs_turns(check: str, said: str, base: Loaded, modbench: Any) -> None:
    refused = modbench("gate", base.path, base.path, "--fail-on", check)
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert said in line


@pytest.mark.slow
def test_what_fails_now_is_worse_though_it_is_a_time(base: Loaded, tmp_path: Path) -> None:
    suite = {"metrics": [TIME, "flops/forward"], "grid": {"seq_len": [64]}, "rounds": 4, "processes": 10}
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]
    failing = planted_run(tmp_path, planted_plan("draft", **suite, variants=variants), fails="moe")
    found = gate.gate(base, load(failing))
    assert timed(found, "moe") == {"fail"}
    assert found.exit_code() == 1
    lost = gate.gate(load(failing), base)
    assert timed(lost, "moe") == {"not compared"}
    assert lost.exit_code() == 0


@pytest.mark.slow
def test_on_another_machine_the_anchors_own_time_is_not_compared(base: Loaded, tmp_path: Path) -> None:
    found = gate.gate(base, again(tmp_path / "elsewhere", machine="other"))
    assert (timed(found, "dense"), timed(found, "moe")) == ({"not compared"}, {NOT_ALTERNATED})
    assert any(each.reason == ELSEWHERE for each in found.findings)


@pytest.mark.slow
def test_an_incomplete_run_ends_with_four_and_one_goes_before(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    for name, more, code in (("lost", {}, 4), ("fails", {"leaks": "moe"}, 1)):
        now = again(tmp_path / name, leave_out="time-forward", **more)
        for allow_inconclusive in ((), ("--allow-inconclusive",)):
            half = modbench("gate", base.path, now.path, *allow_inconclusive)
            assert half.returncode == code, half.stdout


@pytest.mark.slow
def test_the_smaller_of_two_margins_is_used(base: Loaded, tmp_path: Path) -> None:
    """A commit that widens its suite's margin does not widen the gate."""
    suite = {"margin": 0.5, "metrics": [TIME, "flops/forward"], "grid": {"seq_len": [64]}}
    found = gate.gate(base, gate_run(tmp_path / "wide", suite=suite, seed=2))
    assert (found.margin, gate.gate(base, base, 0.5).margin) == (0.02, 0.5)


def test_a_model_whose_cost_depends_on_the_input_is_compared_on_equal_inputs_only(tmp_path: Path) -> None:
    """Other rounds give other inputs: the interval over processes does not hold that difference."""
    costs = {"mod[c0.5]": (1.0, 1.3, 0.8, 1.1, 0.9, 1.4)}
    plans = [planted_plan("draft", metrics=["latency/forward"], processes=4, rounds=rounds) for rounds in (6, 3)]
    for name, made, number in zip(("base", "now"), plans, (6, 3), strict=True):
        planted_run(tmp_path / name, made, costs={variant: values[:number] for variant, values in costs.items()})
    found = gate.gate(load(tmp_path / "base" / "run"), load(tmp_path / "now" / "run"))
    of_variant = [each for each in found.findings if each.what.startswith("mod[c0.5") and each.metric == TIME]
    assert {each.verdict for each in of_variant} == {"not compared"}
    assert all("on 6 and 3 of them" in plain(each.reason) for each in of_variant)
