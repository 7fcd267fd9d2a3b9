"""The loop of `modbench ab` on planted blocks and a clock that only blocks move: when it stops, and what it keeps."""

from __future__ import annotations

import json
import random
import re
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modbench.harness.core.errors import IncompleteError, UnfitError, UsageError
from modbench.harness.core.units import parse_duration
from modbench.harness.results.json_files import DamagedError
from modbench.harness.stats import interim, verdicts
from modbench.harness.stats.verdicts import Seen
from modbench.plugins.ab import folder
from modbench.plugins.ab import question as ab
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.loop import Loop, Plan
from modbench.plugins.ab.question import Effects, Result, Row
from modbench.reports.questions.gate.fail_on import parse


@dataclass
class Planted:
    """Two sides whose blocks have planted effects (a `Compared`).

    Attributes:
        folder: of the blocks.
        effect: of the new side, above 0 where it is faster.
        noise: standard deviation of an effect between blocks.
        slow: from this block on a block takes 40 s instead of 10.
        at: raises this at that block, before it is kept.
    """

    folder: Path
    effect: float = 0.0
    noise: float = 0.5
    slow: int = 400
    at: tuple[int, BaseException] | None = None
    asked: Asked = field(default_factory=lambda: Asked(0.02))
    sides: tuple[str, str] = ("old", "new")
    now: float = 0.0
    prepared: int = 0
    measured: list[tuple[int, str]] = field(default_factory=list)
    target: str = ""

    def drawn(self) -> list[Any]:
        return []

    def prepare(self) -> None:
        self.prepared += 1
        self.now += 1.0

    def measure(self, number: int, order: str) -> None:
        if self.at is not None and self.at[0] == number:
            raise self.at[1]
        self.now += 10.0 if number < self.slow else 40.0
        self.measured.append((number, order))
        folder.block(self.folder, number).write_text(json.dumps(order))

    def rows(self) -> list[Row]:
        drawn, number = random.Random(7), folder.blocks(self.folder)
        effects = [(drawn.gauss(self.effect, self.noise), drawn.gauss(0, self.noise)) for _ in range(number)]
        own, same = ({block: each[i] for block, each in enumerate(effects)} for i in (0, 1))
        return [Row("wall time", "wall_s", Effects(own), Effects(same), Seen(), 1.0, 1.0)]


def run(planted: Planted, max_time: str = "10min", **asked: Any) -> Result:
    """Run the loop to its end."""
    limit_s = parse_duration(max_time, "--max-time")
    planted.asked = Asked(**{"margin": 0.02, "max_time_s": limit_s, **asked})
    return Loop(planted, lambda: planted.now).run()


def plan(path: Path) -> Plan:
    stored = json.loads((path / "plan.json").read_text())
    return Plan.model_validate({key: value for key, value in stored.items() if key != "digest"})


@pytest.mark.slow
@settings(max_examples=40)
@given(
    effect=st.sampled_from([-0.1, 0.0, 0.1]),
    noise=st.sampled_from([0.005, 0.05, 0.5]),
    slow=st.integers(1, 30),
    interrupts=st.lists(st.integers(1, 9), max_size=2, unique=True).map(sorted),
)
def test_blocks_are_measured_once_and_in_time_however_often_it_is_interrupted(
    effect: float, noise: float, slow: int, interrupts: list[int]
) -> None:
    """It stops at an analysis that decides, or where time or blocks are over; the same command goes on with the same plan."""
    made = list[tuple[int, str]]()
    with tempfile.TemporaryDirectory() as name:
        path, total = Path(name), 0
        for at in (*interrupts, 400):
            planted = Planted(path, effect, noise, slow, (at, KeyboardInterrupt()))
            try:
                result = run(planted, "200s")
            except IncompleteError:
                total = total or plan(path).total
                continue
            finally:
                made += planted.measured
                assert planted.now <= 200
            break
        kept, again = plan(path), Planted(path, effect, noise, slow)
        assert [number for number, _ in made] == [*range(result.blocks)]
        assert [order for _, order in made] == [order for order, _ in kept.draws(result.blocks)]
        assert kept.total == result.planned == (total or kept.total)
        assert {*kept.analysed[:-1]} <= {*interim.schedule(kept.total)}
        assert kept.analysed[-1] == result.blocks
        over = result.blocks == kept.total or planted.now + (10 if result.blocks < slow else 40) > 200
        assert result.decided or over
        assert run(again).rows == result.rows, "told again"
        assert (again.measured, again.prepared) == ([], 0)


FIRST = interim.schedule(59)[0]


