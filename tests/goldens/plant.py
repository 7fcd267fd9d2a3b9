"""Makes the stored runs that the goldens are made from.

    PYTHONPATH=$(echo tests/harness tests/reports benchmarks plugins/*/tests | tr ' ' :) python tests/goldens/plant.py [NAME …]

A stored run is an input: later versions of modbench must read it as it is. So this script is for a golden that is added; it
refuses to replace one unless --replace says so. Times, losses and answers are planted (`tests/harness/planted.py`); `gpu` is
measured on a pretend card (`tests/gpu/pretend`), whose times mean nothing.
A plug-in plants its own: `plugins/NAME/tests/plant_NAME.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from planted_compare import compared_run

from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import Text
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.plan import make_plan
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import demo

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXT = Text("t", b"some words " * 50_000, b"other words " * 500, "c0ffee")
DATE = "2026-01-02T03:04:05+00:00"


def quick(folder: Path) -> None:
    """Plant a ladder, an A/A control, variants that pay from a length on, a variant that waits, one that reads the future,
    one that fails.
    """
    made = make_plan(load_suite("quick"), device="cpu", text=TEXT)
    matched_baselines = [
        case.variant for case in made.cases if case.variant.startswith("dense-f") and case.grid_point.seq_len == 128
    ]
    always = {
        matched_baselines[0]: 0.57,
        matched_baselines[1]: 0.73,
        "mod[c0.125]": 0.62,
        "mode_integrated[c0.125]": 0.85,
        "mode_staged[c0.125]": 0.7,
    }
    grid = {(variant, step, t): share for variant, share in always.items() for step in _STEPS for t in _LENGTHS}
    for step in _STEPS:
        for t, quarter, half in zip(_LENGTHS, (1.1, 0.98, 0.72), (1.2, 1.1, 1.05), strict=True):
            grid |= {("mod[c0.25]", step, t): quarter, ("mod[c0.5]", step, t): half}
    trouble: dict[str, Any] = {"fails": "moe", "leaks": "mod[c0.5]", "waits": "mode_integrated[c0.125]"}
    trouble |= {"drifts": "mode_staged[c0.125]"}
    planted_run(folder, made, grid=grid, **trouble)


_STEPS, _LENGTHS = ("forward", "train_step"), (128, 256, 512)


def decode(folder: Path) -> None:
    """Plant prefill and decode at two batch sizes, as a server's jobs; MoE fails."""
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]
    metrics = ["flops/forward", "latency/prefill", "tokens_per_s/prefill", "latency/decode", "tokens_per_s/decode"]
    grid = {"seq_len": [64, 128], "batch_size": [1, 8]}
    made = planted_plan(
        "draft", metrics=metrics, variants=variants, grid=grid, processes=3, rounds=4, train=None, aa_control=True
    )
    planted_run(folder, made, fails="moe", certificate=None)


def gate(folder: Path) -> None:
    """Plant a run and one after a change: MoD 0.125 takes 20 % more, MoD 0.5 20 % less, MoE fails, other packages."""
    git = {"commit": "0123456789abcdef", "dirty": False}
    compared_run(folder / "old", seed=1, environment={"git": git})
    packages = {"packages": {"modbench": "1", "torch": "9"}, "git": git | {"dirty": True}}
    slower = {"mod[c0.125]": 1.2, "mod[c0.5]": 0.8}
    compared_run(folder / "new", seed=2, slower=slower, fails="moe", environment=packages)


def golden_folders() -> dict[str, tuple[Path, Callable[[Path], None]]]:
    """Where each golden lies and what makes it, by name: those of the core, and of each plug-in's `plant_NAME.py`."""
    found: dict[str, tuple[Path, Callable[[Path], None]]] = {
        made.__name__: (HERE / made.__name__, made) for made in (quick, decode, gate)
    }
    for file in sorted(ROOT.glob("plugins/*/tests/plant_*.py")):
        module = importlib.import_module(file.stem)
        made_here = [
            each
            for each in vars(module).values()
            if callable(each) and each.__module__ == file.stem and not each.__name__.startswith("_")
        ]
        found |= {made.__name__: (file.parent / "goldens" / made.__name__, made) for made in made_here}
    return found


def stored(run: Path) -> dict[str, Any]:
    """Return the JSON files of a run folder by their path in it, without what differs between two makings."""
    found = {str(path.relative_to(run)): json.loads(path.read_text()) for path in _json_files(run)}
    found["run.json"].pop("started_in", None)  # changes from one making to the next
    found["run.json"]["command"] = ["modbench", "run", "planted"]
    for name, content in found.items():
        if name.startswith("jobs/") and content.get("environment"):
            content["environment"]["host"] = None
    found["run.json"]["environment"]["host"] = None
    return found


def _json_files(run: Path) -> Iterator[Path]:
    for path in sorted(run.rglob("*.json")):
        if not path.relative_to(run).parts[0].startswith(("report", "logs", "progress")):
            yield path


def main() -> None:
    """Make what is named, or what is missing."""
    goldens = golden_folders()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *goldens], help="default: all that are missing")
    parser.add_argument("--replace", action="store_true", help="also where there is one")
    options = parser.parse_args()
    for name in options.names or goldens:
        here, make = goldens[name]
        if not options.replace and (there := sorted(here.glob("*.json.xz"))):
            print(f"{name}: {', '.join(each.name for each in there)} kept")
            continue
        with tempfile.TemporaryDirectory() as temporary, mock.patch.object(atomic_files, "now", return_value=DATE):
            make(Path(temporary))
            here.mkdir(parents=True, exist_ok=True)
            for run in sorted(each.parent for each in Path(temporary).glob("*/run.json")):
                packed = here / f"{run.name}.json.xz"
                packed.write_bytes(demo.pack(stored(run)))
                print(f"{packed.relative_to(ROOT)}: {packed.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
