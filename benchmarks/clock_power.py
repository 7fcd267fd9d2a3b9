"""Planted pairs beside real load, judged by the product: how often is +1, 2, 3 and 5 % *worse*, and an equal pair anything?

    python benchmarks/clock_power.py made.jsonl --tries 8      # measures; again: it goes on
    python benchmarks/clock_power.py made.jsonl --tries 0      # the table of what the file holds

The file holds raw samples, so that any version of modbench can judge the same ones: `PYTHONPATH=OTHER/src python ... --tries 0`.
The pair is that of `planted_block.py`, each side built in random order in each process. Loads are processes that spin, each in a
session of its own (`load.py`). Prints a Markdown table for docs/method-load.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import load
from planted_pairs import LESS, MARGIN, ROUNDS, block_process

from modbench.harness.stats import paired
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.verdicts import Rule

MORE, LOADS, PROCESSES = (100, 101, 102, 103, 105), (0, 2, 6), 5


def measure(file: Path, tries: int) -> None:
    """Append pairs to the file until there are so many of each ratio beside each load; ratios and loads take turns."""
    load.in_a_fresh_process(block_process, 1, 1, 1)  # starts the fork server, as once in a run
    for _ in range(len(read(file)[0, 100]), tries):
        for beside in LOADS:
            with load.load(beside):
                for more in MORE:
                    made = [load.in_a_fresh_process(block_process, LESS, more, ROUNDS) for _ in range(PROCESSES)]
                    line = {"load": beside, "more": more, "processes": [asdict(each) for each in made]}
                    with file.open("a") as opened:
                        opened.write(json.dumps(line) + "\n")


def read(file: Path) -> dict[tuple[int, int], list[list[ProcessSamples]]]:
    """The processes of each pair, by load and calls."""
    found: dict[tuple[int, int], list[list[ProcessSamples]]] = {(beside, more): [] for beside in LOADS for more in MORE}
    for text in file.read_text().splitlines() if file.exists() else ():
        line: dict[str, Any] = json.loads(text)
        found[line["load"], line["more"]].append([ProcessSamples(**each) for each in line["processes"]])
    return found


def main() -> None:
    """Measure, and print what was called *worse*, and of equal pairs what was called *better* or *worse*."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tries", type=int, default=8)
    options = parser.parse_args()
    measure(options.file, options.tries)
    found = read(options.file)
    print(f"| load | equal: *better* or *worse* | {' | '.join(f'+{more - LESS} %: *worse*' for more in MORE[1:])} |")
    print("| --- |" + " --- |" * len(MORE))
    for beside in LOADS:
        cells = []
        for more in MORE:
            rule = Rule(margin=MARGIN)
            judged = [paired.numbers(each, one_thread=True).contrast(rule) for each in found[beside, more]]
            hits = {"worse"} if more > LESS else {"better", "worse"}
            by_cpu = sum(each.by_cpu for each in judged)
            cells.append(f"{sum(each.verdict in hits for each in judged)} of {len(judged)} ({by_cpu} by CPU time)")
        print(f"| {beside} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
