"""Run a bench script several times, each in a process of its own, and print every ratio with its interval over these processes.

    python tests/bench/process_times.py 5 tests/bench/matched baselines.py --only llama

The script takes `--json PATH`. One process says nothing about others: processes differ in how they lay out their memory. A row is
the geometric mean over processes with a 95 % t-interval, from three processes on, and the lowest and highest process.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modbench.harness.stats.effects import over_processes

HEADER = """\
| what | against | ratio | 95 % over processes | lowest and highest | processes |
| --- | --- | --- | --- | --- | --- |"""


def launched(number: int, command: Sequence[str]) -> Iterable[list[dict[str, Any]]]:
    """Rows of each process."""
    for process in range(number):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "rows.json")
            print(f"process {process + 1} of {number}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, *command, "--json", str(out)], check=True, stdout=subprocess.DEVNULL)
            yield json.loads(out.read_text(encoding="utf-8"))["rows"]


def lines(processes: Iterable[list[dict[str, Any]]]) -> list[str]:
    """A line for each row that every process measured, and one without a number for any other."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for rows in processes:
        for row in rows:
            found.setdefault((row["what"], row["against"]), []).append(row["value"])
    most = max(map(len, found.values()), default=0)
    return [f"| {' | '.join((*names, *cells(values, most)))} |" for names, values in found.items()]


def cells(values: Sequence[float | None], processes: int) -> tuple[str, str, str, str]:
    """Ratio, interval, range and number of processes."""
    known = [value for value in values if value is not None]
    if len(known) < processes:
        return "–", "–", "–", f"{len(known)} of {processes}"
    effect = over_processes([math.log(value) for value in known])
    between = (
        "–" if effect.low is None or effect.high is None else f"{math.exp(effect.low):.2f}–{math.exp(effect.high):.2f}"
    )
    return f"{math.exp(effect.value):.2f}", between, f"{min(known):.2f}–{max(known):.2f}", str(len(known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("processes", type=int, help="how many; three or more for an interval")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its options, without --json")
    options = parser.parse_args()
    print(HEADER, *lines(launched(options.processes, options.script)), sep="\n")


if __name__ == "__main__":
    main()
