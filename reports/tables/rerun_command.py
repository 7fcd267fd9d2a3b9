"""The command that measures some cases of a run again, and nothing else: from the run's own command and `-k`."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from getopt import GetoptError, gnu_getopt
from itertools import takewhile

from modbench.harness.core.masking import MASK
from modbench.harness.domain.case import Case
from modbench.harness.planning.select import compile_expression
from modbench.harness.results.run_file import StoredRun

# Options of `modbench run` that say what is measured, with a value and without; the others say where to and how it is shown.
KEPT = (
    *("--model", "--match", "--option", "--capacity", "--router", "--plugin", "--set", "--effort", "--variants-from"),
    *("--seq-len", "--batch-size", "--input-len", "--output-len", "--device", "--dtype", "--seeds", "--corpus"),
)
KEPT_ALONE = ("--compile", "--only")
LEFT = ("--title", "-o", "--out", "-k", "--timeout", "--launcher", "--launcher-profile")
LEFT_ALONE = ("--audit", "--strict", "--json", "-q", "--quiet", "-v", "--verbose")
UNKNOWN = "The run's command has {!r}, of which it is not known what it changes."


@dataclass(frozen=True)
class RunCommand:
    """What a run's command asked for, as typed: the suite, options that say what is measured, and `-k`."""

    suite: str
    flags: tuple[tuple[str, ...], ...]
    select: str | None = None


class NotAgainError(Exception):
    """Why no command can be given, as a sentence."""


def parse_command(command: Sequence[str]) -> RunCommand:
    """Read the command of a run.

    Raises:
        NotAgainError: if it is not `modbench run SUITE …`, or holds what is not known or was masked.
    """
    if command[1:2] != ["run"]:
        raise NotAgainError("This run was not started by modbench run, so that no command measures a part of it again.")
    if any(MASK in word for word in command):
        raise NotAgainError("The run's command holds a masked value: repeat it with that value, and with -k.")
    known = dict.fromkeys((*KEPT, *LEFT), "=") | dict.fromkeys((*KEPT_ALONE, *LEFT_ALONE), "")
    long = [option[2:] + value for option, value in known.items() if option.startswith("--")]
    try:
        options, named = gnu_getopt([*takewhile("--".__ne__, command[2:])], "o:k:qv", long)
    except GetoptError as error:
        raise NotAgainError(UNKNOWN.format("-" * min(2, len(error.opt)) + error.opt)) from None
    if len(named) != 1:
        raise NotAgainError(UNKNOWN.format(named[1]) if named else "The run's command names no suite.")
    flags = (each[:1] if each[0] in KEPT_ALONE else each for each in options if each[0] in (*KEPT, *KEPT_ALONE))
    return RunCommand(named[0], tuple(flags), dict(options).get("-k"))


def suite_of(run: StoredRun) -> str:
    """Return the suite as the run's command named it, as a word of a command; `SUITE` where no command did."""
    try:
        return shlex.quote(parse_command(run.command).suite)
    except NotAgainError:
        return "SUITE"


def _sets(flag: tuple[str, ...]) -> str:
    """What a flag sets: `--seeds`, `--set processes`."""
    return f"--set {flag[1].partition('=')[0]}" if flag[0] == "--set" else flag[0]


