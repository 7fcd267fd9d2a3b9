"""The loop of `modbench ab` on planted blocks and a clock that only blocks move: when it stops, and what it keeps."""

from __future__ import annotations

import io
import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from present import present

from modbench.harness.core.errors import IncompleteError, UnfitError, UsageError
from modbench.harness.core.units import parse_duration
from modbench.harness.results.json_files import DamagedError
from modbench.harness.stats import interim, verdicts
from modbench.harness.stats.verdicts import Seen
from modbench.plugins.ab import folder, loop
from modbench.plugins.ab import question as ab
from modbench.plugins.ab.compared import Asked, SideFailsError
from modbench.plugins.ab.loop import Loop, Plan
from modbench.plugins.ab.question import Effects, Result, Row
from modbench.reports.questions.gate.fail_on import parse

BLOCK_S = 10.0
ASKED = Asked(0.02)


@dataclass
class Planted:
    """Two sides whose blocks have planted effects (a `Compared`).

    Attributes:
        folder: of the blocks.
        effect: of the new side, above 0 where it is faster.
        noise: standard deviation of an effect between blocks.
        block_s: what each block takes.
        at: raises this at that block, before it is kept.
    """

    folder: Path
    effect: float = 0.0
    noise: float = 0.005
    block_s: tuple[float, ...] = (BLOCK_S,)
    at: tuple[int, BaseException] | None = None
    asked: Asked = ASKED
    sides: tuple[str, str] = ("old", "new")
    now: float = 0.0
    prepared: int = 0
    measured: list[tuple[int, str]] = field(default_factory=list)

    def prepare(self) -> None:
        self.prepared += 1
        self.now += 1.0

    def measure(self, number: int, order: str) -> None:
        if self.at is not None and self.at[0] == number:
            raise self.at[1]
        self.now += self.block_s[min(number, len(self.block_s) - 1)]
        self.measured.append((number, order))
        folder.block(self.folder, number).write_text(json.dumps(order))

    def finished(self) -> int:
        return folder.blocks(self.folder)

    def rows(self) -> list[Row]:
        drawn = random.Random(7)
        effects = [(drawn.gauss(self.effect, self.noise), drawn.gauss(0, self.noise)) for _ in range(self.finished())]
        own, same = ({block: each[i] for block, each in enumerate(effects)} for i in (0, 1))
        return [Row("wall time", "wall_s", Effects(own), Effects(same), Seen(), 1.0, 1.0)]


def run(planted: Planted, max_time: str = "10min", **asked: object) -> Result:
    """Run the loop to its end."""
    limit_s = parse_duration(max_time, "--max-time")
    planted.asked = Asked(**{"margin": 0.02, "max_time_s": limit_s, **asked})  # type: ignore[arg-type]
    return Loop(planted, lambda: planted.now).run()


def plan(path: Path) -> Plan:
    return Plan.model_validate(
        {key: value for key, value in json.loads((path / "plan.json").read_text()).items() if key != "digest"}
    )


@pytest.mark.parametrize(
    ("effect", "word"), [(-0.1, verdicts.WORSE), (0.1, verdicts.BETTER), (0.0, verdicts.EQUIVALENT)]
)
def test_it_stops_at_the_first_analysis_that_decides(tmp_path: Path, effect: float, word: str) -> None:
    planted = Planted(tmp_path, effect)
    result = run(planted)
    total = 60 - 1  # the first second went by before the first block
    assert result.rows[0].verdict == word
    assert result.planned == plan(tmp_path).total == total
    assert result.blocks == planted.finished() == interim.schedule(total)[0]
    ended = present(folder.ended(tmp_path))
    assert not ended.over
    assert ended.each_s == pytest.approx(BLOCK_S)
    # Of what was decided early, too, the same result is told again, and nothing is measured.
    again = Planted(tmp_path, effect)
    assert run(again).rows == result.rows
    assert not again.measured


def test_what_stays_open_takes_all_the_time_and_is_inconclusive(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 0.0, noise=0.5)
    result = run(planted, "3min")
    assert result.exit_code() == 5
    assert result.blocks == result.planned == 17
    assert plan(tmp_path).analysed == interim.schedule(17)
    assert planted.now <= 180
    assert {order for _, order in planted.measured} == {"ABBA", "BAAB"}
    # Blocks that are asked for take as long as they take.
    (tmp_path / "again").mkdir()
    assert run(Planted(tmp_path / "again", 0.0, noise=0.5), blocks=5, max_time_s=None).blocks == 5


def test_a_time_that_holds_no_analysis_is_said_after_one_block_with_one_that_does(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 0.0, noise=0.5)
    with pytest.raises(UnfitError) as told:
        run(planted, "20s")
    assert planted.finished() == 1
    assert told.value.exit_code == 5
    (named,) = re.findall(r"--max-time (\w+) would", str(told.value))
    # The block is kept: the same command goes on.
    run(planted, named)
    assert [number for number, _ in planted.measured] == [*range(planted.finished())]
    assert plan(tmp_path).analysed


