"""A sweep that confirms its best: what it chooses, when it stops, what a run that was cut short does, what a reader sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import sequential as bench
from fake_launcher import Planting, new_folder, what_is_left
from planted_sweeps import CAPACITIES, ROLES, SIZES, sweep
from present import present
from scipy import stats

from modbench.commands.plan.forecast import forecast
from modbench.extend import planted_run
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_phase import Asker, Run, Slots
from modbench.harness.execution.runner import phases
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.jobs import run_flops
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.plan import Plan, make_plan, read_corpus
from modbench.harness.planning.text.tokens import Tokens
from modbench.harness.registry import catalogue
from modbench.harness.results import rule_decisions, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.training.batches import Windows
from modbench.plugins.sweeps.confirmation.rule import Confirmed, choose, confirmations_of, inflation, seeds_planned
from modbench.plugins.sweeps.joint_fit import Spread
from modbench.reports.terminal import printed_run

NAME = "best-T32-B4-fp32-cpu1-F2e10"
# The middle size is the best of each; MoD is better than dense, and its noise lies between.
DENSE, MOD, NOISE = (2.05, 2.0, 2.04), (1.95, 1.9, 1.94), (2.0, 1.95, 1.99)


def losses(dense: Any = DENSE, mod: Any = MOD, noise: Any = NOISE) -> dict[str, float]:
    """Losses by case."""
    found = {}
    for case in sweep().cases:
        of = dense if case.model == "dense" else noise if case.config.router == "stochastic" else mod
        found[case.id] = of[[size["d_model"] for size in SIZES].index(case.config.d_model)]
    return found


def told(folder: Path) -> Confirmed:
    run = run_folder.read(str(folder))
    assert not run.incomplete
    return run.found(Confirmed)[NAME]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which MoD is better; who changes a file of it puts it back."""
    return planted_run(tmp_path_factory.mktemp("planted"), sweep(), losses=losses(), run_noise=0.01)


def test_the_best_size_of_each_is_trained_again_until_a_look_decides(planted: Path) -> None:
    """What no look asked for is not missing."""
    found = told(planted)
    anchor, best = found.chosen
    assert (anchor.role, best.role) == ("baseline", "best")
    assert "d24" in anchor.case
    assert "learned-d24" in best.case
    (compared,) = found.compared
    assert compared.interim_analyses[-1].verdict == "better"
    assert compared.interim_analyses[-1].value == pytest.approx(-0.1, abs=0.03)
    assert len(best.seeds) == compared.interim_analyses[-1].seeds[0] <= found.planned
    assert min(best.seeds) >= 1000
    assert found.margin == pytest.approx(0.015 * 2.0, rel=0.04)
    run = run_folder.read(str(planted))
    fresh = [job for job in run.plan.jobs if job.made_in == "confirm"]
    assert 0 < len(fresh) < len([job for job in sweep().jobs if job.made_in == "confirm"])
    assert not run.missing
    assert not run.undecided


def test_equal_variants_are_equivalent_or_undecided_with_the_seeds_that_would_decide(tmp_path: Path) -> None:
    made = sweep(confirm={"most_seeds": 6})
    found = told(planted_run(tmp_path, made, losses=losses(mod=DENSE), run_noise=0.05))
    (compared,) = found.compared
    assert compared.interim_analyses[-1].verdict == "inconclusive"
    assert present(compared.more) > 6
    assert found.planned == 6
    assert found.wanted is None  # seeds of the planted sweep differ by half a nat, and variants are not paired


def test_the_spread_of_the_sweep_plans_the_seeds() -> None:
    (made,) = confirmations_of(sweep()).values()
    wanted, numbers = seeds_planned(made, Spread(1.0, math.inf), 0.9)
    assert wanted == numbers[-1]
    assert bench.shares(bench.World(numbers, 0.9), 20_000).right == pytest.approx(0.8, abs=0.02)
    more, capped = seeds_planned(made, Spread(1.0, 4), 0.9)  # few runs know their spread badly
    assert present(more) > capped[-1] == made.most_seeds
    assert seeds_planned(made, Spread(1.0, 4), 1e-3) == (None, capped)


def test_the_best_is_no_control_of_itself_at_another_size() -> None:
    (made,) = confirmations_of(sweep(confirm={"controls": "mod"})).values()
    best = next(case for case in made.cases.values() if "learned-d24" in case.id)
    controls = {case.family for case in made.cases.values() if made.may_be_control(case, best)}
    assert controls == {"mod[c0.25-stochastic]"}


