"""Fixtures: small shapes, a seed for every test, and one real run that many tests read."""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from in_process import SIGNALS, Modbench, command_line, succeeded
from left_behind import pytest_runtest_makereport  # noqa: F401  # a hook: no process outlives a test that failed

from modbench.harness.registry import plugin_manifests, user_code

if TYPE_CHECKING:
    from fake_cuda import FakeCuda
    from playwright.sync_api import Browser

# A few examples, the same every time; `--hypothesis-profile=proof` draws many, anew.
settings.register_profile("short", max_examples=20, derandomize=True, deadline=None)
settings.register_profile("proof", max_examples=200, derandomize=False, deadline=None)
settings.load_profile("short")

ROOT = Path(__file__).parents[2]

# Fixtures that take seconds to make: a test that reads one is slow.
SHARED = {"tiny_run", "browser", "whole", "two_runs", "built", "ran", "cluster"}
PLUGINS = {each.name for each in plugin_manifests.usable()} | {path.name for path in ROOT.glob("plugins/example")}
# Those that files share: one worker runs all of these, and makes it once.
ACROSS = ("tiny_run", "browser", "slurm")


@functools.cache
def kept_together(file: str) -> str | None:
    """Name of the group in which a file's tests go to one worker; None if each test may go to any."""
    text = (ROOT / file).read_text(encoding="utf-8")
    shared = next((name for name in ACROSS if re.search(rf'\b{name}:|"{name}"', text)), None)
    return shared or (file if 'scope="module"' in text else None)


def pytest_configure(config: pytest.Config) -> None:
    """Give all tests one state folder: runs then share the peaks that the first of them measures, and leave the user's alone."""
    if not hasattr(config, "workerinput"):  # workers inherit it
        folder = tempfile.TemporaryDirectory(prefix="modbench-state-")
        os.environ["MODBENCH_STATE"] = folder.name
        config.add_cleanup(folder.cleanup)
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        hear_signals()


def hear_signals() -> None:
    """Let signals do here, and in the processes of tests, what they do in a terminal's foreground.

    Under `nohup`, and in the background of a script, they are ignored, and processes inherit that. What is sent to the group
    that was to ignore them must still not reach the tests: they move to a session of their own.
    """
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    if ignored and os.getpid() != os.getpgrp():
        os.setsid()
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Deal tests out one by one, but whole files where they share a fixture.

    pytest 9.2 ignores the marks of `--dist loadgroup`.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: kept_together(nodeid.partition("::")[0]) or nodeid
    return scheduler


@pytest.hookimpl(tryfirst=True)  # before -m reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that read an expensive fixture, or start a process of the command line, as slow."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {*SHARED, "modbench_process"}:
            item.add_marker(pytest.mark.slow)
        if fixtures & SHARED and kept_together(item.nodeid.partition("::")[0]) is None:
            raise pytest.UsageError(f"{item.nodeid} reads {fixtures & SHARED}: name it in ACROSS, shared_fixtures.py")
        for mark in item.iter_markers("plugin"):
            if mark.args[0] not in PLUGINS:
                item.add_marker(pytest.mark.skip(reason=f"the plug-in {mark.args[0]} is absent"))


def pytest_collection_finish() -> None:
    """Leave out of every garbage collection what was loaded for all tests: torch alone has a million objects."""
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """Leave out of it also what a test has loaded for good, such as transformers."""
    gc.collect()
    gc.freeze()


