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
from planted_choice import MEMORY, TAKES, TIME, run
from planted_losses import MOD, RISES, at_two_lengths, planned
from present import present
from resealed import reseal_with
from scipy import stats

from modbench import cli
from modbench.extend import planted_plan, planted_run
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.core.units import parse_bytes, parse_duration, parse_share
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
    Need,
    check_limit,
    commands,
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


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("recommend") / "quiet")


def found_in(loaded: Loaded, objective: str = "latency", **limits: float) -> Any:  # a Recommended
    return recommend(loaded, choice(loaded), Limits(**limits), objective)


def variant(judged: Any) -> str | None:
    return None if judged is None else str(judged.candidate.case.variant)


def words(found: Recommended) -> dict[str, str]:
    return {each.candidate.case.variant: each.word for each in found.judged}


def test_the_fastest_that_fits_with_its_evidence(quiet: Loaded) -> None:
    found = found_in(quiet, latency=0.05, memory=4.5e6, loss=0.03)
    assert (variant(found.best), variant(found.runner_up)) == ("mod[c0.125]", "dense-f0.58")
    assert {each.word for each in found.best.kept} == {FITS}
    assert words(found)["moe"] == BREAKS  # 5 MB
    assert found.apart.verdict == "better"
    assert found.apart.typical.value == pytest.approx(0.7 / 0.6, rel=0.01)
    assert found.best.shape.verdict == "better"
    assert found.best.shape.typical.value == pytest.approx(1 / 0.6, rel=0.01)
    assert found.matched.against.variant == "dense-f0.58"
    assert (found.best.loss.metric, found.best.loss.verdict) == ("loss/val_causal", "worse")


def test_nothing_fits_and_the_nearest_is_named(quiet: Loaded) -> None:
    found = found_in(quiet, latency=0.010, memory=4e6)
    assert found.best is None
    assert variant(found.nearest) == "mod[c0.125]"
    assert found.nearest.excess == pytest.approx(0.2, abs=0.01)
    assert [row[0] for row in question.table(found).rows] == [found.nearest.candidate.case]
    assert [kept.word for kept in found.nearest.kept] == [BREAKS, FITS]
    assert [kept.excess for kept in found.nearest.kept] == pytest.approx([0.2, 3e6 / 4e6 - 1], abs=0.01)


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
    noisy = run(tmp_path / "noisy", sd=0.05, suite={"metrics": [TIME]})
    value = choice(noisy).candidates[2].time
    assert value.value is not None
    assert value.high is not None
    inside = (value.value + value.high) / 2
    found = found_in(noisy, latency=inside)
    assert (variant(found.best), found.best.word) == ("mod[c0.125]", MAY)
    processes = to_show(math.log(inside / value.value), math.log(value.high / value.value), value.n)
    assert processes in [need.processes for _, need in found.needs]
    # A slower setting that surely fits goes first; the faster one is named.
    wide = found_in(noisy, latency=value.high * 1.001)
    assert (variant(wide.best), wide.best.word) == ("mod[c0.125]", FITS)
    assert words(found_in(noisy, latency=value.value * 0.99))["mod[c0.125]"] == BREAKS


def test_what_fits_goes_before_what_may_fit(quiet: Loaded) -> None:
    """MoD's loss is 2.34 to 2.59 % above that of dense: at 2.5 % it may fit, and dense does."""
    found = found_in(quiet, loss=0.025)
    assert words(found)["mod[c0.125]"] == MAY
    assert (variant(found.best), found.best.word) == ("dense-f0.58", FITS)
    assert variant(found.better) == "mod[c0.125]"
    assert found.better.candidate.case in [row[0] for row in question.table(found).rows]
    (kept,) = found.better.kept
    assert kept.value is not None
    seeds = to_show(0.025 - kept.value, present(kept.end) - kept.value, found.better.candidate.loss.n)
    assert ("mod[c0.125]", seeds) in [(each.case.variant, need.seeds) for each, need in found.needs]
    assert words(found_in(quiet, loss=0.03))["mod[c0.125]"] == FITS
    assert words(found_in(quiet, loss=0.02))["mod[c0.125]"] == BREAKS


