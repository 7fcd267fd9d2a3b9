"""The faults of the fault table once more, each at a random moment of a run of real models at smoke effort, as a user starts it.

    python tests/harness/fault_real.py

Every command is an interpreter of its own. Counts, bytes and losses must be those of an undisturbed run, to the bit; of times it
is only asked that they are there. Prints a Markdown table for docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fault_injection
import stub_jobs
from fault_driver import Trial, identity
from fault_process import Process, children, kill, start
from fault_table import PLAN, arguments, print_table  # first: it names the folder of the stub jobs

from modbench.harness.results import run_folder

SUITE = """
name = "small"
effort = "smoke"
metrics = ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val"]
corpus = "text.txt"
[shape]
d_model = 16
n_layers = 2
n_heads = 2
[grid]
seq_len = [8]
[[variants]]
model = "dense"
[[variants]]
model = "mod"
capacity = 0.5
[train]
seq_len = 8
batch_size = 2
tokens = 512
val_tokens = 128
"""
TEXT = "".join(f"line {i}: the quick brown fox counts {i * i % 97} lazy dogs\n" for i in range(200))
os.environ.pop("MODBENCH_PLUGINS")


def exact(file: Path) -> dict[str, Any]:
    """What a record holds that every run must give to the bit: all samples but times, and losses."""
    body = json.loads(file.read_bytes())
    return {
        f"{outcome['case']} {outcome['metric']}": (outcome["status"], outcome["samples"])
        for outcome in body["outcomes"]
        if not outcome["metric"].startswith("latency/")
    }


class RealTrial(Trial):
    """A trial on real models, each command an interpreter of its own.

    Attributes:
        undisturbed: what each job's record must hold.
    """

    undisturbed: Mapping[str, dict[str, Any]]

    def command(self, *arguments: str, fault: str = "", before: Callable[[], None] | None = None) -> Process:
        self.started += 1

        def prepared() -> None:
            if before is not None:
                before()
            if fault:
                folder = fault_injection.sitecustomize(self.beside / "site", fault, str(self.run), str(self.switch))
                os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])

        return start(arguments, self.beside, self.started, prepared, real=True)

    def begin(self, *options: str, **named: Any) -> Process:
        for name, text in (("small.toml", SUITE), ("text.txt", TEXT)):
            (self.beside / name).write_text(text)
        return self.command("run", "small.toml", "--device", "cpu", "-o", "run", *options, **named)

    def reach(self, process: Process) -> bool:
        at = self.moment * (len(self.plan.jobs) + 1)
        while process.alive and len(list((self.run / "jobs").glob("*.json"))) < int(at):
            time.sleep(0.005)
        time.sleep((at - int(at)) * (4.0 if at < 1 else 0.5))
        return process.alive

    def running(self, process: Process) -> dict[str, int]:
        servers = self.helpers(process)["fork server"]
        return {str(pid): pid for server in servers for pid in children(server)}

    def begin_hanging(self) -> Process | None:
        """Stop a worker's process, which then hangs until the limit that is given has passed."""
        process = self.begin("--timeout", "30s")
        if not self.reach(process):
            return None
        while process.alive and not (running := self.running(process)):
            time.sleep(0.002)
        if not process.alive:
            return None
        kill(self.rng.choice(list(running.values())), signal.SIGSTOP)
        process.wait()
        return process

    def begin_dying(self) -> Process:
        """Kill the worker that wrote a record as soon as the record is seen."""
        process, wanted = self.begin(), int(self.moment * len(self.plan.jobs))
        while process.alive and len(found := list((self.run / "jobs").glob("*.json"))) <= wanted:
            time.sleep(0.0005)
        if found:
            latest = max(found, key=lambda file: file.stat().st_mtime_ns)
            kill(json.loads(latest.read_bytes())["environment"]["pid"])
        return process

    def pids(self) -> set[int]:
        """All processes that work in the trial's folder."""
        found = set()
        for grid_point in Path("/proc").iterdir():
            if grid_point.name.isdigit():
                with contextlib.suppress(OSError):
                    if (grid_point / "cwd").readlink() == self.beside:
                        found.add(int(grid_point.name))
        return found

    def counts(self) -> tuple[int, int, int]:
        lost = [job for job in self.plan.jobs if not stub_jobs.good(self.record(job))]
        again = [name for name, was in self.kept.items() if identity(self.run / "jobs" / f"{name}.json") != was]
        whole = [job for job in self.plan.jobs if job not in lost]
        wrong = [job for job in whole if exact(self.record(job)) != self.undisturbed[job.name]]
        if not (self.run / "report.html").exists():
            self.problems.append("there is no report")
        return len(lost), len(again), len(wrong)


def main() -> None:
    """Measure without a fault, then with each."""
    options = arguments(__doc__, 1)
    with tempfile.TemporaryDirectory() as name:
        here = Path(name).resolve()
        os.environ["MODBENCH_STATE"] = str(here / "state")
        first = RealTrial(here, PLAN, 0.0, random.Random())
        first.ended_well(first.begin())
        if first.problems:
            sys.exit("\n".join(first.problems))
        plan = run_folder.read(str(first.run)).plan
        RealTrial.undisturbed = {job.name: exact(first.record(job)) for job in plan.jobs}
    print_table(options, lambda beside, moment, rng: RealTrial(beside.resolve(), plan, moment, rng))


if __name__ == "__main__":
    main()
