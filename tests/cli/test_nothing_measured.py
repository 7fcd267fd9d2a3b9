"""A run in which every cell failed or was skipped: exit code 1, said first in every output; anything else ends with 0."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import ended

from modbench.harness.planning.plan import Plan
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.formats import md
from modbench.reports.html_report import render
from modbench.reports.questions import machine_check, summary
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import printed_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

Modbench = Callable[..., subprocess.CompletedProcess[str]]
SUITE = """
name = "tiny"
effort = "smoke"
metrics = ["flops/forward", "latency/forward"]
variants = [{ model = "dense" }]
grid = { seq_len = [16] }
shape = { d_model = 16, n_layers = 1, n_heads = 1 }
"""
BAD = """
from torch import nn
def raises(config): raise RuntimeError("cannot be made")
class has_no_products(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
    def forward(self, tokens): return self.table(tokens)
class returns_none(has_no_products):
    def forward(self, tokens): self.table(tokens)
"""


def planned(effort: str = "draft", **suite: Any) -> Plan:
    settings = {"metrics": ["latency/forward"], "train": None, "variants": [{"model": "dense"}]} | suite
    return planted_plan(effort, **settings)


def finished(tmp_path: Path, **suite: Any) -> Loaded:
    """A run that ended, in which the anchor failed."""
    folder = planted_run(tmp_path, planned(**suite), fails="dense")
    ended(folder)
    return render.write(folder)


SAID = f"{machine_check.NOTHING}: 2 cells failed"


def test_it_is_said_first_in_every_output(tmp_path: Path) -> None:
    loaded = finished(tmp_path)
    assert not loaded.measured
    closing = " ".join(printed_run.closing(loaded, "page", None).split())
    assert closing.startswith(f"⚠ {SAID}. dense[T64-B1-fp32-cpu1]: error: planted failure")
    assert closing.count("failed: dense[") == 1
    assert "failed: dense[T64-B1-fp32-cpu1] and 1 more: " in closing
    page = re.sub(r"<[^>]+>", "", (loaded.path / "report.html").read_text().partition("<main")[2])
    marked = md.markdown(loaded)
    assert page.index(SAID) < page.index("Summary")
    assert marked.index(SAID) < marked.index("Asked:")
    for said in (closing, page, marked):
        assert summary.NOTHING_COMPARED not in said
    assert summary.head(loaded).answer == [f"{machine_check.NOTHING}."]
    assert printed_run.as_json(loaded, Path("page"), None)["measured"] is False


def test_skipped_cells_and_jobs_without_a_record_are_no_measurements(tmp_path: Path) -> None:
    made = planned("smoke")
    (job, *_) = (job.name for job in made.jobs if job.made_in == "time")
    loaded = render.write(planted_run(tmp_path, made, fails="dense", leave_out=job))
    assert {*loaded.cases.status} == {"failed", "skipped"}
    assert not loaded.measured
    said, _, reason = machine_check.nothing_measured(loaded).partition(". ")
    assert re.findall(r"1 (?:job|cell \w+)", said) == ["1 job", "1 cell failed", "1 cell skipped"]
    assert reason.startswith("dense[")


@pytest.mark.parametrize(
    "suite",
    [{"metrics": ["flops/forward", "latency/forward"]}, {"variants": [{"model": "dense"}, {"model": "moe"}]}],
    ids=["another metric", "another variant"],
)
def test_one_value_is_something(tmp_path: Path, suite: dict[str, Any], modbench: Modbench) -> None:
    loaded = finished(tmp_path, **suite)
    assert loaded.measured
    done = modbench("resume", loaded.path)
    assert done.returncode == 0
    assert "Nothing was measured" not in done.stdout + done.stderr


def test_to_resume_such_a_run_ends_with_1(tmp_path: Path, modbench: Modbench) -> None:
    loaded = finished(tmp_path)
    for flags in ((), ("-q",), ("--json",)):
        done = modbench("resume", loaded.path, *flags)
        assert done.returncode == 1, done
        assert f"modbench: {SAID}" in done.stderr
    assert json.loads(done.stdout)["measured"] is False


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "made (bad.py, line 3)"),
        ("returns_none", "it returned NoneType"),
        ("has_no_products", "saw no operator"),  # but it is timed
    ],
)
@pytest.mark.usefixtures("jobs_here")
def test_a_model_alone_that_cannot_be_measured(tmp_path: Path, modbench: Modbench, name: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "tiny.toml").write_text(SUITE)
    flags = ("--model", f"bad.py:{name}", "--only", "--device", "cpu", "-o", "run", "-q")
    done = modbench("run", "tiny.toml", *flags, cwd=tmp_path)
    timed = name == "has_no_products"
    assert done.returncode == (0 if timed else 1), done
    assert done.stdout == "run/report.html\n"
    first = "failed: bad:" if timed else f"{SAID}. bad:"
    assert done.stderr.startswith(f"{first}{name}["), done.stderr
    assert said in " ".join(done.stderr.split())