# Small enough for seconds, large enough that every layer, length and capacity matters.
TINY_SUITE = """
name = "tiny"
effort = "draft"
processes = 3
rounds = 2
metrics = ["flops/forward", "flops/train_step", "latency/forward", "latency/train_step", "memory/peak_allocated",
           "loss/val", "loss/val_causal", "bpb/val"]
shape = { d_model = 32, n_layers = 2, n_heads = 2 }
grid = { seq_len = [16], batch_size = [1] }
train = { seq_len = 16, batch_size = 1, tokens = 512, val_tokens = 256 }
variants = [
    { model = "dense" },
    { model = "dense", match = { variant = "mod", capacity = 0.25, quantity = "flops/forward" } },
    { model = "mod", capacity = 0.25 },
    { model = "mode_staged", capacity = 0.5 },
    { model = "moe" },
]
"""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command line, run in this process, changes what signals do: put it back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _no_files_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the user's that an earlier test ran are none of this one's run."""
    for kept in ("_RAN", "_SOURCES", "_MODULES", "_settled"):
        monkeypatch.setattr(user_code, kept, type(getattr(user_code, kept))())


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state, if torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(
            0
        )  # `torch.manual_seed` keeps a traceback for each kind of card: milliseconds
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a text and a user's models."""
    from small_runs import OWN

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "text.txt").write_text("abc " * 500)
    return tmp_path


@pytest.fixture
def unmeasured(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose peaks nobody has measured, whatever ran before: a plan records no operators, which takes seconds."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose figures have no lines, for tests of their words: matplotlib takes half of a page's time.

    Sections make their figures as ever, but for the cells of heat maps; tests of figures and of whole pages draw them, and so
    does a golden.
    """
    from modbench.reports.figures import heat_map
    from modbench.reports.markup import html

    monkeypatch.setattr(html, "to_svg", lambda *_: "<svg></svg>")
    monkeypatch.setattr(heat_map, "draw", lambda *_: None)


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run units, and count users' models, in this process: workers and their processes have tests of their own."""
    import jobs_here

    from modbench.harness.execution import user_model_costs
    from modbench.harness.execution.launchers import local

    monkeypatch.setattr(local, "LAUNCHER", jobs_here.Here)
    monkeypatch.setattr(user_model_costs, "_in_processes", jobs_here.counted)


@pytest.fixture(scope="session")
def modbench() -> Modbench:
    """Run the command line in this process, which loads torch once, and put back what a command changes."""
    return command_line


@pytest.fixture(scope="session")
def modbench_process() -> Modbench:
    """Run the command line in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modbench", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "120"}
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)

    return run


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of some kilobytes."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("".join(f"line {i}: the quick brown fox counts {i * i % 97} lazy dogs\n" for i in range(400)))
    return path


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite file with models of every family and the usual metrics."""
    path = tmp_path_factory.mktemp("suite") / "tiny.toml"
    path.write_text(TINY_SUITE)
    return path


@pytest.fixture(scope="session")
def tiny_run(modbench: Modbench, tiny_suite: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one real run of the tiny suite, through the command line, with two models of a user, one of which raises."""
    here = tmp_path_factory.mktemp("run")
    (here / "mine.py").write_text(
        "import torch\n"
        "def build(config):\n"
        "    d, v = config.d_model, config.vocab_size\n"
        "    return torch.nn.Sequential(torch.nn.Embedding(v, d), torch.nn.Linear(d, v))\n"
        "def broken(config):\n"
        "    raise RuntimeError('the <b>user</b> wrote this')\n"
    )
    out = here / "run"
    words = ("--corpus", tiny_corpus, "--model", "mine.py:build,mine.py:broken", "--device", "cpu", "-o", out)
    done = succeeded(modbench("run", tiny_suite, *words, cwd=here))
    (here / "stdout").write_text(done.stdout)
    (here / "stderr").write_text(done.stderr)
    return out


@pytest.fixture(scope="session")
def tiny_run_records(tiny_run: Path) -> list[dict[str, Any]]:
    """Every unit's record of the tiny run, as JSON."""
    return [json.loads(path.read_text()) for path in sorted((tiny_run / "jobs").glob("*.json"))]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests that open a page; one worker runs them (`ACROSS`)."""
    import chromium  # skips where there is none

    with chromium.launched() as made:
        yield made


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A fake GPU and its driver, installed for a test."""
    from fake_cuda import FakeCuda
    from fake_nvml import fake_pynvml

    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    return FakeCuda().install(monkeypatch)
