"""docs/formats.md: every command in it runs, and what it says of files is true."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import planted_suite, stored

from modbench.harness.core import catalogue
from modbench.reports.formats.pytest_benchmark import statistics_of

Modbench = Callable[..., subprocess.CompletedProcess[str]]
DOC = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
RUN = "runs/quick-20261126-1"
COMMANDS = re.findall(r"^modbench .*$", DOC, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the name that the page uses, and a file of pytest-benchmark."""
    here = tmp_path_factory.mktemp("doc")
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    metrics = ["flops/forward", "latency/forward", "latency/train_step"]
    stored(here, planted_suite("draft", metrics=metrics, arms=arms, launches=3, rounds=1))
    (here / "runs").mkdir()
    (here / "run").rename(here / RUN)
    one = {"fullname": "bench_gather", "stats": statistics_of([0.1, 0.2]), "extra_info": {}}
    (here / "micro.json").write_text(json.dumps({"benchmarks": [one]}))
    return here


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, here: Path, modbench: Modbench) -> None:
    done = modbench(*shlex.split(command)[1:], cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_python_example_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOC, flags=re.DOTALL | re.MULTILINE)
    exec(compile(example, "docs/formats.md", "exec"), {})  # noqa: S102  # our own example
    printed = capsys.readouterr().out
    assert "suite 'planted'" in printed
    assert "mod[c0.125]" in printed


def test_every_format_is_in_the_table() -> None:
    names = re.findall(r"^\| `([\w-]+)` \|", DOC, flags=re.MULTILINE)
    assert sorted(names) == sorted(name.replace("_", "-") for name in catalogue.entries("formats"))
