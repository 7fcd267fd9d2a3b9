"""Workers: how they are started and ended, what they see of their surroundings, and what is left when they go."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from present import present
from small_runs import OWN, folder_of, run_jobs, small_plan, weighed

from modbench.harness.core import atomic_files
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution import worker
from modbench.harness.execution.launchers import local
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.machine import cuda_driver
from modbench.harness.machine.process import child
from modbench.harness.results import run_folder
from modbench.harness.results.layout import SPREAD, TOGETHER, make, refuse_links
from modbench.harness.results.run_folder import RunFolder


def test_a_job_that_is_not_in_the_plan_is_named(here: Path) -> None:
    made = weighed("good")
    folder = folder_of(made, here)
    with pytest.raises(UsageError, match="unknown job"):
        run_folder.planned_job(folder.path, "../../notes")
    for none in (here, here / "nowhere"):
        with pytest.raises(UsageError, match="not a run folder"):
            run_folder.planned_job(none, made.jobs[0].name)
    (folder.path / "run.json").write_text("[]")
    with pytest.raises(UsageError, match="no JSON object"):
        run_folder.planned_job(folder.path, made.jobs[0].name)


@pytest.mark.slow
@pytest.mark.parametrize("cold", [False, True])
def test_a_worker_sees_no_secret_of_its_parent(cold: bool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-1")
    monkeypatch.setenv("HF_TOKEN", "hidden-2")
    monkeypatch.setenv("SOME_VARIABLE", "hidden-3")
    monkeypatch.setenv("HF_HOME", "shown-1")
    made = weighed("tells")
    folder = folder_of(made, here)
    if cold:  # also sees the GPU that its launcher gave it, and no other
        monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: ("GPU-a", "GPU-b"))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    run_jobs(made, folder, launcher=LocalLauncher(cold=cold, threads=1, device="cuda" if cold else "cpu"))
    said = folder.log(made.jobs[0]).read_text()
    assert not re.search("hidden-|HF_TOKEN", said)
    assert all(seen in said for seen in ("'PATH'", "MODBENCH_STATE", "proc ['"))
    # Only a cold process has an environment of its own: the fork server may have been started before.
    assert not cold or "HF_HOME=shown-1" in said
    assert not cold or set(re.findall(r"CUDA_VISIBLE_DEVICES=([\w,-]+)", said)) == {"GPU-a"}
    assert os.environ["HF_TOKEN"] == "hidden-2"  # noqa: S105  # ours is as it was


def test_what_is_passed_on() -> None:
    plain = {
        "PATH": "p",
        "LC_ALL": "l",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "0",
        "TOKENIZERS_PARALLELISM": "f",
    }
    plain |= {"HF_HOME": "h", "PYTHONPATH": "x", "MODBENCH_PLUGINS": "i", "SLURM_JOB_ID": "7", "LD_LIBRARY_PATH": "d"}
    secret = {"HF_TOKEN": "s", "AWS_SECRET_ACCESS_KEY": "s", "SLURM_JWT": "s", "CONDA_AUTH": "s", "PYTHON_API_KEY": "s"}
    secret |= {"HF_TOKENS": "s", "TORCH_PASS": "s", "WANDB_COOKIE": "s", "MKL_SECRETS": "s"}
    plain |= {"MODBENCH_MASK": "m"}  # workers mask their records; SECURITY.md says so
    other = {"SSH_AUTH_SOCK": "s", "DATABASE_URL": "s", "http_proxy": "s", "PYTEST_CURRENT_TEST": "s"}
    assert worker_environment(plain | secret | other) == plain
    asked = {"MODBENCH_PASS_ENV": "DATABASE_URL, HF_TOKEN,MISSING"}
    assert worker_environment(plain | secret | asked | other) == plain | asked | {"DATABASE_URL": "s", "HF_TOKEN": "s"}


@pytest.mark.slow
def test_a_log_is_cut_in_the_middle(here: Path) -> None:
    made = weighed("prints")
    folder = folder_of(made, here)
    run_jobs(made, folder)
    said = folder.log(made.jobs[0]).read_bytes()
    assert len(said) < child.HEAD + child.TAIL + 100
    assert said.startswith(b"the first line\nxxx")
    assert re.search(r"\d\.\d MiB cut", said.decode())
    # Two processes print: the end of one's line may come after the other's line.
    last = ["printed by another program", "the last line", "hello from the model"]
    at = [said.rfind(line.encode()) for line in last]
    assert 0 < at[0] < at[1] < at[2] == len(said) - len(last[-1]) - 1


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kept"), [(0, 0), (10, 10), (25, 25), (30, 30), (31, 0), (10_000_000, 0)])
def test_only_what_is_too_long_is_cut(size: int, kept: int, tmp_path: Path) -> None:
    """Two bytes of three are kept at the beginning, one at the end, and nothing is lost at the seam."""
    said = bytes(i % 251 for i in range(size))
    reading, writing = os.pipe()
    log = child.Log(reading, os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT), 20, 10)
    for start in range(0, size, 4096):
        os.write(writing, said[start : start + 4096])
        assert log.copy()
    os.close(writing)
    assert not log.copy()
    log.finish()
    written = (tmp_path / "log").read_bytes()
    assert len(log.end) < 2**20
    if kept == size:
        assert written == said
    else:
        assert written == said[:20] + f"\n… {(size - 30) / 2**20:.1f} MiB cut here …\n".encode() + said[-10:]


def test_a_failure_names_its_log_where_that_lies(here: Path) -> None:
    """Only a failure that left a traceback, and of a large run in the log's own folder."""
    job = weighed("good").jobs[-1]
    row: Any = {"case": job.comparison.variants[0].id, "metric": "memory/peak_allocated", "unit": "B"}
    failed = Outcome(status="failed", kind="error", reason="ValueError: no", **row)
    skipped = Outcome(status="skipped", reason="by design", **row | {"metric": "memory/peak_reserved"})
    record = Record(job=job, started=atomic_files.now(), wall_s=0.0, outcomes=(failed, skipped))
    for layout in (TOGETHER, SPREAD):
        folder = RunFolder(here / layout)
        make(folder.path, layout)
        assert worker.with_log(record, folder) == record
        folder.log(job).parent.mkdir(parents=True, exist_ok=True)
        folder.log(job).write_text("Traceback …")
        first, second = worker.with_log(record, folder).outcomes
        why, _, log = present(first.reason).partition("; see ")
        assert (why, folder.path / log) == ("ValueError: no", folder.log(job))
        assert second.reason == "by design"


