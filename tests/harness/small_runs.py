"""Plans of small models, among them a user's that fail in every way, and runs of these in processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modbench.harness.core import atomic_files
from modbench.harness.domain.records import Record
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan, read_corpus
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder

OWN = """
import os, signal, threading, time, torch
def good(config):
    print("hello from the model", flush=True)
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, 8), torch.nn.Linear(8, config.vocab_size))
def dies(config):
    os.kill(os.getpid(), signal.SIGSEGV)
def loses(config):
    from modbench.harness.machine.process.graceful_stop import DeviceLost
    raise DeviceLost("AcceleratorError: an assertion failed on the device")
def killed(config):
    os.kill(os.getpid(), signal.SIGKILL)
def hangs(config):
    time.sleep(600)
def wrong_shape(config):
    return torch.nn.Embedding(config.vocab_size, 3)
def no_module(config):
    return 5
class late(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.inner, self.calls = good(config), 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 4:
            raise MemoryError("no room for 91 GiB")
        return self.inner(x)
def strays(config):
    threading.Thread(target=threading.Event().wait).start()
    return good(config)
def tells(config):
    from pathlib import Path
    print("environ", sorted(os.environ))
    print("proc", Path("/proc/self/environ").read_text().split(chr(0)))
    return good(config)
def slow_to_save(config):
    from modbench.harness.training import checkpoint
    save = checkpoint.save
    checkpoint.save = lambda *given, **how: (time.sleep(2), save(*given, **how))
    return good(config)
"""
TRAIN = {"seq_len": 8, "batch_size": 1, "tokens": 32, "val_tokens": 16}


def small_plan(metrics: list[str], *models: str, **changes: Any) -> Plan:
    """A plan of small models at smoke effort, unless `changes` of the suite say otherwise."""
    data = {
        "name": "small",
        "effort": "smoke",
        "metrics": metrics,
        "shape": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [8]},
        "variants": [{"model": model} for model in models],
        **changes,
    }
    suite = override(parse_suite(data, "small"), Overrides())
    return make_plan(suite, device="cpu", text=read_corpus(suite))


def weighed(model: str) -> Plan:
    """A plan of one job, which weighs dense and a model of own.py."""
    made = small_plan(["memory/peak_allocated"], "dense", f"own.py:{model}")
    return made.model_copy(update={"jobs": made.jobs[-1:]})


def folder_of(made: Plan, here: Path, environment: Mapping[str, Any] | None = None) -> RunFolder:
    folder = run_folder.create(str(here / "run"), "small")
    folder.write_run(made, dict(environment or {}), [], atomic_files.now())
    return folder


def run_jobs(
    made: Plan, folder: RunFolder, limit_s: float = 1500.0, *, launcher: LocalLauncher | None = None
) -> list[Record]:
    """Run every job in a process of its own: a child of the fork server, unless the launcher says otherwise."""
    slots, limits = Slots(made.jobs, 2), {job.name: limit_s for job in made.jobs}
    Run(launcher or LocalLauncher(cold=False, threads=1), folder, Tracker(made, [slots], folder)).phase(slots, limits)
    stored = run_folder.read(str(folder.path))
    assert stored.missing == []
    return stored.records
