"""`modbench recommend` on runs whose truth is known: the best, its runner-up, what fits for sure, what is lacking."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from planted import stored
from planted_choice import DENSE, HIGH, LOW, MATCHED, MEMORY, MOE, TAKES, TIME, run
from planted_losses import MOD, RISES, at_two_lengths, planned
from present import present
from resealed import reseal_with
from scipy import stats

from modbench import cli
from modbench.harness.core.labels import Label
from modbench.harness.planning.select import compile_expression
from modbench.plugins.recommend import question
from modbench.plugins.recommend.candidates import KV_CACHE, Value, choice
from modbench.plugins.recommend.limits import (
    BREAKS,
    FITS,
    MAY,
    SAW_FUTURE,
    UNKNOWN,
    Limits,
    check_limit,
    loss_against,
)
from modbench.plugins.recommend.question import Recommended, recommend
from modbench.plugins.recommend.report import as_dict, as_text
from modbench.plugins.sweeps.held_against import held_against
from modbench.reports import demo
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.claims import SMOKE, UNCHECKED
from modbench.reports.tables.load import Loaded, load

pytestmark = pytest.mark.slow

# Both MoD are nearly as fast; the matched baseline is slower.
NEAR = TAKES | {HIGH: 0.61, MATCHED: 0.9}
TIMED: dict[str, Any] = {"suite": {"metrics": [TIME]}}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("recommend") / "quiet")


def found_in(loaded: Loaded, objective: str = "latency", **limits: float) -> Any:  # a Recommended
    return recommend(loaded, choice(loaded), Limits(**limits), objective)


def variant(judged: Any) -> str | None:
    return None if judged is None else str(judged.candidate.case.variant)


def best_two(found: Recommended) -> list[str | None]:
    return [variant(found.best), variant(found.runner_up)]


def words(found: Recommended) -> dict[str, str]:
    return {each.candidate.case.variant: each.word for each in found.judged}


# --- what fits


def test_the_fastest_that_fits_with_its_evidence(quiet: Loaded) -> None:
    found = found_in(quiet, latency=0.05, memory=4.5e6, loss=0.03)
    assert best_two(found) == [LOW, MATCHED]
    assert {each.word for each in found.best.kept} == {FITS}
    assert words(found)[MOE] == BREAKS  # 5 MB
    for pair, ratio in ((found.apart, 0.7 / 0.6), (found.best.shape, 1 / 0.6)):
        assert (pair.verdict, pair.typical.value) == ("better", pytest.approx(ratio, rel=0.01))
    assert found.matched.against.variant == MATCHED
    assert (found.best.loss.metric, found.best.loss.verdict) == ("loss/val_causal", "worse")


def test_nothing_fits_and_the_nearest_is_named(quiet: Loaded) -> None:
    found = found_in(quiet, latency=0.010, memory=4e6)
    assert (found.best, variant(found.nearest)) == (None, LOW)
    assert [row[0] for row in question.table(found).rows] == [found.nearest.candidate.case]
    assert [kept.word for kept in found.nearest.kept] == [BREAKS, FITS]
    assert [kept.excess for kept in found.nearest.kept] == pytest.approx([0.2, 3e6 / 4e6 - 1], abs=0.01)
    assert found.nearest.excess == pytest.approx(0.2, abs=0.01)


def to_show(distance: float, half: float, made: int) -> int:
    """More than were made, at which the upper end lies below the limit with 80 % power; now it is `half` above the estimate."""
    sd = half * math.sqrt(made) / stats.t.ppf(0.975, made - 1)
    return next(
        n
        for n in range(made + 1, 1000)
        if stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, distance * math.sqrt(n) / sd) >= 0.8
    )


def test_a_limit_inside_the_interval_only_may_be_held(tmp_path: Path) -> None:
    """The estimate lies below the limit, the end of its interval above: that is said, with the processes that would show it."""
    noisy = run(tmp_path / "noisy", sd=0.05, **TIMED)
    time = choice(noisy).candidates[2].time
    value, high = present(time.value), present(time.high)
    inside = (value + high) / 2
    found = found_in(noisy, latency=inside)
    assert (variant(found.best), found.best.word) == (LOW, MAY)
    processes = to_show(math.log(inside / value), math.log(high / value), time.n)
    assert processes in [need.processes for _, need in found.needs]
    assert words(found_in(noisy, latency=high * 1.001))[LOW] == FITS
    assert words(found_in(noisy, latency=value * 0.99))[LOW] == BREAKS


def test_what_fits_goes_before_what_may_fit(quiet: Loaded) -> None:
    """MoD's loss is 2.34 to 2.59 % above that of dense: at 2.5 % it may fit, and dense does."""
    assert {bound: words(found_in(quiet, loss=bound))[LOW] for bound in (0.02, 0.025, 0.03)} == {
        0.02: BREAKS,
        0.025: MAY,
        0.03: FITS,
    }
    found = found_in(quiet, loss=0.025)
    assert (variant(found.best), found.best.word, variant(found.better)) == (MATCHED, FITS, LOW)
    assert found.better.candidate.case in [row[0] for row in question.table(found).rows]
    (kept,) = found.better.kept
    seeds = to_show(0.025 - present(kept.value), present(kept.end) - kept.value, found.better.candidate.loss.n)
    assert (LOW, seeds) in [(each.case.variant, need.seeds) for each, need in found.needs]