def test_runner_up_and_control_stop_by_themselves(tmp_path: Path) -> None:
    made = sweep(variants=CAPACITIES, confirm={"roles": ROLES, "most_seeds": 8})
    planted = {}
    for case in made.cases:
        loss = 2.0 if case.model == "dense" else 1.8 if case.config.capacity == 0.25 else 1.81
        planted[case.id] = loss + 0.1 * (case.config.router == "stochastic") + 0.05 * (case.config.d_model != 24)
    found = told(planted_run(tmp_path, made, losses=planted, run_noise=0.01))
    by_role = {each.role: each for each in found.chosen}
    assert "c0.25-learned-d24" in by_role["best"].case
    assert "c0.25-stochastic-d24" in by_role["control"].case
    assert "c0.5-learned-d24" in by_role["runner_up"].case
    verdicts = {each.role: each.interim_analyses[-1].verdict for each in found.compared}
    assert verdicts["baseline"] == verdicts["control"] == "better"
    assert len(by_role["baseline"].seeds) < len(by_role["runner_up"].seeds) == len(by_role["best"].seeds)


@pytest.mark.slow
def test_a_run_that_was_cut_short_asks_for_the_same(planted: Path, tmp_path: Path) -> None:
    made = sweep()
    folder = new_folder(made, tmp_path / "cut")
    first = _run(made, folder, most=28)
    assert not rule_decisions.read(folder.path, made)[NAME].ended
    assert run_folder.read(str(folder.path)).undecided
    rest, whole = what_is_left(folder)
    second = _run(rest, folder, whole=whole)
    assert not {*first.ran} & {*second.ran}
    assert told(folder.path) == told(planted)


def _run(made: Plan, folder: Any, *, whole: Plan | None = None, most: int | None = None) -> Planting:
    launcher = Planting(most, losses=losses(), run_noise=0.01)
    running = Run(launcher, folder, Tracker(made, phases(made, 1), folder), Asker(whole or made, folder, made.jobs))
    slots = Slots(made.jobs, 1)
    try:
        running.phase(slots, {job.name: 9.0 for job in slots.jobs})
    except KeyboardInterrupt:
        assert most is not None
    return launcher


def test_nothing_fresh_runs_before_all_have_explored(tmp_path: Path) -> None:
    made = sweep()
    ran = [name for name in _run(made, new_folder(made, tmp_path / "run")).ran if not name.startswith("count")]
    last = max(at for at, name in enumerate(ran) if name.startswith("train"))
    assert all(name.startswith("train") for name in ran[: last + 1])
    assert all(name.startswith("confirm") for name in ran[last + 1 :])
    assert ran[last + 1 :]


def test_fresh_runs_that_fail_are_named(tmp_path: Path) -> None:
    variant = next(case.variant for case in sweep().cases if "learned-d24" in case.id)
    found = told(planted_run(tmp_path, sweep(), losses=losses(), run_noise=0.01, fails=variant))
    (compared,) = found.compared
    assert not compared.interim_analyses
    assert "planted failure" in present(compared.reason)


def test_a_smoke_run_trains_two_seeds_and_claims_nothing(tmp_path: Path) -> None:
    made = sweep("smoke", variants=[{"model": "dense"}, {"model": "mod", "capacity": 0.25}])
    found = told(planted_run(tmp_path, made, losses={case.id: 2.0 for case in made.cases}, run_noise=0.01))
    assert [len(each.seeds) for each in found.chosen] == [2, 2]
    assert [each.interim_analyses[-1].verdict for each in found.compared] == ["inconclusive"]
    assert [str(each.reason)[:12] for each in found.compared] == ["2 is too few"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"isoflop": None}, r"needs an \[isoflop\] table"),
        ({"metrics": ["loss/val_causal"]}, "needs metric 'loss/confirmed'"),
        ({"metrics": ["loss/val", "loss/confirmed"]}, "needs metric 'loss/val_causal'"),
        ({"confirm": None}, r"add a \[confirm\] or"),
        ({"seeds": [0, 1000]}, "Raise first_seed"),
        ({"seeds": [3]}, "shows no standard deviation"),
        ({"confirm": {"margin": 1}}, "0.05 is 5 %"),
        ({"confirm": {"margin": "500%"}}, "0.05 is 5 %"),
        ({"confirm": {"roles": ["baseline", "runner_up"]}}, "must hold 'best'"),
        ({"confirm": {"roles": ["baseline", "best", "runner_up"]}}, "a second such variant"),
        ({"variants": [{"model": "dense"}]}, "besides the baseline"),
        (
            {"variants": [{"model": "dense"}, {"model": "mod"}], "confirm": {"roles": ["baseline", "best", "control"]}},
            'add router = \\["learned", "stochastic"\\]',
        ),
    ],
)
def test_what_cannot_be_confirmed_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(**changes)


