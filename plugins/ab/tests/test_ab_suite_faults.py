"""`ab revisions` that is killed, interrupted, or meets a process that hangs: nothing is left, and nothing is done twice.

The command is the real one, in a process of its own (`ab_processes.py` starts it), on two revisions of a repository. What it
starts is planted by an interpreter that stands in for Python: it copies a prepared run, and a process of a block takes its turns
and leaves a planted record. One that is to hang says so in a file and waits for ever.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from present import present
from test_ab_sides import repository
from test_parent_death import alive, wait_until_gone

from modbench.extend import planted_plan, planted_run
from modbench.plugins.ab.question import NAMES

__all__ = ["repository"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

COMMANDS = Path(__file__).with_name("ab_processes.py")
STANDS_IN = """#!{python} -IS
import os, shutil, signal, subprocess, sys
python, here, words = {python!r}, {here!r}, sys.argv[1:]
def said(file, text):
    with open(os.path.join(here, file), "a") as out:
        out.write(text + "\\n")
def hang():
    child = subprocess.Popen([python, "-S", "-c", "import signal; signal.pause()"])
    with open(os.path.join(here, "pids.part"), "w") as out:
        out.write(f"{{os.getpid()}} {{child.pid}}")
    os.rename(os.path.join(here, "pids.part"), os.path.join(here, "pids"))
    while True:
        signal.pause()
if words[1:5] == ["-m", "modbench", "run", "quick"]:
    if os.path.exists(os.path.join(here, "hang-run")):
        hang()
    said("journal", "run " + os.path.basename(words[words.index("-o") + 1]))
    if os.path.exists(os.path.join(here, "fails-" + os.path.basename(words[words.index("-o") + 1]))):
        with open(os.path.join(here, "fails-" + os.path.basename(words[words.index("-o") + 1]))) as code:
            print("modbench: it broke", file=sys.stderr)
            sys.exit(int(code.read()))
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
    said("journal", name)
    if os.path.exists(os.path.join(here, "dies-" + name)):
        sys.exit("it broke")
    file = os.path.join("jobs", job + ".json")
    shutil.copy(os.path.join(here, "made", name, file), os.path.join(run, file + ".part"))
    os.rename(os.path.join(run, file + ".part"), os.path.join(run, file))
else:
    os.execv(python, [python, *words])
"""
PROCESSES = [[f"block{block}-{name}" for name in NAMES] for block in range(3)]


class Commands:
    """The process that starts commands, and waits for them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, request: object) -> Any:
        """The answer to a request."""
        print(json.dumps(request), file=present(self.process.stdin), flush=True)
        return json.loads(present(self.process.stdout).readline())