def as_smoke(loaded: Loaded) -> Loaded:
    plan = loaded.run.plan
    plan = plan.model_copy(update={"suite": plan.suite.model_copy(update={"effort": "smoke"})})
    return dataclasses.replace(loaded, run=dataclasses.replace(loaded.run, plan=plan))


@pytest.mark.parametrize(
    ("how", "limits", "reason", "fit"),
    [
        ({"certificate": None}, {"latency": 0.05}, UNCHECKED, set()),
        ({}, {"latency": 0.05}, SMOKE, set()),
        ({"waits": LOW, "own_work_seen": True, **TIMED}, {"latency": 0.05}, "noisy", {DENSE, MATCHED, HIGH, MOE}),
        ({"suite": {"seeds": [0, 1]}}, {"loss": 0.5}, "2 seeds: illustration", {DENSE}),
        ({"causal": False}, {"loss": 0.5}, SAW_FUTURE, {DENSE, MATCHED}),
    ],
)
def test_a_number_that_supports_no_claim_only_may_fit(
    how: dict[str, Any], limits: dict[str, Any], reason: str, fit: set[str], tmp_path: Path
) -> None:
    loaded = run(tmp_path / "run", **how)
    found = found_in(as_smoke(loaded) if reason == SMOKE else loaded, **limits)
    assert {each for each, word in words(found).items() if word == FITS} == fit
    (judged,) = (each for each in found.judged if variant(each) == LOW)
    assert judged.word == MAY
    assert [plain(kept.reason)[: len(reason)] for kept in judged.kept] == [reason]
    assert all(kept.need is not None for kept in judged.kept), "what would decide it is said"
    assert (variant(found.best) in fit) == bool(fit), "what fits goes first"


def test_a_loss_that_saw_the_future_is_not_compared(tmp_path: Path) -> None:
    found = found_in(run(tmp_path / "future", causal=False))
    assert found.best.candidate.flattered
    assert "non-causal" in plain(question.headline(found))


def test_keys_and_values_alone_break_a_limit_but_never_hold_it(quiet: Loaded) -> None:
    chosen = choice(quiet)
    few = dataclasses.replace(chosen.candidates[0], memory=Value(100.0, unit="B", metric=KV_CACHE, n=1))
    for bound, word in ((200.0, UNKNOWN), (50.0, BREAKS)):
        assert check_limit(quiet, few, chosen.baseline, "memory", bound).word == word


# --- which is better


