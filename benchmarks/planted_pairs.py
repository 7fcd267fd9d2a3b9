"""Pairs of known ratio, given to modbench and to other tools in turn, beside several loads. Each decision is a line of a file.

    python benchmarks/planted_pairs.py ours 100 103 30 1  # one tool, once: 103 blocks against 100 within 30 s, as JSON

`false_positives.py` and `ratio_error.py` make such decisions and print tables of them. Both read the same file, and go on where
it ends. A decision is a script in a process session of its own, and so is every load process (`load.py`). What has had the least
of its share of time comes next, so that all tools, ratios and loads are measured in the same minutes.

The pair is `planted_block.py`: about 15 ms a call. Every tool decides by its own rule, or has none. A tool that is not installed
has a row that says so: `pip install pyperf benchstats`; `apt-get install hyperfine`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import load
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from modbench.harness.stats.paired import ProcessSamples

HERE = Path(__file__).parent
MARGIN = 0.02
# Calls of a block: of the baseline, and of what is compared with it. Then the seconds of measuring that a decision of ours takes.
LESS, MORE = 100, (100, 101, 103)
SECONDS = {100: 30.0, 101: 180.0, 103: 30.0}
# Rounds of a process of ours, and the fewest processes.
ROUNDS, FEWEST = 6, 3
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Found:
    """What a tool found by one rule or clock.

    Attributes:
        said: its decision on what has more calls, with a margin where it has one: `worse`, `better` or another word; None: no
            rule.
        apart: `worse` or `better` where it tells the two apart, by however little; None: it has no such test.
        ratio: the time of more calls over that of less.
    """

    said: str | None = None
    apart: str | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Decision:
    """One decision of a tool.

    Attributes:
        load: load processes beside it.
        tool: key of `TOOLS`.
        more: calls that were compared with `LESS`.
        wall_s: how long its script ran.
        cpu_s: CPU time of the script and of all that it started.
        found: by rule or clock, in words; empty where it failed.
        failed: the last line of what it wrote then.
    """

    load: int
    tool: str
    more: int
    wall_s: float
    cpu_s: float
    found: dict[str, Found] = field(default_factory=dict)
    failed: str = ""


LINES, FOUND = TypeAdapter(Decision), TypeAdapter(dict[str, Found])


def block_process(less: int, more: int, rounds: int) -> ProcessSamples:
    """One process that interleaves the two, built in random order as variants of a run are: what lies where makes a
    difference.
    """
    from planted_block import call_of

    times = {"less": less, "more": more}
    built = {name: call_of(times[name]) for name in random.sample(["less", "more"], 2)}
    return load.process(built["less"], built["more"], rounds, warm_up_s=0.05)


def ours(less: int, more: int, seconds: float) -> dict[str, Found]:
    """As many forked processes as fit into the time, the product's verdict, and what each clock alone would say."""
    from modbench.harness.stats import paired
    from modbench.harness.stats.verdicts import ByClock, Contrast, Rule, Side, contrast

    load.in_a_fresh_process(block_process, 1, 1, 1)  # starts the fork server, as once in a run
    timing_processes, begin, spent = list[Any](), time.monotonic(), 0.0
    while len(timing_processes) < FEWEST or spent * (1 + 1 / len(timing_processes)) < seconds:
        timing_processes.append(load.in_a_fresh_process(block_process, less, more, ROUNDS))
        spent = time.monotonic() - begin
    pair, rule = paired.numbers(timing_processes, one_thread=True), Rule(margin=MARGIN)

    def of(judged: Contrast) -> Found:
        ratio = math.exp(-judged.effect.value)
        return Found(judged.verdict, _direction(ratio) if judged.effect.excludes_0 else UNDECIDED, ratio)

    def alone(base: ByClock, new: ByClock) -> Found:
        return of(contrast(Side(base), Side(new), "interleaved", rule))

    found = {"**ours**": of(pair.contrast(rule)), "**ours**, wall time alone": alone(pair.base.wall, pair.new.wall)}
    if pair.base.cpu is not None and pair.new.cpu is not None:
        found["**ours**, CPU time alone"] = alone(pair.base.cpu, pair.new.cpu)
    counted = [
        _instructions(each.case) / _instructions(each.baseline)
        for each in timing_processes
        if "instructions" in each.baseline
    ]
    if counted:
        found["**ours**, instructions"] = Found(ratio=fmean(counted))
    return found


