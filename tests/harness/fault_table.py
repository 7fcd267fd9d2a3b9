"""What does a fault cost? Each is brought about at random moments of a run of stub units, which is then resumed to its end.

    python tests/harness/fault_table.py

Prints a Markdown table for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
os.environ["MODBENCH_PLUGINS"] = str(HERE / "stubs")
sys.path[:0] = [str(HERE)] * (str(HERE) not in sys.path)

import fault_driver  # noqa: E402  # it reads the variable
from fault_kinds import FAULTS, Fault  # noqa: E402  # as above

# A command may end before the moment: then another moment is drawn.
DRAWS = 24


@dataclass
class Row:
    """What a fault cost, all moments together."""

    fault: str
    moments: int = 0
    codes: list[int] = field(default_factory=list)
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        codes = ", ".join("killed" if code < 0 else str(code) for code in sorted(set(self.codes)))
        return f"| {self.fault} | {self.moments} | {codes} | {self.lost} | {self.duplicated} | {self.wrong} |"


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[str]:
    name = tempfile.mkdtemp(prefix="modbench-fault-")
    yield name
    if not keep:
        shutil.rmtree(name)


Make = Callable[[Path, float, random.Random], fault_driver.Trial]


def stubs(beside: Path, moment: float, rng: random.Random) -> fault_driver.Trial:
    """A trial on stub units."""
    return fault_driver.Trial(beside, PLAN, moment, rng)


def row_of(fault: Fault, moments: int, seed: int, make: Make = stubs, *, keep: bool = False) -> Row:
    """Bring a fault about at random moments, spread over the run."""
    row, rng = Row(fault.name), random.Random(f"{seed} {fault.name}")
    for at in range(moments):
        for draw in range(DRAWS):
            # In some part of a run there may be nothing to harm, such as a worker at its end: then anywhere in it.
            moment = (at + rng.random()) / moments if draw < DRAWS // 4 else rng.random()
            with _folder(keep) as name:
                os.environ["MODBENCH_STATE"] = str(Path(name) / "state")
                trial = make(Path(name), moment, rng)
                if not fault.bring(trial):
                    continue
                lost, duplicated, wrong = trial.counts()
            row.moments += 1
            row.codes += trial.codes
            row.lost, row.duplicated, row.wrong = row.lost + lost, row.duplicated + duplicated, row.wrong + wrong
            where = f"moment {moment:.3f}{f', {name}' * keep}"
            row.problems += [f"{where}: {problem}" for problem in trial.problems]
            if lost or duplicated or wrong:
                row.problems.append(f"{where}: {lost} lost, {duplicated} duplicated, {wrong} wrong")
            break
    return row


def serve(moments: int, seed: int) -> None:
    """Read names of faults from standard input and answer each with a row, for tests that share one process."""
    for line in sys.stdin:
        (fault,) = (each for each in FAULTS if each.name == line.strip())
        print(json.dumps(asdict(row_of(fault, moments, seed))), flush=True)


def arguments(about: str | None, moments: int) -> argparse.Namespace:
    """What a command that prints a table was given."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--moments", type=int, default=moments)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="part of the faults' names")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the trials")
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


def print_table(options: argparse.Namespace, make: Make = stubs) -> None:
    """Print the table; exit 1 if a fault cost something."""
    print("| fault | moments tried | exit codes | lost | duplicated | silently wrong |")
    print("| --- | --- | --- | --- | --- | --- |")
    failed = False
    for fault in FAULTS:
        if options.only in fault.name:
            row = row_of(fault, options.moments, options.seed, make, keep=options.keep)
            print(row.markdown(), flush=True)
            for problem in row.problems:
                print(f"    {problem}", file=sys.stderr, flush=True)
            failed |= bool(row.problems)
    sys.exit(int(failed))


PLAN = fault_driver.prepare()

if __name__ == "__main__":
    given = arguments(__doc__, 20)
    if given.serve:
        serve(given.moments, given.seed)
    else:
        print_table(given)