def test_settings_are_ranked_by_pairs(tmp_path: Path) -> None:
    """The machine changes its speed from round to round: MoD 0.5 is faster beside MoD 0.125, whose median over all is lower."""
    speed = (1.0, 2.0, 2.0, 4.0)
    rounds = {"": speed, HIGH: tuple(s * r for s, r in zip(speed, (0.3, 0.9, 0.9, 0.3), strict=True))}
    takes = TAKES | {LOW: 0.65, HIGH: 1.0, MATCHED: 0.9}
    odd = run(tmp_path / "odd", slower=takes, by_round=rounds, sd=0.001, **TIMED)
    low, high = (each for each in choice(odd).candidates if each.case.variant in {LOW, HIGH})
    assert present(low.time.value) > present(high.time.value)  # as their pair says
    found = found_in(odd)
    assert best_two(found) == [HIGH, LOW]
    assert found.apart.typical.value > 1.2


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"sd": 0.03, "suite": {"processes": 5}}, id="the interval holds 1"),
        pytest.param({"certificate": None}, id="nothing speaks for the machine"),
        pytest.param({"suite": {"processes": 1}}, id="no interval"),
    ],
)
def test_a_pair_that_is_not_told_apart_is_the_answer(how: dict[str, Any], tmp_path: Path) -> None:
    found = found_in(run(tmp_path / "near", slower=NEAR, **how))
    assert {*best_two(found)} == {LOW, HIGH}
    assert found.apart is None or found.apart.verdict in {"inconclusive", None}
    assert as_dict(found)["answer"] == question.headline(found).given["answer"] == "inconclusive"
    assert plain(question.headline(found).given["variants"]).count(" or MoD") == 1
    assert "sd" not in how or any(need.processes > 5 for _, need in found.needs), "and how many processes would decide"


def test_settings_that_a_busy_machine_spoils_are_ranked_by_cpu_time(tmp_path: Path) -> None:
    takes = NEAR | {HIGH: 0.7}
    found = found_in(run(tmp_path / "busy", slower=takes, waits=LOW, own_work_seen=True, **TIMED))
    assert best_two(found) == [LOW, HIGH]
    assert (found.apart.verdict, found.apart.typical.value) == ("better", pytest.approx(0.7 / 0.6, rel=0.01))


def test_a_pair_that_no_table_holds_is_computed_alike(quiet: Loaded) -> None:
    one, other = (case for case in quiet.run.plan.comparisons[0].variants if case.variant in {LOW, MOE})
    few = dataclasses.replace(quiet, pairs=quiet.pairs[quiet.pairs.primary])
    for metric in (TIME, MEMORY):
        stored_, made = (present(held_against(each, one, other, metric)) for each in (quiet, few))
        assert made.verdict == stored_.verdict
        assert made.typical.value == pytest.approx(stored_.typical.value)
        turned = present(held_against(quiet, other, one, metric))
        assert turned.typical.value == pytest.approx(1 / present(stored_.typical.value))
        assert {turned.verdict, stored_.verdict} == {"better", "worse"}
        for each in (stored_.typical, turned.typical):
            assert each.low is None or each.low < present(each.value) < present(each.high)


def test_a_setting_that_may_not_do_its_work_is_not_recommended(quiet: Loaded) -> None:
    cases = quiet.cases.copy()
    cases.loc[(cases.variant == LOW) & (cases.metric == TIME), "labels"] = f"{Label.TAIL};{Label.MASKS_COMPUTE}"
    found = found_in(dataclasses.replace(quiet, cases=cases))
    assert variant(found.best) == MATCHED
    assert found.not_considered == {"MoD 0.125": Label.MASKS_COMPUTE}
    assert any(Label.MASKS_COMPUTE in line for line in as_text(found, 400))


# --- what comes next


