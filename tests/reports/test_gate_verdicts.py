"""The gate's verdicts: pass only where a slowdown above the margin is excluded, worse where it is shown, else cannot tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_power import Truth, asked, shares, simulated
from planted import left, planted_suite
from planted_gate import finding, planted_run
from scipy import stats

from modbench.harness.core.errors import UsageError
from modbench.harness.stats import effects
from modbench.harness.stats.paired import Paired
from modbench.reports.model import Sentence
from modbench.reports.questions.gate import comparer, gate, history, non_inferiority
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.questions.gate.non_inferiority import Change
from modbench.reports.questions.gate.run_spread import RunSpread
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.number_format import plain

TIME = "latency/forward"
# A gate of planted runs, whose arms differ from launch to launch, and not from run to run.
judged = partial(gate.gate, run_sd=0.0)
EDGE = math.log1p(0.02)


def words(found: Gate, arm: str) -> set[str | None]:
    return {each.verdict for each in found.findings if each.what.startswith(f"{arm}[") and each.metric == TIME}


# --- rules, on effects


@pytest.mark.parametrize("sd", [0.02, 0.04])
@pytest.mark.parametrize(("slower", "family"), [(0.0, 1), (0.05, 1), (0.05, 34)])
def test_runs_of_as_many_launches_as_are_asked_for_decide_in_80_of_100(sd: float, slower: float, family: int) -> None:
    change = Change(-math.log1p(slower), 0.01, 4, EDGE, EDGE, spread=sd * math.sqrt(2), launches=5, alike="one")
    if slower:
        n, side = non_inferiority.launches_to_show(change, family), "less"
    else:
        n, side = non_inferiority.launches_to_pass([finding("c", TIME, "", changes=(change,))]).launches, "greater"
    new_RN, old_RN = np.random.default_rng(0).normal(0, sd, (2, 10_000, n or 0))
    found = stats.ttest_ind(new_RN + EDGE - math.log1p(slower), old_RN, axis=1, equal_var=False, alternative=side)
    assert 0.79 < np.mean(found.pvalue <= 0.05 / family) < 0.85


@pytest.mark.slow
def test_identical_code_passes_at_the_launches_that_a_gate_asks_for() -> None:
    """34 cases, launch sd 1 %: gates of five launches cannot tell and ask for about ten, at which 80 % pass."""
    few = shares(Truth(5, 0.01), 30)
    assert few.passed <= 0.15
    named = asked(Truth(5, 0.01), 12)
    assert 8 <= np.median(named) <= 12
    enough = shares(Truth(int(max(named)), 0.01), 60)
    assert enough.passed >= 0.75
    assert few.found + few.false + enough.found + enough.false == 0


@pytest.mark.slow
@pytest.mark.parametrize("launches", [5, 10])
def test_a_true_three_percent_is_never_green(launches: int) -> None:
    """It was "different" and exit 0 in most gates."""
    found = shares(Truth(launches, 0.005, slower=0.03), 60)
    assert found.missed <= 0.05
    assert found.false == 0


@pytest.mark.slow
def test_a_true_five_percent_is_found_among_34() -> None:
    assert shares(Truth(10, 0.01, slower=0.05), 40).found >= 0.9


@pytest.mark.slow
def test_at_the_margin_false_alarms_are_rare_over_the_whole_gate() -> None:
    """Every case is slower by exactly the margin: nothing may be called worse, in 95 % of gates, and nothing should pass."""
    rng, alarms, passed = np.random.default_rng(1), 0, 0
    for _ in range(60):
        runs = [[effects.over_launches(row) for row in rng.normal(at, 0.01, (34, 6))] for at in (-EDGE, 0.0)]
        changes = [non_inferiority.welch(now, before, 0.02) for now, before in zip(*runs, strict=True)]
        judged = non_inferiority.judge([finding("c", TIME, "", changes=(each,)) for each in changes if each])
        alarms += any(each.verdict == "worse" for each in judged)
        passed += all(each.verdict == "pass" for each in judged)
    assert alarms <= 7  # 3 expected; more than 7 with probability below 2 %
    assert passed == 0


def test_holm_multiplies_by_what_is_left() -> None:
    assert non_inferiority.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert non_inferiority.holm([0.5, 0.9]) == [1.0, 1.0]
    assert non_inferiority.holm([]) == []


def test_mean_and_typical_must_both_pass_and_one_alone_alarms() -> None:
    """One call in ten stalls: typical calls are as before, the mean is 20 % slower."""
    same, slow, fast = (Change(value, 0.001, 8, EDGE, EDGE, 0.003) for value in (0.0, -0.2, 0.2))
    unsure = Change(0.0, 0.03, 8, EDGE, EDGE, 0.1)
    for changes, word in (
        ((same, slow), "worse"),
        ((slow, same), "worse"),
        ((same, unsure), "cannot tell"),
        ((fast, same), "pass"),
        ((fast, fast), "better"),
    ):
        (judged,) = non_inferiority.judge([finding("c", TIME, "", changes=changes)])
        assert judged.verdict == word


def test_launches_without_variance_decide() -> None:
    for value, word in ((0.0, "pass"), (-EDGE / 2, "pass"), (-2 * EDGE, "worse"), (2 * EDGE, "better")):
        (judged,) = non_inferiority.judge([finding("c", TIME, "", changes=(Change(value, 0.0, 8, EDGE, EDGE, 0.0),))])
        assert judged.verdict == word
        assert judged.p in {0.0, 1.0}


def test_more_launches_are_asked_for_a_slowdown_that_must_be_shown() -> None:
    """By the estimate a case is 3 % slower: as many launches as show that, not as many as would let it pass."""
    slow, even = (Change(value, 0.015, 8, EDGE, EDGE, 0.0336, 5) for value in (-0.03, 0.0))
    judged = non_inferiority.judge([finding("a", TIME, "", changes=(slow,)), finding("b", TIME, "", changes=(even,))])
    (shown, passes), whole = non_inferiority.with_launches(judged)
    assert (shown.verdict, passes.verdict) == ("cannot tell", "cannot tell")
    assert passes.needed == whole.as_made
    assert whole.as_made is not None
    assert shown.needed is not None
    n = (
        shown.needed
    )  # the mean over n launches of each run must lie so far beyond the margin that 80 % of gates show it
    spare = (0.03 - EDGE) / (0.0336 / math.sqrt(n))
    assert spare == pytest.approx(effects.t_quantile(1 - 0.05 / 2, 2 * n - 1) + 0.85, abs=0.2)
    hopeless = finding("c", TIME, "cannot tell", changes=(Change(0.0, 1.0, 8, EDGE, EDGE, 3.0, 9),))
    assert non_inferiority.with_launches([hopeless])[1].launches is None


def test_a_gate_asks_for_more_launches_than_were_made() -> None:
    """By chance one case of a gate with enough launches cannot be told: as many again would not do."""
    unlucky, others = (Change(value, 0.0041, 18, EDGE, EDGE, 0.013, 10) for value in (-0.0135, 0.0))
    judged = non_inferiority.judge([finding("a", TIME, "", changes=(each,)) for each in (unlucky, *[others] * 33)])
    assert [each.verdict for each in judged] == ["cannot tell", *["pass"] * 33]
    asked_for = non_inferiority.with_launches(judged)[1]
    assert (asked_for.passing, asked_for.cases) == (0.95, 34)
    assert asked_for.launches is not None
    assert 10 < asked_for.launches < 20


def test_variances_are_shrunk_only_as_far_as_chance_explains_their_scatter() -> None:
    rng = np.random.default_rng(0)
    even = rng.chisquare(8, 34) / 8
    found = non_inferiority.shrunk(list(even), [8.0] * 34)
    assert found.max() / found.min() < 1.6 < even.max() / even.min()
    assert found.mean() == pytest.approx(1.0, rel=0.15)
    uneven = np.array([1.0, 100.0] * 17)
    assert non_inferiority.shrunk(list(uneven), [8.0] * 34) == pytest.approx(uneven, rel=0.35)
    assert list(non_inferiority.shrunk([0.0, 0.0, 2.0], [8.0] * 3)) == [0.0, 0.0, 2.0]


def test_every_number_of_a_gate_is_finite() -> None:
    for sd in (0.0, 1e-12, 0.01, 30.0):
        found, _ = non_inferiority.with_launches(simulated(Truth(5, sd, cases=4), np.random.default_rng(0)))
        for each in found:
            numbers = [value for value in each.as_dict().values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers))


# --- runs, on disk


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return planted_run(tmp_path_factory.mktemp("gate") / "base", seed=1)


@pytest.mark.slow
def test_garbage_collection_in_every_call_is_found(base: Loaded, tmp_path: Path) -> None:
    """+50 % that the model's own calls cause: it was contaminated, not compared, and exit 0."""
    found = judged(planted_run(tmp_path / "now", garbage={"moe": 1 / 3}, slower={"moe": 1.5}), base)
    assert words(found, "moe") == {"worse"}
    assert found.exit_code() == 1


