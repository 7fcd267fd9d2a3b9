"""The flags that every kind of `modbench ab` has, and the output of its result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.extend import (
    FormatFlag,
    JsonFlag,
    OptionFlag,
    SelectFlag,
    SeqLenFlag,
    SetFlag,
    TimeoutFlag,
    UsageError,
    checked_format,
    checked_margin,
    parse_duration,
    say,
    say_json,
)

if TYPE_CHECKING:
    from fractions import Fraction

    from modbench.extend import FailOn
    from modbench.plugins.ab.compared import Asked, Compared
    from modbench.plugins.ab.question import Result

MARGIN = 0.02
MAX_TIME = "10min"


@dataclass(frozen=True, kw_only=True)
class StoredFlags:
    """The flags of every comparison, as typed."""

    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            parser=str,
            callback=checked_margin,
            help="Equivalence margin: the largest difference that does not matter; default 2%, or the suite's.",
        ),
    ] = None
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CHECK:LIMIT",
            help="Exit 1 if NEW is worse: slower:2%, by CPU time cpu:2%, a value NAME:1%.",
        ),
    ] = None
    allow_inconclusive: Annotated[
        bool,
        typer.Option("--allow-inconclusive", help="Exit 0 where it is inconclusive, unless nothing was compared."),
    ] = False
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the blocks and the HTML report; continues what was interrupted.",
        ),
    ] = None
    style: FormatFlag = "text"
    as_json: JsonFlag = False


@dataclass(frozen=True, kw_only=True)
class AbFlags(StoredFlags):
    """The flags of two sides that take turns, as typed."""

    max_time: Annotated[
        str | None, typer.Option("--max-time", metavar="DURATION", help=f"Longest time to measure; default {MAX_TIME}.")
    ] = None
    blocks: Annotated[
        int | None, typer.Option("--blocks", metavar="N", help="Blocks to measure, unless a verdict comes before.")
    ] = None

    def asked(self, margin: float = MARGIN, values: Sequence[str] = ()) -> Asked:
        """What they ask.

        Args:
            margin: of times, where none was given.
            values: names that `--fail-on` may have too.

        Raises:
            UsageError: if a flag is invalid, or two do not go together.
        """
        from modbench.extend import ALTERNATED, FEWEST
        from modbench.plugins.ab.compared import Asked
        from modbench.plugins.ab.question import MOST_BLOCKS

        checked_format(self.style, as_json=self.as_json)
        if self.margin is not None and self.fail_on:
            raise UsageError(
                "--margin and --fail-on do not go together: the limit is the margin. Write --fail-on slower:2%."
            )
        if self.blocks is not None and not FEWEST <= self.blocks <= MOST_BLOCKS:
            raise UsageError(
                f"--blocks {self.blocks}: an interval needs at least {FEWEST}, and {MOST_BLOCKS} are the most."
            )
        checks = checks_of(self.fail_on, values) if self.fail_on else None
        limit_s = None
        if self.max_time is not None or self.blocks is None:
            limit_s = parse_duration(self.max_time or MAX_TIME, "--max-time", "90s, 10min or 1h")
        if checks is not None:
            margin = next((float(checks.limits[each] or 0) for each in ALTERNATED if each in checks.limits), margin)
        return Asked(margin if self.margin is None else self.margin, checks, limit_s, self.blocks)


@dataclass(frozen=True, kw_only=True)
class SuiteFlags(AbFlags):
    """The flags of two sides that are timed by a suite, as typed."""

    option: OptionFlag = None
    settings: SetFlag = None
    seq_len: SeqLenFlag = None
    select: SelectFlag = None
    timeout: TimeoutFlag = None


def checks_of(given: Sequence[str], values: Sequence[str]) -> FailOn:
    """Read `--fail-on`: one check of times, and one of each value.

    Raises:
        UsageError: if a check is unknown here, named twice, or its limit is not a share above 0.
    """
    from modbench.extend import ALTERNATED, FailOn, parse_fail_on, parse_share

    limits: dict[str, Fraction | None] = {}
    times = list[str]()
    for part in (part.strip() for text in given for part in text.split(",")):
        name, _, limit = (each.strip() for each in part.partition(":"))
        if name not in values:
            times.append(part)
        elif name in limits:
            raise UsageError(f"--fail-on names {name} twice. Give each check one limit.")
        else:
            limits[name] = parse_share(limit, f"--fail-on {name}")
            if not limits[name]:
                raise UsageError(
                    f"--fail-on {name}:{limit} is not above 0%: no interval ends at exactly 0. Write {name}:0.2%."
                )
    checks = parse_fail_on(times) if times else FailOn({})
    if len(checks.limits) > 1 or not checks.limits.keys() <= {*ALTERNATED}:
        also = "".join(f", {name}:0.2%" for name in values)
        raise UsageError(
            f"--fail-on takes one check of times here, slower:2% or cpu:2%{also}. The others are those of "
            "`modbench gate BASE NEW`."
        )
    return FailOn({**checks.limits, **limits})


def compare(opened: AbstractContextManager[Compared], flags: AbFlags) -> None:
    """Measure, print the result, and end with its exit code."""
    from modbench.extend import interrupt_on_end
    from modbench.plugins.ab.loop import Line, Loop

    interrupt_on_end()
    with opened as compared, Line() as line:
        result = Loop(compared, tell=line.show).run()
    code = result.exit_code(allow_inconclusive=flags.allow_inconclusive)
    tell(result, flags, code)
    raise typer.Exit(code)


def tell(result: Result, flags: StoredFlags, code: int) -> None:
    """Print a result; write its page into its folder."""
    from modbench.extend import add_summary, text_writer
    from modbench.plugins.ab.terminal import annotated, as_text, summary

    if result.folder:
        Path(result.folder).mkdir(parents=True, exist_ok=True)
        write_page(result, ["modbench", *sys.argv[1:]])
    if flags.as_json:
        say_json(result.as_dict(allow_inconclusive=flags.allow_inconclusive), allow_nan=False)
    elif flags.style == "github":
        say("\n".join(annotated(result)))
        add_summary(lambda most: summary(result, most), f"modbench ab: {result.verdict or 'compared'}")
    else:
        say("\n".join(as_text(result, text_writer.width(), code)))


def write_page(made: Result, command: Sequence[str]) -> Path:
    """Write the result as a page into its folder."""
    from modbench.extend import REPORT_FILE as PAGE
    from modbench.extend import page_layout, write_atomically
    from modbench.plugins.ab.question import page_of

    path = Path(made.folder) / PAGE
    write_atomically(path, page_layout.html(page_of(made, command)))
    return path
