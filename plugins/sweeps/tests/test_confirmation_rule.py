"""A sweep that confirms its best: what it chooses, when it stops, what a run that was cut short does, what a reader sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sequential as bench
from fake_launcher import Planting, new_folder, what_is_left
from planted_sweeps import CAPACITIES, ROLES, SIZES, sweep
from present import present
from scipy import stats

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
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.text.tokens import Tokens
from modbench.harness.results import rule_decisions, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.training.batches import Windows
from modbench.plugins.sweeps.confirmation.rule import (
    Confirmation,
    Confirmed,
    choose,
    confirmations_of,
    inflation,
    seeds_planned,
)
from modbench.plugins.sweeps.joint_fit import Spread

NAME = "best-T32-B4-fp32-cpu1-F2e10"
# The middle size is the best of each; MoD is better than dense, and its noise lies between.
DENSE, MOD, NOISE = (2.05, 2.0, 2.04), (1.95, 1.9, 1.94), (2.0, 1.95, 1.99)


def losses(mod: Any = MOD) -> dict[str, float]:
    """Losses by case."""
    found = {}
    for case in sweep().cases:
        of = DENSE if case.model == "dense" else NOISE if case.config.router == "stochastic" else mod
        found[case.id] = of[[size["d_model"] for size in SIZES].index(case.config.d_model)]
    return found


def told(folder: Path) -> Confirmed:
    run = run_folder.read(str(folder))
    assert not run.incomplete
    return run.found(Confirmed)[NAME]


def found_by(folder: Path, made: Plan, planted: dict[str, float], noise: float = 0.01, **how: Any) -> Confirmed:
    """What a run confirms in which these losses were planted."""
    return told(planted_run(folder, made, losses=planted, run_noise=noise, **how))


def verdicts(found: Confirmed) -> dict[str, str]:
    return {each.role: each.interim_analyses[-1].verdict for each in found.compared}


def only(made: Plan) -> Confirmation:
    (confirmation,) = confirmations_of(made).values()
    return confirmation


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which MoD is better; who changes a file of it puts it back."""
    return planted_run(tmp_path_factory.mktemp("planted"), sweep(), losses=losses(), run_noise=0.01)


# --- what is trained again


def test_the_best_size_of_each_is_trained_again_until_a_look_decides(planted: Path) -> None:
    """What no look asked for is not missing."""
    found = told(planted)
    anchor, best = found.chosen
    assert (anchor.role, best.role) == ("baseline", "best")
    assert ("d24" in anchor.case, "learned-d24" in best.case) == (True, True)
    (compared,) = found.compared
    last = compared.interim_analyses[-1]
    assert last.verdict == "better"
    assert last.value == pytest.approx(-0.1, abs=0.03)
    assert len(best.seeds) == last.seeds[0] <= found.planned
    assert min(best.seeds) >= 1000
    assert found.margin == pytest.approx(0.015 * 2.0, rel=0.04)
    run = run_folder.read(str(planted))
    fresh, most = ([job for job in jobs if job.made_in == "confirm"] for jobs in (run.plan.jobs, sweep().jobs))
    assert 0 < len(fresh) < len(most)
    assert not run.missing
    assert not run.undecided


def test_runner_up_and_control_stop_by_themselves(tmp_path: Path) -> None:
    made = sweep(variants=CAPACITIES, confirm={"roles": ROLES, "most_seeds": 8})
    planted = {}
    for case in made.cases:
        loss = 2.0 if case.model == "dense" else 1.8 if case.config.capacity == 0.25 else 1.81
        planted[case.id] = loss + 0.1 * (case.config.router == "stochastic") + 0.05 * (case.config.d_model != 24)
    found = found_by(tmp_path, made, planted)
    by_role = {each.role: each for each in found.chosen}
    for role, part in (("best", "0.25-learned"), ("control", "0.25-stochastic"), ("runner_up", "0.5-learned")):
        assert f"c{part}-d24" in by_role[role].case  # type: ignore[index]  # a role
    assert verdicts(found)["baseline"] == verdicts(found)["control"] == "better"
    assert len(by_role["baseline"].seeds) < len(by_role["runner_up"].seeds) == len(by_role["best"].seeds)


