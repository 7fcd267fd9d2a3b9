"""How long does each tool take until it says whether 3 % more work is slower, and how often is it right?

    python tests/bench/time_to_decide.py            # at most six minutes; on a quiet machine
    python tests/bench/time_to_decide.py --quick    # does it run? the figures say nothing

The pair is `planted_block.py`: a dense block called 33 times and 34 times (+3.03 %). Every tool decides by its own rule, or has
none. `pip install pyperf benchstats`; `apt-get install hyperfine`. A tool that is not installed has a row that says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from planted_block import LESS, MORE, call_of

if TYPE_CHECKING:
    from modbench.harness.stats.paired import LaunchSamples

# Imports of modbench lie in functions: every launch is a child that imports this file anew.
HERE = Path(__file__).parent
MARGIN = 0.02
NONE = "has none"
# Seconds after which a tool makes no further decision.
LIMIT_S = 75.0


@dataclass
class Row:
    """What a tool came to.

    Attributes:
        tool: its name, and how it was run.
        rule: when it calls a pair different.
        seconds: of each decision.
        called: whether each true +3 % was called slower.
        wrong: whether each identical pair was called different.
        remark: what else must be known.
    """

    tool: str
    rule: str
    seconds: list[float] = field(default_factory=list)
    called: list[bool] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)
    remark: str = ""

    def line(self) -> str:
        """A row of the table."""
        spent = f"{fmean(self.seconds):.1f} s" if self.seconds else "–"
        shares = (f"{sum(each)} of {len(each)}" if each else "–" for each in (self.called, self.wrong))
        return f"| {self.tool} | {self.rule} | {spent} | {' | '.join(shares)} | {self.remark} |"


def alternately(repeats: int) -> Iterator[int]:
    """The slower and the equal side in turn, each so many times, or until the time is up after one of each."""
    start = time.monotonic()
    for number, side in itertools.product(range(repeats), (MORE, LESS)):
        if number and time.monotonic() - start > LIMIT_S:
            return
        yield side


def launch(seed: int, rounds: int, slower: int) -> LaunchSamples:
    """One process that interleaves 33 blocks with `slower` blocks, by the product's session and witnesses."""
    from modbench.harness.machine import counter_sampler
    from modbench.harness.stats.paired import LaunchSamples
    from modbench.harness.timing.interleave import Clock, Effort, Session

    collector = counter_sampler.Collector()
    session = Session(
        {"base": call_of(LESS), "other": call_of(slower)},
        "base",
        rng=random.Random(seed),
        clock=Clock(),
        on_error=lambda _arm, _error: None,
        survivable=(),
        of_samples=counter_sampler.of_samples(1, collector),
        of_blocks=counter_sampler.of_blocks(),
    )
    found = session.measure(Effort(rounds, warm_up_calls=3, warm_up_s=0.05))
    collector.close()
    return LaunchSamples(found.samples["other"], None, found.samples["base"], found.blocks)


def ours(repeats: int, launches: int, rounds: int) -> Iterator[Row]:
    """Ours: forked launches, the product's verdict; then the forecast that `modbench doctor` makes, for this pair."""
    from load import in_a_fresh_process

    from modbench.harness.stats import paired, time_to_detect
    from modbench.harness.stats.block_effects import MEDIAN_PENALTY, differences, spread

    in_a_fresh_process(launch, 0, rounds, LESS)  # starts the fork server
    row = Row(f"**ours**, {launches} launches × {rounds} rounds", f"95 % interval outside the margin of {MARGIN:.0%}")
    starts, turns, block_sds, variances = list[float](), list[float](), list[float](), list[float]()
    seeds = itertools.count(1)
    for slower in alternately(repeats):
        found, begin = list[Any](), time.monotonic()
        for _ in range(launches):
            start = time.monotonic()
            found.append(in_a_fresh_process(launch, next(seeds), rounds, slower))
            inside = sum(found[-1].blocks["wall_s"])
            starts.append(time.monotonic() - start - inside)
            turns.append(inside / rounds)
            block_sds.append(spread(list(differences(found[-1].case, found[-1].anchor).values())))
        pair = paired.compare(found, one_thread=True)
        said = pair.judged(MARGIN).word
        row.seconds.append(time.monotonic() - begin)
        if slower == MORE:
            row.called.append(said == "worse")
        else:
            row.wrong.append(said in {"better", "worse", "different"})
        if pair.effect.sd is not None:
            variances.append(pair.effect.sd**2)
    yield row
    if not variances:
        return
    block_sd = fmean(block_sds)
    between = max(0.0, fmean(variances) - (MEDIAN_PENALTY * block_sd) ** 2 / rounds) ** 0.5
    best = time_to_detect.time_to_decide(time_to_detect.Spread(between, block_sd, fmean(starts), fmean(turns)))
    if best is not None:
        tool = f"**ours**, forecast for this pair: {best.launches} launches × {best.rounds} rounds"
        yield Row(tool, "the same, with 80 % power", [best.seconds], remark=f"launches differ by {between:.2%}")