def test_two_seeds_are_an_illustration(tmp_path: Path) -> None:
    two = run(tmp_path / "two", suite={"seeds": [0, 1]})
    found = found_in(two, loss=0.5)
    assert words(found) == dict.fromkeys(words(found), MAY) | {"dense": FITS}
    assert variant(found.best) == "dense"
    match = next(each for each in found.judged if each.candidate.case.variant != "dense")
    assert any(plain(kept.reason).startswith("2 seeds: illustration") for kept in match.kept)
    assert 3 in [need.seeds for _, need in found.needs]


def test_a_loss_that_saw_the_future_shows_nothing(tmp_path: Path) -> None:
    future = run(tmp_path / "future", causal=False)
    found = found_in(future, loss=0.5)
    assert words(found)["mod[c0.125]"] == MAY
    assert words(found)["dense-f0.58"] == FITS
    best = found_in(future)
    assert best.best.candidate.flattered
    assert "non-causal" in plain(question.headline(best))
    match = next(each for each in found.judged if each.candidate.case.variant == "mod[c0.125]")
    assert [kept.reason for kept in match.kept] == [SAW_FUTURE]
    assert ("mod[c0.125]", SAW_FUTURE) in [(each.case.variant, need.why) for each, need in found.needs]


def test_an_undecided_runner_up_says_how_many_processes_would_decide(tmp_path: Path) -> None:
    takes = TAKES | {"mod[c0.5]": 0.61, "dense-f0.58": 0.9}
    noisy = run(tmp_path / "noisy", sd=0.03, slower=takes, suite={"metrics": [TIME], "processes": 5})
    found = found_in(noisy)
    assert {variant(found.best), variant(found.runner_up)} == {"mod[c0.125]", "mod[c0.5]"}
    assert found.apart.verdict == "inconclusive"
    assert found.answer == question.headline(found).given["answer"] == "inconclusive"
    assert any(need.processes > 5 for _, need in found.needs)


def test_settings_are_ranked_by_pairs(tmp_path: Path) -> None:
    """The machine changes its speed from round to round: MoD 0.5 is faster beside MoD 0.125, whose median over all is lower."""
    speed = (1.0, 2.0, 2.0, 4.0)
    rounds = {"": speed, "mod[c0.5]": tuple(s * r for s, r in zip(speed, (0.3, 0.9, 0.9, 0.3), strict=True))}
    takes = TAKES | {"mod[c0.125]": 0.65, "mod[c0.5]": 1.0, "dense-f0.58": 0.9}
    odd = run(tmp_path / "odd", slower=takes, by_round=rounds, sd=0.001, suite={"metrics": [TIME]})
    one, other = (each for each in choice(odd).candidates if each.case.variant.startswith("mod"))
    assert (one.case.variant, (one.time.value or 0) > (other.time.value or 0)) == (
        "mod[c0.125]",
        True,
    )  # as their pair says
    found = found_in(odd)
    assert (variant(found.best), variant(found.runner_up)) == ("mod[c0.5]", "mod[c0.125]")
    assert found.apart.typical.value > 1.2


@pytest.mark.parametrize(
    "how",
    [
        {"sd": 0.03, "suite": {"processes": 5}},  # the interval holds 1
        {"certificate": None},  # nothing speaks for the machine
        {"suite": {"processes": 1}},  # no interval
    ],
)
def test_a_pair_that_is_not_told_apart_comes_first(how: dict[str, Any], tmp_path: Path) -> None:
    takes = TAKES | {"mod[c0.125]": 0.6, "mod[c0.5]": 0.61, "dense-f0.58": 0.9}
    near = run(tmp_path / "near", slower=takes, **how)
    found = found_in(near)
    assert {variant(found.best), variant(found.runner_up)} == {"mod[c0.125]", "mod[c0.5]"}
    assert found.apart is None or found.apart.verdict in {"inconclusive", None}
    assert as_dict(found)["answer"] == question.headline(found).given["answer"] == "inconclusive"
    assert plain(question.headline(found).given["variants"]).count(" or MoD") == 1


