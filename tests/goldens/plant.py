"""Makes the stored runs that the goldens are made from.

    PYTHONPATH=$(echo tests/harness tests/reports tests/bench plugins/*/tests | tr ' ' :) python tests/goldens/plant.py [NAME …]

A stored run is an input: later versions of modbench must read it as it is. So this script is for a golden that is added; it
refuses to replace one unless --replace says so. Times, losses and answers are planted (`tests/harness/planted.py`); `gpu` is
measured on a pretend card (`tests/gpu/pretend`), whose times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from planted import FIT, Trouble, fake_record, left, planted_suite
from planted_compare import compared_run
from planted_gate import written
from planted_map import METRICS as MAP_METRICS
from planted_map import map_plan, map_run
from planted_peaks import planted as planted_peaks
from planted_sections import dense, drift, flips, with_depth, with_experts
from planted_sections import routing as routed
from planted_sections import run as routing_run
from planted_tasks import planted as planted_tasks
from test_combine import CONVOLUTION
from test_combine import planted as planted_combination
from test_components import benchmark, file_of
from test_confirm import planted as planted_confirmation
from test_exchange_rates import METRICS as EXCHANGE
from test_exchange_rates import losses, step_flops
from test_exchange_rates import planned as planted_exchange
from test_trend import followed, planted_losses

from modbench.harness.call.operators import of_shapes
from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.notes import CountNotes, RooflineFinding
from modbench.harness.domain.records import Record
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.plan import make_plan
from modbench.plugins.components import imported
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
    left(folder, made, grid=grid, **trouble)


_STEPS, _LENGTHS = ("forward", "train_step"), (128, 256, 512)


def isoflop(folder: Path) -> None:
    """Plant a sweep at equal training FLOPs that confirms its best on new seeds: MoD is better, routing by noise is between."""
    planted_confirmation(folder, mod=-0.05, noise=0.02)


def search(folder: Path) -> None:
    """Plant a search for the length from which MoD pays, against the same shape and at equal cost."""
    lengths = (32, 48, 64, 96, 128, 192, 256)
    made = planted_suite(
        "draft",
        metrics=["flops/forward", "latency/forward"],
        processes=3,
        rounds=2,
        grid={"seq_len": list(lengths)},
        variants=[
            {"model": "dense"},
            {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
            {"model": "mod", "capacity": [0.125, 0.5]},
        ],
        search={},
        train=None,
    )
    matched = next(case.variant for case in made.cases if case.variant.startswith("dense-f"))
    grid = {("mod[c0.125]", "forward", t): 1.2 if t < 96 else 0.8 for t in lengths}
    grid |= {("mod[c0.5]", "forward", t): 1.1 for t in lengths} | {(matched, "forward", t): 0.7 for t in lengths}
    left(folder, made, grid=grid)


def tasks(folder: Path) -> None:
    """Plant answers on one task by three seeds; MoD's training fails."""
    planted_tasks(folder / "run", fails="mod[c0.125]")


def decode(folder: Path) -> None:
    """Plant prefill and decode at two batch sizes, as a server's jobs; MoE fails."""
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}, {"model": "moe"}]
    metrics = ["flops/forward", "latency/prefill", "tokens_per_s/prefill", "latency/decode", "tokens_per_s/decode"]
    grid = {"seq_len": [64, 128], "batch_size": [1, 8]}
    made = planted_suite(
        "draft", metrics=metrics, variants=variants, grid=grid, processes=3, rounds=4, train=None, aa_control=True
    )
    left(folder, made, fails="moe", certificate=None)


def gate(folder: Path) -> None:
    """Plant a run and one after a change: MoD 0.125 takes 20 % more, MoD 0.5 20 % less, MoE fails, other packages."""
    git = {"commit": "0123456789abcdef", "dirty": False}
    compared_run(folder / "old", seed=1, environment={"git": git})
    packages = {"packages": {"modbench": "1", "torch": "9"}, "git": git | {"dirty": True}}
    slower = {"mod[c0.125]": 1.2, "mod[c0.5]": 0.8}
    compared_run(folder / "new", seed=2, slower=slower, fails="moe", environment=packages)


def capacity_map(folder: Path) -> None:
    """Plant that one capacity pays at one of two lengths, one nowhere; one without the matched baseline fails."""
    matched_baselines = [
        {"model": "dense", "match": {"variant": "mod", "capacity": capacity}} for capacity in (0.125, 0.5)
    ]
    variants = [{"model": "dense"}, *matched_baselines, {"model": "mod", "capacity": [0.125, 0.25, 0.5]}]
    metrics = [*(each for each in MAP_METRICS if each != "flops/train_step"), "memory/parameters"]
    map_run(folder, map_plan(variants=variants, metrics=metrics), fails="mod[c0.25]")


