"""Times of single components beside a run: what is imported, what is refused, what is said of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import succeeded
from resealed import reseal_with

from modbench.extend import planted_plan, planted_run
from modbench.harness.core.errors import UsageError
from modbench.plugins.components import imported
from modbench.reports.formats import md
from modbench.reports.html_report import render
from modbench.reports.tables.load import load

pytest_benchmark = pytest.importorskip("modbench.plugins.pytest.format", reason="the plug-in is absent")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

Modbench = Callable[..., subprocess.CompletedProcess[str]]


def benchmark(name: str = "bench.py::bench_gather", **changes: Any) -> dict[str, Any]:
    data = [0.002, 0.001, 0.004, 0.003]
    stats = {**pytest_benchmark.statistics_of(data), "data": data, "iterations": 3, **changes}
    return {"name": name, "fullname": name, "group": None, "stats": stats, "extra_info": {"flops": 1e6, "bytes": 4096}}


def file_of(folder: Path, *benchmarks: dict[str, Any], cpu: str = "a fake") -> Path:
    machine = {"node": "h", "python_version": "3.11", "cpu": {"brand_raw": cpu}}
    body = {"machine_info": machine, "benchmarks": benchmarks, "datetime": "2026-01-02T03:04:05", "version": "5.1.0"}
    (folder / "micro.json").write_text(json.dumps(body))
    return folder / "micro.json"


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("components")
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    metrics = ["flops/forward", "latency/forward"]
    planted_run(folder, planted_plan("draft", metrics=metrics, variants=variants, processes=3, rounds=1))
    return folder / "run"


@pytest.fixture
def run(stored_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.plugin("huggingface")
def test_components_are_kept_beside_the_run_by_their_file(run: Path, tmp_path: Path, modbench: Modbench) -> None:
    done = succeeded(modbench("convert", file_of(tmp_path, benchmark(), benchmark("other")), "--into", run))
    assert "2 components of micro.json" in done.stdout
    assert "no verdicts" in done.stdout
    assert list(pd.read_csv(run / "components.csv").median_s) == [0.0025, 0.0025]
    again = modbench("convert", file_of(tmp_path, benchmark()), "--into", run, "--json")
    assert json.loads(again.stdout)["components"] == 1
    assert len(pd.read_csv(run / "components.csv")) == 1  # a file of the same name takes its place
    reseal_with(run / "components" / "micro.json", lambda body: body.update(schema_version=9))
    damaged = modbench("report", run)
    assert damaged.returncode == 2
    assert "components/micro.json" in damaged.stderr
    assert "schema 9 of components" in damaged.stderr


def test_names_and_another_machine_are_said_and_escaped(run: Path, tmp_path: Path) -> None:
    file = file_of(tmp_path, benchmark("<script>alert(1)</script>|`@x`\x1b[2J"), cpu="<b>another</b>")
    imported.keep(run, imported.read_times(file))
    loaded = load(run)
    page, text = render.html(loaded), md.markdown(loaded)
    assert "another processor: &lt;b&gt;another" in page
    assert [each for each in ("<b>another", "<script>alert", "\x1b") if each in page] == []
    assert "\x1b" not in text
    assert r"<code>\<script\>alert(1)\</script\>\|\`@&#8203;x\`" in text


def test_what_pytest_benchmark_writes_is_read(tmp_path: Path) -> None:
    bench = (
        '    benchmark.extra_info["flops"] = 100\n    benchmark.pedantic(sum, args=([1],), rounds=5, iterations=2)\n'
    )
    (tmp_path / "bench_it.py").write_text(f"def test_sum(benchmark):\n{bench}")
    asked = ("-p", "no:cacheprovider", "--benchmark-json", "out.json", "bench_it.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", *asked]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
    read = imported.read_times(tmp_path / "out.json")
    (one,) = read.components
    assert (one.name, one.rounds, one.iterations, len(one.samples_s)) == ("bench_it.py::test_sum", 5, 2, 5)
    assert one.flops == 100
    assert read.version
    assert read.cpu


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"median": -1.0}, "components.0.median_s"),
        ({"rounds": 0}, "components.0.rounds"),
        ({"mean": 1e300}, "components.0.mean_s"),
    ],
)
def test_what_cannot_be_a_time_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        imported.read_times(file_of(tmp_path, benchmark(**changes)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"benchmarks": []}', "holds no benchmarks of pytest-benchmark"),
        ('{"benchmarks": [{"stats": {}}]}', "benchmarks.0.stats: min, q1, median, q3, mean, rounds missing"),
        ("{", "not JSON"),
        (None, "export of a"),  # of modbench's own
    ],
)
def test_other_files_are_refused(run: Path, tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "pytest-benchmark.json"
    if content is None:
        render.views(load(run), ("pytest_benchmark",), tmp_path)
    else:
        file.write_text(content)
    with pytest.raises(UsageError, match=said):
        imported.read_times(file)
