"""`compare --paired`: two revisions, timed in processes that take turns and judged like arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modbench.commands._flags import PairedFlags
from modbench.commands._output import say, say_json
from modbench.commands._paired import measure
from modbench.harness.core.errors import UnfitError, UsageError
from modbench.harness.execution.stopping import interrupt_on_end
from modbench.reports.questions import revisions
from modbench.reports.writers import text

# Blocks without `--launches`: a small case takes under five minutes (for their power: tests/bench/paired_power.py).
BLOCKS = 12
FEWEST = 3


def compare_revisions(
    words: Sequence[str],
    given: PairedFlags,
    *,
    launches: int | None = None,
    margin: float | None = None,
    as_json: bool = False,
) -> None:
    """Time two revisions on a suite in processes that take turns, and print how they compare.

    Raises:
        UsageError: if the words are not two revisions and a suite, or the suite times nothing.
        IncompleteError: if it was interrupted.
        UnfitError: if the machine called the same code different, or nothing was compared.
    """
    if len(words) != 3:
        raise UsageError(
            f"--paired takes two revisions and a suite, such as `compare --paired main HEAD quick`; got {len(words)} words."
        )
    number = BLOCKS if launches is None else launches
    if number < FEWEST:
        raise UsageError(f"--launches {number}: an interval needs at least {FEWEST}.")
    interrupt_on_end()
    first, second, suite = words
    asked = measure.request((first, second), suite, given)
    done = measure.measure(replace(asked, amount=str(number)), lambda _: measure.Goal(number, number))
    folder = done.folder
    found = revisions.result(done.blocks, (done.sides[0], done.sides[1]), margin)
    if as_json:
        say_json(found.as_dict() | {"folder": str(folder)}, allow_nan=False)
    else:
        say(f"{text.written(revisions.blocks(found), text.width())}\n\nruns: {folder}")
    if not found.compared:
        raise UnfitError(
            "nothing was compared: no case has a time on both sides. The lines above say why, case by case."
        )
    if found.fooled:
        raise UnfitError(
            f"the same code came out different in {len(found.fooled)} of {len(found.rows)} rows: the machine is too busy or too "
            "uneven now. Try more --launches, or when nothing else runs."
        )