def combine(folder: Path) -> None:
    """Plant two combinations of two effects: times below the product, or equal to it by CPU time; losses that add up."""
    planted_combination(folder, waits=CONVOLUTION)


def trend(folder: Path) -> None:
    """Plant a difference of losses that grows with the budget and crosses zero between the smallest and the largest."""
    made = followed()
    left(folder, made, losses=planted_losses(made, 0.05), run_noise=0.002, text_noise=0.001)


def routing(folder: Path) -> None:
    """Plant who passes, what it is worth, how routers settled, and what experts and depths do; the router knows."""
    learned = with_experts(routed())
    for i, row in enumerate(learned["strata"]["kind"]["bins"]):
        row["loss_causal"] += 0.01 * i
    routing_run(
        folder,
        dense={"routing": with_depth(dense())},
        matched={"routing": dense(1.55)},
        mod={"routing": learned, "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routed({"digit": 0.125, "whitespace": 0.125}), "flips": flips(0.02), "drift": drift()},
    )


def sections(folder: Path) -> None:
    """Plant operators and a machine of constant rates, compute-equivalent gains with intervals, and components beside the run."""
    made = planted_exchange(metrics=[*EXCHANGE, "memory/peak_allocated"], processes=4)
    flops = step_flops(made)
    trouble = Trouble(losses=losses(flops, **{"mod[c0.125]": 1.25, "mod[c0.5]": 1.6, "moe": 0.2}), run_noise=0.003)

    def record(job: Job) -> Record:
        found = fake_record(job, trouble)
        if job.made_in == "roofline":
            return found.model_copy(update={"findings": RooflineFinding(table=planted_peaks())})
        cases = {case.id: case for case in job.comparison.variants}
        outcomes = [
            each.model_copy(update={"notes": each.notes.model_copy(update=operators(cases[each.case]))})
            if isinstance(each.notes, CountNotes)
            else each
            for each in found.outcomes
        ]
        return found.model_copy(update={"outcomes": tuple(outcomes)})

    run = written(folder / "run", made, record, {"certificate": FIT})
    imported.keep(run.path, imported.read_times(file_of(folder, benchmark(), benchmark("other"))))


def operators(case: Case) -> dict[str, Any]:
    return {f"{name}_operators": of_shapes(case, training=name == "train") for name in ("forward", "train")}


def gpu(folder: Path) -> None:
    """Run a suite with device times, graphs, clocks and energy on a pretend card."""
    suite = folder / "gpu.toml"
    suite.write_text(GPU)
    paths = [str(ROOT / "tests" / "gpu" / "pretend"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"MODBENCH_PRETEND_CARD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(paths)}
    environment["MODBENCH_STATE"] = str(folder / "state")
    command = [sys.executable, "-m", "modbench", "run", "gpu.toml", "--device", "cuda", "-o", "run"]
    subprocess.run(command, check=True, cwd=folder, env=environment)


GPU = """
name = "card"
about = "A pretend card: what a run on a GPU records"
effort = "smoke"
processes = 3
rounds = 2
device = "cuda"
metrics = ["flops/forward", "latency/forward", "latency/decode", "tokens_per_s/decode", "memory/peak_allocated",
           "memory/kv_cache", "energy/total", "energy/per_token", "mfu/train_step", "syncs/forward"]
[shape]
d_model = 64
n_layers = 2
n_heads = 2
[grid]
seq_len = [64, 128]
batch_size = [1]
dtype = ["bf16"]
[decode_grid]
seq_len = [64]
batch_size = [1, 4]
execution = ["graph"]
[decode]
tokens = 4
[energy]
window_s = 0.5
idle_s = 0.5
[[variants]]
model = "dense"
decode_policy = "masked"
[[variants]]
model = "mod"
router = "synthetic"
capacity = 0.25
decode_policy = "budget"
"""

MADE: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (quick, isoflop, search, tasks, decode, gate, capacity_map, combine, trend, routing, sections, gpu)
}


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *MADE], help="default: all that are missing")
    parser.add_argument("--replace", action="store_true", help="also where there is one")
    options = parser.parse_args()
    for name in options.names or MADE:
        here = HERE / name
        if not options.replace and (there := sorted(here.glob("*.json.xz"))):
            print(f"{name}: {', '.join(each.name for each in there)} kept")
            continue
        with tempfile.TemporaryDirectory() as temporary, mock.patch.object(atomic_files, "now", return_value=DATE):
            MADE[name](Path(temporary))
            here.mkdir(exist_ok=True)
            for run in sorted(each.parent for each in Path(temporary).glob("*/run.json")):
                packed = here / f"{run.name}.json.xz"
                packed.write_bytes(demo.pack(stored(run)))
                print(f"{packed.relative_to(ROOT)}: {packed.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