def _direction(ratio: float) -> str:
    return "worse" if ratio > 1 else "better"


def _instructions(samples: Mapping[str, Sequence[float]]) -> float:
    """Instructions of a typical call."""
    return median(count / calls for count, calls in zip(samples["instructions"], samples["calls"], strict=True))


def one_after_the_other(less: int, more: int, seconds: float) -> dict[str, Found]:
    """Half the time for calls of each, in one process, and tests that other tools use."""
    from planted_block import call_of
    from scipy import stats

    sides = []
    for times in (less, more):
        call, walls, cpus = call_of(times), list[float](), list[float]()
        call()
        until = time.monotonic() + seconds / 2
        while time.monotonic() < until:
            start, busy = time.perf_counter(), time.thread_time()
            call()
            cpus.append(time.thread_time() - busy)
            walls.append(time.perf_counter() - start)
        sides.append({"wall": walls, "CPU time": cpus})
    found = {}
    for clock, a in sides[0].items():
        b = sides[1][clock]
        ratio = median(b) / median(a)
        found[f"A then B, {clock}"] = Found(ratio=ratio)
        for test, p in (
            ("Mann–Whitney", stats.mannwhitneyu(a, b).pvalue),
            ("Welch's t", stats.ttest_ind(a, b, equal_var=False).pvalue),
        ):
            apart = _direction(ratio) if p < 0.05 else UNDECIDED
            found[f"A then B, {clock}, {test}"] = Found(apart, apart)
    return found


def torch_timer(less: int, more: int, seconds: float) -> dict[str, Found]:
    """Half the time for each; nothing says whether they differ."""
    from planted_block import call_of
    from torch.utils.benchmark import Timer

    a, b = (
        Timer("call()", globals={"call": call_of(n)}).blocked_autorange(min_run_time=seconds / 2).median
        for n in (less, more)
    )
    return {"torch.utils.benchmark, blocked_autorange": Found(ratio=b / a)}


_TEST = "from planted_block import call_of\ndef test_block(benchmark): benchmark(call_of({times}))\n"


def pytest_benchmark(less: int, more: int, seconds: float) -> dict[str, Found]:
    """Half the time for a run that is saved, half for one that is compared with it and failed by a threshold."""
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name, "test_block.py"), Path(name, "out.json")
        common = (
            *("-m", "pytest", str(file), "-q", "-c", os.devnull, f"--rootdir={name}", "-p", "no:cacheprovider"),
            *(
                f"--benchmark-storage=file://{name}/saved",
                f"--benchmark-max-time={seconds / 2}",
                f"--benchmark-json={out}",
            ),
        )
        fail = ("--benchmark-compare", f"--benchmark-compare-fail=mean:{100 * MARGIN:g}%")
        medians = []
        for times, options in ((less, ("--benchmark-save=base",)), (more, fail)):
            file.write_text(_TEST.format(times=times))
            done = _python(*common, *options)
            failed = "Performance has regressed" in done.stdout + done.stderr
            if done.returncode and not failed:
                raise RuntimeError(done.stdout + done.stderr)
            medians.append(json.loads(out.read_text())["benchmarks"][0]["stats"]["median"])
    said = "worse" if failed else UNDECIDED
    return {
        f"pytest-benchmark, `--benchmark-compare-fail=mean:{MARGIN:.0%}`": Found(said, ratio=medians[1] / medians[0])
    }


_BENCH = "import pyperf\nfrom planted_block import call_of\npyperf.Runner().bench_func('block', call_of({times}))\n"


def pyperf(less: int, more: int, seconds: float) -> dict[str, Found]:
    """A benchmark of each with `--fast` (short ones in less than a second), and `compare_to` with a margin and without."""
    options = ["--fast"] if seconds >= 1 else ["-p", "2", "-n", "1", "-w", "1", "-l", "1"]
    with tempfile.TemporaryDirectory() as name:
        bench, files = Path(name, "bench.py"), [Path(name, "less.json"), Path(name, "more.json")]
        for times, out in zip((less, more), files, strict=True):
            bench.write_text(_BENCH.format(times=times))
            done = _python(str(bench), "--inherit-environ=PYTHONPATH,OMP_NUM_THREADS", "-o", str(out), *options)
            if done.returncode:
                raise RuntimeError(done.stderr)
        plain, margin = (_compared(files, *asked) for asked in ((), (f"--min-speed={100 * MARGIN:g}",)))
        a, b = (_mean_of_pyperf(file) for file in files)
    return {f"pyperf --fast, `compare_to --min-speed={100 * MARGIN:g}`": Found(margin, plain, b / a)}