def torch_timer() -> Iterator[Row]:
    """torch.utils.benchmark: two measurements and their medians; nothing says whether they differ."""
    from torch.utils.benchmark import Timer

    start = time.monotonic()
    a, b = (Timer("call()", globals={"call": call_of(n)}).blocked_autorange().median for n in (LESS, MORE))
    spent = time.monotonic() - start
    yield Row("torch.utils.benchmark, blocked_autorange", NONE, [spent], remark=f"ratio of medians {a / b:.3f}")


_TEST = "from planted_block import call_of\ndef test_block(benchmark): benchmark(call_of({times}))\n"


def pytest_benchmark(repeats: int) -> Iterator[Row]:
    """pytest-benchmark: one run is saved, the next compared with it and failed by a threshold."""
    row = Row("pytest-benchmark", f"`--benchmark-compare-fail=mean:{MARGIN:.0%}`: a threshold, no statistics")
    for slower in alternately(repeats):
        with tempfile.TemporaryDirectory() as name:
            start = time.monotonic()
            if _pytest(Path(name), LESS, "--benchmark-save=base").returncode:
                raise RuntimeError("pytest-benchmark did not save a run")
            done = _pytest(
                Path(name), slower, "--benchmark-compare", f"--benchmark-compare-fail=mean:{100 * MARGIN:g}%"
            )
            row.seconds.append(time.monotonic() - start)
        failed = "Performance has regressed" in done.stdout + done.stderr
        if done.returncode and not failed:
            raise RuntimeError(done.stdout + done.stderr)
        (row.called if slower == MORE else row.wrong).append(failed)
    yield row


