"""`modbench ab` with `--fail-on` on planted changes: what it says each time, and how long it takes.

    python tests/bench/gate_trials.py --tries 2                  # two builds, and two revisions
    python tests/bench/gate_trials.py --tries 2 --load 4         # the same beside processes that spin

The base is the model of `busy_machine.py` with 30 layers; the change has 30, 31 or 33 of them: 0, 3.3 and 10 % more. Prints a
Markdown table for docs/method-gate.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE, HEADS = 30, (30, 31, 33)
FLAGS = ("--seq-len=128", "--set=metrics=latency/forward", "--set=d_model=256", "--fail-on=slower:2%", "--json")
MODEL = "from busy_machine import Stack\n\n\ndef build(config):\n    return Stack(config.vocab_size, config.d_model, {layers})\n"


def git(folder: Path, *words: str) -> None:
    """Run git as somebody."""
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    program = shutil.which("git") or "git"
    subprocess.run([program, "-C", str(folder), *words], check=True, capture_output=True, env=os.environ | who)


def builds(folder: Path, layers: int) -> list[str]:
    """The words for two builds."""
    for name, number in (("base", BASE), ("head", layers)):
        (folder / f"{name}.py").write_text(MODEL.format(layers=number), encoding="utf-8")
    return ["builds", "base.py:build", "head.py:build", "quick"]


def revisions(folder: Path, layers: int) -> list[str]:
    """The words for two revisions of a repository, the first of which is tagged."""
    git(folder, "init", "-q")
    for number in (BASE, layers):
        (folder / "mine.py").write_text(MODEL.format(layers=number), encoding="utf-8")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", "layers")
    return ["revisions", "HEAD~1", "HEAD", "quick", "--model", "mine.py:build"]


def trial(words: list[str], folder: Path, max_time: str) -> str:
    """One comparison, as cells of a table: the verdict, the ratio, the clock, blocks and time."""
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent)}
    command = [sys.executable, "-P", "-m", "modbench", "ab", *words, *FLAGS, "--max-time", max_time]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - start
    if done.returncode not in {0, 1, 5}:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    ratio = "none" if row["ratio"] is None else f"{row['ratio']:.3f} [{row['ci_low']:.3f}–{row['ci_high']:.3f}]"
    clock = "CPU" if row["by_cpu"] else "wall"
    blocks = f"{found['blocks']} of {found['planned']} | {found['block_s'] or math.nan:.1f} s"
    return f"{found['verdict']} | {ratio} | {clock} | {blocks} | {took:.0f} s"


def main() -> None:
    """Run all, and print a row for each."""
    from load import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument("--load", type=int, default=0, help="processes that spin beside it")
    parser.add_argument("--max-time", default="10m")
    parser.add_argument("--layers", type=int, nargs="+", default=HEADS, help="of the change")
    parser.add_argument("--sides", choices=("both", "builds", "revisions"), default="both")
    asked = parser.parse_args()
    ways = {"builds": builds, "revisions": revisions}
    print("| load | sides | change | verdict | ratio | clock | blocks | a block | took |\n" + "| --- " * 9 + "|")
    with load(asked.load):
        for name, way in ways.items():
            if asked.sides not in {name, "both"}:
                continue
            for layers in asked.layers:
                for _ in range(asked.tries):
                    with tempfile.TemporaryDirectory() as folder:
                        row = trial(way(Path(folder), layers), Path(folder), asked.max_time)
                    print(f"| {asked.load} | {name} | +{layers / BASE - 1:.1%} | {row} |", flush=True)


if __name__ == "__main__":
    main()