@pytest.mark.parametrize(
    ("effect", "noise", "asked", "word", "blocks", "planned"),
    [
        # The first second goes by before the first block; the first analysis decides.
        (-0.1, 0.005, {}, verdicts.WORSE, FIRST, 59),
        (0.1, 0.005, {}, verdicts.BETTER, FIRST, 59),
        (0.0, 0.005, {}, verdicts.EQUIVALENT, FIRST, 59),
        (0.0, 0.5, {"max_time": "3min"}, verdicts.INCONCLUSIVE, 17, 17),
        (0.0, 0.5, {"blocks": 5, "max_time_s": None}, verdicts.INCONCLUSIVE, 5, 5),
    ],
)
def test_it_stops_at_the_first_analysis_that_decides_or_where_the_time_or_the_blocks_are_over(
    tmp_path: Path, effect: float, noise: float, asked: dict[str, Any], word: str, blocks: int, planned: int
) -> None:
    result = run(Planted(tmp_path, effect, noise), **asked)
    assert (result.rows[0].verdict, result.blocks, result.planned) == (word, blocks, planned)
    assert result.exit_code() == (5 if word == verdicts.INCONCLUSIVE else 0)
    assert plan(tmp_path).analysed == tuple(each for each in interim.schedule(planned) if each <= blocks)
    assert {order for order, _ in plan(tmp_path).draws(17)} == {"ABBA", "BAAB"}


def test_a_time_that_holds_no_analysis_is_said_after_one_block_with_one_that_does(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    with pytest.raises(UnfitError) as told:
        run(planted, "20s")
    assert (folder.blocks(tmp_path), told.value.exit_code) == (1, 5)
    (named,) = re.findall(r"--max-time (\w+) would", str(told.value))
    run(planted, named)
    assert [number for number, _ in planted.measured] == [*range(folder.blocks(tmp_path))], "the block is kept"
    assert plan(tmp_path).analysed


def test_blocks_that_become_slow_end_it_with_the_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, judge = list[interim.Analysis](), ab.judge

    def noted(*given: Any) -> object:
        asked.append(given[3])
        return judge(*given)

    monkeypatch.setattr(ab, "judge", noted)
    result = run(Planted(tmp_path, slow=8), "200s")
    assert (result.planned, result.blocks) == (19, 10)
    # Analyses are told from the progress: that is judged as if it were the only one.
    first, last = (each for each in asked if each.several)
    assert (first.total, first.fractions) == (19, interim.fractions_of(interim.schedule(19)))
    assert (last.total, last.fractions, last.number) == (10, (5 / 10, 1.0), 2)


def test_a_command_that_was_killed_before_its_plan_makes_one_of_the_next_block(tmp_path: Path) -> None:
    first, second = Planted(tmp_path), Planted(tmp_path)
    first.measure(0, Loop(first, lambda: first.now).plan.draws(1)[0][0])
    assert not plan(tmp_path).total
    assert run(second, "3min").planned == 1 + 17
    assert [number for number, _ in second.measured] == [*range(1, 18)]


@pytest.mark.parametrize(
    ("at", "error", "raised"),
    [
        (0, KeyboardInterrupt(), KeyboardInterrupt),  # nothing is kept, so that no run is unfinished
        (2, KeyboardInterrupt(), IncompleteError),
        (1, UsageError("the base broke"), UsageError),
    ],
)
def test_what_ends_it(tmp_path: Path, at: int, error: BaseException, raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        run(Planted(tmp_path, at=(at, error)))
    if raised is IncompleteError:
        (tmp_path / "plan.json").unlink()
        with pytest.raises(DamagedError):  # nothing else says how often the blocks were analysed
            run(Planted(tmp_path))


@pytest.mark.parametrize("lacking", ["base", "new"])
def test_it_ends_where_no_row_has_a_number_any_more(
    tmp_path: Path, lacking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planted, "rows", lambda _: [Row("a case", "wall_s", why="failed: it broke", lacking=lacking)])
    with pytest.raises(UsageError, match="it broke") if lacking == "base" else nullcontext():
        assert run(Planted(tmp_path)).exit_code() == 1
    assert folder.blocks(tmp_path) == 1


@pytest.mark.parametrize(
    ("effect", "noise", "code", "check"),
    [(-0.1, 0.005, 1, verdicts.FAIL), (-0.03, 0.005, 0, verdicts.PASS), (-0.05, 0.2, 5, verdicts.INCONCLUSIVE)],
)
def test_a_limit_decides_when_it_stops(tmp_path: Path, effect: float, noise: float, code: int, check: str) -> None:
    result = run(Planted(tmp_path, effect, noise), margin=0.05, fail_on=parse(["slower:5%"]))
    assert (result.exit_code(), result.rows[0].check) == (code, check)
    assert (result.blocks < result.planned) is (code != 5)
    assert result.exit_code(allow_inconclusive=True) == code % 5
