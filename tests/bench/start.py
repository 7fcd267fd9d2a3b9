"""Times `--help` and `list` against a bare interpreter, in interleaved rounds: `python tests/bench/start.py`.

Exits with 1 if a median reaches 0.3 s. Not part of the tests, none of which asserts a time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT_S = 0.3
ROUNDS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "modbench --help": [sys.executable, "-m", "modbench", "--help"],
    "modbench list": [sys.executable, "-m", "modbench", "list"],
}


def main() -> int:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<16} {median:.3f} s (median of {ROUNDS}), least {min(seconds[name]):.3f} s")
    return int(max(medians.values()) >= LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