@pytest.mark.slow
def test_a_log_that_is_a_link_is_not_followed_and_what_the_fork_server_has_loaded_is_no_garbage(here: Path) -> None:
    """A job that collects garbage would otherwise write to all of it, and copy it."""
    (here / "own.py").write_text(f"{OWN}\nimport gc\nprint('frozen', gc.get_freeze_count() > 100_000)\n")
    made = weighed("good")
    folder = folder_of(made, here)
    (here / "precious").write_text("kept")
    folder.log(made.jobs[0]).symlink_to(here / "precious")
    run_jobs(made, folder)
    assert folder.record(made.jobs[0]).exists()
    assert (here / "precious").read_text() == "kept"
    assert "frozen True" in folder.log(made.jobs[-1]).read_text()


def test_a_folder_is_checked_for_links_while_jobs_remove_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What vanished is passed over; the rest is still looked at."""
    for name in ("a", "b", "c"):
        (here / "run" / name).mkdir(parents=True)
    (here / "run" / "c" / "out").symlink_to(here)
    real, seen = os.scandir, []

    def scandir(folder: str) -> Any:
        seen.append(folder)
        if folder.endswith("/b"):
            Path(folder).rmdir()
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match="symbolic link out of"):
        refuse_links(here / "run")
    (here / "run" / "c" / "out").unlink()
    if not (here / "run" / "b").exists():
        (here / "run" / "b").mkdir()
    refuse_links(here / "run")
    assert not (here / "run" / "b").exists()

    class Vanished:
        path = "gone"
        is_symlink = is_dir = is_file = lambda *_, **__: False

        def stat(self, **_: Any) -> None:
            raise FileNotFoundError

    monkeypatch.setattr(os, "scandir", lambda _: contextlib.nullcontext([Vanished()]))
    refuse_links(here / "run")


def test_the_fork_server_frees_what_it_has_loaded_when_it_ends() -> None:
    """Else libraries that look for leaks report theirs in the terminal, below the last line of a run."""
    loaded = """
