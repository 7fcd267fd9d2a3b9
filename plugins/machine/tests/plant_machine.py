"""Plants the golden of a card, for `tests/goldens/plant.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from planted_gate import written
from planted_peaks import planted as planted_peaks
from test_components import benchmark, file_of
from test_exchange_rates import METRICS as EXCHANGE
from test_exchange_rates import losses, step_flops
from test_exchange_rates import planned as planted_exchange

from modbench.extend import FIT, PlantedTrouble, planted_record
from modbench.harness.call.operators import of_shapes
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.notes import CountNotes, RooflineFinding
from modbench.harness.domain.records import Record
from modbench.plugins.components import imported

ROOT = Path(__file__).parents[3]


def gpu(folder: Path) -> None:
    """Run a suite with device times, graphs, clocks and energy on a pretend card."""
    shutil.copy(Path(__file__).with_name("gpu.toml"), folder)
    paths = [str(ROOT / "tests" / "gpu" / "pretend"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"MODBENCH_PRETEND_CARD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(paths)}
    environment["MODBENCH_STATE"] = str(folder / "state")
    command = [sys.executable, "-m", "modbench", "run", "gpu.toml", "--device", "cuda", "-o", "run"]
    subprocess.run(command, check=True, cwd=folder, env=environment)


def sections(folder: Path) -> None:
    """Plant operators and a machine of constant rates, compute-equivalent gains with intervals, and components beside the run."""
    made = planted_exchange(metrics=[*EXCHANGE, "memory/peak_allocated"], processes=4)
    flops = step_flops(made)
    trouble = PlantedTrouble(
        losses=losses(flops, **{"mod[c0.125]": 1.25, "mod[c0.5]": 1.6, "moe": 0.2}), run_noise=0.003
    )

    def record(job: Job) -> Record:
        found = planted_record(job, trouble)
        if job.made_in == "roofline":
            return found.model_copy(update={"findings": RooflineFinding(table=planted_peaks())})
        cases = {case.id: case for case in job.comparison.variants}
        outcomes = [
            each.model_copy(update={"notes": each.notes.model_copy(update=_operators(cases[each.case]))})
            if isinstance(each.notes, CountNotes)
            else each
            for each in found.outcomes
        ]
        return found.model_copy(update={"outcomes": tuple(outcomes)})

    run = written(folder / "run", made, record, {"certificate": FIT})
    imported.keep(run.path, imported.read_times(file_of(folder, benchmark(), benchmark("other"))))


def _operators(case: Case) -> dict[str, Any]:
    return {f"{name}_operators": of_shapes(case, training=name == "train") for name in ("forward", "train")}