def _compared(files: Iterable[Path], *options: str) -> str:
    done = _python("-m", "pyperf", "compare_to", *options, *map(str, files))
    if done.returncode:
        raise RuntimeError(done.stderr)
    words = set(done.stdout.replace(".", " ").split())
    return "worse" if "slower" in words else "better" if "faster" in words else UNDECIDED


def _mean_of_pyperf(file: Path) -> float:
    (benchmark,) = json.loads(file.read_text())["benchmarks"]
    return fmean(value for run in benchmark["runs"] for value in run.get("values", ()))


def benchstats(less: int, more: int, seconds: float) -> dict[str, Found]:
    """Both called in turn, in random order, in one process (briefly in less than 1 s), and a test over ten repetitions."""
    from benchstats import qbench
    from planted_block import call_of

    quiet = {"show_progress_each": 0, "render_report": False, "pvalue_stats_bootstrap": 0}
    short = {} if seconds >= 1 else {"iters": 1, "warmup": 1}
    found, _ = qbench.benchmark((call_of(less), call_of(more)), **quiet, **short)
    (result,) = [each["mean"] for each in found.results.values()]
    apart = {"<": "worse", ">": "better"}.get(result.result, UNDECIDED)
    return {"benchstats, `qbench`, p < 0.001": Found(apart, apart, fmean(result.val_set1) / fmean(result.val_set0))}


def hyperfine(less: int, more: int, seconds: float) -> dict[str, Found]:
    """Ten whole processes of 100 calls each (two of one in less than a second), torch's import included; then Welch's t at 5 %.

    The test is that of `scripts/welch_ttest.py`, which lies in hyperfine's repository.
    """
    from scipy import stats

    runs, calls = (10, 100) if seconds >= 1 else (2, 1)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name, "out.json")
        commands = [f"{sys.executable} {HERE / 'planted_block.py'} {times} {calls}" for times in (less, more)]
        program = ["hyperfine", "-N", "--runs", str(runs), "--export-json", str(out), *commands]
        subprocess.run(program, check=True, capture_output=True)
        a, b = (each["times"] for each in json.loads(out.read_text())["results"])
    ratio = fmean(b) / fmean(a)
    apart = _direction(ratio) if stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05 else UNDECIDED
    return {"hyperfine, whole processes, its `welch_ttest.py`": Found(apart, apart, ratio)}


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)


TOOLS: dict[str, Callable[[int, int, float], dict[str, Found]]] = {
    each.__name__: each
    for each in (ours, one_after_the_other, torch_timer, pytest_benchmark, pyperf, benchstats, hyperfine)
}


def lacks(tool: str) -> bool:
    """Whether a tool is not installed."""
    if tool == "hyperfine":
        return shutil.which(tool) is None
    return tool in {"pytest_benchmark", "pyperf", "benchstats"} and importlib.util.find_spec(tool) is None


Job = tuple[int, str, int]


def next_job(made: Sequence[Decision], jobs: Iterable[Job], pairs: int, others: float) -> Job | None:
    """Which tool decides next on what beside which load: that which had the least time for its share; None: all are done.

    Args:
        made: decisions so far.
        jobs: load, tool and calls.
        pairs: how many decisions of each are enough.
        others: share of the time that other tools get together; ours come last at 1, others at 0.
    """
    open_ = list(jobs)
    number = {kind: sum((tool == "ours") == kind for _, tool, _ in open_) for kind in (True, False)}
    spent, count = dict.fromkeys(open_, 0.0), dict.fromkeys(open_, 0)
    for each in made:
        job = (each.load, each.tool, each.more)
        if job in spent:
            spent[job] += each.wall_s
            count[job] += 1

    def had(job: Job) -> float:
        own = job[1] == "ours"
        share = 1 - others if own else others
        return spent[job] * number[own] / share if share else math.inf

    return min((job for job in open_ if count[job] < pairs), key=had, default=None)