def test_equal_variants_are_undecided_with_the_seeds_that_would_decide(tmp_path: Path) -> None:
    found = found_by(tmp_path, sweep(confirm={"most_seeds": 6}), losses(mod=DENSE), noise=0.05)
    (compared,) = found.compared
    assert verdicts(found) == {"baseline": "inconclusive"}
    assert present(compared.more) > 6
    # Seeds of the planted sweep differ by half a nat, and variants are not paired.
    assert (found.planned, found.wanted) == (6, None)


def test_a_smoke_run_trains_two_seeds_and_claims_nothing(tmp_path: Path) -> None:
    made = sweep("smoke", variants=[{"model": "dense"}, {"model": "mod", "capacity": 0.25}])
    found = found_by(tmp_path, made, {case.id: 2.0 for case in made.cases})
    assert [len(each.seeds) for each in found.chosen] == [2, 2]
    assert verdicts(found) == {"baseline": "inconclusive"}
    assert [str(each.reason)[:12] for each in found.compared] == ["2 is too few"]


def test_fresh_runs_that_fail_are_named(tmp_path: Path) -> None:
    variant = next(case.variant for case in sweep().cases if "learned-d24" in case.id)
    (compared,) = found_by(tmp_path, sweep(), losses(), fails=variant).compared
    assert not compared.interim_analyses
    assert "planted failure" in present(compared.reason)


def test_a_variant_without_a_loss_is_named() -> None:
    confirmation, planted = only(sweep()), losses()
    found: dict[str, float | None] = {
        job.name: None if "stochastic" in job.name else planted[job.comparison.variants[0].id] + 0.01 * (i % 7)
        for i, job in enumerate(confirmation.explored)
    }
    choice = choose(confirmation, found)
    assert not isinstance(choice, str)
    assert choice.lacking == ("mod[c0.25-stochastic]",)


def test_the_best_is_no_control_of_itself_at_another_size() -> None:
    made = only(sweep(confirm={"controls": "mod"}))
    best = next(case for case in made.cases.values() if "learned-d24" in case.id)
    controls = {case.family for case in made.cases.values() if made.may_be_control(case, best)}
    assert controls == {"mod[c0.25-stochastic]"}


# --- how many seeds


def test_the_spread_of_the_sweep_plans_the_seeds() -> None:
    made = only(sweep())
    wanted, numbers = seeds_planned(made, Spread(1.0, math.inf), 0.9)
    assert wanted == numbers[-1]
    assert bench.shares(bench.World(numbers, 0.9), 20_000).right == pytest.approx(0.8, abs=0.02)
    more, capped = seeds_planned(made, Spread(1.0, 4), 0.9)  # few runs know their spread badly
    assert present(more) > capped[-1] == made.most_seeds
    assert seeds_planned(made, Spread(1.0, 4), 1e-3) == (None, capped)


@pytest.mark.parametrize("freedom", [2, 6, 20])
def test_a_plan_from_a_small_pilot_has_its_power_on_average(freedom: int) -> None:
    """Seeds in proportion to the estimated variance, a normal test: the mean over pilots by quadrature."""
    variances = stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom
    whole = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)

    def reached(factor: float) -> float:
        return float(stats.norm.sf(stats.norm.ppf(0.975) - factor * whole * np.sqrt(variances)).mean())

    assert reached(inflation(freedom, 0.8)) == pytest.approx(0.8, abs=2e-3)
    assert reached(1.0) < 0.79
    assert inflation(math.inf, 0.8) == 1


# --- a run


def run_some(made: Plan, folder: RunFolder, *, whole: Plan | None = None, most: int | None = None) -> list[str]:
    """Run what is left of a plan, until Ctrl-C is pressed after `most` jobs; the jobs that ran."""
    launcher = Planting(most, losses=losses(), run_noise=0.01)
    running = Run(launcher, folder, Tracker(made, phases(made, 1), folder), Asker(whole or made, folder, made.jobs))
    slots = Slots(made.jobs, 1)
    try:
        running.phase(slots, {job.name: 9.0 for job in slots.jobs})
    except KeyboardInterrupt:
        assert most is not None
    return launcher.ran