def test_what_leaves_nothing_to_confirm_is_refused() -> None:
    """A selection without a candidate, and held-out text of one sequence, which cannot be divided."""
    made = sweep()
    with pytest.raises(UsageError, match=r"-k 'dense'.* Select more"):
        make_plan(made.suite, device=made.device, select="dense")
    corpus = mock.Mock(read=lambda _path: Text("t", b"a" * 500, b"b" * 64, "c0ffee"))
    with (
        mock.patch.object(catalogue, "load", return_value=corpus),
        pytest.raises(UsageError, match="65 of 2 sequences"),
    ):
        read_corpus(made.suite)


def test_a_run_says_the_most_it_can_take_and_less_with_each_look(tmp_path: Path) -> None:
    """Twelve cases may be chosen; two are, each trained again on 24 seeds at most."""
    made = sweep()
    fresh = [job for job in made.jobs if job.made_in == "confirm"]
    least = len(made.jobs) - len(fresh)
    assert len(fresh) > 48
    assert f"in {least} to {least + 48} jobs" in printed_run.opening(made)
    assert forecast(made)["jobs_most"] == least + 48
    with Tracker(made, phases(made, 1), RunFolder(tmp_path), clock=lambda: 0.0) as tracker:
        now, seconds = tracker.now, tracker._seconds

        def span() -> float:
            return present(now.most_s) - present(now.left_s)

        every, before = span(), now.left_s or 0.0
        assert every == pytest.approx(sum(seconds[job.name] for job in fresh) * 48 / len(fresh))
        assert " to " in now.left
        tracker.added("", fresh[:5])
        asked = sum(seconds[job.name] for job in fresh[:5])
        assert (now.left_s, span()) == pytest.approx((before + asked, every - asked))
        tracker.added(NAME, [])
        assert (span(), now.more) == (0, False)
        assert " to " not in now.left


def test_windows_that_explore_confirm_nothing() -> None:
    train_N, val_N = ((np.arange(number) % 256).astype(np.uint8) for number in (5000, 4000))
    tokens = Tokens(train_N, val_N, 256, 1.0, tuple(bytes([i]) for i in range(256)), "bytes")
    run = TrainRun(steps=1, lr=1e-3, seq_len=32, batch_size=4, val_tokens=512)
    spans = {}
    for part in ("explore", "confirm"):
        starts = Windows(tokens, run.model_copy(update={"held_out": part}), 0).starts(512)
        assert len(starts) == 512 // 32
        spans[part] = {at for start in starts for at in range(start, start + 33)}
    assert not spans["explore"] & spans["confirm"]


def test_a_given_number_of_seeds_is_taken_instead_of_what_the_spread_asks_for(tmp_path: Path) -> None:
    made = sweep(confirm={"seeds": 12, "most_seeds": 4, "first_seed": 2000})
    found = told(planted_run(tmp_path, made, losses=losses(mod=DENSE), run_noise=0.05))
    assert found.planned == 12
    assert [min(each.seeds) for each in found.chosen] == [2000, 2000]


def test_a_variant_without_a_loss_is_named() -> None:
    made = sweep()
    lost = {job.name for job in made.jobs if job.made_in == "train" and "stochastic" in job.name}
    (confirmation,) = confirmations_of(made).values()
    explored = {
        job.name: None if job.name in lost else losses()[job.comparison.variants[0].id] for job in confirmation.explored
    }
    noisy = {name: None if loss is None else loss + 0.01 * (len(name) % 7) for name, loss in explored.items()}
    choice = choose(confirmation, noisy)
    assert not isinstance(choice, str)
    assert choice.lacking == ("mod[c0.25-stochastic]",)


# --- what held-out loss costs


@pytest.mark.plugin("routing")
def test_routed_models_are_charged_for_evaluating_with_and_without_the_future() -> None:
    jobs = make_plan(load_suite("isoflop-cpu"), device="cpu", text=Text("t", b"a" * 10**7, b"b" * 10**6, "0")).jobs
    trained = {job.comparison.variants[0].model: job for job in jobs if job.made_in == "train"}
    for model, evaluations in (("dense", 1), ("mod", 2)):
        (case,), run = trained[model].comparison.variants, present(trained[model].protocol.train)
        with_text = run_flops(run, case) - run_flops(run.model_copy(update={"val_tokens": 0}), case)
        cost = present(case_cost(case))
        assert with_text == pytest.approx(evaluations * run.val_tokens / run.tokens_per_step * cost.train_step / 3)


@pytest.mark.parametrize("freedom", [2, 6, 20])
def test_a_plan_from_a_small_pilot_has_its_power_on_average(freedom: int) -> None:
    """Seeds in proportion to the estimated variance, a normal test: the mean over pilots by quadrature."""
    variances = stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom
    whole = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    reached = [
        stats.norm.sf(1.959964 - factor * whole * np.sqrt(variances)).mean()
        for factor in (1.0, inflation(freedom, 0.8))
    ]
    assert reached[1] == pytest.approx(0.8, abs=2e-3)
    assert reached[0] < 0.79
    assert inflation(math.inf, 0.8) == 1
