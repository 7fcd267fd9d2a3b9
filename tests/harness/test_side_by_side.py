"""Processes that take turns: one computes at a time, rounds alternate, and what goes wrong ends all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modbench.harness.core.errors import ModbenchError
from modbench.tools import side_by_side
from modbench.tools.side_by_side import Start

CHILD = """
import sys
from modbench.harness.timing import turns
name, file, rounds, code = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
turns.between(int(sys.argv[-2]), int(sys.argv[-1]))
for _ in range(rounds):
    turns.take()
    with open(file, "a") as out:
        out.write(name + "<")
        out.flush()
        out.write(name + ">")
if code:
    sys.exit("it broke")
"""


def child(tmp_path: Path, name: str, rounds: int, code: int = 0) -> Start:
    words = [sys.executable, "-c", CHILD, name, str(tmp_path / "order"), str(rounds), str(code)]
    return Start(f"side {name}", words, os.environ, None, tmp_path / f"{name}.log")


def test_one_process_computes_at_a_time_and_rounds_alternate(tmp_path: Path) -> None:
    side_by_side.run([child(tmp_path, name, 4) for name in "abc"], 60)
    assert (tmp_path / "order").read_text() == "".join(f"{name}<{name}>" for name in "abcabcabcabc")


def test_a_process_with_fewer_rounds_holds_nobody_up(tmp_path: Path) -> None:
    side_by_side.run([child(tmp_path, "a", 1), child(tmp_path, "b", 3)], 60)
    assert (tmp_path / "order").read_text() == "a<a>b<b>b<b>b<b>"


def test_a_process_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(ModbenchError, match=r"side b: a launch ended with code 1: it broke"):
        side_by_side.run([child(tmp_path, "a", 2), child(tmp_path, "b", 1, code=1)], 60)


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    hung = Start("side h", [sys.executable, "-c", "import time; time.sleep(600)"], os.environ, None, tmp_path / "h.log")
    with pytest.raises(ModbenchError, match=r"side h: a launch did nothing for 1 s and was ended"):
        side_by_side.run([hung], 1)


def test_a_process_that_dies_while_it_waits_is_named(tmp_path: Path) -> None:
    dies = "import os, sys; os.write(int(sys.argv[-2]), b'?'); print('killed', flush=True); os._exit(9)"
    gone = Start("side g", [sys.executable, "-c", dies], os.environ, None, tmp_path / "g.log")
    with pytest.raises(ModbenchError, match=r"side g: a launch ended with code 9: killed"):
        side_by_side.run([gone, child(tmp_path, "a", 2)], 60)
    assert (tmp_path / "order").read_text() == "a<a>a<a>"