@pytest.mark.slow
def test_a_run_that_was_cut_short_asks_for_the_same(planted: Path, tmp_path: Path) -> None:
    made, folder = sweep(), new_folder(sweep(), tmp_path / "cut")
    first = run_some(made, folder, most=28)
    assert not rule_decisions.read(folder.path, made)[NAME].ended
    assert run_folder.read(str(folder.path)).undecided
    rest, whole = what_is_left(folder)
    assert not {*first} & {*run_some(rest, folder, whole=whole)}
    assert told(folder.path) == told(planted)


def test_nothing_fresh_runs_before_all_have_explored(tmp_path: Path) -> None:
    made = sweep()
    ran = [name.partition("-")[0] for name in run_some(made, new_folder(made, tmp_path / "run"))]
    trained = [name for name in ran if name != "count"]
    assert trained == sorted(trained, reverse=True)
    assert {*trained} == {"train", "confirm"}


# --- what cannot be confirmed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"isoflop": None}, r"needs an \[isoflop\] table"),
        ({"metrics": ["loss/val_causal"]}, "needs metric 'loss/confirmed'"),
        ({"confirm": None}, r"add a \[confirm\] or"),
        ({"seeds": [0, 1000]}, "Raise first_seed"),
        ({"seeds": [3]}, "shows no standard deviation"),
        ({"confirm": {"margin": "500%"}}, "0.05 is 5 %"),
        ({"confirm": {"roles": ["baseline", "runner_up"]}}, "must hold 'best'"),
        ({"variants": [{"model": "dense"}]}, "besides the baseline"),
        (
            {"variants": [{"model": "dense"}, {"model": "mod"}], "confirm": {"roles": ["baseline", "best", "control"]}},
            r'add router = \["learned", "stochastic"\]',
        ),
    ],
)
def test_what_cannot_be_confirmed_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(**changes)


def test_a_selection_without_a_candidate_is_refused() -> None:
    made = sweep()
    with pytest.raises(UsageError, match=r"-k 'dense'.* Select more"):
        make_plan(made.suite, device=made.device, select="dense")


# --- held-out text


def test_windows_that_explore_confirm_nothing() -> None:
    train_N, val_N = ((np.arange(number) % 256).astype(np.uint8) for number in (5000, 4000))
    tokens = Tokens(train_N, val_N, 256, 1.0, tuple(bytes([i]) for i in range(256)), "bytes")
    run = TrainRun(steps=1, lr=1e-3, seq_len=32, batch_size=4, val_tokens=512)
    spans = []
    for part in ("explore", "confirm"):
        starts = Windows(tokens, run.model_copy(update={"held_out": part}), 0).starts(512)
        assert len(starts) == 512 // 32
        spans.append({at for start in starts for at in range(start, start + 33)})
    assert spans[0].isdisjoint(spans[1])


@pytest.mark.plugin("routing")
@pytest.mark.parametrize(("model", "evaluations"), [("dense", 1), ("mod", 2)])
def test_routed_models_are_charged_for_evaluating_with_and_without_the_future(model: str, evaluations: int) -> None:
    made = make_plan(load_suite("isoflop-cpu"), device="cpu", text=Text("t", b"a" * 10**7, b"b" * 10**6, "0"))
    trained = (job for job in made.jobs if job.made_in == "train")
    job = next(job for job in trained if job.comparison.variants[0].model == model)
    (case,), run = job.comparison.variants, present(job.protocol.train)
    with_text = run_flops(run, case) - run_flops(run.model_copy(update={"val_tokens": 0}), case)
    share = run.val_tokens / run.tokens_per_step / 3
    assert with_text == pytest.approx(evaluations * share * present(case_cost(case)).train_step)
