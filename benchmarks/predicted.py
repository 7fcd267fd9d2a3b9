"""How far what is predicted lies from what is measured, on shapes that were not used to build the model of time.

    python benchmarks/predicted.py            # under six minutes on one core
    python benchmarks/predicted.py --quick    # under one minute: T up to 512, d up to 256

The peaks by shape are measured first, on grids of their own. Then dense and MoD are timed in turn, in one process and one thread;
of each the fastest call counts, as of every peak. Two tables follow: predicted over measured seconds of every call, and the ratio
dense over MoD as it was promised by FLOPs, as it is predicted and as it was measured; and the shares within 15 %.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from modbench.harness.call.operator_peaks import clock_of, measure
from modbench.harness.call.operators import of_real_tensors
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.machine import environment
from modbench.harness.machine.roofline.table import Table
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts

WIDTHS, LENGTHS = (64, 128, 256, 512), (128, 256, 512, 1024, 2048)
QUICK_WIDTHS, QUICK_LENGTHS = (64, 128, 256), (128, 256, 512)
CAPACITIES = (0.125, 0.5)
NEAR = 0.15
# Of each shape and workload: at least so many turns over the variants, and so many seconds.
LEAST_TURNS, LAYERS = 3, 4
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": clock_of(1)}


def variants(width: int, seq_len: int) -> dict[str, Case]:
    grid_point = GridPoint(seq_len=seq_len, batch_size=1, dtype="fp32", device="cpu", threads=1, compile=False)
    shape = {"d_model": width, "n_layers": LAYERS, "max_seq_len": max(LENGTHS)}
    made = {}
    for name, model, given in (
        ("dense", "dense", {}),
        *((f"mod {capacity:g}", "mod", {"capacity": capacity}) for capacity in CAPACITIES),
    ):
        config = ModelConfig.model_validate({**catalogue.model_options(model), **shape, **given})
        made[name] = with_facts(Case(model=model, variant_parts=(), config=config, grid_point=grid_point))
    return made


def fastest(calls: dict[str, Callable[[], object]], seconds: float, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of the fastest call of every variant, variants in turn, each after a call of its own that warms its caches."""
    best = dict.fromkeys(calls, math.inf)
    for call in calls.values():
        call()
    start, turns = time.perf_counter(), 0
    while turns < LEAST_TURNS or time.perf_counter() - start < seconds:
        for name, call in calls.items():
            call()
            begun = clock()
            call()
            best[name] = min(best[name], clock() - begun)
        turns += 1
    return best


def theoretical(dense: Case, mod: Case, *, training: bool) -> float:
    costs = [case_cost(case) for case in (dense, mod)]
    theirs, mine = (0.0 if c is None else c.train_step_causal if training else c.forward_causal for c in costs)
    return theirs / mine


def compare(
    table: Table, width: int, seq_len: int, seconds: float, clock: Callable[[], float]
) -> list[dict[str, object]]:
    """Rows of one shape: forward and step, every variant."""
    rows: list[dict[str, object]] = []
    cases = variants(width, seq_len)
    for work in ("forward", "step"):
        training = work == "step"
        calls: dict[str, Callable[[], object]] = {}
        for name, case in cases.items():
            subject = Subject(case, 0)
            tokens_BT = subject.inputs(0, 1)[0]
            subject.module.train(training)
            run = subject.train_step if training else subject.forward
            calls[name] = lambda run=run, tokens_BT=tokens_BT: run(tokens_BT)  # type: ignore[misc]
        measured = fastest(calls, seconds, clock)
        predicted = {name: table.seconds(of_real_tensors(case, 0, training=training)) for name, case in cases.items()}
        for name, case in cases.items():
            row: dict[str, object] = {"d": width, "T": seq_len, "work": work, "variant": name}
            row |= {"predicted_s": predicted[name], "measured_s": measured[name]}
            if name != "dense":
                row |= {
                    "theoretical": theoretical(cases["dense"], case, training=training),
                    "attainable": predicted["dense"] / predicted[name],
                    "measured": measured["dense"] / measured[name],
                }
            rows.append(row)
            print(line(row), flush=True)
    return rows


def line(row: dict[str, object]) -> str:
    predicted, measured = float(row["predicted_s"]), float(row["measured_s"])  # type: ignore[arg-type]
    cells = [f"d {row['d']}, T {row['T']}", f"{row['work']}", f"{row['variant']}"]
    cells += [f"{1e3 * predicted:.2f}", f"{1e3 * measured:.2f}", f"{predicted / measured:.2f}"]
    if "theoretical" in row:
        matched_baselines = [float(row[key]) for key in ("theoretical", "attainable", "measured")]  # type: ignore[arg-type]
        cells += [
            *(f"{matched:.2f}" for matched in matched_baselines),
            f"{matched_baselines[1] / matched_baselines[2]:.2f}",
        ]
    else:
        cells += [""] * 4
    return f"| {' | '.join(cells)} |"


def near(values: list[float]) -> str:
    within = sum(abs(value - 1) <= NEAR for value in values)
    return f"{within} of {len(values)} ({within / len(values):.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller shapes, under a minute")
    parser.add_argument("--seconds", type=float, help="seconds for each shape and workload (3; 0.8 with --quick)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: the thread's CPU time, where the machine is not quiet"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="save table and rows here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    table = measure("fp32", 1)
    print(f"peaks by shape: {len(table.points)} points, {table.passes} passes, {time.perf_counter() - start:.1f} s\n")
    widths, lengths = (QUICK_WIDTHS, QUICK_LENGTHS) if options.quick else (WIDTHS, LENGTHS)
    seconds = options.seconds or (0.8 if options.quick else 3.0)
    print("| shape | work | variant | predicted ms | measured ms | p/m | theoretical | predicted | measured | a/m |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = [
        row
        for width in widths
        for seq_len in lengths
        for row in compare(table, width, seq_len, seconds, CLOCKS[options.clock])
    ]
    times = [float(row["predicted_s"]) / float(row["measured_s"]) for row in rows]  # type: ignore[arg-type]
    pairs = [row for row in rows if "theoretical" in row]
    print(f"\nwithin {NEAR:.0%}, {time.perf_counter() - start:.0f} s, {options.clock} time:")
    print(f"- predicted seconds of the measured: {near(times)}")
    for matched in ("attainable", "theoretical"):
        ratios = [float(row[matched]) / float(row["measured"]) for row in pairs]  # type: ignore[arg-type]
        print(f"- {matched} ratio of the measured ratio: {near(ratios)}")
    if options.json:
        content = {"machine": environment.collect(), "table": table.model_dump(), "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