@dataclass
class Command:
    """A command that was started."""

    commands: Commands
    pid: int
    out: Path
    err: Path

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def finished(self, code: int = 0) -> tuple[str, str]:
        """Wait for its end; returns what it printed."""
        ended = self.commands.ask(self.pid)
        out, err = self.out.read_text(), self.err.read_text()
        assert ended == code, err
        return out, err


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    helpers = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "tests/harness")}
    words = [sys.executable, str(COMMANDS)]
    with subprocess.Popen(words, env=helpers, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Commands(process)
        present(process.stdin).close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared runs with the records of all processes."""
    folder = tmp_path_factory.mktemp("made")
    plan = planted_plan("draft", metrics=["latency/forward"], train=None, processes=1, rounds=4, grid={"seq_len": [64]})
    for number, name in enumerate(name for block in PROCESSES for name in block):
        planted_run(folder / "part", plan, seed=number).rename(folder / name)
    return folder


class Compared:
    """A place where revisions are compared: a repository, what stands in for Python, and the folder for temporary files."""

    def __init__(self, commands: Commands, root: Path, repository: Path, made: Path) -> None:
        self.commands, self.root, self.temporary = commands, root, root / "tmp"
        self.temporary.mkdir()
        self.hung, self.started = list[int](), list[int]()
        (root / "made").symlink_to(made)
        self.python = root / "python"
        self.python.write_text(STANDS_IN.format(python=sys.executable, here=str(root)))
        self.python.chmod(0o755)
        model = f"{repository / 'deep' / 'mine.py'}:build"
        self.words = ["ab", "revisions", "one", "main", "quick", "--model", model, "--seq-len", "128"]
        self.words += ["--set", 'metrics=["latency/forward"]', "--blocks", "3", "--allow-inconclusive", "--json"]

    def start(self, *more: str) -> Command:
        """Start the command."""
        asked = {"root": self.root, "words": [*self.words, *more], "python": self.python, "temporary": self.temporary}
        pid, *printed = self.commands.ask({key: each if key == "words" else str(each) for key, each in asked.items()})
        self.started.append(pid)
        return Command(self.commands, pid, *map(Path, printed))

    def hanging(self, command: Command) -> list[int]:
        """Wait until a process hangs; returns it and what it started."""
        file = self.root / "pids"
        while not file.exists():
            if not alive(command.pid):
                pytest.fail(f"no process hangs: {command.finished(0)}")
            time.sleep(0.02)
        pids = [int(word) for word in file.read_text().split()]
        file.unlink()
        self.hung += pids
        assert all(map(alive, pids))
        return pids

    def wait_until_nothing_is_left(self, pids: list[int]) -> None:
        """Wait until nothing is left of a command that ended: no process, and no file in the folder for temporary ones."""
        wait_until_gone(pids)
        assert not list(self.temporary.glob("modbench*"))  # torch has a cache of its own there

    def journal(self) -> list[str]:
        """What was done since this was last asked: sides that were prepared, and processes that came to their end."""
        file = self.root / "journal"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def compared(commands: Commands, tmp_path: Path, repository: Path, made: Path) -> Iterator[Compared]:
    grid_point = Compared(commands, tmp_path, repository, made)
    yield grid_point
    for pid in filter(alive, [*grid_point.started, *grid_point.hung]):  # a failed test must leave nothing behind either
        os.kill(pid, signal.SIGKILL)


def test_a_command_that_is_ended_leaves_nothing_and_goes_on(compared: Compared) -> None:
    switch = compared.root / "hang-block1-new1"
    switch.touch()
    done = PROCESSES[0]
    for number, code in ((signal.SIGINT, 4), (signal.SIGTERM, 4), (signal.SIGKILL, -signal.SIGKILL)):
        command = compared.start()
        pids = compared.hanging(command)
        command.send(number)
        _, err = command.finished(code)
        (folder,) = (compared.root / "runs").iterdir()
        if number == signal.SIGKILL:  # its temporary folder stays until the next command
            wait_until_gone(pids)
        else:
            compared.wait_until_nothing_is_left(pids)
            assert err.splitlines()[-1].startswith("modbench: interrupted. 1 block kept")
            assert sorted(each.name for each in folder.glob("block*")) == ["block0"]
        run, more, *journal = compared.journal()
        assert (run, more, sorted(journal)) == ("run base", "run new", sorted(done))
        done = []

    switch.unlink()
    out, _ = compared.start().finished()
    assert sorted(line for line in compared.journal() if line.startswith("block")) == sorted(
        PROCESSES[1] + PROCESSES[2]
    )
    told = json.loads(out)
    assert told["folder"] == f"runs/{folder.name}"
    assert {row["blocks"] for row in told["rows"]} == {3}
    assert sorted(each.name for each in folder.glob("block*")) == ["block0", "block1", "block2"]
    compared.wait_until_nothing_is_left([])
    compared.start("-o", told["folder"]).finished()  # the same command again: nothing is measured
    assert compared.journal() == []


def test_a_command_that_is_ended_before_its_first_block_leaves_no_folder(compared: Compared) -> None:
    (compared.root / "hang-block0-base1").touch()
    command = compared.start()
    pids = compared.hanging(command)
    command.send(signal.SIGINT)
    command.finished(130)
    compared.wait_until_nothing_is_left(pids)
    assert not [*(compared.root / "runs").iterdir()]


@pytest.mark.proof  # above it is killed while it measures
def test_a_command_that_is_killed_while_it_prepares_leaves_no_process(compared: Compared) -> None:
    (compared.root / "hang-run").touch()
    command = compared.start()
    pids = compared.hanging(command)
    command.send(signal.SIGKILL)
    command.finished(-signal.SIGKILL)
    wait_until_gone(pids)


def test_a_process_that_is_killed_is_started_once_more(compared: Compared) -> None:
    switch = compared.root / "hang-block1-new1"
    switch.touch()
    command = compared.start()
    pids = compared.hanging(command)
    switch.unlink()
    os.kill(pids[0], signal.SIGKILL)
    out, _ = command.finished()
    compared.wait_until_nothing_is_left(pids)
    assert {row["blocks"] for row in json.loads(out)["rows"]} == {3}
    assert compared.journal().count("block1-base1") == 2


def test_a_process_that_hangs_is_ended_by_its_limit_and_says_so(compared: Compared) -> None:
    switch, passed = compared.root / "hang-block1-new1", compared.root / "passed"
    switch.touch()
    command = compared.start("--timeout", "1h")
    pids = compared.hanging(command)
    passed.touch()
    wait_until_gone(pids[:1])
    passed.unlink()
    out, _ = command.finished(1)
    compared.wait_until_nothing_is_left(pids)
    told = json.loads(out)
    assert all(row["reason"].startswith("failed: timeout: ") for row in told["rows"])
    assert all("60 min 00 s (as --timeout" in row["reason"] for row in told["rows"])
    assert {row["fails"] for row in told["rows"]} == {"new"}


@pytest.mark.parametrize("code", [1, pytest.param(2, marks=pytest.mark.proof)])
def test_a_new_side_that_does_not_run_is_a_finding_and_a_base_a_mistake(code: int, compared: Compared) -> None:
    """Whatever stops `modbench run` of a side: that nothing could be measured, or that the side refuses the suite."""
    (compared.root / "fails-new").write_text(str(code))
    out, _ = compared.start("--fail-on", "slower:5%").finished(1)
    told = json.loads(out)
    (row,) = told["rows"]
    assert (told["verdict"], row["fails"]) == ("fail", "new")
    assert row["reason"].startswith("main (")
    assert row["reason"].endswith("it broke")
    assert (compared.root / told["folder"] / "base").is_dir()  # it is kept: there is more to read
    (compared.root / "fails-new").rename(compared.root / "fails-base")
    _, err = compared.start().finished(2)
    (line,) = [line for line in err.splitlines() if line.startswith("modbench: ")]
    assert line.endswith("): it broke")


def test_a_process_that_dies_is_named_with_its_log(compared: Compared) -> None:
    (compared.root / "dies-block0-new1").touch()
    out, _ = compared.start().finished(1)
    told = json.loads(out)
    (reason,) = {row["reason"].partition("; see ")[0] for row in told["rows"]}
    assert reason.startswith("failed: crash: ")
    assert "exit code 1 " in reason
    log = told["rows"][0]["reason"].rpartition("; see ")[2]
    assert (compared.root / told["folder"] / "block0" / "new1" / log).read_text() == "it broke\n"