class Again:
    """Commands that measure cases of one run again."""

    def __init__(self, run: StoredRun) -> None:
        self.run, self.plan = run, run.plan
        self._all = "\n".join(case.id.lower() for case in run.plan.cases)

    @functools.cached_property
    def _original(self) -> RunCommand:
        """What the run's command asked for."""
        return parse_command(self.run.command)

    def command(
        self,
        wanted: Iterable[Case],
        metric: str | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        everywhere: bool = False,
    ) -> str:
        """Return the command for some cases, each with its baseline.

        Args:
            wanted: cases of the run.
            metric: the only one that is measured, or several joined by commas; None: all that the run measured.
            settings: what is asked for instead of what the run's command says: `--seeds`, `--set processes`.
            everywhere: take the variants of these cases in all places, also those that the run does not have.

        Raises:
            NotAgainError: if there is none.
        """
        wanted = list(wanted)
        instead = ({} if metric is None else {"--set metrics": metric}) | dict(settings or {})
        instead |= {"--match": "none"} if self._lacks_matches(wanted) else {}
        flags = [flag for flag in self._original.flags if _sets(flag) not in instead]
        for what, value in instead.items():
            option, _, key = what.partition(" ")
            flags.append((option, f"{key}={value}" if key else value))
        words = [word for flag in flags for word in flag]
        selected = self._selected(wanted, metric, everywhere=everywhere)
        return shlex.join(["modbench", "run", self._original.suite, "-k", selected, *words])

    def if_any(self, wanted: Iterable[Case], metric: str | None = None) -> tuple[str | None, str]:
        """Return the command for some cases, or None and why there is none."""
        try:
            return self.command(wanted, metric), ""
        except NotAgainError as error:
            return None, str(error)

    def _lacks_matches(self, wanted: Sequence[Case]) -> bool:
        """Whether users' models are among these cases without any of their matched baselines, which `-k` keeps."""
        own, here = {case.variant for case in wanted if case.is_user_model}, {case.variant for case in wanted}
        here |= {each.variants[0].variant for each in self.plan.comparisons}  # anchors are measured in any case
        beside = {matched.variant for matched in self.plan.matched_baselines if matched.target in own}
        return self.plan.suite.match != "none" and bool(beside) and not beside & here

    def _selected(self, wanted: list[Case], metric: str | None, *, everywhere: bool) -> str:
        """An expression that matches these cases and no others; of variants in all their places, the shorter one."""
        variants = {case.variant: _named(_without_place(case)) for case in wanted}
        every = {case.id for case in self._measured(metric) if case.variant in variants}
        if everywhere or (len(wanted) > len(variants) and every == {case.id for case in wanted}):
            said, select = " or ".join(variants.values()), None if everywhere else self._original.select
            others = [case.id for case in self._matched(said) if case.variant not in variants]
            if not others:
                return f"({select}) and ({said})" if select else said
            if everywhere:
                raise NotAgainError(f"-k selects {', '.join(others)} with {', '.join(variants)}.")
        return " or ".join(self._one(case) for case in [*wanted, *self._rates(wanted)])

    def _matched(self, expression: str) -> list[Case]:
        """The cases of the plan that an expression matches."""
        matches = compile_expression(expression)
        return [case for case in self.plan.cases if matches(case.id)]

    def _measured(self, metric: str | None) -> list[Case]:
        """Cases of the plan that are measured in one of these metrics, joined by commas; None: in any."""
        return [
            case
            for comparison in self.plan.comparisons
            if metric is None or {*metric.split(",")} & {*comparison.metrics}
            for case in comparison.variants
        ]

    def _one(self, case: Case) -> str:
        said = _named(case.id)
        if said == case.id and self._all.count(case.id.lower()) == 1:
            return said
        others = [other.id for other in self._matched(said) if other.id != case.id]
        whole = " and ".join([said, *(f"not ({_named(other)})" for other in others)])
        if [each.id for each in self._matched(whole)] != [case.id]:
            raise NotAgainError(f"-k selects {', '.join(others)} with {case.id}.")
        return f"({whole})" if whole != case.id else whole

    def _rates(self, wanted: list[Case]) -> list[Case]:
        """Cases at which the learning rates of these are tried, in a sweep over sizes."""
        tried = (self._tried[case.id] for case in wanted if case.id in self._tried)
        return [case for case in tried if case not in wanted]

    @functools.cached_property
    def _tried(self) -> dict[str, Case]:
        jobs = {job.name: job.comparison.variants[0] for job in self.plan.jobs}
        runs = ((job.comparison.variants[0].id, job.protocol.train) for job in self.plan.jobs)
        return {case: jobs[run.rate_from] for case, run in runs if run is not None and run.rate_from in jobs}


def _without_place(case: Case) -> str:
    """The part of the id that the variant has in all its places: `mod[c0.125-`."""
    return case.id[: case.id.rindex(case.grid_point.label)]


def _named(text: str) -> str:
    """A text as an expression of `-k`: a name holds no spaces and no parentheses, and is no operator."""
    words = [word for word in re.findall(r"[^\s()]+", text) if word.lower() not in {"and", "or", "not"}]
    return " and ".join(words)
