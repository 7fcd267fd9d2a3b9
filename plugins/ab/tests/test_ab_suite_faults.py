"""`ab revisions` that is killed or interrupted: nothing is left, and nothing is done twice.

The command is the real one, on two revisions of a repository. What it starts is planted by an interpreter that stands in for
Python: it copies a prepared run, and a process of a block takes its turns and leaves a planted record. One that is to hang says
so in a file and waits for ever.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_ab_sides import repository
from test_parent_death import alive, wait_until_gone

from modbench.extend import planted_plan, planted_run
from modbench.plugins.ab.question import NAMES

__all__ = ["repository"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

STANDS_IN = """#!{python} -IS
import os, shutil, signal, subprocess, sys
python, here, words = {python!r}, {here!r}, sys.argv[1:]
def said(text):
    with open(os.path.join(here, "journal"), "a") as out:
        out.write(text + "\\n")
def hang():
    child = subprocess.Popen([python, "-S", "-c", "import signal; signal.pause()"])
    with open(os.path.join(here, "pids.part"), "w") as out:
        out.write(f"{{os.getpid()}} {{child.pid}}")
    os.rename(os.path.join(here, "pids.part"), os.path.join(here, "pids"))
    while True:
        signal.pause()
if words[1:5] == ["-m", "modbench", "run", "quick"]:
    said("run " + os.path.basename(words[words.index("-o") + 1]))
    shutil.copytree(os.path.join(here, "made", "block0-base1"), words[words.index("-o") + 1], dirs_exist_ok=True)
elif len(words) > 1 and words[1].endswith("one_process.py"):
    run, job, ask, granted = words[2], words[3], int(words[4]), int(words[5])
    blocks = [each for each in os.listdir(os.path.dirname(os.path.dirname(run))) if each[5:].isdigit()]
    name = "block" + str(len(blocks)) + "-" + os.path.basename(run)
    for turn in range(3):
        os.write(ask, b"?")
        if not os.read(granted, 1):
            sys.exit("nobody grants turns")
        if turn and os.path.exists(os.path.join(here, "hang-" + name)):
            hang()
    said(name)
    file = os.path.join("jobs", job + ".json")
    shutil.copy(os.path.join(here, "made", name, file), os.path.join(run, file + ".part"))
    os.rename(os.path.join(run, file + ".part"), os.path.join(run, file))
else:
    os.execv(python, [python, *words])
"""
COMMAND = "import sys; from modbench import cli; sys.executable = {!r}; cli.main()"
PROCESSES = [[f"block{block}-{name}" for name in NAMES] for block in range(3)]


class Compared:
    """A place where revisions are compared: a repository, what stands in for Python, and the folder for temporary files."""

    def __init__(self, root: Path, repository: Path, opened: ExitStack) -> None:
        self.root, self.opened, self.temporary = root, opened, root / "tmp"
        self.temporary.mkdir()
        plan = planted_plan(
            "draft", metrics=["latency/forward"], train=None, processes=1, rounds=4, grid={"seq_len": [64]}
        )
        (root / "made").mkdir()
        for number, name in enumerate(name for block in PROCESSES for name in block):
            planted_run(root / "part", plan, seed=number).rename(root / "made" / name)
        python = root / "python"
        python.write_text(STANDS_IN.format(python=sys.executable, here=str(root)))
        python.chmod(0o755)
        model = f"{repository / 'deep' / 'mine.py'}:build"
        self.words = [sys.executable, "-c", COMMAND.format(str(python)), "ab", "revisions", "one", "main", "quick"]
        self.words += ["--model", model, "--seq-len", "128", "--set", 'metrics=["latency/forward"]']
        self.words += ["--blocks", "3", "--allow-inconclusive", "--json"]

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = subprocess.Popen(
            [*self.words, *more],
            cwd=self.root,
            env=os.environ | {"TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.opened.enter_context(command)
        self.opened.callback(command.kill)  # a failed test must leave nothing behind either
        return command

    def hanging(self, command: subprocess.Popen[str]) -> list[int]:
        """Wait until a process hangs; returns it and what it started."""
        file = self.root / "pids"
        while not file.exists():
            assert command.poll() is None, f"no process hangs: {command.communicate()}"
            time.sleep(0.02)
        pids = [int(word) for word in file.read_text().split()]
        file.unlink()
        assert all(map(alive, pids))
        return pids

    def journal(self) -> list[str]:
        """What was done since this was last asked: sides that were prepared, and processes that came to their end."""
        file = self.root / "journal"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def blocks(self) -> list[str]:
        return sorted(each.name for each in self.root.glob("runs/*/block*"))


@pytest.fixture
def compared(tmp_path: Path, repository: Path) -> Iterator[Compared]:
    with ExitStack() as opened:
        yield Compared(tmp_path, repository, opened)


def test_a_command_that_is_ended_leaves_nothing_and_goes_on(compared: Compared) -> None:
    done = PROCESSES[0]
    for block, number, code in (
        (0, signal.SIGINT, 130),
        (1, signal.SIGINT, 4),
        (1, signal.SIGKILL, -signal.SIGKILL),
    ):
        switch = compared.root / f"hang-block{block}-new1"
        switch.touch()
        command = compared.start()
        pids = compared.hanging(command)
        command.send_signal(number)
        _, err = command.communicate()
        switch.unlink()
        wait_until_gone(pids)
        assert command.returncode == code, err
        run, more, *journal = compared.journal()
        assert (run, more) == ("run base", "run new")
        if number != signal.SIGKILL:  # else its temporary folder stays until the next command
            assert not list(compared.temporary.glob("modbench*"))  # torch has a cache of its own there
            assert compared.blocks() == ["block0"][:block]
        if block:
            assert sorted(journal) == sorted(done), "a finished block is kept, and none is measured twice"
            done = []
            assert number == signal.SIGKILL or "modbench: interrupted. 1 block kept" in err
        else:
            assert not [*(compared.root / "runs").iterdir()], "without a block no folder is left"

    command = compared.start()
    out, err = command.communicate()
    assert command.returncode == 0, err
    assert sorted(line for line in compared.journal() if line.startswith("block")) == sorted(
        PROCESSES[1] + PROCESSES[2]
    )
    told = json.loads(out)
    assert {row["blocks"] for row in told["rows"]} == {3}
    assert compared.blocks() == ["block0", "block1", "block2"]
    assert not list(compared.temporary.glob("modbench*"))
    again = compared.start("-o", told["folder"])  # the same command again: nothing is measured
    assert json.loads(again.communicate()[0])["rows"] == told["rows"]
    assert compared.journal() == []
