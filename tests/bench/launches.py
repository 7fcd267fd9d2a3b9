"""Run a bench script several times, each in a process of its own, and print every ratio with its interval over these launches.

    python tests/bench/launches.py 5 tests/bench/rivals.py --only llama

The script takes `--json PATH`. One launch says nothing about others: processes differ in how they lay out their memory. A row is
the geometric mean over launches with a 95 % t-interval, from three launches on, and the lowest and highest launch.
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

from modbench.harness.stats.effects import over_launches

HEADER = """\
| what | against | ratio | 95 % over launches | lowest and highest | launches |
| --- | --- | --- | --- | --- | --- |"""


def launched(number: int, command: Sequence[str]) -> Iterable[list[dict[str, Any]]]:
    """Rows of each launch."""
    for launch in range(number):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "rows.json")
            print(f"launch {launch + 1} of {number}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, *command, "--json", str(out)], check=True, stdout=subprocess.DEVNULL)
            yield json.loads(out.read_text(encoding="utf-8"))["rows"]


def lines(launches: Iterable[list[dict[str, Any]]]) -> list[str]:
    """A line for each row that every launch measured, and one without a number for any other."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for rows in launches:
        for row in rows:
            found.setdefault((row["what"], row["against"]), []).append(row["value"])
    most = max(map(len, found.values()), default=0)
    return [f"| {' | '.join((*names, *cells(values, most)))} |" for names, values in found.items()]


def cells(values: Sequence[float | None], launches: int) -> tuple[str, str, str, str]:
    """Ratio, interval, range and number of launches."""
    known = [value for value in values if value is not None]
    if len(known) < launches:
        return "–", "–", "–", f"{len(known)} of {launches}"
    effect = over_launches([math.log(value) for value in known])
    between = (
        "–" if effect.low is None or effect.high is None else f"{math.exp(effect.low):.2f}–{math.exp(effect.high):.2f}"
    )
    return f"{math.exp(effect.value):.2f}", between, f"{min(known):.2f}–{max(known):.2f}", str(len(known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("launches", type=int, help="how many; three or more for an interval")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its options, without --json")
    options = parser.parse_args()
    print(HEADER, *lines(launched(options.launches, options.script)), sep="\n")


if __name__ == "__main__":
    main()