def _pytest(folder: Path, times: int, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_block.py").write_text(_TEST.format(times=times))
    return _python(
        *("-m", "pytest", str(folder / "test_block.py"), "-q", "-c", os.devnull, f"--rootdir={folder}"),
        *("-p", "no:cacheprovider", f"--benchmark-storage=file://{folder}/saved", *options),
    )


_BENCH = "import pyperf\nfrom planted_block import call_of\npyperf.Runner().bench_func('block', call_of({times}))\n"


def pyperf(repeats: int, options: list[str]) -> Iterator[Row]:
    """pyperf: benchmarks of both, each in processes of its own, and `compare_to` for every pair, without and with a margin."""
    name = f"pyperf {' '.join(options)}"
    row = Row(name, "`compare_to`: Student's t over the values of all processes")
    margin = f"--min-speed={100 * MARGIN:g}"
    second = Row(name, f"`compare_to {margin}`: the same, and means that differ by the margin or more")
    if importlib.util.find_spec("pyperf") is None:
        row.remark = second.remark = "not installed"
        yield from (row, second)
        return
    with tempfile.TemporaryDirectory() as name:
        files: dict[int, list[Path]] = {LESS: [], MORE: []}
        for number, times in itertools.product(range(repeats), files):
            bench, out = Path(name, "bench.py"), Path(name, f"{times}-{number}.json")
            bench.write_text(_BENCH.format(times=times))
            start = time.monotonic()
            done = _python(str(bench), "--inherit-environ=PYTHONPATH,OMP_NUM_THREADS", "-o", str(out), *options)
            if done.returncode:
                raise RuntimeError(done.stderr)
            row.seconds.append(2 * (time.monotonic() - start))  # a decision takes a benchmark of each
            files[times].append(out)
        for each, asked in ((row, ()), (second, (margin,))):
            for less, more in itertools.product(files[LESS], files[MORE]):
                each.called.append("slower" in _compared(less, more, *asked))
            for same in files.values():
                pairs = itertools.combinations(same, 2)
                each.wrong += [bool({"slower", "faster"} & _compared(*two, *asked)) for two in pairs]
    row.remark = f"{2 * repeats} benchmarks, compared pair by pair"
    second.remark = "the same benchmarks"
    yield from (row, second)


def benchstats(repeats: int, options: dict[str, int]) -> Iterator[Row]:
    """benchstats: both called in turn, in random order, in one process, and a test over the means of ten repetitions."""
    row = Row(
        "benchstats, `qbench`", "Brunner–Munzel over means of ten repetitions, calls interleaved, p < 0.001, no margin"
    )
    if importlib.util.find_spec("benchstats") is None:
        row.remark = "not installed"
        yield row
        return
    from benchstats import qbench

    quiet = {"show_progress_each": 0, "render_report": False, "pvalue_stats_bootstrap": 0}
    for slower in alternately(repeats):
        start = time.monotonic()
        found, _ = qbench.benchmark((call_of(LESS), call_of(slower)), **quiet, **options)
        row.seconds.append(time.monotonic() - start)
        (result,) = [each["mean"].result for each in found.results.values()]
        if slower == MORE:
            row.called.append(result == "<")
        else:
            row.wrong.append(result != "~")
    yield row


def _compared(base: Path, other: Path, *options: str) -> set[str]:
    done = _python("-m", "pyperf", "compare_to", *options, str(base), str(other))
    if done.returncode:
        raise RuntimeError(done.stderr)
    return set(done.stdout.replace(".", " ").split())


def hyperfine(runs: int, calls: int) -> Iterator[Row]:
    """hyperfine: whole processes, torch's import included; a mean and a standard deviation of each."""
    row = Row("hyperfine, whole processes", NONE)
    program = shutil.which("hyperfine")
    if program is None:
        row.remark = "not installed"
        yield row
        return
    with tempfile.TemporaryDirectory() as name:
        out, script = Path(name, "out.json"), HERE / "planted_block.py"
        commands = [f"{sys.executable} {script} {times} {calls}" for times in (LESS, MORE)]
        start = time.monotonic()
        subprocess.run(
            [program, "-N", "--runs", str(runs), "--export-json", str(out), *commands],
            check=True,
            capture_output=True,
            env=_environment(),
        )
        row.seconds.append(time.monotonic() - start)
        a, b = json.loads(out.read_text())["results"]
    row.remark = (
        f"{b['mean'] / a['mean'] - 1:+.1%} ± {100 * (a['stddev'] + b['stddev']) / a['mean']:.1f} % of a process"
    )
    yield row


def _environment() -> dict[str, str]:
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, env=_environment(), timeout=300
    )


def main() -> None:
    from modbench.harness.domain.efforts import EFFORTS

    launches, rounds = EFFORTS["draft"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", type=int, default=launches, help="of ours; the default is draft's")
    parser.add_argument("--rounds", type=int, default=rounds, help="of ours; the default is draft's")
    parser.add_argument("--quick", action="store_true", help="once each, as short as possible")
    options = parser.parse_args()
    quick = options.quick
    few = ["-p", "2", "-n", "1", "-w", "1", "-l", "4"]  # of pyperf: processes, values, warm-ups, calls of a value
    tools: list[Callable[[], Iterator[Row]]] = [
        lambda: ours(1 if quick else 10, 3 if quick else options.launches, 6 if quick else options.rounds),
        torch_timer,
        lambda: pytest_benchmark(1 if quick else 4),
        lambda: pyperf(1 if quick else 2, few if quick else ["--fast"]),
        lambda: benchstats(1 if quick else 10, {"iters": 1, "warmup": 1} if quick else {}),
        lambda: hyperfine(2 if quick else 10, 10 if quick else 100),
    ]
    start = time.monotonic()
    print("| tool | its rule | seconds of a decision | true +3 % called | identical called different | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tool in tools:
        for row in tool():
            print(row.line(), flush=True)
    print(
        f"\n{MORE} against {LESS} calls of a dense block ({MORE / LESS - 1:+.2%}); {time.monotonic() - start:.0f} s in all"
    )


if __name__ == "__main__":
    main()
