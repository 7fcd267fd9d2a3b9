"""The result of a comparison that was measured before, from its folder, of which nothing that it names is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modbench.extend import IncompleteError, say, say_json, text_writer
from modbench.plugins.ab import folder as ab_folder
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.flags import SuiteFlags, checks_of, write_page
from modbench.plugins.ab.loop import Loop
from modbench.plugins.ab.printed import Reads
from modbench.plugins.ab.question import Result
from modbench.plugins.ab.sides import Side
from modbench.plugins.ab.suites import Suites
from modbench.plugins.ab.terminal import as_text
from modbench.plugins.ab.two_commands import Commands


def result(path: Path) -> tuple[Result, Sequence[str]]:
    """Return the result of a finished comparison, as it was printed, and the command that made it.

    Raises:
        IncompleteError: if it is not finished.
        DamagedError: if a file of it is damaged.
    """
    ended = ab_folder.ended(path)
    if ended is None:
        raise IncompleteError(f"{path} is not finished: the command that began it goes on with it.")
    sides, known = ab_folder.known(path)
    reads = ab_folder.reads(path) if sides.kind == "commands" else Reads()
    checks = checks_of([known.fail_on], [each.name for each in reads.values]) if known.fail_on else None
    asked = Asked(known.margin, checks, None, known.blocks)
    if sides.kind == "commands":
        return Loop(Commands(sides.words, ((), ()), asked, path, 0.0, reads)).run(), ended.command
    base, new = (Side(words, "") for words in sides.words)
    suites = Suites("", (), SuiteFlags(), asked, (base, new), path, builds=sides.kind == "builds")
    return Loop(suites).run(), ended.command


def report(path: Path, *, as_json: bool, quiet: bool) -> None:
    """Print the result of a finished comparison, and write its page again."""
    made, command = result(path)
    page = write_page(made, command)
    if as_json:
        say_json(made.as_dict(), allow_nan=False)
    else:
        say(str(page) if quiet else "\n".join(as_text(made, text_writer.width(), 0)))


REPORT = report
