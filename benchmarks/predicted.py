"""How far what is predicted lies from what is measured, on shapes that were not used to build the model of time.

    python benchmarks/predicted.py            # under six minutes on one core
    python benchmarks/predicted.py --quick    # under one minute: T up to 512, d up to 256

The peaks by shape are measured first, on grids of their own. Then dense and MoD are timed in turn, in one process and one thread;
of each the fastest call counts, as of every peak. The table has predicted and measured milliseconds of every call, and the ratio
dense over MoD as FLOPs promise it, as it is predicted and as it was measured. The shares within 15 % are in docs/method-costs.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from printing import head, row
from torch import Tensor

from modbench.harness.call.operator_peaks import clock_of, measure
from modbench.harness.call.operators import of_real_tensors
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, GridPoint
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


class Row(NamedTuple):
    """A call, and how it compares with dense's; `theoretical` is None for dense itself."""

    name: str
    predicted_s: float
    measured_s: float
    theoretical: float | None
    predicted: float
    measured: float


def compare(table: Table, width: int, seq_len: int, seconds: float, clock: Callable[[], float]) -> Iterator[Row]:
    """Rows of one shape: forward and step, every variant."""
    cases = variants(width, seq_len)
    for work in ("forward", "step"):
        training = work == "step"
        calls: dict[str, Callable[[], object]] = {}
        for name, case in cases.items():
            subject = Subject(case, 0)
            subject.module.train(training)
            call: Callable[[Tensor], object] = subject.train_step if training else subject.forward
            calls[name] = partial(call, subject.inputs(0, 1)[0])
        measured = fastest(calls, seconds, clock)
        predicted = {name: table.seconds(of_real_tensors(case, 0, training=training)) for name, case in cases.items()}
        for name, case in cases.items():
            promised = None if name == "dense" else theoretical(cases["dense"], case, training=training)
            ratios = predicted["dense"] / predicted[name], measured["dense"] / measured[name]
            yield Row(f"d {width}, T {seq_len}, {work}, {name}", predicted[name], measured[name], promised, *ratios)


def near(values: Sequence[float]) -> str:
    within = sum(abs(value - 1) <= NEAR for value in values)
    return f"{within} of {len(values)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller shapes, under a minute")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: the thread's CPU time, where the machine is not quiet"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    table = measure("fp32", 1)
    widths, lengths, seconds = (QUICK_WIDTHS, QUICK_LENGTHS, 0.8) if options.quick else (WIDTHS, LENGTHS, 3.0)
    head("call", "predicted ms", "measured ms", "theoretical", "predicted", "measured")
    rows: list[Row] = []
    for width, seq_len in itertools.product(widths, lengths):
        for each in compare(table, width, seq_len, seconds, CLOCKS[options.clock]):
            rows.append(each)
            ratios = ("" if ratio is None else f"{ratio:.2f}" for ratio in each[3:])
            row(each.name, f"{1e3 * each.predicted_s:.2f}", f"{1e3 * each.measured_s:.2f}", *ratios)
    pairs = [each for each in rows if each.theoretical is not None]
    print(f"\nWithin {NEAR:.0%} of the measured, {time.perf_counter() - start:.0f} s, {options.clock} time:")
    print(f"- predicted ratio: {near([each.predicted / each.measured for each in pairs])}")
    print(f"- theoretical ratio: {near([(each.theoretical or 0.0) / each.measured for each in pairs])}")
    print(f"- predicted seconds: {near([each.predicted_s / each.measured_s for each in rows])}")


if __name__ == "__main__":
    main()