def decide(job: Job, seconds: float, mean_s: float, times: int = 1) -> list[Decision]:
    """Let a tool decide so many times in one script, beside load processes, in a process session of its own."""
    processes, tool, more = job
    command = [sys.executable, __file__, tool, str(LESS), str(more), str(seconds), str(times)]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    with load.load(processes, mean_s):
        ran = load.run(command, environment)
    if ran.code:
        last = (ran.err.strip().splitlines() or [f"it ended with {ran.code}"])[-1]
        return [Decision(processes, tool, more, ran.wall_s, ran.cpu_s, failed=last)]
    found = [FOUND.validate_json(line) for line in ran.out.splitlines()[-times:]]
    return [Decision(processes, tool, more, ran.wall_s / times, ran.cpu_s / times, each) for each in found]


def decisions(description: str) -> list[Decision]:
    """Decisions in the file that the command line names, after more were made until there are enough or the time is over."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", default="0,2,6", help="load processes")
    parser.add_argument(
        "--asleep", type=float, default=0.0, metavar="S", help="they sleep too, for about as long as S; 0: never"
    )
    parser.add_argument("--more", default=",".join(map(str, MORE)), help=f"calls that are compared with {LESS}")
    parser.add_argument("--pairs", type=int, default=200, help="decisions of each tool on each ratio beside each load")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no further decision after so long")
    parser.add_argument("--others", type=float, default=0.5, help="share of the time for other tools")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--measure", type=float, metavar="S", help="seconds of a decision; 0.5: does it run?")
    parser.add_argument("--times", type=int, default=1, help="decisions of ours by one script, one after the other")
    parser.add_argument("--out", type=Path, default=Path("planted_pairs.jsonl"), help="read, and appended to")
    asked = parser.parse_args()
    loads = [int(each) for each in asked.load.split(",")]
    tools = [each for each in asked.tools.split(",") if not lacks(each)]
    jobs = [(processes, tool, int(more)) for tool in tools for more in asked.more.split(",") for processes in loads]
    made = [LINES.validate_json(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    begin = time.monotonic()
    while time.monotonic() - begin < asked.seconds and (job := next_job(made, jobs, asked.pairs, asked.others)):
        new = decide(job, asked.measure or SECONDS[job[2]], asked.asleep, asked.times if job[1] == "ours" else 1)
        made += new
        with asked.out.open("ab") as out:
            out.writelines(LINES.dump_json(each) + b"\n" for each in new)
        print(f"\r{len(made)} decisions, {time.monotonic() - begin:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [each for each in made if each.load in loads]


# A cell of a table: what was found in each decision, with the seconds that it took.
Cell = Callable[[list[tuple[Found, float]]], str]
NOTHING = "–"


def table(made: Sequence[Decision], columns: Mapping[str, tuple[int, Cell]]) -> str:
    """A Markdown table: a row for each rule or clock and load, with the share of a core that the tool got.

    Args:
        made: decisions.
        columns: head to the calls that were compared, and a cell.
    """
    lines = [f"| tool and rule | load | share of a core | {' | '.join(columns)} |", "|" + " --- |" * (3 + len(columns))]
    for row in dict.fromkeys(row for each in made for row in each.found):
        for processes in sorted({each.load for each in made}):
            there = [each for each in made if each.load == processes and row in each.found]
            cells = [
                cell([(each.found[row], each.wall_s) for each in there if each.more == more])
                for more, cell in columns.values()
            ]
            if {*cells} - {NOTHING}:
                core = sum(each.cpu_s for each in there) / sum(each.wall_s for each in there)
                lines.append(f"| {row} | {processes} | {core:.0%} | {' | '.join(cells)} |")
    lines += [f"| {tool}: not installed |" + f" {NOTHING} |" * (2 + len(columns)) for tool in TOOLS if lacks(tool)]
    failed = [f"{each.tool} beside {each.load}: {each.failed}" for each in made if each.failed]
    return "\n".join([*lines, "", *failed])


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    for _ in range(int(numbers[3])):
        print(FOUND.dump_json(TOOLS[name](int(numbers[0]), int(numbers[1]), float(numbers[2]))).decode())
