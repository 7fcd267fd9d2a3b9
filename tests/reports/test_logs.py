"""A failed cell names the log that tells more, in the terminal and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modbench.harness.core.files import now
from modbench.harness.domain.records import Gap
from modbench.harness.execution import worker
from modbench.harness.machine import environment
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import catalogue
from modbench.harness.results.outcomes import missing
from modbench.harness.results.run_folder import RunFolder, read
from modbench.reports.panels.failures import failures
from modbench.reports.tables import load, unit_files
from modbench.reports.terminal import summary


def failed_run(path: Path, reason: str) -> RunFolder:
    """A run that asks for FLOPs, of which MoD's failed."""
    data: dict[str, Any] = {
        "name": "small",
        "effort": "smoke",
        "metrics": ["flops/forward"],
        "shape": {"d_model": 32, "n_layers": 2, "vocab_size": 64},
        "grid": {"seq_len": [16]},
        "arms": [{"model": "dense"}, {"model": "mod"}],
    }
    plan = make_plan(parse_suite(data, "small"), device="cpu")
    path.mkdir()
    folder = RunFolder(path)
    folder.units.mkdir()
    folder.logs.mkdir()
    where = environment.collect() | {"machine": "fingerprint", "certificate": None}
    folder.write_run(plan, where, ["modbench", "run"], now())
    (unit,) = plan.units
    _, mod = unit.comparison.arms
    gap = Gap(status="failed", kind="error", reason=reason)
    record = worker.make_record(unit)
    known = catalogue.metrics()
    outcomes = (
        missing(mod, known[outcome.metric], gap) if outcome.case == mod.id else outcome for outcome in record.outcomes
    )
    found = record.model_copy(update={"outcomes": tuple(outcomes)})
    folder.write_record(found)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ending", unit_files.ENDINGS)
def test_a_failure_names_its_log(tmp_path: Path, ending: str) -> None:
    folder = failed_run(tmp_path / "run", "ValueError: it cannot be built")
    (unit,) = read(str(folder.path)).plan.units
    log = f"logs/{unit.name}{ending}"
    (folder.path / log).write_text("Traceback")
    loaded = load.load(folder.path)
    closing = summary.closing(loaded, folder.path / "report.html", None)
    assert "it cannot be built" in closing
    assert any(f"{folder.path}/{log}" in line for line in closing.splitlines())  # whole, so that it can be copied
    (found,) = failures(loaded)
    assert found.metrics == ("flops/forward",)
    assert found.reason.endswith(f"see {log}")


@pytest.mark.slow
def test_a_log_that_is_not_there_or_named_already_is_not_named(tmp_path: Path) -> None:
    folder = failed_run(tmp_path / "one", "ValueError: it cannot be built")
    assert "logs/" not in failures(load.load(folder.path))[0].reason
    folder = failed_run(tmp_path / "two", "the process died of SIGSEGV; see logs/two.died.log")
    (unit,) = read(str(folder.path)).plan.units
    (folder.logs / f"{unit.name}.log").write_text("something")
    assert failures(load.load(folder.path))[0].reason.count("logs/") == 1


def test_a_reason_without_a_log_stays() -> None:
    assert unit_files.in_run_folder("see logs/ of yours", Path("run")) == "see logs/ of yours"
    assert unit_files.in_run_folder("it died; see jobs/7.out", Path("runs/a")) == "it died; see runs/a/jobs/7.out"