def test_blocks_that_become_slow_end_it_in_time_with_the_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[interim.Analysis]()
    judge = ab.judge

    def noted(*given: object) -> object:
        asked.append(given[3])  # type: ignore[arg-type]
        return judge(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(ab, "judge", noted)
    planted = Planted(tmp_path, 0.0, noise=0.5, block_s=(*[10.0] * 8, 40.0))
    result = run(planted, "200s")
    planned, made = result.planned, result.blocks
    assert planned == 19
    assert planted.now <= 200
    assert made == 10
    # Analyses are told from the progress: that is judged as if it were the only one.
    analyses = [each for each in asked if each.several]
    assert [each.total for each in analyses] == [planned, made]
    assert analyses[0].fractions == interim.fractions_of(interim.schedule(planned))
    assert analyses[1].fractions == (5 / made, 1.0)
    assert analyses[1].number == 2
    # What was analysed at the end of the time is not measured further.
    again = Planted(tmp_path, 0.0, noise=0.5)
    assert run(again).rows == result.rows
    assert not again.measured


@pytest.mark.parametrize("kept", [1, 3, 7])
def test_the_same_command_goes_on_after_an_interrupt(tmp_path: Path, kept: int) -> None:
    first = Planted(tmp_path, 0.0, noise=0.5, at=(kept, KeyboardInterrupt()))
    with pytest.raises(IncompleteError):
        run(first, "3min")
    total = plan(tmp_path).total
    second = Planted(tmp_path, 0.0, noise=0.5)
    result = run(second, "3min")
    assert [number for number, _ in second.measured] == [*range(kept, result.blocks)]
    assert result.planned == total == 17
    assert [order for _, order in [*first.measured, *second.measured]] == [each for each, _ in plan(tmp_path).draws(17)]
    # And a third time it tells the same, and measures nothing.
    third = Planted(tmp_path, 0.0, noise=0.5)
    assert run(third).rows == result.rows
    assert not third.measured
    assert not third.prepared


def test_an_interrupt_before_anything_is_kept_is_no_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Planted(tmp_path, at=(0, KeyboardInterrupt())))


def test_a_plan_that_was_removed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError):
        run(Planted(tmp_path, at=(2, KeyboardInterrupt())))
    (tmp_path / "plan.json").unlink()
    with pytest.raises(DamagedError):
        run(Planted(tmp_path))


def test_a_new_side_that_fails_is_a_finding_and_a_base_that_fails_is_not(tmp_path: Path) -> None:
    result = run(Planted(tmp_path, at=(1, SideFailsError("it broke"))))
    assert result.exit_code() == 1
    assert result.rows[0].lacking == "new"
    with pytest.raises(UsageError):
        run(Planted(tmp_path, at=(1, UsageError("it broke"))))


@pytest.mark.parametrize(
    ("effect", "noise", "code", "check"),
    [(-0.1, 0.005, 1, verdicts.FAIL), (-0.03, 0.005, 0, verdicts.PASS), (-0.05, 0.2, 5, verdicts.INCONCLUSIVE)],
)
def test_a_limit_decides_when_it_stops(tmp_path: Path, effect: float, noise: float, code: int, check: str) -> None:
    result = run(Planted(tmp_path, effect, noise), margin=0.05, fail_on=parse(["slower:5%"]))
    assert result.exit_code() == code
    assert result.rows[0].check == check
    assert (result.blocks < result.planned) is (code != 5)
    assert result.exit_code(allow_inconclusive=True) == code % 5


def test_a_line_tells_ratio_and_what_is_left(tmp_path: Path) -> None:
    planted, said = Planted(tmp_path, -0.1, noise=0.05, asked=Asked(0.02, max_time_s=300)), list[str]()
    Loop(planted, lambda: planted.now, said.append).run()
    assert len(said) == planted.finished() - 1
    assert re.match(r"\[block 3 of 29, 4 min 20 s left\] wall time: 0\.\d+× \[0\.\d+–[\d.]+\]$", said[2])


class Stream(io.StringIO):
    """Standard error; a terminal or not."""

    terminal = True

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(("terminal", "lines", "returns"), [(True, 0, 7), (False, 3, 0)])
def test_lines_come_in_a_while_and_on_a_terminal_one_is_written_over(terminal: bool, lines: int, returns: int) -> None:
    stream, now = Stream(), [0.0]
    stream.terminal = terminal
    with loop.Line(stream, lambda: now[0]) as line:
        for now[0] in map(float, range(0, 30, 5)):
            line.show("it goes on")
    assert (stream.getvalue().count("\n"), stream.getvalue().count("\r")) == (lines, returns)


def test_a_command_that_was_killed_before_its_plan_makes_one_of_the_next_block(tmp_path: Path) -> None:
    first = Planted(tmp_path, 0.0, noise=0.5)
    killed = Loop(first, lambda: first.now)
    first.measure(0, killed.plan.draws(1)[0][0])
    assert not plan(tmp_path).total
    second = Planted(tmp_path, 0.0, noise=0.5)
    result = run(second, "3min")
    assert result.planned == 1 + 17
    assert [number for number, _ in second.measured] == [*range(1, 18)]
