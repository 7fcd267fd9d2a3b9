"""How far from 1 is the measured ratio of two identical models under load, by modbench and by other tools, at equal time?

    python tests/bench/ratio_error.py --pairs 40 --load 3

Each pair is measured by all tools in turn, in the same minutes. The time that ours took, process starts and warm-ups included, is
what each other tool gets for measuring alone; its result is the ratio of its own medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from load import Launches, in_a_fresh_process, load, pairs_of, rms, twins

from modbench.commands.doctor import aa_comparisons


def plain_loop(budget_s: float) -> float:
    """The ratio of medians of a plain loop: calls of A for half the time, then calls of B."""
    middles = []
    for call in twins():
        times, until = [], time.perf_counter() + budget_s / 2
        while time.perf_counter() < until:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        middles.append(median(times))
    return middles[0] / middles[1]


def torch_timer(budget_s: float) -> float:
    """The ratio of medians by `Timer.blocked_autorange`, half the time for each."""
    from torch.utils.benchmark import Timer

    a, b = (
        Timer("call()", globals={"call": call}).blocked_autorange(min_run_time=budget_s / 2).median for call in twins()
    )
    return float(a / b)


_TESTS = """
from load import twins
CALLS = twins()
def test_a(benchmark): benchmark(CALLS[0])
def test_b(benchmark): benchmark(CALLS[1])
"""


def pytest_benchmark(budget_s: float) -> float:
    """The ratio of medians by pytest-benchmark's fixture with its defaults, but half the time as `--benchmark-max-time`."""
    import pytest

    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        file, out = Path(name, "test_twins.py"), Path(name, "out.json")
        file.write_text(_TESTS)
        with contextlib.redirect_stdout(nowhere):
            code = pytest.main(
                [
                    *(str(file), "-q", "-c", os.devnull, f"--rootdir={name}", "-p", "no:cacheprovider"),
                    *(f"--benchmark-max-time={budget_s / 2}", f"--benchmark-json={out}"),
                ]
            )
        if code != 0:
            raise RuntimeError(f"pytest ended with {code}")
        found = {each["name"]: each["stats"]["median"] for each in json.loads(out.read_text())["benchmarks"]}
    return float(found["test_a"] / found["test_b"])


RIVALS: dict[str, Callable[[float], float]] = {
    "`torch.utils.benchmark`, blocked_autorange": torch_timer,
    "pytest-benchmark": pytest_benchmark,
    "plain loop": plain_loop,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--load", type=int, default=3, help="processes of the load generator")
    options = parser.parse_args()
    units = aa_comparisons.units(options.pairs, "cpu", 1, launches=options.launches, rounds=options.rounds)
    errors: dict[str, list[float]] = {}
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as name, load(options.load):
        launches = Launches(Path(name))
        for pair in range(options.pairs):
            start = time.monotonic()
            (found,) = pairs_of([launches.make(unit) for unit in units[pair :: options.pairs]])
            spent.append(time.monotonic() - start)
            errors.setdefault("**ours**, wall", []).append(found.effect.value)
            if found.cpu is not None:
                errors.setdefault("**ours**, CPU time of the thread", []).append(found.cpu.value)
            for rival, measure in RIVALS.items():
                errors.setdefault(rival, []).append(math.log(in_a_fresh_process(measure, spent[-1])))
            print(f"\r{pair + 1} of {options.pairs} pairs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    best = min(rms(errors[rival]) for rival in RIVALS)
    print("| measured by | RMS error of the ratio | worst | error over the best other's |\n| --- | --- | --- | --- |")
    for title, values in errors.items():
        worst = math.expm1(max(map(abs, values)))
        print(f"| {title} | {rms(values):.2%} | {worst:.1%} | {rms(values) / best:.2f} |")
    print(
        f"\n{options.pairs} pairs, {options.load} processes of load, {median(spent):.1f} s for each ratio of each tool"
    )


if __name__ == "__main__":
    main()