def test_settings_that_a_busy_machine_spoils_are_ranked_by_cpu_time(tmp_path: Path) -> None:
    takes = TAKES | {"mod[c0.125]": 0.6, "mod[c0.5]": 0.7, "dense-f0.58": 0.9}
    suite = {"metrics": [TIME]}
    busy = run(tmp_path / "busy", slower=takes, waits="mod[c0.125]", own_work_seen=True, suite=suite)
    found = found_in(busy)
    assert (variant(found.best), variant(found.runner_up)) == ("mod[c0.125]", "mod[c0.5]")
    assert found.apart.verdict == "better"
    assert found.apart.typical.value == pytest.approx(0.7 / 0.6, rel=0.01)


def test_what_comes_next_are_commands(tmp_path: Path) -> None:
    """Each can be pasted: its words are parsed as the shell and modbench do, and its -k selects these settings."""
    takes = TAKES | {"mod[c0.125]": 0.6, "mod[c0.5]": 0.61, "dense-f0.58": 0.9}
    cases = {
        "processes": run(tmp_path / "noisy", sd=0.03, slower=takes, suite={"processes": 5}),
        "seeds": run(tmp_path / "seeds", slower=takes, suite={"seeds": [0, 1]}),
        "unchecked": run(tmp_path / "unchecked", slower=takes, certificate=None),
    }
    group = typer.main.get_command(cli.app)
    for name, loaded in cases.items():
        found = found_in(loaded, loss=0.025) if name == "seeds" else found_in(loaded)
        lines = [*as_text(found, 60)]
        below = [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]
        assert below == [*found.commands], name
        for line in below:
            program, command, *words = shlex.split(line)
            assert program == "modbench"
            known = group.get_command(None, command)  # type: ignore[attr-defined]  # a group
            made = known.make_context(command, words)
            if made.params.get("select"):
                matches = compile_expression(made.params["select"])
                assert {case.variant for case in loaded.run.plan.cases if matches(case.id)} >= {variant(found.best)}
        assert as_dict(found)["commands"] == [*found.commands]
    assert any("--set processes=" in each for each in found_in(cases["processes"]).commands)
    assert any("--seeds 0,1,2" in each for each in found_in(cases["seeds"], loss=0.025).commands)
    assert "modbench doctor" in found_in(cases["unchecked"]).commands


def test_one_command_measures_the_losses_of_both(quiet: Loaded) -> None:
    found = found_in(quiet)
    best, other = found.best.candidate, found.runner_up.candidate
    needs = [(best, Need("loss/val_causal", "a", seeds=4)), (other, Need("loss/val", "b", seeds=5))]
    (command,), why = commands(quiet, needs)
    words = shlex.split(command)
    assert (why, words[-1], words[-3]) == ((), "0,1,2,3,4", "metrics=loss/val_causal,loss/val")
    assert all(case.variant.partition("[")[0] in words[words.index("-k") + 1] for case in (best.case, other.case))


def as_smoke(loaded: Loaded) -> Loaded:
    plan = loaded.run.plan
    plan = plan.model_copy(update={"suite": plan.suite.model_copy(update={"effort": "smoke"})})
    return dataclasses.replace(loaded, run=dataclasses.replace(loaded.run, plan=plan))


def test_times_of_an_unchecked_machine_and_of_a_smoke_run_show_nothing(quiet: Loaded, tmp_path: Path) -> None:
    unchecked = run(tmp_path / "unchecked", certificate=None)
    found = found_in(unchecked, latency=0.05)
    assert {*words(found).values()} == {MAY}
    assert all(kept.reason == UNCHECKED for each in found.judged for kept in each.kept)
    brief = found_in(as_smoke(quiet), latency=0.05)
    assert {*words(brief).values()} == {MAY}
    assert all(kept.reason == SMOKE for each in brief.judged for kept in each.kept)


def test_what_was_not_measured_is_asked_for(tmp_path: Path) -> None:
    timed = run(tmp_path / "timed", suite={"metrics": [TIME]})
    found = found_in(timed, memory=1e12, loss=0.5)
    assert found.best is None
    assert words(found)["mod[c0.125]"] == UNKNOWN
    assert found.nearest is None
    assert [*dict.fromkeys(need.metric for _, need in found.needs)] == [MEMORY, "loss/val"]
    assert [shlex.split(each)[-1] for each in found.commands] == [f"metrics={MEMORY}", "metrics=loss/val"]
    assert found.answer == "none fits"
    brief = found_in(as_smoke(timed), memory=1e12, loss=0.5).commands  # another smoke run would claim no more
    assert len(brief) == len(found.commands)
    assert all("--effort draft" in each for each in brief)
    assert not any("--effort" in each for each in found.commands)


