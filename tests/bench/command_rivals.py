"""`modbench ab commands` beside other tools, in the same minutes, on pairs of commands whose truth is known.

    python tests/bench/command_rivals.py runs.jsonl --tries 5 --matched baselines VENV/bin   # measures, appends, prints the table
    python tests/bench/command_rivals.py runs.jsonl                               # the table of what is there

A command counts in plain Python; its pair counts as much, or 3 % more. Each tool runs the commands itself, for about as many
seconds, one tool after the other in random order. What a tool calls different is counted by its own test: ours by its verdict,
hyperfine by the Welch test of its scripts on its export, pyperf by `compare_to`, benchmatrix by `compare --paired`,
inference-doctor by `compare-runs` (limit 2 %) on hyperfine's times. A tool that is not installed has no row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from modbench.harness.stats import verdicts

WORK = "import sys\nx = 0\nfor i in range(int(sys.argv[1])): x = (x * 1103515245 + 12345) & 0x7fffffff\n"
COUNTS = {"equal": 16_000_000, "+3 %": 16_480_000}
BASE = COUNTS["equal"]
MATRIX = """
import subprocess, sys
from benchmatrix import BenchmarkCase, make_benchmark_test
work = {"work": lambda words: subprocess.run(words, check=True)}
test_work = make_benchmark_test(work, [BenchmarkCase.from_values("work", [sys.executable, FILE, COUNT])])
"""
# What a tool says of the new side: slower, faster, or nothing.
SLOWER, FASTER, SAME = "slower", "faster", "no difference"


def said(ratio: float, *, shown: bool) -> str:
    return SAME if not shown else SLOWER if ratio > 1 else FASTER


class Pair:
    """The commands of a pair, and where to run them."""

    def __init__(self, folder: Path, count: int, seconds: float, matches: Path) -> None:
        self.folder, self.seconds, self.matches = folder, seconds, matches
        self.file = folder / "work.py"
        self.file.write_text(WORK)
        self.words = [[sys.executable, str(self.file), str(each)] for each in (BASE, count)]
        self.counts = (BASE, count)
        start = time.monotonic()
        subprocess.run(self.words[0], check=True)
        self.runs = max(5, round(seconds / 2 / (time.monotonic() - start)))

    def tool(self, name: str) -> str:
        found = shutil.which(name, path=f"{self.matches}{os.pathsep}{os.environ['PATH']}")
        if found is None:
            raise FileNotFoundError(name)
        return found

    def call(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.folder, check=False)
        return done.stdout + done.stderr


def modbench(pair: Pair) -> str:
    words = [" ".join(each) for each in pair.words]
    most = ["--max-time", f"{pair.seconds:.0f}s", "--json"]
    told = pair.call(sys.executable, "-m", "modbench", "ab", "commands", *words, *most)
    if "{" not in told:  # the time holds no analysis
        return SAME
    rows = json.loads(told[told.index("{") : told.rindex("}") + 1])["rows"]
    row = next(each for each in rows if each["verdict"] is not None)
    return said(1 / row["ratio"], shown=row["verdict"] in verdicts.APART)


def hyperfine(pair: Pair) -> str:
    out = pair.folder / "hyperfine.json"
    words = [" ".join(each) for each in pair.words]
    pair.call(
        pair.tool("hyperfine"), "-N", "--warmup", "1", "--runs", str(pair.runs), "--export-json", str(out), *words
    )
    base, new = (each["times"] for each in json.loads(out.read_text())["results"])
    return said(
        statistics.fmean(new) / statistics.fmean(base), shown=stats.ttest_ind(base, new, equal_var=False).pvalue < 0.05
    )


def pyperf(pair: Pair) -> str:
    files = [pair.folder / f"{side}.json" for side in ("base", "new")]
    for file, words in zip(files, pair.words, strict=True):
        plan = ["-p", str(max(2, pair.runs // 3)), "-n", "3", "-l", "1", "-w", "0"]
        pair.call(pair.tool("pyperf"), "command", *plan, "-o", str(file), "--", *words)
    told = pair.call(pair.tool("pyperf"), "compare_to", *map(str, files))
    return said(
        2.0 if "slower" in told else 0.5, shown="not significant" not in told and ("slower" in told or "faster" in told)
    )


def benchmatrix(pair: Pair) -> str:
    for side, count in zip(("base", "new"), pair.counts, strict=True):
        folder = pair.folder / side
        folder.mkdir()
        text = MATRIX.replace("FILE", repr(str(pair.file))).replace("COUNT", repr(str(count)))
        (folder / "test_work.py").write_text(text)
    python = str(pair.matches / "python")
    rounds = [
        "--benchmark-min-rounds",
        str(max(2, pair.runs // 15)),
        "--benchmark-max-time",
        "0.1",
        "--benchmark-warmup",
        "off",
    ]
    one = [python, "-m", "pytest", "-q", "--benchmark-only", *rounds, "test_work.py"]
    where = ["--baseline-cwd", "base", "--candidate-cwd", "new", "--output", "matrix"]
    pair.call(pair.tool("benchmatrix"), "collect-paired", "--pairs", "5", *where, "--", *one, ":::", *one)
    told = pair.call(
        pair.tool("benchmatrix"), "compare", "--paired", "--threshold", "2", "--no-config", "--format", "json", "matrix"
    )
    word = re.search(r"\b(regressed|improved|unchanged|inconclusive)\b", told)
    if word is None:
        raise FileNotFoundError(f"benchmatrix: {told[-200:]}")
    return {"regressed": SLOWER, "improved": FASTER}.get(word[1], SAME)


def inference_doctor(pair: Pair) -> str:
    known = json.loads((pair.folder / "hyperfine.json").read_text())["results"]
    for side, each in zip(("d-base", "d-new"), known, strict=True):
        (pair.folder / side).mkdir()
        for number, seconds in enumerate(each["times"]):
            told = {
                "schema_version": "1",
                "environment": {"gpu": "none", "model": "work"},
                "benchmark_parameters": {"n": 1},
            }
            told |= {"metrics": {"e2el_ms": {"mean": 1000 * seconds, "median": 1000 * seconds}}}
            (pair.folder / side / f"repetition-{number:03d}.json").write_text(json.dumps(told))
    sides = ["--baseline", "d-base", "--candidate", "d-new", "--metric", "e2el_mean_ms", "--regression-percent", "2"]
    printed = pair.call(pair.tool("inference-doctor"), "compare-runs", *sides)
    word = re.search(r"\b(PASS|FAIL|INCONCLUSIVE)\b", printed)
    if word is None:
        raise FileNotFoundError(f"inference-doctor: {printed[-200:]}")
    return SLOWER if word[1] == "FAIL" else SAME


TOOLS: dict[str, Callable[[Pair], str]] = {
    "modbench ab": modbench,
    "hyperfine": hyperfine,
    "pyperf": pyperf,
    "benchmatrix": benchmatrix,
}


def measure(file: Path, tries: int, seconds: float, matches: Path, tools: Sequence[str]) -> None:
    rng = random.Random(int(time.time()))
    for _ in range(tries):
        for truth in rng.sample([*COUNTS], len(COUNTS)):
            with tempfile.TemporaryDirectory() as folder:
                pair = Pair(Path(folder), COUNTS[truth], seconds, matches)
                order = rng.sample(tools, len(tools))
                for name in [*order, "inference-doctor"]:
                    start, told = time.monotonic(), dict[str, Any](tool=name, truth=truth, load=os.getloadavg()[0])
                    try:
                        told["said"] = (TOOLS | {"inference-doctor": inference_doctor})[name](pair)
                    except (FileNotFoundError, ValueError, KeyError) as error:
                        told["error"] = f"{type(error).__name__}: {error}"[:200]
                    told["seconds"] = round(time.monotonic() - start, 1)
                    print(told, flush=True)
                    with file.open("a") as out:
                        out.write(json.dumps(told) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tries", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--tools", default=",".join(TOOLS), help="benchmatrix takes several minutes for a pair")
    parser.add_argument("--matches", type=Path, default=Path(sys.executable).parent)
    asked = parser.parse_args()
    measure(asked.file, asked.tries, asked.seconds, asked.matches, asked.tools.split(","))
    rows = [json.loads(line) for line in asked.file.read_text().splitlines()]
    print(
        f"{'tool':18} {'equal: called different':>24} {'+3 %: called slower':>20} {'faster':>7} {'seconds':>8} {'load':>5}"
    )
    for name in dict.fromkeys(each["tool"] for each in rows):
        mine = [each for each in rows if each["tool"] == name and "said" in each]
        equal, slower = ([each["said"] for each in mine if each["truth"] == truth] for truth in COUNTS)
        if mine:
            took, load = (statistics.fmean(each[key] for each in mine) for key in ("seconds", "load"))
            false, right = (
                f"{len(equal) - equal.count(SAME)} of {len(equal)}",
                f"{slower.count(SLOWER)} of {len(slower)}",
            )
            print(f"{name:18} {false:>24} {right:>20} {slower.count(FASTER):>7} {took:8.0f} {load:5.1f}")


if __name__ == "__main__":
    main()