@pytest.mark.parametrize(
    ("how", "limits", "said"),
    [
        ({"sd": 0.03, "suite": {"processes": 5}}, {}, "--set processes="),
        ({"suite": {"seeds": [0, 1]}}, {"loss": 0.025}, "--seeds 0,1,2"),
        ({"certificate": None}, {}, "modbench doctor"),
    ],
)
def test_what_comes_next_are_commands(how: dict[str, Any], limits: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Each can be pasted: its words are parsed as the shell and modbench do, and its -k selects these settings."""
    loaded, group = run(tmp_path / "run", slower=NEAR, **how), typer.main.get_command(cli.app)
    found = found_in(loaded, **limits)
    lines = [line.removeprefix("next: ") for line in as_text(found, 60) if line.startswith("next: ")]
    assert lines == [*found.commands] == as_dict(found)["commands"]
    assert any(said in line for line in lines)
    for line in lines:
        program, command, *arguments = shlex.split(line)
        assert program == "modbench"
        known = group.get_command(None, command)  # type: ignore[attr-defined]  # a group
        made = known.make_context(command, arguments)
        if made.params.get("select"):
            matches = compile_expression(made.params["select"])
            assert {case.variant for case in loaded.run.plan.cases if matches(case.id)} >= {variant(found.best)}


def test_what_was_not_measured_is_asked_for(tmp_path: Path) -> None:
    timed = run(tmp_path / "timed", **TIMED)
    found = found_in(timed, memory=1e12, loss=0.5)
    assert (found.best, found.nearest, found.answer) == (None, None, "none fits")
    assert words(found)[LOW] == UNKNOWN
    assert [*dict.fromkeys(need.metric for _, need in found.needs)] == [MEMORY, "loss/val"]
    assert [shlex.split(each)[-1] for each in found.commands] == [f"metrics={MEMORY}", "metrics=loss/val"]
    brief = found_in(as_smoke(timed), memory=1e12, loss=0.5).commands  # another smoke run would claim no more
    assert ["--effort draft" in each for each in (*found.commands, *brief)] == [False, False, True, True]


# --- what is asked


def test_the_command(quiet: Loaded, modbench: Any) -> None:
    limits = ("--max-latency", "50ms", "--max-loss-increase", "3%")
    told = json.loads(modbench("recommend", quiet.path, *limits, "--json").stdout)
    assert (told["best"]["variant"], told["best"]["verdict"]) == (LOW, FITS)
    assert told["limits"] == {"latency": 0.05, "loss": 0.03}
    assert modbench("recommend", quiet.path, "--max-latency", "1ms").returncode == 1
    assert modbench("recommend", quiet.path, "--minimize", "flops").returncode == 0


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--max-latency", "50", "50ms or 1.5s"),
        ("--max-memory", "4", "such as 4GiB or 500MB"),
        ("--max-loss-increase", "1", "1 per cent is 1%"),
        ("--seq-len", "4096", "modbench plan planted.toml --seq-len 4096"),
        ("--dtype", "fp17", "Known: bf16, fp16, fp32"),
        ("--workload", "decode", "it timed: forward"),
    ],
)
def test_what_cannot_be_asked_is_refused(quiet: Loaded, modbench: Any, flag: str, value: str, said: str) -> None:
    refused = modbench("recommend", quiet.path, flag, value)
    assert refused.returncode == 2
    assert said in refused.stderr, refused.stderr


def test_an_incomplete_run_is_answered_from_what_is_there(tmp_path: Path, modbench: Any) -> None:
    lost = run(tmp_path / "lost", leave_out="memory-")
    told = modbench("recommend", lost.path)
    assert told.returncode == 4
    assert told.stdout.startswith("MoD 0.125 is the fastest")
    assert "is incomplete" in told.stderr
    assert modbench("recommend", lost.path, "--max-latency", "1ms").returncode == 1


def test_the_documentation_shows_the_run_that_ships(tmp_path: Path) -> None:
    demo.unpack(tmp_path / "quick", demo.SHIPPED["quick"])
    reseal_with(tmp_path / "quick" / "run.json", lambda body: body["environment"].pop("shipped"))
    quick = load(tmp_path / "quick")
    page = (Path(__file__).parents[3] / "docs" / "comparing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    chosen = [choice(quick, seq_len=length) for length in (256, 512)]
    said = [as_text(recommend(quick, each, Limits(), "latency"), 80) for each in chosen]
    assert blocks[:2] == ["\n".join(lines) + "\n" for lines in said]


# --- what there is to choose from


def test_of_other_tokens_than_the_baselines_bits_per_byte_are_the_loss(tmp_path: Path) -> None:
    stored(tmp_path, planned("mod"), losses={DENSE: 2.0, MATCHED: 2.2, MOD: 1.0, MOE: 2.1})
    found = choice(load(tmp_path / "run"), "forward")
    assert {each.loss.metric for each in found.candidates} == {"bpb/val"}


def test_a_loss_is_that_of_the_length_that_is_asked_for(tmp_path: Path) -> None:
    loaded = at_two_lengths(tmp_path)
    for length, rise in RISES.items():
        chosen = choice(loaded, "forward", length)
        (mod,) = (each for each in chosen.candidates if each.case.variant == MOD)
        point = present(mod.trained).grid_point
        assert (point.seq_len, point.batch_size) == (length, 128 // length)
        assert mod.loss.value == pytest.approx(2 + rise, abs=0.1)
        assert present(loss_against(loaded, mod, chosen.baseline)).typical.value == pytest.approx(rise, abs=0.05)