def test_a_setting_that_may_not_do_its_work_is_not_recommended(quiet: Loaded) -> None:
    cases = quiet.cases.copy()
    cases.loc[(cases.variant == "mod[c0.125]") & (cases.metric == TIME), "labels"] = (
        f"{Label.TAIL};{Label.MASKS_COMPUTE}"
    )
    found = found_in(dataclasses.replace(quiet, cases=cases))
    assert variant(found.best) == "dense-f0.58"
    assert found.not_considered == {"MoD 0.125": Label.MASKS_COMPUTE}
    assert any(Label.MASKS_COMPUTE in line for line in as_text(found, 400))


def test_a_pair_that_no_table_holds_is_computed_alike(quiet: Loaded) -> None:
    one, other = (case for case in quiet.run.plan.comparisons[0].variants if case.variant in {"mod[c0.125]", "moe"})
    few = dataclasses.replace(quiet, pairs=quiet.pairs[quiet.pairs.primary])
    for metric in (TIME, MEMORY):
        stored, made = present(held_against(quiet, one, other, metric)), present(held_against(few, one, other, metric))
        assert made.verdict == stored.verdict
        assert made.typical.value == pytest.approx(stored.typical.value)
        turned = present(held_against(quiet, other, one, metric))
        assert turned.typical.value == pytest.approx(1 / (stored.typical.value or 0))
        assert {turned.verdict, stored.verdict} == {"better", "worse"}
        for each in (stored, turned):
            low, value, high = each.typical.low, each.typical.value, each.typical.high
            assert low is None or low < (value or 0) < (high or 0)


def test_the_command(quiet: Loaded, modbench: Any) -> None:
    told = json.loads(
        modbench("recommend", quiet.path, "--max-latency", "50ms", "--max-loss-increase", "3%", "--json").stdout
    )
    assert (told["best"]["variant"], told["best"]["verdict"], told["limits"]) == (
        "mod[c0.125]",
        FITS,
        {"latency": 0.05, "loss": 0.03},
    )
    assert modbench("recommend", quiet.path, "--max-latency", "1ms").returncode == 1
    assert modbench("recommend", quiet.path, "--minimize", "flops").returncode == 0
    for bad, said in (
        (("--max-latency", "50"), "50ms or 1.5s"),
        (("--max-memory", "4"), "such as 4GiB or 500MB"),
        (("--max-loss-increase", "1"), "1 per cent is 1%"),
        (("--seq-len", "4096"), "modbench plan planted.toml --seq-len 4096"),
        (("--seq-len", "-1"), "below 1"),
        (("--batch-size", "0"), "below 1"),
        (("--seq-len", "10000000000"), "more than anything that can be run"),
        (("--seq-len", "long"), "integer"),
        (("--dtype", "fp17"), "Known: bf16, fp16, fp32"),
        (("--workload", "decode"), "it timed: forward"),
        (("--workload", "decoding"), "Did you mean 'decode'?"),
        (("--minimize", "time"), "Known: flops, latency, loss, memory"),
    ):
        refused = modbench("recommend", quiet.path, *bad)
        assert refused.returncode == 2
        assert said in refused.stderr, refused.stderr


def test_limits_are_read_with_units() -> None:
    assert (parse_duration("50ms", "-"), parse_duration("1.5 s", "-"), parse_duration("20µs", "-")) == pytest.approx(
        (0.05, 1.5, 2e-5)
    )
    assert (parse_bytes("4GiB", "-"), parse_bytes("500 MB", "-"), parse_bytes("1kib", "-")) == (2**32, 5e8, 1024)
    assert float(parse_share("0.5%", "-")) == 0.005
    for bad in ("4", "4G", "-1GiB", "0B", "1e3MiB", "٤GiB", "9" * 400 + "GiB"):
        with pytest.raises(UsageError, match="is no size"):
            parse_bytes(bad, "--max-memory")


