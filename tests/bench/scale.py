"""How a report and a plan grow with the number of cases: planted runs, CPU seconds by stage, memory, bytes of the page.

    python tests/bench/scale.py [--cases 200,1000,10000] [--shape lengths,capacities] [--keep FOLDER]

Each run is planted by `src/modbench/planted_runs.py`: a fake clock, so that nothing is measured and all samples are kept. Shape
`lengths` has four capacities at many lengths; `capacities` has 9 or, of a thousand cases and more, 49. A stage is timed in
a fresh process by its CPU time; `wall` is beside it. Other work on the machine moves both: run this alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))

FEWEST_LENGTHS, MOST_CAPACITIES = 20, 49
STAGES = ("plan", "read", "tables", "rows", "page")


def suite(cases: int, shape: str) -> dict[str, Any]:
    """Changes to the planted suite, so that it has that many cases: a dense anchor and MoD at several capacities."""
    lengths = cases // 5 if shape == "lengths" else max(FEWEST_LENGTHS, cases // (MOST_CAPACITIES + 1))
    capacities = 4 if shape == "lengths" else cases // lengths - 1
    return {
        "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated"],
        "grid": {"seq_len": [64 + 8 * i for i in range(lengths)]},
        "variants": [
            {"model": "dense"},
            {"model": "mod", "capacity": [(i + 1) / (capacities + 1) for i in range(capacities)]},
        ],
        "train": None,
        "aa_control": True,
    }


def plant(cases: int, shape: str, folder: Path) -> None:
    """Write a planted run without its report."""
    from modbench import planted_runs
    from modbench.harness.core import atomic_files
    from modbench.harness.results import run_folder

    changes = suite(cases, shape)
    made = planted_runs.planted_plan("draft", **changes)
    planted_runs.PLANTED |= {case.variant: 1.0 - 0.5 * (case.config.capacity or 0.0) for case in made.cases}
    where = run_folder.create(str(folder), "planted")
    where.write_run(
        made, planted_runs.ENVIRONMENT | {"certificate": planted_runs.FIT}, ["modbench"], atomic_files.now()
    )
    for job in made.jobs:
        where.write_record(planted_runs.planted_record(job, planted_runs.PlantedTrouble()))


@contextmanager
def _timed(took: dict[str, list[float]], stage: str) -> Iterator[None]:
    start, cpu = time.monotonic(), time.process_time()
    yield
    took[stage] = [time.process_time() - cpu, time.monotonic() - start]


def render(folder: Path) -> dict[str, Any]:
    """Read a run and make its views, stage by stage."""
    from modbench.harness.results import run_folder
    from modbench.reports.html_report import render as views
    from modbench.reports.tables.load import Loaded, tables_of
    from modbench.reports.tables.values import Tables

    took: dict[str, list[float]] = {}
    with _timed(took, "read"):
        run = run_folder.read(str(folder))
    with _timed(took, "tables"):
        tables = Tables(run)
    with _timed(took, "rows"):
        cases, pairs = tables_of(tables)
    with _timed(took, "page"):
        views.views(Loaded(run, tables, cases, pairs))
    sizes = {name: (folder / name).stat().st_size for name in ("report.html", "cases.csv", "comparisons.csv")}
    folders = {str(file.parent): 0 for file in folder.rglob("*")}
    for file in folder.rglob("*"):
        folders[str(file.parent)] += 1
    return {
        "took": took,
        "cases": len(run.plan.cases),
        "jobs": len(run.plan.jobs),
        "pairs": len(pairs),
        "bytes": sizes,
        "entries": max(folders.values()),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def plan(cases: int, shape: str) -> dict[str, Any]:
    """Forecast a suite as `modbench plan` does."""
    from modbench import planted_runs
    from modbench.commands.plan.forecast import as_text, forecast

    took: dict[str, list[float]] = {}
    with _timed(took, "plan"):
        text = as_text(forecast(planted_runs.planted_plan("draft", **suite(cases, shape))))
    return {"took": took, "lines": text.count("\n") + 1}


def _apart(*arguments: str) -> dict[str, Any]:
    """Run a part of this script in a process of its own."""
    made = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(made.stdout.splitlines()[-1]))


def main() -> None:
    """Print a table of all sizes and shapes, or one part as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="200,1000,10000")
    parser.add_argument("--shape", default="lengths,capacities")
    parser.add_argument("--keep", help="folder in which planted runs stay, and are found again")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        part, size, rest = asked.part
        if part == "plant":
            shape, _, folder = rest.partition(":")
            plant(int(size), shape, Path(folder))
            print("{}")
        else:
            print(json.dumps(render(Path(rest)) if part == "render" else plan(int(size), rest)))
        return
    print(
        "| cases | shape | jobs | pairs | " + " | ".join(STAGES) + " | report s CPU (wall) | MiB | page MB | entries |"
    )
    print("| --: | :-- | --: | --: |" + " --: |" * (len(STAGES) + 4))
    with tempfile.TemporaryDirectory() as temporary:
        for size in asked.cases.split(","):
            for shape in asked.shape.split(","):
                folder = Path(asked.keep or temporary) / f"{shape}-{size}"
                if not (folder / "run.json").exists():
                    _apart("--part", "plant", size, f"{shape}:{folder}")
                made, told = _apart("--part", "render", size, str(folder)), _apart("--part", "plan", size, shape)
                took = made["took"] | told["took"]
                cpu, wall = (sum(made["took"][stage][i] for stage in made["took"]) for i in (0, 1))
                stages = " | ".join(f"{took[stage][0]:.1f}" for stage in STAGES)
                page = made["bytes"]["report.html"] / 1e6
                print(
                    f"| {made['cases']:,} | {shape} | {made['jobs']:,} | {made['pairs']:,} | {stages} "
                    f"| {cpu:.1f} ({wall:.1f}) | "
                    f"{made['peak'] / 2**20:.0f} | {page:.1f} | {made['entries']:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
