"""What a compilation takes: a process of its own, no verdict, and no record lost where its caches cannot be removed."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cuda_jobs import case, job_of
from planted_gate import written
from test_suite import planned

from modbench.extend import PlantedTrouble, planted_plan, planted_record
from modbench.harness.registry import catalogue
from modbench.plugins.machine.compilation import measurement
from modbench.reports.questions.gate import gate


def test_a_compiler_that_still_writes_costs_no_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its processes may write into the cache while it is deleted."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def busy(path: str, *_: Any, **__: Any) -> None:
        raise OSError(39, "Directory not empty", path)

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    with monkeypatch.context() as patch:
        patch.setattr("os.rmdir", busy)
        outcomes = list(measurement.run(job_of("latency/compile", case()), [catalogue.metrics()["latency/compile"]]))
    assert outcomes[0].status == "skipped"  # runs eagerly


def test_every_compilation_has_a_process_of_its_own() -> None:
    """What was compiled before makes the next one warm."""
    asked = ["latency/compile", "latency/compile/train_step"]
    made = planned(settings={"metrics": asked}, compile=True, seq_len=(64,))
    cases = {case.id for case in made.cases}
    compiled = [job for job in made.jobs if job.made_in == "compile"]
    assert {(job.workload, job.comparison.variants[0].id) for job in compiled} == {
        (group, case) for group in ("forward", "train_step") for case in cases
    }
    assert len(compiled) == 2 * len(cases)


def test_one_cold_compilation_gates_nothing(tmp_path: Path) -> None:
    """And a gate that compared nothing is not green."""
    made = planted_plan("draft", compile=True, metrics=["latency/compile"])
    one, two = (
        written(tmp_path / name, made, partial(planted_record, trouble=PlantedTrouble()), {}) for name in ("a", "b")
    )
    found = gate.gate(one, two)
    said = {(each.verdict, each.reason) for each in found.findings if each.metric == "latency/compile"}
    assert said == {("not compared", catalogue.passes()["compile"].no_interval)}
    assert (found.verdict, found.exit_code(), found.exit_code(allow_inconclusive=True)) == ("inconclusive", 5, 5)
    assert gate.headline(found).given["why"] == gate.NOTHING
