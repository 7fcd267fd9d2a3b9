"""`gate --paired`: what blocks of planted runs say, when it looks at them, and when it stops."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import EVERY_ARM, UNFIT, left, planted_suite
from present import present

from modbench.commands._paired.measure import Compared
from modbench.commands.gate import paired as command
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.process import exit_codes
from modbench.harness.results import run_folder
from modbench.harness.results.json_files import DamagedError, read_sealed, seal
from modbench.reports.questions import revisions
from modbench.reports.questions.gate import paired_gate
from modbench.reports.questions.gate.fail_on import FailOn, parse
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.tables.outcomes import Tables
from modbench.reports.terminal.gate import as_text, summary
from modbench.reports.writers import text
from modbench.reports.writers.data import value as value_of
from modbench.reports.writers.number_format import plain

TIME = "latency/forward"
ARMS: list[dict[str, Any]] = [{"model": "dense"}, {"model": "mod", "capacity": 0.125}]
TWO = parse(["slower:2%"])
MOD = "mod[c0.125-T64-B1-fp32-cpu1]"


def made(
    folder: Path,
    number: int,
    *,
    places: tuple[str, ...] = ("first", "second", "again"),
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    arms: list[dict[str, Any]] | None = None,
    rounds: int = 4,
) -> list[list[Path]]:
    """Blocks of planted runs: what goes wrong on each side, and the arms of the second one."""
    random, blocks = np.random.default_rng(0), list[list[Path]]()
    for block in range(number):
        blocks.append([])
        for place in places:
            trouble = dict((second if place == "second" else first) or {})
            plan = planted_suite(
                "draft",
                metrics=[TIME],
                train=None,
                launches=1,
                rounds=rounds,
                grid={"seq_len": [64]},
                arms=arms if arms and place == "second" else ARMS,
            )
            noise = {case.arm: math.exp(random.normal(0, 0.005)) for case in plan.cases}
            slower = {arm: own * trouble.get("slower", {}).get(arm, 1.0) for arm, own in noise.items()}
            out = folder / f"block{block}-{place}"
            left(folder / f"made-{out.name}", plan, **(trouble | {"slower": slower, "seed": 1 + block})).rename(out)
            blocks[-1].append(out)
    return blocks


def looked(blocks: list[list[Path]], check: FailOn = TWO, prepared: list[Path] | None = None) -> Gate:
    """What blocks say; the sides were prepared in runs of their own, or as in the first block."""
    tables = [[Tables(run_folder.read(str(path))) for path in block] for block in blocks]
    checked = [Tables(run_folder.read(str(path))) for path in prepared or blocks[0][:2]]
    return paired_gate.look(tables, checked, ("a", "b"), check, [len(blocks)], len(blocks))


def words(found: Gate) -> dict[str, str | None]:
    return {each.what.partition("-T")[0]: each.verdict for each in found.findings}


def test_equal_code_passes_and_the_slower_case_alone_fails(tmp_path: Path) -> None:
    equal = looked(made(tmp_path / "equal", 6))
    assert (equal.verdict, equal.exit_code()) == ("pass", 0)
    slow = looked(made(tmp_path / "slow", 6, second={"slower": {"mod[c0.125]": 1.1}}))
    assert (slow.verdict, slow.exit_code()) == ("worse", 1)
    assert words(slow) == {"dense[T64-B1-fp32-cpu1]": "pass", "mod[c0.125": "worse"}
    (mod,) = (each for each in slow.findings if each.what == MOD)
    assert mod.typical.value == pytest.approx(1 / 1.1, rel=0.01)
    data = slow.as_dict()
    assert data["paired"] == {
        "sides": ("a", "b"),
        "made": 6,
        "planned": 6,
        "timed": 2,
        "left": 0,
        "needed": None,
        "block_s": None,
        "fixed_s": 0.0,
        "budget_s": None,
        "not_excluded": None,
    }
    json.dumps(data, default=value_of)
    assert MOD in summary(equal, "b", "a").replace("\\", "")  # how it changed, also where it passes
    lines = list(as_text(slow))
    assert len(lines) <= 10
    assert any(MOD in line for line in lines)


def test_two_builds_are_judged_within_their_process(tmp_path: Path) -> None:
    equal = looked(made(tmp_path / "equal", 6, places=("both",), first={"slower": {"mod[c0.125]": 1.0}}))
    # The arm is a model of less work: it is better than its anchor, and no other case is judged.
    assert words(equal) == {"mod[c0.125": "pass"}
    slow = looked(made(tmp_path / "slow", 6, places=("both",), first={"slower": {"mod[c0.125]": 4.0}}))
    assert words(slow) == {"mod[c0.125": "worse"}


def test_what_drifts_is_compared_with_the_rounds_beside_it(tmp_path: Path) -> None:
    drifts = {"drifts": "mod[c0.125]"}
    for places in (("both",), ("first", "second", "again")):
        found = looked(made(tmp_path / places[0], 6, places=places, first=drifts, second=drifts, rounds=12))
        assert words(found)["mod[c0.125"] == "pass"


def test_what_one_side_lacks_is_as_between_stored_runs(tmp_path: Path) -> None:
    now = looked(made(tmp_path / "now", 5, second={"fails": "mod[c0.125]"}))
    assert words(now)["mod[c0.125"] == "worse"
    before = looked(made(tmp_path / "before", 5, first={"fails": "mod[c0.125]"}))
    assert words(before)["mod[c0.125"] == "not compared"
    both = looked(made(tmp_path / "both", 5, first={"fails": "mod[c0.125]"}, second={"fails": "mod[c0.125]"}))
    assert words(both)["mod[c0.125"] == "not compared"
    gone = looked(made(tmp_path / "gone", 5, arms=ARMS[:1]))
    assert words(gone)["mod[c0.125"] == "cannot tell"
    new = looked(made(tmp_path / "new", 8, arms=[*ARMS, {"model": "mod", "capacity": 0.5}]))
    assert (words(new)["mod[c0.5"], new.verdict) == ("not compared", "pass")


def test_a_base_that_fails_in_every_case_is_said(tmp_path: Path) -> None:
    """Of two builds, which one run prepares; where others of its cases have a time, these are judged."""
    fails = {"fails": "dense"}
    alone = looked(made(tmp_path / "alone", 5, places=("both",), first=fails))
    assert "first side fails: failed" in plain(alone.base_fails)
    assert not alone.compared
    both = looked(made(tmp_path / "both", 5, first=fails))
    assert plain(both.base_fails)
    assert both.compared


def test_the_clock_is_chosen_by_what_was_disturbed(tmp_path: Path) -> None:
    """A busy machine is judged by CPU time, where that stands for the work; else it cannot tell."""
    busy, seen = {"waits": EVERY_ARM}, {"own_work_seen": True}
    told = looked(made(tmp_path / "told", 6, first=busy | seen, second=seen | {"slower": {"mod[c0.125]": 1.1}}))
    assert words(told) == {"dense[T64-B1-fp32-cpu1]": "pass", "mod[c0.125": "worse"}
    assert all("by CPU time" in plain(each.reason) for each in told.findings)
    silent = looked(made(tmp_path / "silent", 6, first=busy))
    assert {each.verdict for each in silent.findings} == {"cannot tell"}
    assert all("CPU time does not count" in plain(each.reason) for each in silent.findings)
    assert silent.exit_code(lenient=True) == 5


def test_compare_judges_by_cpu_time_where_waits_moved_wall_time(tmp_path: Path) -> None:
    """The first side waits for a processor in every sample, so that it takes twice as long."""
    waits: dict[str, Any] = {"waits": EVERY_ARM}
    slower: dict[str, Any] = {"slower": {"mod[c0.125]": 1.1}}
    seen = {"own_work_seen": True}

    def compared(name: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[str | None, float, bool]]:
        blocks = made(tmp_path / name, 6, first=first, second=second)
        found = revisions.result(blocks, blocks[0][:2], ("a", "b"), 0.02)
        return {row.case.arm: (row.verdict, round(row.typical.value or 0.0, 1), row.by_cpu) for row in found.rows}

    assert compared("told", waits | seen, slower | seen) == {
        "dense": ("equivalent", 1.0, True),
        "mod[c0.125]": ("worse", 0.9, True),
    }
    silent = compared("silent", waits, slower)
    assert {word for word, _, _ in silent.values()} == {"inconclusive"}
    calm = compared("calm", seen, slower | seen)
    assert calm["mod[c0.125]"] == ("worse", 0.9, False)


def test_a_machine_that_calls_the_same_code_different_cannot_tell(tmp_path: Path) -> None:
    blocks = made(tmp_path, 6, second={"slower": {"mod[c0.125]": 1.3}})
    # As if one of the two processes of the first side had been another program.
    mixed = looked([[first, second, second] for first, second, _ in blocks])
    assert words(mixed)["mod[c0.125"] == "cannot tell"
    assert mixed.exit_code() == 5


REUSED = {"noted": {"mod[c0.125]": {"reused": "calls on tensors that were timed ran 3 FLOPs, on copies of them 9"}}}


@pytest.mark.parametrize("where", ["prepared first", "prepared second", "a first", "a second", "again"])
def test_what_checks_find_belongs_to_a_side_wherever_they_ran(where: str, tmp_path: Path) -> None:
    """In the run that prepared a side, or in any block, not the first one alone."""
    blocks, (found,) = made(tmp_path / "blocks", 6), made(tmp_path / "found", 1, first=REUSED, second=REUSED)
    prepared = blocks[0][:2]
    match where.split():
        case ["prepared", side]:
            place = ("first", "second").index(side)
            prepared = [*prepared[:place], found[place], *prepared[place + 1 :]]
        case [*_, side]:
            blocks[4][("first", "second", "again").index(side)] = found[("first", "second", "again").index(side)]
    side = "second" if "second" in where else "first"
    told = looked(blocks, prepared=prepared)
    assert words(told)["mod[c0.125"] == "cannot tell"
    assert told.exit_code() == 5
    (mod,) = (each for each in told.findings if each.what == MOD)
    assert str(Label.REUSES_OUTPUT) in (mod.labels if side == "second" else mod.against_labels)
    assert f"the {side} side {Label.REUSES_OUTPUT}: its time is not that of its work" in " ".join(as_text(told))
    compared = revisions.result(blocks, prepared, ("a", "b"), 0.02)
    (row,) = (row for row in compared.rows if row.case.id == MOD)
    assert row.verdict == "inconclusive"
    assert str(Label.REUSES_OUTPUT) in row.as_dict()["labels" if side == "second" else "first_labels"]
    assert str(Label.REUSES_OUTPUT) in text.written(revisions.blocks(compared), 100)


def test_a_case_that_is_withheld_alone_shows_nothing_even_if_lenient(tmp_path: Path, clock: Clock) -> None:
    """It is not measured for longer either: no number of blocks would decide it."""
    blocks = made(tmp_path, 8, places=("both",), first={"slower": {"mod[c0.125]": 0.5}})
    (prepared,) = made(tmp_path / "found", 1, places=("both",), first=REUSED)
    found = looked(blocks, prepared=prepared)
    assert (words(found), found.exit_code(lenient=True)) == ({"mod[c0.125": "cannot tell"}, 5)
    told, number, _ = measured(clock, tmp_path, blocks, budget_s=200, each_s=10, prepared=prepared)
    assert (told.verdict, number) == ("cannot tell", 1)


def test_what_could_not_be_checked_withholds_where_sides_differ(tmp_path: Path) -> None:
    """Compiled code is seen by no counter on either side."""
    noted = {"noted": {"mod[c0.125]": {"unchecked": "a guard failed"}}}
    blocks = made(tmp_path / "blocks", 6)
    (both,) = made(tmp_path / "found", 1, first=noted, second=noted)
    for prepared, word in ((both[:2], "pass"), ([blocks[0][0], both[1]], "cannot tell")):
        found = looked(blocks, prepared=prepared)
        assert words(found)["mod[c0.125"] == word
        assert str(Label.UNCHECKED) in " ".join(as_text(found))


def test_an_unfit_machine_cannot_tell(tmp_path: Path) -> None:
    found = looked(made(tmp_path, 5, first={"certificate": UNFIT}))
    assert (found.verdict, found.exit_code(lenient=True)) == ("cannot tell", 5)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(command, "time", clock)
    return clock


def measured(
    clock: Clock,
    folder: Path,
    blocks: list[list[Path]],
    *,
    budget_s: float,
    each_s: float,
    prepared: list[Path] | None = None,
) -> tuple[Gate, int, list[int]]:
    """What a gate finds that gets one more of these blocks whenever it wants one, at how many, and after which looks."""
    looking = command._Looking(TWO, budget_s, 0.0)
    done = Compared(folder, ("a", "b"), prepared or blocks[0][:2], [], [])
    while len(done.blocks) < looking.wanted(done).blocks:
        done.blocks.append(blocks[len(done.blocks)])
        done.block_s.append(each_s)
        clock.now += each_s
    return present(looking.found), len(done.blocks), looking.looks


def test_it_looks_at_even_distances_and_stops_once_it_knows(tmp_path: Path, clock: Clock) -> None:
    blocks = made(tmp_path, 20)
    found, number, looks = measured(clock, tmp_path, blocks, budget_s=200, each_s=10)
    assert found.verdict == "pass"
    assert looks == list(range(5, number + 1))  # of 20 blocks: at each, from the fifth on
    assert number < 20
    assert read_sealed(tmp_path / command.PLAN) == {"total": 20, "looks": looks}
    again = command._Looking(TWO, 200, 0.0)
    done = Compared(tmp_path, ("a", "b"), blocks[0][:2], blocks[:number], [])
    assert again.wanted(done).blocks == number  # the same command goes on, and has nothing to do
    assert present(again.found).verdict == "pass"
    assert again.looks == looks


def test_a_budget_that_ends_sooner_than_planned_ends_with_a_look(tmp_path: Path, clock: Clock) -> None:
    """The machine becomes three times as slow after two blocks, on which the plan rests."""
    blocks = made(tmp_path, 12, second={"slower": {"mod[c0.125]": 1.02}})
    looking = command._Looking(TWO, 100, 0.0)
    done = Compared(tmp_path, ("a", "b"), blocks[0][:2], [], [])
    while len(done.blocks) < looking.wanted(done).blocks:
        each_s = 5.0 if len(done.blocks) < 2 else 15.0
        done.blocks.append(blocks[len(done.blocks)])
        done.block_s.append(each_s)
        clock.now += each_s
    assert looking.total == 20
    assert clock.now <= 100
    assert looking.looks[-1] == len(done.blocks)
    assert looking.found is not None
    assert looking.found.verdict == "cannot tell"
    assert present(looking.found.blocks).needed
    assert any("--budget" in line for line in as_text(looking.found))


@pytest.mark.parametrize(("budget_s", "each_s", "number", "enough"), [(35, 10, 2, "1min"), (15, 20, 1, "2min")])
def test_a_budget_of_too_few_blocks_says_which_would_do(
    budget_s: float, each_s: float, number: int, enough: str, tmp_path: Path, clock: Clock
) -> None:
    """A second block only where the budget holds it."""
    found, there, _ = measured(clock, tmp_path, made(tmp_path, 2), budget_s=budget_s, each_s=each_s)
    assert (there, found.exit_code(lenient=True)) == (number, 5)
    assert any(f"--budget {enough}" in plain(said) for said in found.said)


def test_an_interrupted_gate_says_which_budget_would_do(tmp_path: Path, clock: Clock) -> None:
    blocks = made(tmp_path, 1)
    for budget_s, asked in ((600.0, False), (60.0, True)):
        looking = command._Looking(TWO, budget_s, 0.0)
        assert looking.lacking() == ""  # no block tells how long one takes
        clock.now = 30.0
        looking.wanted(Compared(tmp_path, ("a", "b"), blocks[0][:2], blocks, [20.0]))
        assert "20 s" in looking.lacking()
        assert ("--budget 3min" in looking.lacking()) == asked  # 10 s before the first block, and six of them


def test_it_does_not_go_on_where_nothing_can_be_measured(tmp_path: Path, clock: Clock) -> None:
    fails, waits = {"fails": "mod[c0.125]"}, {"waits": EVERY_ARM}
    worse, number, _ = measured(clock, tmp_path, made(tmp_path / "fails", 2, second=fails), budget_s=200, each_s=10)
    assert (worse.verdict, number, worse.said) == ("worse", 1, ())
    blocks = made(tmp_path / "busy", 1, first=waits, second=waits)
    busy, number, _ = measured(clock, tmp_path, blocks, budget_s=200, each_s=10)
    assert (busy.verdict, number, len(busy.said)) == ("cannot tell", 1, 1)


@pytest.mark.usefixtures("clock")
def test_blocks_without_a_launch_that_did_not_die_end_with_what_is_known(tmp_path: Path) -> None:
    """Nothing is left to measure before the first look, or after it."""
    for number in (1, 7):
        blocks = made(tmp_path / str(number), number)
        looking = command._Looking(TWO, 200, 0.0)
        done = Compared(tmp_path / str(number), ("a", "b"), blocks[0][:2], blocks[: number - 1], [10.0] * (number - 1))
        looking.wanted(done)
        done.blocks.append(blocks[-1])
        found = looking.result(done)
        assert (present(found.blocks).made, found.verdict) == (number, "cannot tell")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ('{"total": 20, "looks": [5', "not JSON"),
        ("[20]", "no JSON object"),
        ('{"total": 20}', "damaged at looks"),
        ('{"total": 20, "looks": [], "more": 1}', "damaged at more"),
        ('{"total": "20", "looks": []}', "damaged at total"),
        ('{"total": 4, "looks": []}', "damaged at total"),
        ('{"total": 20, "looks": [true]}', "damaged at looks.0"),
        ('{"total": 20, "looks": [-5]}', "damaged at looks.0"),
        ('{"total": 20, "looks": [6, 5]}', "more blocks than the one before"),
        ('{"total": 20, "looks": [5, 6, 7]}', "a look at 7 blocks, where 6 are finished"),
        ('{"total": 20, "looks": []}', "no look at 5 of 20 blocks, where 6 are finished"),
        ('{"total": 5, "looks": [5]}', "damaged at total: 5, where 6"),
        ("[" * 10**5, "not JSON"),
        (None, "missing, where 6 blocks are finished"),
    ],
)
def test_a_file_of_looks_that_is_not_of_these_blocks_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    """It says which boundaries the blocks have passed, so that nothing can be guessed in its place."""
    file = tmp_path / command.PLAN
    if text is not None:
        file.write_bytes(seal(text) if text.endswith("}") else text.encode())
    with pytest.raises(DamagedError, match=said) as refused:
        command._stored(file, Compared(tmp_path, ("a", "b"), [], [[tmp_path]] * 6, []))
    line, code = exit_codes.message_and_code(refused.value)
    assert (code, line.count("\n"), line.startswith(str(file))) == (2, 0, True)


def test_a_folder_in_the_place_of_the_looks_is_refused(tmp_path: Path) -> None:
    (tmp_path / command.PLAN).mkdir()
    with pytest.raises(DamagedError, match="not a file"):
        command._stored(tmp_path / command.PLAN, Compared(tmp_path, ("a", "b"), [], [], []))


def test_a_full_disk_stops_with_one_line_and_the_same_command_goes_on(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned is not known then: one more block says again how many the budget holds."""
    blocks, real = made(tmp_path, 3), tempfile.mkstemp

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OSError, match=command.PLAN) as met:
        measured(clock, tmp_path, blocks, budget_s=200, each_s=10)
    line, code = exit_codes.message_and_code(met.value)
    assert (code, line.count("\n")) == (3, 0)
    assert not list(tmp_path.glob(f"*{command.PLAN}*"))
    monkeypatch.setattr(tempfile, "mkstemp", real)
    clock.now = 0.0
    looking, done = command._Looking(TWO, 200, 0.0), Compared(tmp_path, ("a", "b"), blocks[0][:2], blocks[:2], [])
    assert looking.wanted(done).blocks == 3
    done.blocks.append(blocks[2])
    done.block_s.append(10.0)
    clock.now = 10.0
    assert (looking.wanted(done).blocks, looking.total) == (5, 22)


@pytest.mark.parametrize(
    ("words", "models", "said"),
    [
        (["a", "b"], [], "two revisions and a suite"),
        (["quick"], ["one.py:build"], "two builds"),
        (["quick"], [], "two builds"),
        (["quick"], ["one.py:build"] * 2, "named twice"),
    ],
)
def test_words_that_name_no_two_sides_are_refused(words: list[str], models: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        command._sides(words, models)


def test_only_a_check_of_times_is_taken() -> None:
    with pytest.raises(UsageError, match="flops is not one"):
        command._check(parse(["slower:2%,flops:0%"]), 0.02)
    with pytest.raises(UsageError, match="exactly 0"):
        command._check(None, 0.0)
    assert command._check(None, 0.02) == FailOn({"slower": Fraction(1, 50)})