@pytest.mark.slow
def test_a_small_slowdown_in_noise_cannot_be_told(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    now = planted_run(tmp_path / "now", sd=0.02, slower={"moe": 1.03}, seed=2)
    found = judged(now, base)
    assert words(found, "moe") == {"cannot tell"}
    assert found.launches is not None
    assert found.launches > 10
    told = modbench("gate", now.path, "--against", base.path, "--run-sd", "0%")
    assert told.returncode == 5
    advice = f"--effort draft --set launches={found.launches} --set rounds={found.rounds}"
    assert " ".join(told.stdout.split()).endswith(advice)
    assert modbench("gate", now.path, "--against", base.path, "--lenient", "--run-sd", "0%").returncode == 0
    assert modbench("gate", now.path, "--against", base.path, "--margin", 0.2, "--run-sd", "0%").returncode == 0


@pytest.mark.slow
def test_one_goes_before_four_and_four_before_five(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    lost: dict[str, Any] = {"leave_out": "time-forward-T128", "seed": 2}
    slow = planted_run(tmp_path / "slow", slower={"moe": 1.3}, **lost)
    assert modbench("gate", slow.path, "--against", base.path, "--run-sd", "0%").returncode == 1
    noisy = planted_run(tmp_path / "noisy", sd=0.03, **lost)
    for more in ((), ("--lenient",)):
        half = modbench("gate", noisy.path, "--against", base.path, *more)
        assert half.returncode == 4
        assert "10 units have no record" in half.stderr
        assert "cannot tell" in half.stdout


@pytest.mark.slow
def test_a_slower_anchor_on_the_same_machine_is_not_green(base: Loaded, tmp_path: Path) -> None:
    """All others look better; how much runs of this machine differ is not known, which is said."""
    slow: dict[str, Any] = {"slower": {"dense": 1.10}, "seed": 2}
    found = judged(planted_run(tmp_path / "now", **slow), base)
    assert words(found, "moe") == {"better"}
    assert words(found, "dense") == {"cannot tell"}
    assert found.exit_code() == 5
    (reason,) = {
        plain(each.reason) for each in found.findings if each.what.startswith("dense[") and each.metric == TIME
    }
    assert "1 earlier run" in reason
    assert "look better" in reason
    same = judged(planted_run(tmp_path / "same", seed=3, speed=1.01), base)
    assert words(same, "dense") == {"not compared"}
    assert same.exit_code() == 0
    elsewhere = judged(planted_run(tmp_path / "elsewhere", machine="other", **slow), base)
    assert words(elsewhere, "dense") == {"not compared"}
    assert any(each.reason == history.ELSEWHERE for each in elsewhere.findings)


@pytest.mark.slow
def test_earlier_runs_judge_the_anchor(tmp_path: Path, modbench: Any) -> None:
    """Runs of this machine differ by 0.3 %: 10 % is worse, 0 % passes, 2.2 % cannot be told."""
    of_one_length = partial(planted_run, suite={"grid": {"seq_len": [64]}, "launches": 5})
    base, past = of_one_length(tmp_path / "base"), tmp_path / "past"
    for number, speed in enumerate((1.004, 0.996, 1.002, 0.999)):
        of_one_length(past / f"run{number}", speed=speed, seed=10 + number)
    of_one_length(past / "elsewhere", speed=2.0, machine="other")
    for name, speed, word in (("slow", 1.10, "worse"), ("same", 1.0, "pass"), ("near", 1.022, "cannot tell")):
        now = of_one_length(tmp_path / name, speed=speed, seed=2)
        found = judged(now, base, history=[str(past)])
        assert words(found, "dense") == {word}
        assert words(found, "moe") == {"pass"}
        said = next(plain(each.reason) for each in found.findings if each.what.startswith("dense["))
        assert re.search(r"\b5 earlier runs .* 0\.3 %", said)
        assert any("elsewhere is left out" in plain(said) for said in found.said)
    far = of_one_length(tmp_path / "far", machine="far", seed=3)
    assert words(judged(load(tmp_path / "slow"), far, history=[str(past)]), "dense") == {"worse"}
    told = modbench("gate", tmp_path / "slow", "--against", base.path, "--history", past / "run0", "--history", past)
    assert told.returncode == 1
    with pytest.raises(UsageError, match="not a run folder, and"):
        judged(now, base, history=[str(tmp_path / "slow" / "units")])


@pytest.mark.slow
def test_mean_times_are_judged_beside_typical_calls(base: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one call in ten stalled: typical calls are as before, their mean is a fifth slower."""

    own = comparer.changes

    def both(
        pairs: Sequence[Paired], names: Sequence[str], limit: float, spread_of: Callable[[str], RunSpread]
    ) -> list[Change]:
        now, before = pairs
        slower = replace(now, mean=now.effect.shifted(-0.2)), replace(before, mean=before.effect)
        return own(slower, names, limit, spread_of)

    monkeypatch.setattr(comparer, "changes", both)
    found = judged(base, base)
    assert words(found, "moe") == {"worse"}
    one = next(each for each in found.findings if each.verdict == "worse")
    assert (one.typical.value, (one.mean and one.mean.value)) == pytest.approx((1.0, math.exp(-0.2)))
    said = next(each.given["change"] for each in gate.changed(found) if each.given["verdict"] == "worse")
    assert said == Sentence("mean {mean}", mean=one.mean)  # the worse of the two


@pytest.mark.slow
def test_the_smaller_of_two_margins_is_used(base: Loaded, tmp_path: Path) -> None:
    """A commit that widens its suite's margin does not widen the gate."""
    wide = planted_run(tmp_path / "wide", suite={"margin": 0.5}, slower={"moe": 1.3}, seed=2)
    found = judged(wide, base)
    assert (found.margin, found.verdict) == (0.02, "worse")
    assert len(found.said) == 1
    assert judged(wide, base, 0.5).verdict == "pass"


def test_a_model_whose_cost_depends_on_the_input_is_compared_on_equal_inputs_only(tmp_path: Path) -> None:
    """Other rounds give other inputs: the interval over launches does not hold that difference."""
    costs = {"mod[c0.5]": (1.0, 1.3, 0.8, 1.1, 0.9, 1.4)}
    plans = [planted_suite("draft", metrics=["latency/forward"], launches=4, rounds=rounds) for rounds in (6, 3)]
    for name, made, number in zip(("base", "now"), plans, (6, 3), strict=True):
        left(tmp_path / name, made, costs={arm: values[:number] for arm, values in costs.items()})
    found = judged(load(tmp_path / "now" / "run"), load(tmp_path / "base" / "run"))
    of_arm = [each for each in found.findings if each.what.startswith("mod[c0.5") and each.metric == TIME]
    assert {each.verdict for each in of_arm} == {"cannot tell"}
    assert all("on 3 and 6 of them" in plain(each.reason) for each in of_arm)
