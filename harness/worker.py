"""What runs inside a unit's process: set threads, run the pass, write the record."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

from modbench.harness import catalogue
from modbench.harness.case import UnitOfWork
from modbench.harness.records import Record
from modbench.harness.store import now, write_atomically

_PASSES = {"count": "count", "time": "timing", "memory": "memory", "train": "training"}


def run_unit(unit_json: str, record_file: str, log_file: str) -> None:
    """Run one unit and leave its record. Whatever the models print goes to the log."""
    unit = UnitOfWork.model_validate_json(unit_json)
    with Path(log_file).open("w", encoding="utf-8") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        record = _run(unit)
        sys.stdout.flush()
        sys.stderr.flush()
    write_atomically(Path(record_file), record.model_dump_json())


def _run(unit: UnitOfWork) -> Record:
    import torch

    torch.set_num_threads(unit.comparison.place.threads)
    started, start = now(), time.perf_counter()
    # FLOPs stand beside every other metric, so the counting pass counts whatever can be counted.
    wanted = [
        metric
        for key, metric in catalogue.metrics().items()
        if metric.made_in == unit.made_in and (unit.made_in == "count" or key in unit.comparison.metrics)
    ]
    outcomes = tuple(importlib.import_module(f"modbench.harness.passes.{_PASSES[unit.made_in]}").run(unit, wanted))
    return Record(
        unit=unit,
        started=started,
        wall_s=time.perf_counter() - start,
        environment={"torch": torch.__version__, "threads": torch.get_num_threads(), "pid": os.getpid()},
        outcomes=outcomes,
    )
