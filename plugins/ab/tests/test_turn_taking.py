"""Processes that take turns: one computes at a time, rounds alternate, and what goes wrong ends all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modbench.plugins.ab import turn_taking
from modbench.plugins.ab.turn_taking import Start

pytestmark = pytest.mark.slow

CHILD = """
import sys
from modbench.harness.call.timing import interleave
from modbench.plugins.ab.one_process import take_turns
name, file, rounds, code = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
take_turns(int(sys.argv[-2]), int(sys.argv[-1]))
for _ in range(rounds):
    interleave.its_turn()
    with open(file, "a") as out:
        out.write(name + "<")
        out.flush()
        out.write(name + ">")
if code:
    sys.exit("it broke")
"""


def child(tmp_path: Path, name: str, rounds: int, code: int = 0) -> Start:
    words = [sys.executable, "-c", CHILD, name, str(tmp_path / "order"), str(rounds), str(code)]
    return Start(words, os.environ, None, tmp_path / f"{name}.log", 600)


def run(*starts: Start) -> list[int | None]:
    """The exit codes of processes; None: it hung."""
    return turn_taking.run(starts)


def test_one_process_computes_at_a_time_and_rounds_alternate(tmp_path: Path) -> None:
    assert run(*(child(tmp_path, name, 4) for name in "abc")) == [0] * 3
    assert (tmp_path / "order").read_text() == "".join(f"{name}<{name}>" for name in "abcabcabcabc")


def test_one_that_ends_early_holds_nobody_up_and_its_failure_is_told_from_the_others(tmp_path: Path) -> None:
    assert run(child(tmp_path, "a", 1, code=1), child(tmp_path, "b", 3)) == [1, 0]
    assert (tmp_path / "order").read_text() == "a<a>b<b>b<b>b<b>"
    assert (tmp_path / "a.log").read_text() == "it broke\n"


def test_a_process_that_hangs_is_ended_and_the_others_go_on(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import signal; signal.pause()"]
    hung = Start(words, os.environ, None, tmp_path / "h.log", 1)
    assert run(hung, child(tmp_path, "a", 2)) == [None, 0]
    assert (tmp_path / "order").read_text() == "a<a>a<a>"


def test_a_process_that_dies_while_it_waits_holds_nobody_up(tmp_path: Path) -> None:
    dies = "import os, sys; os.write(int(sys.argv[-2]), b'?'); print('killed', flush=True); os._exit(9)"
    gone = Start([sys.executable, "-c", dies], os.environ, None, tmp_path / "g.log", 600)
    assert run(gone, child(tmp_path, "a", 2)) == [9, 0]
    assert (tmp_path / "order").read_text() == "a<a>a<a>"
    assert (tmp_path / "g.log").read_text() == "killed\n"
