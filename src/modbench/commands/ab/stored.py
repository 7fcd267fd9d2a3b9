"""The result of a comparison that was measured before, from its folder, of which nothing that it names is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modbench.commands._output import say, say_json
from modbench.commands.ab import folder as ab_folder
from modbench.commands.ab.commands import Commands
from modbench.commands.ab.compared import Asked
from modbench.commands.ab.flags import SuiteFlags, write_page
from modbench.commands.ab.loop import Loop
from modbench.commands.ab.sides import Side
from modbench.commands.ab.suites import Suites
from modbench.harness.core.errors import IncompleteError
from modbench.reports.questions.ab import Result
from modbench.reports.questions.gate.fail_on import parse
from modbench.reports.terminal.ab import as_text
from modbench.reports.writers import text


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
    asked = Asked(known.margin, parse([known.fail_on]) if known.fail_on else None, None, known.blocks)
    if sides.kind == "commands":
        return Loop(Commands(sides.words, ((), ()), asked, path, 0.0)).run(), ended.command
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
        say(str(page) if quiet else "\n".join(as_text(made, text.width(), 0)))
