"""The run as the unit of evidence: how much runs differ, what that adds to a change, and the check of CPU time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_power import Truth, shares, usable
from planted_gate import finding, planted_run
from scipy import stats

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.time_to_detect import Spread
from modbench.reports import demo
from modbench.reports.questions.gate import gate, non_inferiority, run_spread
from modbench.reports.questions.gate.fail_on import parse
from modbench.reports.questions.gate.non_inferiority import GateFinding
from modbench.reports.questions.gate.run_spread import RunSpread
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import gate as gate_text
from modbench.reports.writers.number_format import plain

TIME = "latency/forward"


def effect(mean: float, sd: float, launches: int) -> Effect:
    """An effect of so many launches with exactly this mean and standard deviation."""
    values = np.linspace(-1, 1, launches)
    return effects.over_launches(list(mean + sd * values / values.std(ddof=1)))


# --- the variance of a change


def test_a_stated_spread_enters_each_change_twice_and_counts_as_known() -> None:
    now, before = effect(0.001, 0.01, 10), effect(-0.002, 0.02, 5)
    change: Any = non_inferiority.welch(now, before, 0.02, run_spread.stated(0.01))
    own = [0.01**2 / 10, 0.02**2 / 5]
    variance = 2 * math.log1p(0.01) ** 2 + sum(own)
    assert (change.value, change.se) == pytest.approx((0.003, math.sqrt(variance)))
    assert change.df == pytest.approx(variance**2 / (own[0] ** 2 / 9 + own[1] ** 2 / 4), rel=1e-3)
    assert change.launches == pytest.approx((0.01**2 + 0.02**2) / sum(own))
    alone: Any = non_inferiority.welch(now, before, 0.02)
    assert alone.se == pytest.approx(math.sqrt(sum(own)))


def test_a_measured_spread_holds_its_launches_once() -> None:
    """Launches as those of the history add nothing; of a run with more, what they are more."""
    runs = RunSpread(0.01, df=4, of_launches=0.01**2 / 10, runs=3)
    same, noisy = effect(0, 0.01, 10), effect(0, 0.03, 10)
    alike, wider = (non_inferiority.welch(now, same, 0.02, runs) for now in (same, noisy))
    assert alike is not None
    assert wider is not None
    assert (alike.se, alike.df) == pytest.approx((0.01 * math.sqrt(2), 4))
    assert wider.se**2 == pytest.approx(2 * 0.01**2 + (0.03**2 - 0.01**2) / 10)
    calmer: Any = non_inferiority.welch(effect(0, 0.001, 10), same, 0.02, runs)
    assert calmer.se == alike.se


def test_the_spread_of_runs_is_pooled_over_cases_that_share_an_anchor() -> None:
    runs_CR = [[0.0, 0.01, -0.01], [0.02, 0.02, 0.02, 0.06], [0.0, 0.5]]
    cases = [[effect(mean, 0.01, 10) for mean in runs_R] for runs_R in runs_CR]
    found: Any = run_spread.measured(cases)
    assert found.sd**2 == pytest.approx((2 * np.var(runs_CR[0], ddof=1) + 3 * np.var(runs_CR[1], ddof=1)) / 5)
    assert (found.df, found.runs) == (5 / (1 + 0.25), 4)
    assert found.of_launches == pytest.approx(0.01**2 / 10)
    assert run_spread.measured(cases[2:]) is None


@pytest.mark.slow
def test_the_degrees_of_freedom_are_those_of_correlated_cases() -> None:
    """A pooled variance has mean s² and variance 2 s⁴ / df."""
    rng, found = np.random.default_rng(0), []
    for _ in range(2000):
        anchor_R, own_CR = rng.normal(size=5), rng.normal(size=(20, 5))
        cases = [[Effect(value, n=10) for value in row_R] for row_R in own_CR + anchor_R]
        measured = run_spread.measured(cases)
        assert measured is not None
        found.append(measured)
    variances = np.array([each.sd**2 for each in found])
    assert variances.mean() == pytest.approx(2, rel=0.05)
    assert 2 * variances.mean() ** 2 / variances.var() == pytest.approx(found[0].df, rel=0.1)


# --- levels and limits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "history"),
    [(8, 1), (34, 5), *(pytest.param(*each, marks=pytest.mark.proof) for each in ((8, 3), (8, 5), (34, 1), (34, 3)))],
)
def test_runs_that_differ_by_one_percent_are_rarely_called_worse(cases: int, history: int) -> None:
    """By launches alone, one gate of identical code in four or more says *worse* (tests/bench/gate_power.py has all numbers)."""
    same = Truth(10, 0.005, cases=cases, run_sd=0.01, shared=0.0)
    assert shares(same, 60).any_worse > 0.1
    assert shares(replace(same, history=history, stated=0.01), 60).any_worse <= 0.05


@pytest.mark.slow
def test_identical_code_passes_at_the_limit_that_is_printed() -> None:
    same = Truth(10, 0.005, cases=8, run_sd=0.01, history=1, stated=0.01)
    limit = float(np.median(usable(same, 20)))
    assert shares(replace(same, margin=limit), 100, 1).passed >= 0.8
    assert shares(replace(same, margin=limit / 2), 100, 1).passed < 0.5


def test_the_smallest_limit_of_one_case_is_that_of_two_normal_quantiles() -> None:
    change: Any = non_inferiority.welch(effect(0, 0, 10), effect(0, 0, 10), 0.02, run_spread.stated(0.01))
    one = [finding("c", TIME, "cannot tell", check="slower", changes=(change,))]
    edge = (stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * math.sqrt(2) * math.log1p(0.01)
    assert non_inferiority.usable(one) == {"slower": math.ceil(math.expm1(edge) * 1000) / 1000}
    none = replace(change, runs=RunSpread())
    assert non_inferiority.usable([replace(one[0], changes=(none,))]) == {"slower": 0.001}


def sampled(launch_sd: float, launches: int, margin: float, run_sd: float) -> list[GateFinding]:
    change: Any = non_inferiority.welch(
        effect(0, launch_sd, launches), effect(0, launch_sd, launches), margin, run_spread.stated(run_sd)
    )
    return [finding(f"c{i}", TIME, "cannot tell", check="slower", changes=(change,)) for i in range(8)]


def test_launches_are_asked_for_only_where_they_decide() -> None:
    asked: Any = non_inferiority.launches_to_pass
    assert asked(sampled(0.02, 5, 0.02, 0.01)).launches is None
    decided, alone = (asked(sampled(0.04, 5, 0.06, sd)) for sd in (0.01, 0))
    assert decided.launches > alone.launches


def test_rounds_are_traded_for_launches() -> None:
    """Blocks make most of the spread of launches of two rounds: fewer and longer launches take less time."""
    few = sampled(0.04, 10, 0.05, 0.0)
    noisy = Spread(between_sd=0.01, block_sd=0.045, start_s=5.0, round_s=1.0)
    asked: Any = non_inferiority.launches_to_pass
    as_made, traded = (asked(few, cost, 2) for cost in (None, noisy))
    assert traded.as_made == as_made.launches
    assert traded.seconds == pytest.approx(traded.launches * (5 + traded.rounds))
    assert traded.seconds < as_made.launches * (5 + 2 * 1.0)
    assert traded.rounds > 2


def test_what_a_launch_costs_is_known_from_a_run(tmp_path: Path) -> None:
    demo.unpack(tmp_path, demo.SHIPPED["quick"])
    loaded = load(tmp_path)
    found: Any = gate.launch_cost(loaded.tables)
    timed = [record for record in loaded.run.records if record.unit.facts.samples == "launches"]
    rounds, launches = loaded.run.plan.suite.protocol_size[1], loaded.run.plan.suite.protocol_size[0]
    whole = sum(record.wall_s for record in timed) / launches
    assert found.start_s + rounds * found.round_s == pytest.approx(whole, rel=0.01)
    pairs = [
        loaded.tables.pair(loaded.tables.metrics[TIME], case, loaded.tables.anchor(case, loaded.tables.metrics[TIME]))
        for case in loaded.run.plan.cases[1:3]
    ]
    sds = [each.effect.sd for each in pairs]
    assert all(sd is not None and found.launch_sd(rounds) < 10 * sd for sd in sds)


# --- runs of one length, on disk

SHORT = {"grid": {"seq_len": [64]}}
short_run = partial(planted_run, suite=SHORT)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return short_run(tmp_path_factory.mktemp("runs") / "base", seed=1, own_work_seen=True)


@pytest.mark.slow
def test_three_earlier_runs_take_the_place_of_what_was_assumed(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    """Arms that differ by 3 % between runs of the same code are not worse by 6 %; those of calm runs pass at 2 %."""
    factors = {"calm": (1.0, 1.0, 1.0), "wild": (1.03, 0.96, 1.0)}
    for name, slower in factors.items():
        for number, factor in enumerate(slower):
            arms = {"mod[c0.125]": factor, "mod[c0.5]": 2 - factor, "moe": factor}
            short_run(tmp_path / name / str(number), slower=arms, seed=10 + number)
    now = short_run(tmp_path / "now", slower={"moe": 1.065}, seed=2)
    same = short_run(tmp_path / "same", seed=3)
    assumed = gate.gate(now, base)
    assert (
        assumed.verdict,
        assumed.run_sd,
        {each["runs"] for each in assumed.as_dict()["findings"] if each["runs"] is not None},
    ) == ("worse", 0.01, {0})
    wild = gate.gate(now, base, history=[str(tmp_path / "wild")], run_sd=0.001)
    assert (wild.verdict, wild.run_sd) == ("cannot tell", None)
    assert any("--run-sd 0.1 % is not used: 4 earlier runs" in plain(said) for said in wild.said)
    calm = gate.gate(same, base, history=[str(tmp_path / "calm")])
    told = [each for each in calm.as_dict()["findings"] if each["runs"]]
    assert {each["verdict"] for each in told} == {"pass"}
    assert all(0 < each["run_sd"] < 0.003 for each in told)
    assert calm.as_dict()["usable"]["slower"] < 0.02 < gate.gate(same, base).as_dict()["usable"]["slower"]
    for share, code in (("0.1%", 0), ("1%", 5), ("-1%", 2)):
        done = modbench("gate", same.path, "--against", base.path, "--fail-on", "slower:2%", "--run-sd", share)
        assert done.returncode == code, done.stdout


# --- CPU time


@pytest.mark.slow
def test_one_metric_is_judged_by_two_named_checks(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    """Wall time that was waited through is judged by CPU time in both; an arm that waits is slower by wall time alone."""
    waits = short_run(tmp_path / "waits", waits="moe", seed=2, own_work_seen=True)
    slow = short_run(tmp_path / "slow", slower={"moe": 1.3}, seed=2, own_work_seen=True)
    checks = parse(["slower:8%,cpu:7%"])
    for now, words in ((waits, {"slower": "pass", "cpu": "pass"}), (slow, {"slower": "worse", "cpu": "worse"})):
        found = gate.gate(now, base, fail_on=checks)
        assert {each.word: each.verdict for each in found.tiers if each.named} == words
        moe = {each.check: each for each in found.findings if each.what.startswith("moe[") and each.metric == TIME}
        assert {check: each.by_cpu for check, each in moe.items()} == {"slower": now is waits, "cpu": True}
        assert {each.changes[0].excludes for each in moe.values()} == {math.log1p(0.08), math.log1p(0.07)}
    told = json.loads(
        modbench("gate", slow.path, "--against", base.path, "--fail-on", "slower:8%,cpu:7%", "--json").stdout
    )
    timed = [each for each in told["findings"] if each["metric"] == TIME]
    assert (
        len({(each["case"], each["check"]) for each in timed})
        == len(timed)
        == 2 * len({each["case"] for each in timed})
    )
    assert {(each["check"], each["tier"]) for each in told["tiers"] if each["named"]} == {
        ("slower", "timed"),
        ("cpu", "timed"),
    }
    assert {each["check"] for each in gate.gate(slow, base).as_dict()["findings"] if "check" in each} == set()
    assert "worse latency/forward by CPU time" in "\n".join(gate_text.as_text(found))


@pytest.mark.slow
def test_cpu_time_that_does_not_stand_for_the_work_cannot_tell(base: Loaded, tmp_path: Path) -> None:
    unseen = short_run(tmp_path / "unseen", seed=2)
    threads = short_run(tmp_path / "threads", suite={"threads": 2, **SHORT}, seed=2, own_work_seen=True)
    for now, before in ((unseen, base), (threads, threads)):
        found = gate.gate(now, before, fail_on=parse(["cpu:50%"]))
        assert {each.verdict for each in found.counted} == {"cannot tell"}
        assert all(plain(each.reason).startswith("CPU time does not count: ") for each in found.counted)
        assert (found.exit_code(), found.exit_code(lenient=True)) == (5, 5)


@pytest.mark.slow
def test_the_anchor_has_cpu_time_too(base: Loaded, tmp_path: Path) -> None:
    past = tmp_path / "past"
    for number, speed in enumerate((1.004, 0.996, 1.002)):
        short_run(past / str(number), speed=speed, seed=10 + number, own_work_seen=True)
    waits, quiet = (
        short_run(tmp_path / name, waits=arm, speed=1.5, seed=2, own_work_seen=True)
        for name, arm in (("waits", "dense"), ("quiet", ""))
    )
    for now, checks, by_cpu in (
        (waits, "cpu:5%", True),
        (waits, "slower:5%", True),
        (quiet, "cpu:5%", True),
        (quiet, "slower:5%", False),
    ):
        found = gate.gate(now, base, history=[str(past)], fail_on=parse([checks]))
        dense = [each for each in found.counted if each.what.startswith("dense[")]
        assert {(each.verdict, each.by_cpu) for each in dense} == {("worse", by_cpu)}
        assert all(each.typical.value == pytest.approx(1 / 1.5, rel=0.01) for each in dense)
