"""Several GPUs: one job each, pinned to it, as many as the cores allow; a CPU's timed jobs never overlap."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_workers import MODELS, planned

from modbench.harness.execution.launchers import local
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.machine import cuda_driver

GPUS = ("GPU-a", "GPU-b", "GPU-c")


@pytest.mark.parametrize(
    ("gpus", "cores", "threads", "at_once"),
    [(GPUS, 16, 1, 3), (GPUS, 4, 1, 2), (GPUS, 16, 8, 2), (GPUS, 1, 1, 1), (("",), 16, 1, 1), ((), 16, 1, 1)],
)
def test_as_many_jobs_run_at_once_as_there_are_gpus_and_cores(
    gpus: tuple[str, ...], cores: int, threads: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: gpus)
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    assert LocalLauncher(cold=True, threads=threads, device="cuda").at_once(1) == at_once
    assert LocalLauncher(cold=True, threads=threads).at_once(1) == 1
    assert LocalLauncher(cold=True, threads=threads).at_once(4) == 4


def test_processes_of_a_series_stay_on_their_gpu_where_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(MODELS)
    monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: GPUS[:2])
    launcher, job = LocalLauncher(cold=True, threads=1, device="cuda"), planned("good").jobs[0]

    def pinned(series: str, process: int) -> str:
        changed = job.model_copy(update={"series": series, "name": f"{series}-{process}"})
        return launcher._pin(changed)["CUDA_VISIBLE_DEVICES"]

    assert [pinned("x", 0), pinned("y", 0)] == ["GPU-a", "GPU-b"]
    launcher._pinned.clear()
    assert [pinned("y", 1), pinned("x", 1)] == ["GPU-b", "GPU-a"]
    del launcher._pinned["y-1"]
    assert pinned("x", 2) == "GPU-b"