def test_keys_and_values_alone_break_a_limit_but_never_hold_it(quiet: Loaded) -> None:
    chosen = choice(quiet)
    few = dataclasses.replace(chosen.candidates[0], memory=Value(100.0, unit="B", metric=KV_CACHE, n=1))
    assert check_limit(quiet, few, chosen.baseline, "memory", 200.0).word == UNKNOWN
    assert check_limit(quiet, few, chosen.baseline, "memory", 50.0).word == BREAKS


def test_noisy_times_only_may_fit(tmp_path: Path) -> None:
    noisy = run(tmp_path / "noisy", waits="mod[c0.125]", own_work_seen=True, suite={"metrics": [TIME]})
    found = found_in(noisy, latency=0.05)
    assert words(found)["mod[c0.125]"] == MAY
    assert words(found)["dense-f0.58"] == FITS
    assert variant(found.best) == "dense-f0.58"
    assert any("noisy" in line for line in as_text(found, 400))


def test_an_incomplete_run_is_answered_from_what_is_there(tmp_path: Path, modbench: Any) -> None:
    lost = run(tmp_path / "lost", leave_out="memory-")
    told = modbench("recommend", lost.path)
    assert told.returncode == 4
    assert told.stdout.startswith("MoD 0.125 is the fastest")
    assert "is incomplete" in told.stderr
    assert modbench("recommend", lost.path, "--max-latency", "1ms").returncode == 1


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The run that is shipped, which says nothing of that."""
    folder = tmp_path_factory.mktemp("quick")
    demo.unpack(folder, demo.SHIPPED["quick"])
    reseal_with(folder / "run.json", lambda body: body["environment"].pop("shipped"))
    return load(folder)


def test_the_documentation_shows_the_run_that_ships(quick: Loaded) -> None:
    page = (Path(__file__).parents[3] / "docs" / "decide.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    chosen = [choice(quick, seq_len=length) for length in (256, 512)]
    said = [as_text(recommend(quick, each, Limits(), "latency"), 80) for each in chosen]
    assert blocks[:2] == ["\n".join(lines) + "\n" for lines in said]


def test_what_to_take_stands_on_few_lines(quick: Loaded) -> None:
    """Commands are whole; all else fits 80 columns."""
    lines = [*as_text(recommend(quick, choice(quick), Limits(), "loss"), 80)]
    assert len(lines) <= 12
    assert max(len(line) for line in lines if not line.startswith("next: ")) <= 80


def test_of_other_tokens_than_the_baselines_bits_per_byte_are_the_loss(tmp_path: Path) -> None:
    stored(tmp_path, planned("mod"), losses={"dense": 2.0, "dense-f0.58": 2.2, MOD: 1.0, "moe": 2.1})
    found = choice(load(tmp_path / "run"), "forward")
    assert {each.loss.metric for each in found.candidates} == {"bpb/val"}


def test_a_loss_is_that_of_the_length_that_is_asked_for(tmp_path: Path) -> None:
    loaded = at_two_lengths(tmp_path)
    for length, rise in RISES.items():
        chosen = choice(loaded, "forward", length)
        (variant,) = (each for each in chosen.candidates if each.case.variant == MOD)
        assert variant.trained is not None
        assert (variant.trained.grid_point.seq_len, variant.trained.grid_point.batch_size) == (length, 128 // length)
        assert variant.loss.value == pytest.approx(2 + rise, abs=0.1)
        found = present(loss_against(loaded, variant, chosen.baseline))
        assert found.typical.value == pytest.approx(rise, abs=0.05)


def test_a_setting_can_be_chosen_by_its_requests(tmp_path: Path) -> None:
    suite: dict[str, Any] = {
        "metrics": ["latency/prefill", "latency/decode", "latency/request"],
        "shape": {"d_model": 64, "n_layers": 4},
        "grid": {"seq_len": [64], "batch_size": [1, 4], "input_len": [64, 16], "output_len": [32]},
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}],
    }
    planted_run(tmp_path, planted_plan("draft", train=None, processes=3, rounds=4, **suite))
    made = choice(load(tmp_path / "run"), "request")
    assert (made.comparison.grid_point.seq_len, made.comparison.grid_point.new_tokens) == (64, 32)
    assert [each.time.metric for each in made.candidates] == ["latency/request"] * 2
    assert all(each.time.value is not None for each in made.candidates)
