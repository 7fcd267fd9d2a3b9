"""What `ab commands` reads of each run: printed and written values, seeds, and the curve on which a run reaches a target."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import ROOT, blocks
from fake_nvml import fake_pynvml
from hypothesis import given
from hypothesis import strategies as st
from in_process import command_line, succeeded
from test_ab_commands import ab, here, script

from modbench.harness.core.errors import UsageError
from modbench.harness.results.json_files import write_sealed
from modbench.plugins.ab import cards, folder, question
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.flags import checks_of
from modbench.plugins.ab.printed import NoNumberError, Reading, Reads, Target, new_text, reads, state_of, value_of
from modbench.plugins.ab.to_target import Point, reached
from modbench.plugins.ab.two_commands import Block, Commands, Process

__all__ = ["here"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")
SCALED = st.floats(0.01, 100.0)
VALUE = Reading(name="loss", better="lower", regex="loss ([^ ]+)")
TARGET = Target(name="loss", better="lower", value=3.0, curve=r"(\d+) ([\d.]+)")


def run(values: dict[str, float] | None = None, points: Sequence[Point] | None = None, wall_s: float = 1.0) -> Process:
    made = dict.fromkeys(("cpu_s", "main_s", "wall_s"), wall_s) | dict.fromkeys(("rss_bytes", "tree_bytes"), 1)
    return Process(**made, delay_s=0.0, tree_why=None, code=0, values=values or {}, points=points)  # type: ignore[arg-type]


def planted(
    here: Path, blocks: Sequence[Sequence[Process]], read: Reads, fail_on: str | None = None
) -> question.Result:
    """The result of runs, of which each block has two of the base and two of the new side."""
    for number, each in enumerate(blocks):
        made = Block(order="ABBA", processes=(each[0], each[2], each[3], each[1]))
        write_sealed(folder.block(here, number), made.model_dump_json())
    checks = checks_of([fail_on], [each.name for each in read.values]) if fail_on else None
    rows = Commands(("a", "b"), ((), ()), Asked(0.02, checks), here, 1.0, read).rows()
    return question.Result(("a", "b"), question.judge(rows, 0.02, checks), 0.02, checks, len(blocks))


@pytest.mark.parametrize(
    ("apart", "better", "fail_on", "verdict", "code"),
    [
        (-0.02, "lower", None, "better", 0),
        (-0.02, "higher", None, "worse", 0),
        (0.0, "lower", None, "inconclusive", 0),
        (0.02, "lower", "loss:1%", "equivalent", 0),  # 0.67 % of 3
        (0.05, "lower", "loss:1%", "worse", 1),
        (0.05, "higher", "loss:1%", "better", 0),
        (0.03, "lower", "loss:1%,slower:2%", "worse", 5),
    ],
)
def test_a_value_is_judged_by_its_difference(
    here: Path, apart: float, better: Any, fail_on: str | None, verdict: str, code: int
) -> None:
    drawn = random.Random(1)
    blocks = []
    for _ in range(8):
        base = [3 + drawn.gauss(0, 0.2) for _ in range(2)]
        new = [each + apart + drawn.gauss(0, 0.004) for each in base]
        blocks.append([run({"loss": each}, wall_s=math.exp(drawn.gauss(0, 0.001))) for each in (*base, *new)])
    found = planted(here, blocks, Reads(values=(VALUE.model_copy(update={"better": better}),)), fail_on)
    row = next(each for each in found.rows if each.what == "loss")
    assert row.verdict == verdict
    assert found.exit_code() == code
    data = row.as_dict()
    assert data["difference"] == pytest.approx(data["new"] - data["base"])
    assert (data["ci_low"] < data["difference"] < data["ci_high"], data["blocks"]) == (True, 8)


def test_a_value_that_is_the_same_in_all_runs_has_no_verdict(here: Path) -> None:
    found = planted(here, [[run({"loss": each}) for each in (3.0, 3.0, 2.0, 2.0)]] * 4, Reads(values=(VALUE,)))
    row = next(each for each in found.rows if each.what == "loss")
    assert (row.verdict, row.open, row.ratio.value) == ("inconclusive", False, -1.0)


def test_twice_as_many_pairs_as_blocks_decide(here: Path) -> None:
    drawn = random.Random(2)
    blocks = [[run({"loss": drawn.gauss(3 + 0.02 * (side > 1), 0.02)}) for side in range(4)] for _ in range(4)]
    row = next(row for row in planted(here, blocks, Reads(values=(VALUE,))).rows if row.what == "loss")
    assert row.contrast is not None
    assert (row.contrast.effect.n, row.needed) == (8, math.ceil((row.contrast.needed or 0) / 2))


# --- what is read


@pytest.mark.parametrize(
    ("printed", "each", "found"),
    [
        ({"loss": ["2.5", 3, 9.0]}, False, 2.5),
        ({"loss": ["2.5", 3, 9.0]}, True, 3.0),
        ({"loss": ["nan", 1, math.nan]}, False, None),
        ({"loss": ["2.5", 2, math.nan]}, True, None),
        ({}, False, None),
    ],
)
def test_a_printed_value_is_the_last_or_the_mean(printed: Any, each: bool, found: float | None) -> None:
    reading = VALUE.model_copy(update={"each": each})
    if found is None:
        with pytest.raises(NoNumberError):
            value_of(reading, printed, None)
    else:
        assert value_of(reading, printed, None) == found


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (None, '{"loss": 1}\n{"loss": 2}\n', 2.0),
        ('{"loss": 9}\n', '{"loss": 9}\n{"loss": 1}\n{"loss": 2}\nhalf a li', 2.0),
        ('{"loss": 9}\n{"loss": 9}\n', '{"loss": 1}\n{"other": 2}\n', 1.0),
        ('{"loss": 9}\n', '{"loss": "no"}\n', None),
        ('{"loss": 9}\n', '{"other": 2}\n', None),
        ('{"loss": 9}\n', None, None),
    ],
)
def test_a_written_value_is_of_this_run(here: Path, before: str | None, after: str | None, found: float | None) -> None:
    file, reading = here / "log.jsonl", Reading(name="loss", better="lower", file="log.jsonl", key="loss")
    if before is not None:
        file.write_text(before)
    state = state_of(file)
    if after is not None:
        file.write_text(after)
        os.utime(file, ns=(1, 1))
    written = new_text(file, state)
    if found is None:
        with pytest.raises(NoNumberError):
            value_of(reading, {}, written)
    else:
        assert value_of(reading, {}, written) == found


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"values": ["loss"]}, "NAME=REGEX"),
        ({"values": ["loss=("]}, "no regular expression"),
        ({"values": ["loss=x"]}, "0 groups"),
        ({"values": ["loss=(x)", "loss=(y)"]}, "named twice"),
        ({"values": ["slower=(x)"]}, "a check of times"),
        ({"values": ["x=(x)"]}, "--better x=lower"),
        ({"values": ["x=(x)"], "better": ["more"]}, "lower, higher or VALUE=higher"),
        ({"values": ["x=(x)"], "better": ["y=lower"]}, "Values: x"),
        ({"jsonl": ["log.jsonl"]}, "FILE:KEY"),
        ({"each": True}, "none is"),
        ({"target": "loss<=3"}, "go together"),
        ({"target": "loss=3", "curve": "(x) (y)"}, "NAME<=NUMBER"),
        ({"target": "loss<=nan", "curve": "(x) (y)"}, "NAME<=NUMBER"),
        ({"target": "loss<=3", "curve": "(x)"}, "two groups"),
    ],
)
def test_mistakes_in_what_is_read_are_refused(flags: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"values": (), "jsonl": (), "better": (), "target": None, "curve": None, "each": False}
    with pytest.raises(UsageError) as caught:
        reads(**given | flags)
    assert said in str(caught.value)


@pytest.mark.slow
def test_both_runs_of_a_pair_have_the_same_seed_and_no_two_pairs_do(here: Path) -> None:
    base = script(here, "a.py", "import sys\nprint('seed', sys.argv[1], 'loss', sys.argv[1], end='')") + " {seed}"
    found = ab(base, base, "--value", "loss=loss (.*)", "--blocks", "3", "--json", cwd=here)
    (row,) = (each for each in found["rows"] if each["what"] == "loss")
    assert (row["base"], row["difference"], row["ci_low"]) == (2.5, 0, 0)
    assert command_line("ab", "commands", base, base.replace("{seed}", "0"), cwd=here).returncode == 2


@pytest.mark.slow
def test_much_output_is_searched_while_it_comes(here: Path) -> None:
    """Lines of a progress bar, 100 MB of text, a line without an end, and more points than a curve has."""
    many = "for i in range(90): print(f'{i} {100 - i}.0', end='\\r', flush=True)\n"
    many += "print(('x' * 999 + '\\n') * 10**5 + 'y' * 10**6)"
    read = ("--target", "loss<=50", "--curve", r"^(\d+) ([\d.]+)$", "--blocks", "3", "--json")
    found = ab(*[script(here, "a.py", many)] * 2, *read, cwd=here)
    steps, whole = (next(each for each in found["rows"] if each["metric"] == key) for key in ("steps", "wall_s"))
    assert (steps["base"], steps["new"]) == (pytest.approx(50), pytest.approx(50))
    assert 0 < next(each for each in found["rows"] if each["metric"] == "target_s")["base"] < whole["base"]
    too_many = script(here, "b.py", "print('\\n'.join(f'{i} 1.0' for i in range(100_002)))")
    assert "more than 100,000 points" in command_line("ab", "commands", too_many, too_many, *read, cwd=here).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("input()", "EOFError"),
        ("pass", "prints no loss"),
        ("print('loss nan')", "no finite number"),
        ("print('loss 3\\n1 2.0')", "1 point of --curve"),
        ("print('loss 3\\n1 2.0\\n2 nan')", "1 point of --curve"),
        ("print('loss 3\\n1 9.0\\n2 8.0')", "neither command reaches loss ≤ 3"),
    ],
)
def test_a_run_without_its_number_fails_with_its_log(here: Path, body: str, said: str) -> None:
    command = script(here, "a.py", body)
    flags = ("--value", "loss=loss (.*)", "--target", "loss<=3", "--curve", TARGET.curve)
    done = command_line("ab", "commands", command, command, *flags, cwd=here)
    assert (done.returncode, said in done.stderr, "Traceback (most" in done.stderr) == (2, True, body == "input()")
    assert not [*here.glob("runs/*/block*")]


# --- cards


@pytest.mark.slow
def test_energy_and_clock_of_the_cards_stand_beside_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    command = script(here, "a.py", "import time; time.sleep(0.01)")
    rows = {each["metric"]: each for each in ab(command, command, "--blocks", "3", "--json", cwd=here)["rows"]}
    assert (rows["energy_J"]["base"], rows["energy_J"]["ratio"]) == (1, 1)
    assert rows["sm_hz"]["new"] == pytest.approx(1.98e9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cards.seen() == []


# --- the target


def curve(values: Sequence[float], start_s: float = 0.5, step_s: float = 0.1) -> list[Point]:
    """One point every ten steps, by a clock that ticks evenly."""
    return [
        Point(10 * i, each, wall_s, 0.9 * wall_s)
        for i, each in enumerate(values, 1)
        for wall_s in [start_s + step_s * 10 * i]
    ]


def test_a_straight_curve_is_crossed_where_it_is() -> None:
    found = reached(curve([6.0, 5.0, 4.0, 2.0, 1.0]), TARGET)
    assert (found.steps, found.wall_s, found.cpu_s) == pytest.approx((35.0, 4.0, 3.6))
    assert (found.step_s, found.step_cpu_s, found.best) == pytest.approx((0.1, 0.09, 1.0))


def test_one_lucky_value_is_no_crossing() -> None:
    """The fit of 2.9 and 4.1 is their mean, 3.5, which lies above the target; the centre of its level is step 35."""
    found = reached(curve([6.0, 4.5, 2.9, 4.1, 1.0]), TARGET)
    assert found.steps == pytest.approx(35 + 15 * 0.5 / 2.5)
    assert reached(curve([6.0, 4.5, 2.9, 4.1]), TARGET).steps is None


@given(st.lists(st.floats(1.0, 6.0), min_size=2, max_size=20), SCALED, st.randoms())
def test_a_crossing_does_not_depend_on_order_scale_or_sign(values: list[float], factor: float, drawn: Any) -> None:
    points = curve(values)
    found = reached(points, TARGET)
    mirrored = TARGET.model_copy(update={"better": "higher", "value": -3.0})
    shuffled = drawn.sample(points, len(points))
    assert reached(shuffled, TARGET) == found
    assert reached([each._replace(value=-each.value) for each in points], mirrored).steps == found.steps
    scaled = reached([each._replace(step=each.step * factor) for each in points], TARGET)
    if found.steps is None:
        assert scaled.steps is None
    else:
        assert scaled.steps == pytest.approx(found.steps * factor)
        assert points[0].step <= found.steps <= points[-1].step


@pytest.mark.parametrize(("censored", "bound"), [((), None), ((2,), "less"), ((0,), "more"), ((0, 2), None)])
def test_with_a_run_that_never_gets_there_no_side_wins(
    here: Path, censored: tuple[int, ...], bound: str | None
) -> None:
    drawn, blocks = random.Random(3), []
    for _ in range(6):
        level = [6.0, 5.0, 4.0, 2.0, 1.0]
        step_s = [0.1 * math.exp(drawn.gauss(0, 0.002)) * (1.2 if side > 1 else 1.0) for side in range(4)]
        blocks.append([run(points=curve(level, step_s=each), wall_s=9.0) for each in step_s])
    for side in censored:
        blocks[3][side] = run(points=curve([6.0, 5.0, 4.0]), wall_s=9.0)
    found = planted(here, blocks, Reads(target=TARGET))
    row = found.rows[0]
    assert row.verdict == (None if censored else "worse")
    assert found.exit_code() == (5 if censored else 0)
    if censored:
        assert f"is {bound} than" in str(row.why) if bound else "than" not in str(row.why)
    else:
        assert row.ratio.value == pytest.approx(4.0 / (0.5 + 0.12 * 35), rel=0.01)


@pytest.mark.slow
def test_report_of_values_and_a_target_says_the_same(here: Path) -> None:
    prints = "import sys\nfor i in range(5): print(i, 6.0 - i, 'loss', sys.argv[1] + '1')"
    flags = (
        "--value",
        "loss=loss (.*)",
        "--target",
        "loss<=3",
        "--curve",
        TARGET.curve,
        "--fail-on",
        "slower:9%,loss:1%",
    )
    found = ab(
        *[script(here, "a.py", prints) + " {seed}"] * 2, *flags, "--blocks", "3", "-o", "out", "--json", cwd=here
    )
    told = json.loads(succeeded(command_line("report", "out", "--json", cwd=here)).stdout)
    assert told | {"code": found["code"], "exit_code": found["exit_code"]} == found
    page = (here / "out" / "report.html").read_text()
    assert all(f"curves-{along}" in page for along in ("step", "wall_s"))


@pytest.mark.slow
def test_the_example_of_the_page_prints_what_its_command_reads() -> None:
    page = ROOT / "plugins" / "ab" / "README.md"
    words = next(shlex.split(each) for block in blocks(page) for each in block.commands if "train.py" in each)
    asked = dict(pairwise(words))
    read = reads([asked["--value"]], (), (), asked["--target"], asked["--curve"], each=False)
    command = [*shlex.split(words[4].replace("{seed}", "1"))[1:], "--steps", "60"]
    folder = ROOT / "examples" / "training"
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=True)
    value, steps = read.values[0].regex or "", [20, 40, 60]
    curve = re.findall(read.target.curve if read.target else "", done.stdout)
    assert [int(step) for step, _ in curve] == steps
    assert re.findall(value, done.stdout) == [loss for _, loss in curve]
    assert float(curve[-1][1]) < float(curve[0][1])