import os
class Loaded:
    def __init__(self): self.itself = self
    def __del__(self): os.write(1, b"freed")
kept = Loaded()
import modbench.harness.execution.gc_freeze
"""
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "freed"


@pytest.mark.slow
def test_a_job_that_has_a_record_is_not_run_again(here: Path) -> None:
    """A fork server may start a worker and be killed before it says so: that worker wrote the record, and another is started."""
    made = weighed("good")
    folder = folder_of(made, here)
    job = made.jobs[0]
    folder.record(job).write_text("kept")
    launcher = LocalLauncher(cold=False, threads=1)
    handle = launcher.start(job, folder, 200.0)
    while not launcher.wait([handle], 200.0):
        pass
    launcher.end(handle)
    assert (handle.exitcode, folder.record(job).read_text()) == (0, "kept")
    assert not folder.log(job).exists() or folder.log(job).read_text() == ""


# As much as 40 tensors of 50,000 numbers, 1,953 pages in all, is made and freed, again and again.
FEW, MANY = 100, 1000
FREES = """
import resource
from modbench.harness.training import trainer
def faults():
    for _ in range(60):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        made = [b"1" * 200_000 for _ in range(40)]
        del made
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
trainer.keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_process_that_keeps_freed_memory_faults_it_in_once() -> None:
    printed = subprocess.run([sys.executable, "-c", FREES], capture_output=True, check=True).stdout
    returned, kept = map(int, printed.split())
    assert kept < FEW
    assert returned > MANY


@pytest.mark.slow
@pytest.mark.parametrize(("method", "cold"), [("spawn", True), ("forkserver", False)])
def test_a_process_leaves_the_script_alone(method: str, cold: bool, tmp_path: Path) -> None:
    """As units are started: each in a fresh interpreter, or by the fork server."""
    code = (
        "import multiprocessing, os, pathlib\n"
        "from modbench.harness.execution.launchers import local\n"
        "with pathlib.Path('started').open('a') as file:\n    file.write('once ')\n"
        f"context = multiprocessing.get_context({method!r})\n"
        f"process, _ = local.started(lambda server: context.Process(target=os.getpid), cold={cold})\n"
        "process.join()\n"
        "import __main__\n"
        "print(process.exitcode, __main__.context is context)\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "0 True\n", done.stderr
    assert (tmp_path / "started").read_text() == "once "


# --- several GPUs: one job each, pinned to it
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


def test_processes_of_a_series_stay_on_their_gpu_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: GPUS[:2])
    launcher, job = LocalLauncher(cold=True, threads=1, device="cuda"), small_plan(["latency/forward"], "dense").jobs[0]

    def pinned(series: str, process: int) -> str:
        changed = job.model_copy(update={"series": series, "name": f"{series}-{process}"})
        return launcher._pin(changed)["CUDA_VISIBLE_DEVICES"]

    assert [pinned("x", 0), pinned("y", 0)] == ["GPU-a", "GPU-b"]
    launcher._pinned.clear()
    assert [pinned("y", 1), pinned("x", 1)] == ["GPU-b", "GPU-a"]
    del launcher._pinned["y-1"]
    assert pinned("x", 2) == "GPU-b"
