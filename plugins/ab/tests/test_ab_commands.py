"""`modbench ab commands` on real commands of milliseconds: what is measured, what fails, and what is left when it is ended."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line, succeeded
from test_parent_death import alive, wait_until_gone

from modbench.harness.core.errors import UsageError
from modbench.harness.machine import certificate, environment
from modbench.plugins.ab import two_commands as commands
from modbench.plugins.ab.two_commands import Commands, Process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")
PYTHON = f"{sys.executable} -I -S"
ENOUGH = ("--blocks", "3", "--json")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; a machine that is known at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "collect", dict)
    monkeypatch.setattr(certificate, "fingerprint", lambda *_: "this machine")
    return tmp_path


def script(here: Path, name: str, text: str) -> str:
    (here / name).write_text(text)
    return f"{PYTHON} {name}"


def ab(*words: str, cwd: Path) -> Any:
    done = command_line("ab", "commands", *words, cwd=cwd)
    assert done.stdout, done.stderr
    return json.loads(done.stdout) | {"code": done.returncode}


@pytest.mark.slow
def test_time_of_children_and_memory_of_the_largest_are_those_of_the_command(here: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nx = bytearray(2**26)"
    told, tell = os.pipe()
    words = ["/bin/sh", "-c", f"{script(here, 'child.py', burn)}; true"]
    with os.fdopen(told) as answer:
        subprocess.run(
            [sys.executable, "-I", "-S", str(commands.SCRIPT), str(tell), "", *words], pass_fds=[tell], check=True
        )
        os.close(tell)
        found = Process(**json.loads(answer.read()))
    assert found.wall_s > 0
    assert found.cpu_s > 0.3 > (found.main_s or 0.0)
    assert found.rss_bytes > 2**26
    assert found.tree_bytes or found.tree_why


def planted(here: Path, monkeypatch: pytest.MonkeyPatch, *, slower: float = 1.0, **of_new: float | None) -> Any:
    """A comparison whose processes take planted times; wall time waits for a processor in some of them."""
    drawn = random.Random(3)

    def run(_: Commands, side: str, _seed: int) -> Process:
        work = math.exp(drawn.gauss(0, 0.002)) * (slower if side == "B" else 1.0)
        late = drawn.choice((0.0, 0.5)) if "late" in of_new else 0.0
        told: dict[str, Any] = {"wall_s": work + late, "cpu_s": work, "main_s": work, "delay_s": late}
        told |= {"rss_bytes": 1, "tree_bytes": 2, "tree_why": None, "code": 0}
        return Process(**told | {key: value for key, value in of_new.items() if key != "late" and side == "B"})

    monkeypatch.setattr(Commands, "_run", run)
    return ab("true", "true", "--fail-on", "slower:2%", "--blocks", "8", "--json", cwd=here)


NOT_SEEN = {"main_s": None, "delay_s": None}


@pytest.mark.parametrize(
    ("slower", "of_new", "by_cpu", "code"),
    [
        pytest.param(1.0, {}, False, 0, id="equal"),
        pytest.param(1.05, {}, False, 1, id="slower"),
        pytest.param(1.0, {"late": 1.0}, True, 0, id="equal on a busy machine"),
        pytest.param(1.05, {"late": 1.0}, True, 1, id="slower on a busy machine"),
        pytest.param(0.95, {"late": 1.0}, True, 0, id="faster on a busy machine"),
        pytest.param(1.05, {"late": 1.0, "main_s": 0.5}, False, 5, id="several threads or processes"),
        pytest.param(1.05, {"late": 1.0, "cpu_s": 0.2, "main_s": 0.2}, False, 5, id="waits of itself"),
        pytest.param(1.05, {"late": 1.0, **NOT_SEEN}, False, 5, id="not recorded"),
    ],
)
def test_cpu_time_decides_where_wall_time_is_noisy_and_it_is_the_work(
    here: Path, monkeypatch: pytest.MonkeyPatch, slower: float, of_new: dict[str, float | None], by_cpu: bool, code: int
) -> None:
    found = planted(here, monkeypatch, slower=slower, **of_new)
    assert found["rows"][0]["metric"] == "wall_s"
    assert (found["rows"][0]["by_cpu"], found["code"]) == (by_cpu, code)


@pytest.mark.parametrize("blocks", ["3", "40"], ids=["to the end", "decided early"])
def test_report_renders_its_folder_with_the_same_numbers(
    here: Path, monkeypatch: pytest.MonkeyPatch, blocks: str
) -> None:
    planted(here, monkeypatch, slower=1.05)
    found = ab("true", "true", "--fail-on", "slower:2%", "--blocks", blocks, "-o", "out", "--json", cwd=here)
    assert (found["blocks"] < int(blocks)) is (blocks == "40")
    page = here / "out" / "report.html"
    first = page.read_text()
    page.unlink()
    assert json.loads(succeeded(command_line("report", "out", "--json", cwd=here)).stdout) | {"code": 1} == found
    assert page.read_text() == first
    assert command_line("report", "out", "--baseline", "dense", cwd=here).returncode == 2
    (here / "out" / "finished.json").unlink()
    assert command_line("report", "out", cwd=here).returncode == 4


@pytest.mark.slow
def test_standard_input_is_at_its_end(here: Path) -> None:
    assert ab("cat", "cat", *ENOUGH, cwd=here)["blocks"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(("side", "code"), [("base", 2), ("new", 1)])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after some blocks"])
@pytest.mark.parametrize(
    ("how", "said"), [("sys.exit('it broke')", "it broke"), ("os.kill(os.getpid(), 9)", "SIGKILL")]
)
def test_a_side_that_fails(here: Path, side: str, code: int, late: bool, how: str, said: str) -> None:  # a parameter
    count = "open('runs.txt', 'a').write('x')\n" if late else ""
    fails = f"{count}import os, sys\nif len(open('runs.txt').read()) > 5: {how}\n"
    (here / "runs.txt").write_text("" if late else "xxxxxx")
    words = {each: script(here, f"{each}.py", fails if each == side else "pass") for each in ("base", "new")}
    done = command_line("ab", "commands", words["base"], words["new"], "--blocks", "9", cwd=here)
    assert done.returncode == code, done.stderr
    assert said in (done.stdout if side == "new" else done.stderr)
    assert (f"{side} | it broke" in done.stderr) == (said == "it broke")
    (folder,) = here.glob("runs/ab-*")
    assert bool([*folder.glob("block*")]) is late


@pytest.mark.slow
def test_a_side_that_takes_too_long_fails_and_is_ended(here: Path) -> None:
    hangs = script(here, "new.py", "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    found = ab(script(here, "base.py", "pass"), hangs, "--timeout", "500ms", *ENOUGH, cwd=here)
    assert found["code"] == 1
    assert "--timeout" in found["rows"][0]["reason"]
    wait_until_gone([int((here / "pid").read_text())])


@pytest.mark.slow
def test_what_a_command_leaves_running_in_its_group_is_ended(here: Path) -> None:
    leaves = "import subprocess\np = subprocess.Popen(['sleep', '600'])\nopen('pids', 'a').write(f'{p.pid} ')"
    base = script(here, "base.py", leaves)
    assert ab(base, base, *ENOUGH, cwd=here)["code"] in {0, 5}
    left = [int(pid) for pid in (here / "pids").read_text().split()]
    assert len(left) == 2 + 3 * 4
    assert not any(alive(pid) for pid in left)


@pytest.mark.parametrize("text", ["", "a 'b", "a | b", "A=1 b", "a $HOME"])
def test_what_is_no_command_or_needs_a_shell_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        commands.words_of(text, shell=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("true true --blocks 2", "--blocks 2: an interval needs"),
        ("true true --blocks 100000", "400 are the most"),
        ("true true --fail-on flops:0%", "one check of times"),
        ("true true --fail-on slower:2% --margin 0.02", "do not go together"),
        ("true true --out file", "--out 'file' holds other files"),
        ("no-such-program-anywhere true", "No such file or directory"),
    ],
)
def test_mistakes_end_in_a_line_and_leave_nothing(here: Path, words: str, said: str) -> None:
    (here / "file").write_text("")
    done = command_line("ab", "commands", *words.split(), cwd=here)
    assert (done.returncode, done.stderr.count("modbench: "), said in done.stderr) == (2, 1, True), done.stderr
    assert [each.name for each in here.iterdir()] == ["file"] or not [*here.glob("runs/*/block*")]


def test_changed_files_begin_anew_and_the_same_go_on(here: Path) -> None:
    base, new = script(here, "a.py", "pass"), script(here, "b.py", "pass")
    request = commands.request(([base], [new]), (base, new))
    assert request == commands.request(([base], [new]), (base, new))
    script(here, "b.py", "pass # changed")
    assert request != commands.request(([base], [new]), (base, new))


BUSY = """
import os, sys, time
open("runs.txt", "a").write("x")
if len(open("runs.txt").read()) > 8:
    open("pid.part", "w").write(str(os.getpid()))
    os.rename("pid.part", "pid")
    while not os.path.exists("go"): time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_from_outside_it_keeps_finished_blocks_and_nothing_runs(here: Path, number: signal.Signals) -> None:
    """It hangs in its second block; then the same command goes on."""
    busy = script(here, "busy.py", BUSY)
    command = [sys.executable, "-m", "modbench", "ab", "commands", busy, busy, "--blocks", "3", "-o", "out"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (here / "pid").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate()
    wait_until_gone([int((here / "pid").read_text())])
    kept = {each.name for each in (here / "out").iterdir()}
    if number == signal.SIGKILL:
        assert (process.returncode, "block0" in kept, "block1" in kept) == (-number, True, False)
    else:
        assert (process.returncode, kept) == (4, {"ab.json", "plan.json", "block0"}), err
        assert "Traceback" not in err
    (here / "go").touch()
    again = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert again.returncode in {0, 5}, again.stderr
    assert re.search(r"(?<!\d)3 blocks", again.stdout)
    # Two to warm up, four of the first block, what was interrupted, and the rest.
    assert len((here / "runs.txt").read_text()) == 2 + 4 + 3 + 8
