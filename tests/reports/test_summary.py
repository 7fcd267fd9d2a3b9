"""The answer in words: the winner first, against the matched baseline; of a user's model its fastest setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_compare import OWN, own_run
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import MatchedBaseline
from modbench.harness.results import run_folder
from modbench.harness.stats.verdicts import MIRRORED
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Estimate, Finding
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary, user_models, win_rate
from modbench.reports.tables.comparisons import BY_CPU, RATIO
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import answer_so_far

pytestmark = pytest.mark.slow

TIMES = ("forward", "train_step")
# Of MoD against the matched baseline: it pays at one place of six, the last.
RATIOS = dict(
    zip(
        [(workload, length) for workload in TIMES for length in (64, 128, 256)],
        (0.82, 0.92, 0.96, 0.82, 0.93, 1.06),
        strict=True,
    )
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    metrics = [f"latency/{workload}" for workload in TIMES]
    made = planted_plan("draft", metrics=metrics, grid={"seq_len": [64, 128, 256]}, processes=3, rounds=6)
    matched = next(case.variant for case in made.cases if case.matched)
    of_matched = {(matched, *where): 0.6 for where in RATIOS}
    of_mod = {("mod[c0.125]", *where): 0.6 / ratio for where, ratio in RATIOS.items()}
    return load(planted_run(tmp_path_factory.mktemp("answer"), made, grid=of_matched | of_mod))


def test_it_compares_with_dense_of_equal_flops_and_then_with_the_baseline(loaded: Loaded) -> None:
    first, second = map(plain, summary.answer(loaded))
    assert first == "Dense of equal FLOPs at T = 128 is faster than MoD 0.125 in 5 of 6 comparisons, slower in 1."
    assert second.startswith("MoD 0.125 is 1.")
    assert second.endswith(" as fast as dense of the same shape.")
    matched = next(each.variant for each in loaded.run.plan.matched_baselines if each.target == "mod[c0.125]")
    assert len(summary.answer(load(loaded.path, matched))) == 1


@pytest.mark.parametrize(("gap", "said"), [(0.05, "equal FLOPs"), (-0.051, "equal FLOPs at T = 64")])
def test_a_length_is_named_where_flops_differ_at_others(gap: float, said: str) -> None:
    matched = MatchedBaseline(variant="dense-f0.5", target="mine", solved_at=64, gaps={64: 0.0, 128: gap})
    assert summary.equal(matched) == f"dense of {said}"


def held(loaded: Loaded, ratio: float | None, verdict: str | None, *labels: str) -> Finding:
    """What is found of MoD at the first place, with another ratio and verdict."""
    mod = next(case for case in loaded.variants if case.model == "mod")
    found = win_rate.grid_points(loaded, mod, loaded.variants[0])[0]
    return replace(found, typical=Estimate(ratio, kind="ratio", unit="s"), verdict=verdict, labels=labels)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["better", "worse", "equivalent", "inconclusive"], "a is faster than b in 1 of 4 comparisons, slower in 1."),
        (["better", "worse", "worse", "inconclusive"], "b is faster than a in 2 of 4 comparisons, slower in 1."),
        (["better", "better", "equivalent", "inconclusive"], "a is faster than b in 2 of 4 comparisons."),
        (["equivalent", "inconclusive"], "a is neither faster nor slower than b in any of 2 comparisons."),
        (["better"], "a is faster than b."),
        ([None], "a is 1.20× as fast as b, without a verdict."),
    ],
)
def test_the_winner_is_named_first(loaded: Loaded, verdicts: list[str | None], said: str) -> None:
    assert plain(win_rate.sentence("a", [held(loaded, 1.2, word) for word in verdicts], "b")) == said


def test_what_was_left_out_does_not_count_and_what_is_doubted_is_said(loaded: Loaded) -> None:
    assert win_rate.sentence("a", [], "b") is None
    left_out = [held(loaded, 1.2, "better"), held(loaded, None, None), held(loaded, 0.9, "inconclusive")]
    assert "in 1 of 2 comparisons" in plain(win_rate.sentence("a", left_out, "b"))
    doubted = win_rate.sentence("a", [held(loaded, 1.5, "better", Label.OTHER_PRECISION)], "b")
    assert plain(doubted) == f"a is faster than b (but: {Label.OTHER_PRECISION})."


def test_a_pair_that_is_stored_the_other_way_round_is_mirrored(loaded: Loaded) -> None:
    variants = {case.variant: case for case in loaded.variants}
    there = win_rate.grid_points(loaded, variants["mod[c0.125]"], variants["moe"])
    back = win_rate.grid_points(loaded, variants["moe"], variants["mod[c0.125]"])
    assert [each.where for each in there] == [each.where for each in back]
    for one, other in zip(there, back, strict=True):
        assert (one.verdict, MIRRORED[str(other.verdict)]) == ("better", "better")
        assert present(one.typical.value) * present(other.typical.value) == pytest.approx(1)
        assert present(one.typical.low) * present(other.typical.high) == pytest.approx(1)


def test_the_best_of_a_column_is_significantly_better_than_all(loaded: Loaded) -> None:
    here = loaded.cases[(loaded.cases.metric == "latency/train_step") & (loaded.cases.seq_len == 256)]
    ids = dict(zip(here.variant, here.case_id, strict=True))
    best, pairs = "mod[c0.125]", loaded.pairs
    at = (pairs.metric == "latency/train_step") & (pairs.seq_len == 256)
    of_best = pairs[at & ((pairs.variant == best) | (pairs.baseline_variant == best))].index
    assert win_rate.best(loaded, "latency/train_step", ids) == best
    assert win_rate.best(loaded, "latency/train_step", {"dense": ids["dense"]}) is None
    for row in of_best:
        for column, value in (("verdict", "inconclusive"), ("verdict", None), ("labels", str(Label.MASKS_COMPUTE))):
            changed = pairs.copy()
            changed.loc[row, column] = value
            assert win_rate.best(replace(loaded, pairs=changed), "latency/train_step", ids) is None, (row, value)


@pytest.mark.parametrize(
    ("said", "variant"),
    [
        ("mod[c0.125]", "mod[c0.125]"),
        ("MoD 0.125", "mod[c0.125]"),
        ("dense, 58 % of the FLOPs", "dense-f0.58"),
    ],
)
def test_a_variant_answers_to_what_the_terminal_calls_it(loaded: Loaded, said: str, variant: str) -> None:
    assert load(loaded.path, said).variants[0].variant == variant
    with pytest.raises(UsageError, match=r"baseline 'mod' could be any of mod\[c0.125\], mod\[c0.5\]"):
        load(loaded.path, "mod")


@pytest.mark.parametrize(
    ("labels", "wall", "cpu", "half"),
    [
        ("", (0.9, 0.9 * 1.1**2), (0.9, 0.9 * 1.02**2), 0.1),
        ("by CPU time", (0.9, 0.9 * 1.1**2), (0.9, 0.9 * 1.02**2), 0.02),
        ("", (None, None), (0.9, 0.9 * 1.02**2), None),
    ],
)
def test_the_width_is_that_of_the_intervals_that_decided(labels: str, wall: Any, cpu: Any, half: float | None) -> None:
    ends = dict(zip(RATIO + BY_CPU, (1.0, *wall, 1.0, *cpu), strict=True))
    rows = pd.DataFrame([ends], dtype=float).assign(labels=labels)
    assert summary.half_of(rows).value == (None if half is None else pytest.approx(half))


# --- a user's model with several settings


BEST, CALLED = "mine:build[capacity0.125]", "mine:build capacity0.125"
ALIKE = {f"mine:build[capacity{share}]": 1.0 for share in (0.5, 0.25, 0.125)}
WITH_DENSE = [{"model": "dense"}, *OWN["variants"]]
NONE = "mine:build (3 settings, none is the fastest)"
FASTER, SLOWER = {"mine:build[capacity0.25]": 0.5}, {"mine:build[capacity0.125]": 0.5}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("suite", "truth", "best", "who", "counted"),
    [
        ({"variants": WITH_DENSE}, {}, [BEST] * 2, f"{CALLED}, the fastest of 3 settings,", 2),
        ({"variants": WITH_DENSE}, {"slower": ALIKE}, [None] * 2, NONE, 3 * 2),
        (  # at each length another one; of several the one at the longest length; the first is the baseline, without a ratio
            {"grid": {"seq_len": [64, 128, 256, 512], "dtype": ["fp32"]}},
            {"slower": ALIKE, "at": {64: FASTER, 256: SLOWER, 512: SLOWER}},
            ["mine:build[capacity0.25]", None, BEST, BEST],
            f"{CALLED}, the fastest of 3 settings,",
            4,
        ),
        (
            {"variants": [{"model": "mine.py:build", "options": {"capacity": [0.125, 0.25, 0.5]}}]},
            {},
            [BEST] * 2,
            NONE,
            2 * 2,
        ),
        ({"variants": WITH_DENSE, "effort": "smoke", "processes": 1}, {}, [], NONE, None),
        ({"variants": [{"model": "dense"}, {"model": "mine.py:build"}]}, {"slower": {}}, [], "mine:build", 2),
    ],
    ids=["fastest", "none is", "length by length", "the baseline is", "smoke", "one setting"],
)
def test_the_fastest_setting_is_the_answer_and_not_the_first(
    suite: dict[str, Any], truth: dict[str, Any], best: list[str], who: str, counted: int | None, here: Path
) -> None:
    loaded = own_run(here, suite, **truth)
    said: Any = summary.answer(loaded)
    assert [each.variant for each in user_models.best_settings(loaded)] == best
    assert (plain(said[-1].given["variant"]), said[0].given.get("all")) == (who, counted)


def test_while_a_run_goes_on_the_baselines_aa_control_is_no_setting(here: Path) -> None:
    loaded = own_run(here, {"aa_control": True})
    jobs = [job for job in loaded.run.plan.jobs if job.made_in == "time" and job.comparison.grid_point.seq_len == 128]
    assert any(case.aa_control for case in jobs[0].comparison.variants)
    part = present(answer_so_far.part_of(run_folder.read(str(loaded.path)), jobs))
    assert [(each.settings, each.variant) for each in user_models.best_settings(part)] == [(3, BEST)]
