"""`modbench compare --paired`: two revisions of one suite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from modbench.commands._output import say, say_json
from modbench.harness.core.errors import UnfitError, UsageError


def paired(
    words: Sequence[str],
    *,
    models: Sequence[str] = (),
    settings: Sequence[str] = (),
    lengths: Sequence[int] = (),
    select: str | None = None,
    launches: int | None = None,
    margin: float | None = None,
    timeout: str | None = None,
    out: str | None = None,
    as_json: bool = False,
) -> None:
    """Time two revisions in processes that take turns and print how they compare.

    Args:
        words: the two revisions and the suite.
        models: values of `--model`.
        settings: values of `--set`.
        lengths: values of `--seq-len`.
        select: `-k` expression.
        launches: blocks of three processes; None: the default.
        margin: the largest difference that does not matter, as a share; None: the suite's.
        timeout: the longest time of a unit, such as `10min`; None: from its prediction.
        out: folder for the run folders; None: one in `runs/`.
        as_json: whether to print JSON.

    Raises:
        UsageError: if the words are not two revisions and a suite, or the suite times nothing.
        IncompleteError: if it was interrupted.
        UnfitError: if the machine called the same code different, or nothing was compared.
    """
    from modbench import api
    from modbench.commands._flags import Flags
    from modbench.harness.core import catalogue
    from modbench.harness.core.units import parse_duration
    from modbench.harness.execution import stopping
    from modbench.reports.questions import revisions
    from modbench.reports.writers import text
    from modbench.tools import paired as tool

    if len(words) != 3:
        raise UsageError(
            f"--paired takes two revisions and a suite, such as `compare --paired main HEAD quick`; got {len(words)} words."
        )
    first, second, suite = words
    flags = [word for setting in settings for word in ("--set", setting)]
    flags += ["--seq-len", ",".join(map(str, lengths))] if lengths else []
    request = tool.Request(
        (first, second),
        suite,
        tuple(models),
        select,
        tuple(flags),
        tool.BLOCKS if launches is None else launches,
        timeout=timeout,
        timeout_s=None if timeout is None else parse_duration(timeout, "--timeout"),
    )
    stopping.interrupt_on_end()
    # Planned here first, so that a mistake shows before anything runs.
    known_lengths = [str(length) for length in lengths] or None
    wanted = Flags(model=list(models) or None, seq_len=known_lengths, settings=list(settings) or None)
    plan = api.make_plan(suite, wanted.overrides(), select)
    known = catalogue.metrics()
    timed = [key for key in plan.suite.metrics if catalogue.pass_of(known[key]).times and not known[key].source]
    if not timed:
        raise UsageError(
            f"{suite} times nothing: --paired compares times. Name one: --set 'metrics=[\"latency/forward\"]'."
        )
    done = tool.measure(
        replace(request, metrics=tuple(timed)),
        plan.suite.name,
        out,
        lambda line: print(line, file=sys.stderr, flush=True),
        device=plan.device,
        threads=plan.suite.threads,
    )
    folder = done.folder
    found = revisions.result(done.blocks, done.sides, margin)
    if as_json:
        say_json(found.as_dict() | {"folder": str(folder)}, allow_nan=False)
    else:
        say(f"{revisions.in_words(found, text.width())}\n\nruns: {folder}")
    if all(row.effect is None for row in found.rows):
        raise UnfitError(
            "nothing was compared: no case has a time on both sides. The lines above say why, case by case."
        )
    if found.fooled:
        raise UnfitError(
            f"the same code came out different in {len(found.fooled)} of {len(found.rows)} rows: the machine is too busy or too "
            "uneven now. Try more --launches, or when nothing else runs."
        )
