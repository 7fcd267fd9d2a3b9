"""The script of a first day on a card: it rehearses without one, goes on where it stopped, and leaves a folder to carry."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import gpu_day
import gpu_day_page
import pytest
from gpu_day_folder import MOST_BYTES, MOST_FILES, Day, open_day
from gpu_day_steps import STEPS, Mode, Step
from in_process import succeeded

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]


# What stands in for a step: a process that sees the pretend card. A proof rehearses all steps as they are.
FOUND = "model='dense', steps=4, tokens_per_s=51234.0 * cuda.is_available(), flop_per_s=None, loss_val=2.5, seconds=1"
PRINTS = f'-c "import json; from torch import cuda; print(json.dumps(dict({FOUND}, shape={{}})))"'
STAND_IN = Step("train-dense", "a stand-in", 0.1, 1500, PRINTS)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("steps", [(STAND_IN,), pytest.param(STEPS, marks=pytest.mark.proof)], ids=["stand-in", "all"])
def test_a_rehearsed_day_is_carried_away_and_not_repeated(
    steps: tuple[Step, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a pretend card, two steps at once: at most eight files, which another machine goes on from."""
    monkeypatch.setattr(gpu_day, "STEPS", steps)
    out = tmp_path / "day"
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", "--rehearse", "--out", str(out)])
    assert gpu_day.main() == 0, capsys.readouterr().out + (out / "logs.txt").read_text(encoding="utf-8")
    facts = json.loads((out / "day.json").read_text(encoding="utf-8"))
    assert {(each["name"], each["mode"], each["code"]) for each in facts["steps"]} == {
        (each.name, "rehearse", 0) for each in steps
    }
    trained = [each.name for each in steps if each.name.startswith("train-") and each.name not in gpu_day_page.SUITES]
    models = [name.removeprefix("train-") for name in trained]
    assert [(run["model"], run["steps"]) for run in facts["training"]] == [(model, 4) for model in models]
    assert all(run["tokens_per_s"] > 0 for run in facts["training"])
    files = list(out.iterdir())
    assert len(files) <= MOST_FILES
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    page = (out / "gpu-and-clusters.md").read_text(encoding="utf-8")
    assert gpu_day_page.WHICH["rehearse"] in page
    assert all(f"| {model} | " in page for model in models)
    assert str(tmp_path) not in page
    assert "failed:" not in page  # what fails without a card fails with one
    again = tmp_path / "elsewhere" / "day"
    again.parent.mkdir()
    out.rename(again)
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", "--rehearse", "--out", str(again)])
    assert gpu_day.main() == 0
    assert capsys.readouterr().out.count(": done before") == len(steps)
    assert json.loads((again / "day.json").read_text(encoding="utf-8"))["training"] == facts["training"]


# The ladder of map-gpu takes half a minute.
MARKS = {"map-gpu": pytest.mark.proof, "fit": pytest.mark.plugin("machine")}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, marks=MARKS.get(step.name, ()))
        for step in STEPS
        if re.match("-m modbench (run|profile) ", step.command)
    ],
    ids=lambda step: step.name,
)
def test_every_size_of_a_step_has_cases(step: Step, mode: Mode, modbench: Modbench, tmp_path: Path) -> None:
    """All flags are known and `-k` matches a case, at the sizes that no rehearsal runs as well."""
    _, _, _, _, *words = step.command_line(mode, tmp_path)
    at = words.index("-o")
    planned = succeeded(modbench("plan", *words[:at], *words[at + 2 :]))
    assert "Nothing was measured." in planned.stdout


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return open_day(tmp_path / "day", None)


def step(code: str, *, limit_s: float = 1500.0) -> Step:
    return Step("doctor", "a test", 0.1, limit_s, f"-c {shlex.quote(code)}")


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("code", "limit_s", "said"),
    [
        ("import time; time.sleep(600)", 0.5, "interrupted at its limit"),
        (DEAF, 3.0, "interrupted at its limit"),
        ("import os; os.abort()", 1500.0, "died of SIGABRT"),
        ("raise SystemExit(3)", 1500.0, "failed with 3"),
    ],
    ids=["hangs", "hangs and ignores interrupts", "crashes", "fails"],
)
def test_a_step_that_ends_badly_is_named_and_done_again(
    code: str, limit_s: float, said: str, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_day, "GRACE_S", 0.5)
    monkeypatch.setattr(gpu_day_page, "DOCS", day.work / "none.md")
    failing = gpu_day.run_step(day, step(code, limit_s=limit_s), "day")
    assert said in failing.in_words
    day.keep(failing)
    assert not day.is_done("doctor", "day")
    day.keep(gpu_day.run_step(day, step("pass"), "day"))
    assert day.is_done("doctor", "day")
    assert not day.is_done("doctor", "look")
    assert "doctor: failed" not in day.write()
