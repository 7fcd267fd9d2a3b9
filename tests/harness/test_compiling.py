"""Compiling, where its caches cannot be removed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from cuda_jobs import case, job_of

from modbench.harness.measure.passes import compile as compile_pass
from modbench.harness.registry import catalogue


def test_a_compiler_that_still_writes_costs_no_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its processes may write into the cache while it is deleted."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def busy(path: str, *_: Any, **__: Any) -> None:
        raise OSError(39, "Directory not empty", path)

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    with monkeypatch.context() as patch:
        patch.setattr("os.rmdir", busy)
        outcomes = list(compile_pass.run(job_of("latency/compile", case()), [catalogue.metrics()["latency/compile"]]))
    assert outcomes[0].status == "skipped"  # runs eagerly
