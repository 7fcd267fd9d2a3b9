"""Output of commands: tables, text and JSON in which data cannot steer a terminal, and the summary of a run."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped, escaped_json

if TYPE_CHECKING:
    from modbench.api import Finished


# What is coloured on a terminal: faster and slower in about the colours of the page's map, and warnings.
_COLOURS = (
    (r"\d[\d.,]*×(?:±[\d.]+)?▲", "35"),
    (r"\d[\d.,]*×(?:±[\d.]+)?▼", "33"),
    (r"(?m)^(?:failed:|⚠|≠).*$", "1;33"),
)


def say(text: str, to: TextIO | None = None) -> None:
    """Print a text, control characters as escapes, to standard output or `to`; coloured on a terminal, unless NO_COLOR is set."""
    safe, stream = masked(escaped(text)), to or sys.stdout
    print(coloured(safe) if stream.isatty() and colours() else safe, file=stream, flush=True)


def colours() -> bool:
    """Whether colours are allowed: NO_COLOR (no-color.org) is not set, and the terminal has some."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str) -> str:
    """Return the text with ratios that were found faster or slower, failures and warnings in colour."""
    for pattern, colour in _COLOURS:
        text = re.sub(pattern, f"\033[{colour}m\\g<0>\033[0m", text)
    return text


def say_json(data: object, *, allow_nan: bool = True) -> None:
    """Print JSON, with control characters as JSON's escapes."""
    print(masked(escaped_json(json.dumps(data, indent=1, allow_nan=allow_nan, default=_value))), flush=True)


def _value(said: object) -> object:
    from modbench.reports.markup.data import value

    return value(said)


def print_summary(
    finished: Finished, *, as_json: bool, quiet: bool = False, verbose: bool = False, every_file: bool = False
) -> None:
    """Print the summary of a run as text or JSON; quietly only the path of the report, and failures on standard error.

    Args:
        finished: the run.
        as_json: whether JSON is printed.
        quiet: whether text is paths alone.
        verbose: whether the text leaves nothing out.
        every_file: whether the paths are those of all files that were written.
    """
    from modbench.reports.questions import machine_check
    from modbench.reports.terminal import printed_run

    if quiet and not as_json:
        lines = [] if finished.loaded.measured else [machine_check.nothing_measured(finished.loaded)]
        if lines := [*lines, *printed_run.troubles(finished.loaded)]:
            say("\n".join(lines), sys.stderr)
        say("\n".join(map(str, finished.files if every_file else [finished.report])))
        return
    result = (finished.loaded, finished.report, finished.wall_s)
    files = [str(file) for file in finished.files]
    if as_json:
        say_json(printed_run.as_json(*result) | ({"files": files} if files else {}))
    else:
        # The page and tables in the run folder are expected: they are not named one by one.
        usual = {
            str(file) for file in finished.files if file.parent == finished.folder and file.suffix in {".html", ".csv"}
        }
        others = [file for file in files if file not in usual and file != str(finished.report)]
        say("\n".join([printed_run.closing(*result, verbose=verbose), *(f"also: {file}" for file in others)]))


def chosen_run(named: str | None, *, quiet: bool = False, as_json: bool = False, with_values: bool = False) -> str:
    """The run folder that a command reads: the one that was named, or else the newest in `runs/`, which is then named first.

    Args:
        named: the folder as typed; None: the newest.
        with_values: whether the newest is that of the runs that have a value; newer ones are named or counted.
        quiet: whether standard output takes paths alone: the name then goes to standard error.
        as_json: whether JSON is printed, which names the run itself.

    Raises:
        UsageError: if it is not a run folder, or there is no newest.
    """
    from modbench.harness.core.errors import UsageError
    from modbench.harness.results import layout

    if named is not None:
        layout.run_file(named)  # before anything heavy is imported
        return named
    newest, said = layout.newest(), "newest run"
    found = newest
    if with_values:
        from modbench.harness.results.record_files import has_values

        passed = [*itertools.takewhile(lambda run: not has_values(run), runs := layout.stored())]
        if len(passed) == len(runs):
            raise UsageError(
                f"no RUN was named, and none in {layout.RUNS}/ here has a value; the newest is {newest}. `modbench report` says "
                "why."
            )
        if passed:
            found = runs[len(passed)]
            those = f"{newest} has" if len(passed) == 1 else f"{len(passed)} newer runs have"
            said = f"{those} no value; newest run that has one"
    if not as_json:
        say(f"{said}: {found}", sys.stderr if quiet else None)
    return str(found)


def elided(lines: Sequence[str], most: int, what: str) -> list[str]:
    """The first and the last lines, no more than `most`, with the number of those between."""
    if len(lines) <= most:
        return [*lines]
    first, last = most // 2, most - most // 2 - 1
    left_out = f"… {len(lines) - first - last:,} {what} between these: -v and --json have all"
    return [*lines[:first], left_out, *lines[len(lines) - last :]]


def add_summary(made: Callable[[int], str], done: str) -> None:
    """Add a job summary to the file that GitHub names, and say so; or print it where it names none.

    Args:
        made: the summary, of at most so many bytes; empty where they do not hold even its first lines.
        done: the result in a few words.
    """
    from modbench.reports.markup import markdown

    named = os.environ.get(markdown.VARIABLE)
    if not named:
        say(f"{markdown.VARIABLE} is not set, so the job summary follows.\n")
        say(made(markdown.MOST_BYTES))
        return
    file = Path(named)
    text = made(markdown.room(file))
    with file.open("a", encoding="utf-8") as open_file:
        open_file.write(text)
    full = "" if text else f", which is full: GitHub takes {markdown.MOST_BYTES:,} bytes of a step"
    say(f"{done}; the job summary was added to {named}{full}")
