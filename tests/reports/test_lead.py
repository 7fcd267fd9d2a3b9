"""The answer in words: every routed arm is held against the dense model of equal cost first, at every place."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from planted import left, planted_suite, stored

from modbench.harness.core.errors import UsageError
from modbench.reports.questions import win_rate
from modbench.reports.sentences import arm_answers, first_screen
from modbench.reports.tables.load import load
from modbench.reports.terminal import summary

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
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    stored(folder, made, grid=grid)
    return folder / "run"


def test_one_win_of_six_is_called_one_of_six(run: Path) -> None:
    loaded = load(run)
    said = arm_answers.lead(loaded)
    first = said[0]
    assert first.startswith("MoD 0.125 against dense, 5")
    equal, shape = first.split(". ", 1)
    assert "the dense model of equal FLOPs" in equal
    assert "pays in 1 of 6 (train step at T = 256: 1.06×), slower in 5; ratios 0.8" in equal
    assert re.match(r"Against dense of the same shape it pays in 6 of 6; ratios 1\.3\d× to 1\.7\d×\.$", shape)
    text = re.sub(r"\s+", " ", summary.closing(loaded, run / "report.html", None))
    assert "in 1 of 6 places, slower in 5; ratios 0.8" in text
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.index("in 1 of 6 places, slower in 5") < page.index("At a glance")


def test_a_pair_that_is_stored_the_other_way_round_is_mirrored(run: Path) -> None:
    loaded = load(run)
    there, back = win_rate.held(loaded, "mod[c0.125]", "moe"), win_rate.held(loaded, "moe", "mod[c0.125]")
    assert [cell.place for cell in there] == [cell.place for cell in back]
    for one, other in zip(there, back, strict=True):
        assert one.ratio is not None
        assert other.ratio is not None
        assert one.ratio * other.ratio == pytest.approx(1)
    assert {cell.verdict for cell in there} == {"better"}
    assert {cell.verdict for cell in back} == {"worse"}


def test_what_was_not_measured_or_judged_is_counted_as_such(run: Path) -> None:
    loaded = load(run)
    cells = win_rate.held(loaded, "mod[c0.125]", "dense")
    place = cells[0].place
    assert win_rate.in_words([]) == "no time was measured"
    assert win_rate.in_words([win_rate.Held("forward pass", place, 1.2, None)]) == "1.20×, without a verdict"
    mixed = [
        win_rate.Held("forward pass", place, 1.2, "better"),
        win_rate.Held("forward pass", place, None, None),
        win_rate.Held("forward pass", place, 0.9, "inconclusive"),
    ]
    assert (
        win_rate.in_words(mixed)
        == "pays in 1 of 3 (forward pass at T = 64: 1.20×), undecided in 1, not measured in 1; ratios 0.900× to 1.20×"
    )
    cheat = win_rate.Held("forward pass", place, 1.5, "better", ("computes in another precision",))
    assert win_rate.in_words([cheat]) == "pays in 1 of 1; ratio 1.50× (but: computes in another precision)"


def test_a_rung_as_baseline_is_not_said_twice(run: Path) -> None:
    rung = next(rung.arm for rung in load(run).run.plan.ladder if rung.target == "mod[c0.125]")
    first = arm_answers.lead(load(run, rung))[0]
    assert first.count("against") + first.count("Against") == 1


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
def test_an_arm_answers_to_what_the_terminal_calls_it(tmp_path: Path, said: str, arm: str) -> None:
    stored(tmp_path, planted_suite("draft", metrics=["latency/forward"], train=None))
    assert load(tmp_path / "run", said).arms[0].arm == arm


def test_an_ambiguous_arm_is_refused_with_its_candidates(tmp_path: Path) -> None:
    stored(tmp_path, planted_suite("draft", metrics=["latency/forward"], train=None))
    with pytest.raises(UsageError, match=r"baseline 'mod' could be any of mod\[c0.125\], mod\[c0.5\]"):
        load(tmp_path / "run", "mod")


def test_what_the_short_answer_said_is_not_said_again(tmp_path: Path) -> None:
    """Two models without verdicts: the ratios stand there once. With verdicts, or a third model, there is more to say."""
    arms = [{"model": "dense"}, {"model": "moe"}]
    for name, effort, more in (("one", "smoke", []), ("two", "draft", []), ("three", "smoke", [{"model": "mod"}])):
        (tmp_path / name).mkdir()
        suite = planted_suite(
            effort,
            metrics=["latency/forward"],
            train=None,
            arms=[*arms, *more],
            **{"launches": 3} if effort == "draft" else {},
        )
        left(tmp_path / name, suite)
        loaded = load(tmp_path / name / "run")
        told = first_screen.head(loaded)
        assert " dense of the same shape" in told.answer
        assert arm_answers.lead(loaded)[0].startswith("Against dense of the same shape: M")
        assert (arm_answers.lead(loaded, answered=True) == arm_answers.lead(loaded)) is (name != "one")
        assert name != "one" or not any(each.startswith("Against") for each in told.details)


def test_a_subject_goes_with_what_is_said_of_it(run: Path) -> None:
    cell = win_rate.held(load(run), "mod[c0.125]", "dense")[0]
    nothing = dataclasses.replace(cell, ratio=None, verdict=None)
    bare = dataclasses.replace(cell, ratio=1.2, verdict=None)
    assert win_rate.of("dense", [nothing]) == "dense: no time was measured"
    assert win_rate.of("Against dense", [bare], pronoun="it ") == "Against dense: 1.20×, without a verdict"
    assert win_rate.of("Against dense", [cell], pronoun="it ").startswith("Against dense it pays in 1 of 1")
    assert win_rate.all_in_short([cell])
    assert not win_rate.all_in_short([cell, cell])
    assert not win_rate.all_in_short([dataclasses.replace(cell, verdict="inconclusive")])
