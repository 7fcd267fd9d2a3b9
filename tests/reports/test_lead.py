"""The answer in words: every routed arm is held against the dense model of equal cost first, at every place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from planted import left, planted_suite
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.reports.model import Estimate, Finding, Sentence
from modbench.reports.questions import first_screen, win_rate
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.number_format import plain

pytestmark = pytest.mark.slow

# Of MoD against the dense model of equal cost: it pays at one place of six, the last.
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
    made = planted_suite(
        "draft",
        metrics=["latency/forward", "latency/train_step"],
        grid={"seq_len": [64, 128, 256]},
        launches=3,
        rounds=6,
    )
    rung = next(case.arm for case in made.cases if case.rung)
    grid = {
        (arm, *where): 0.6 / (ratio if arm != rung else 1)
        for where, ratio in RATIOS.items()
        for arm in (rung, "mod[c0.125]")
    }
    return load(left(folder, made, grid=grid))


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        (["flops/forward", "flops/train_step"], "FLOPs"),
        (["syncs/forward", "graph_breaks"], "syncs/forward and graph_breaks"),
    ],
)
def test_what_was_asked_is_named_where_it_is_no_time_task_or_loss(
    metrics: list[str], named: str, tmp_path: Path
) -> None:
    loaded = load(left(tmp_path / "run", planted_suite("draft", metrics=metrics)))
    assert f": {named} at " in plain(first_screen.asked(loaded))
    assert f" do to {named} on " in plain(first_screen.title(loaded))


def test_every_place_is_counted_under_its_verdict(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = ("better", "worse", "equivalent", "better_open", "inconclusive", None)
    made = win_rate.places
    monkeypatch.setattr(
        win_rate,
        "places",
        lambda *sides: [replace(each, verdict=word) for each, word in zip(made(*sides), verdicts, strict=True)],
    )
    _, said = first_screen.answer(loaded)
    assert isinstance(said, Sentence)
    words = ("faster", "slower", "equal", "faster_size_open", "undecided")
    assert {word: said.given[word] for word in words} == dict.fromkeys(words, 1)
    assert all(f"{{{word}}}" in said.words for word in words[1:])  # the first one is counted as such


def test_a_pair_that_is_stored_the_other_way_round_is_mirrored(loaded: Loaded) -> None:
    arms = {case.arm: case for case in loaded.arms}
    there = win_rate.places(loaded, arms["mod[c0.125]"], arms["moe"])
    back = win_rate.places(loaded, arms["moe"], arms["mod[c0.125]"])
    assert [each.where for each in there] == [each.where for each in back]
    for one, other in zip(there, back, strict=True):
        assert (one.typical.value or 0) * (other.typical.value or 0) == pytest.approx(1)
        assert (one.typical.low or 0) * (other.typical.high or 0) == pytest.approx(1)
    assert {each.verdict for each in there} == {"better"}
    assert {each.verdict for each in back} == {"worse"}


def held(loaded: Loaded, ratio: float | None, verdict: str | None, *labels: str) -> Finding:
    """What is found of MoD at the first place, with another ratio and verdict."""
    found = win_rate.places(loaded, next(case for case in loaded.arms if case.model == "mod"), loaded.arms[0])[0]
    return replace(found, typical=Estimate(ratio, kind="ratio", unit="s"), verdict=verdict, labels=labels)


def test_what_was_not_measured_or_judged_is_told_as_such(loaded: Loaded) -> None:
    assert win_rate.sentence("a", [], "b") is None
    assert (
        plain(win_rate.sentence("a", [held(loaded, 1.2, None)], "b")) == "a is 1.20× as fast as b, without a verdict."
    )
    mixed = [held(loaded, 1.2, "better"), held(loaded, None, None), held(loaded, 0.9, "inconclusive")]
    said = present(win_rate.sentence("a", mixed, "b"))  # the second one is a place that a search left out
    assert [said.given[word] for word in ("faster", "undecided", "failed", "all")] == [1, 1, 0, 2]
    cheat = present(win_rate.sentence("a", [held(loaded, 1.5, "better", Label.OTHER_PRECISION)], "b"))
    assert cheat.given["doubts"] == Label.OTHER_PRECISION


def test_a_rung_as_baseline_is_not_said_twice(loaded: Loaded) -> None:
    rung = next(rung.arm for rung in loaded.run.plan.ladder if rung.target == "mod[c0.125]")
    assert len(first_screen.answer(load(loaded.path, rung))) == 1


@pytest.mark.parametrize(
    ("said", "arm"),
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
def test_an_arm_answers_to_what_the_terminal_calls_it(loaded: Loaded, said: str, arm: str) -> None:
    assert load(loaded.path, said).arms[0].arm == arm


def test_an_ambiguous_arm_is_refused_with_its_candidates(loaded: Loaded) -> None:
    with pytest.raises(UsageError, match=r"baseline 'mod' could be any of mod\[c0.125\], mod\[c0.5\]"):
        load(loaded.path, "mod")
