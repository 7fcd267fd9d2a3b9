"""The summary in words: the variant that is shown first against the matched baseline, the winner first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Estimate, Finding
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary, win_rate
from modbench.reports.tables.load import Loaded, load

pytestmark = pytest.mark.slow

# Of MoD against the matched baseline: it pays at one place of six, the last.
RATIOS = {
    ("forward", 64): 0.82,
    ("forward", 128): 0.92,
    ("forward", 256): 0.96,
    ("train_step", 64): 0.82,
    ("train_step", 128): 0.93,
    ("train_step", 256): 1.06,
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("lead")
    made = planted_plan(
        "draft",
        metrics=["latency/forward", "latency/train_step"],
        grid={"seq_len": [64, 128, 256]},
        processes=3,
        rounds=6,
    )
    matched = next(case.variant for case in made.cases if case.matched)
    grid = {
        (variant, *where): 0.6 / (ratio if variant != matched else 1)
        for where, ratio in RATIOS.items()
        for variant in (matched, "mod[c0.125]")
    }
    return load(planted_run(folder, made, grid=grid))


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        (["flops/forward", "flops/train_step"], "FLOPs"),
        (["syncs/forward", "graph_breaks/forward"], "syncs/forward and graph_breaks/forward"),
    ],
)
def test_what_was_asked_is_named_where_it_is_no_time_task_or_loss(
    metrics: list[str], named: str, tmp_path: Path
) -> None:
    loaded = load(planted_run(tmp_path / "run", planted_plan("draft", metrics=metrics)))
    assert f": {named} at " in plain(summary.asked(loaded))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["better", "worse", "equivalent", "inconclusive"], ("a", "b", 1, 1)),
        (["better", "worse", "worse", "inconclusive"], ("b", "a", 2, 1)),
        (["better", "better", "equivalent", "inconclusive"], ("a", "b", 2, 0)),
        (["equivalent", "inconclusive"], ("a", "b", 0, 0)),
    ],
)
def test_the_winner_is_named_first(loaded: Loaded, verdicts: list[str], said: tuple[str, str, int, int]) -> None:
    found = present(win_rate.sentence("a", [held(loaded, 1.2, word) for word in verdicts], "b"))
    assert tuple(found.given[each] for each in ("variant", "base", "won", "lost")) == said
    assert found.given["all"] == len(verdicts)
    assert ("neither" in found.words) is (said[2] == 0)
    assert ("{lost}" in found.words) is bool(said[3])


def test_the_summary_compares_with_dense_of_equal_flops_and_then_with_the_baseline(loaded: Loaded) -> None:
    first, second = map(plain, summary.answer(loaded))
    assert first == "Dense of equal FLOPs is faster than MoD 0.125 in 5 of 6 comparisons, slower in 1."
    assert second.startswith("MoD 0.125 is 1.")
    assert second.endswith(" as fast as dense of the same shape.")


def test_a_pair_that_is_stored_the_other_way_round_is_mirrored(loaded: Loaded) -> None:
    variants = {case.variant: case for case in loaded.variants}
    there = win_rate.grid_points(loaded, variants["mod[c0.125]"], variants["moe"])
    back = win_rate.grid_points(loaded, variants["moe"], variants["mod[c0.125]"])
    assert [each.where for each in there] == [each.where for each in back]
    for one, other in zip(there, back, strict=True):
        assert (one.typical.value or 0) * (other.typical.value or 0) == pytest.approx(1)
        assert (one.typical.low or 0) * (other.typical.high or 0) == pytest.approx(1)
    assert {each.verdict for each in there} == {"better"}
    assert {each.verdict for each in back} == {"worse"}


def held(loaded: Loaded, ratio: float | None, verdict: str | None, *labels: str) -> Finding:
    """What is found of MoD at the first place, with another ratio and verdict."""
    found = win_rate.grid_points(
        loaded, next(case for case in loaded.variants if case.model == "mod"), loaded.variants[0]
    )[0]
    return replace(found, typical=Estimate(ratio, kind="ratio", unit="s"), verdict=verdict, labels=labels)


def test_what_was_not_measured_or_judged_is_told_as_such(loaded: Loaded) -> None:
    assert win_rate.sentence("a", [], "b") is None
    assert (
        plain(win_rate.sentence("a", [held(loaded, 1.2, None)], "b")) == "a is 1.20× as fast as b, without a verdict."
    )
    mixed = [held(loaded, 1.2, "better"), held(loaded, None, None), held(loaded, 0.9, "inconclusive")]
    said = present(win_rate.sentence("a", mixed, "b"))  # the second one is a place that a search left out
    assert (said.given["won"], said.given["all"]) == (1, 2)
    cheat = present(win_rate.sentence("a", [held(loaded, 1.5, "better", Label.OTHER_PRECISION)], "b"))
    assert cheat.given["doubts"] == Label.OTHER_PRECISION


def test_a_matched_as_baseline_is_compared_once(loaded: Loaded) -> None:
    matched = next(matched.variant for matched in loaded.run.plan.matched_baselines if matched.target == "mod[c0.125]")
    assert len(summary.answer(load(loaded.path, matched))) == 1


@pytest.mark.parametrize(
    ("said", "variant"),
    [
        ("mod[c0.125]", "mod[c0.125]"),
        ("MoD 0.125", "mod[c0.125]"),
        ("c0.5", "mod[c0.5]"),
        ("dense", "dense"),
        ("f0.58", "dense-f0.58"),
        ("dense, 58 % of the FLOPs", "dense-f0.58"),
        ("dense 58%", "dense-f0.58"),
    ],
)
def test_a_variant_answers_to_what_the_terminal_calls_it(loaded: Loaded, said: str, variant: str) -> None:
    assert load(loaded.path, said).variants[0].variant == variant


def test_an_ambiguous_variant_is_refused_with_its_candidates(loaded: Loaded) -> None:
    with pytest.raises(UsageError, match=r"baseline 'mod' could be any of mod\[c0.125\], mod\[c0.5\]"):
        load(loaded.path, "mod")
