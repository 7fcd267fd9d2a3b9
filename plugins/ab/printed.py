"""What `ab commands` reads of each run: values that a command prints or writes, and the curve on which it reaches a target."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from modbench.extend import Frozen, UsageError, shown

EXAMPLE = "--value val_loss='val_loss[:=]([0-9.]+)'"
NAME = re.compile(r"\w[\w./-]*")
AT = re.compile(r"(\w[\w./-]*)\s*(<=|>=)\s*(\S+)")
# Words of a name that say which direction is better.
LOWER = {
    "loss",
    "losses",
    "error",
    "err",
    "ppl",
    "perplexity",
    "bpb",
    "bpc",
    "nll",
    "ce",
    "entropy",
    "mse",
    "mae",
    "wer",
    "fid",
}
HIGHER = {
    "acc",
    "accuracy",
    "f1",
    "em",
    "match",
    "bleu",
    "rouge",
    "score",
    "reward",
    "auc",
    "core",
    "mfu",
    "recall",
    "precision",
}
Better = Literal["lower", "higher"]


class Reading(Frozen):
    """A value that each run has.

    Attributes:
        name: of its row.
        better: which direction is.
        regex: what is searched in each printed line; its group is the number. None: it is read from a file.
        file: JSON lines that the command writes; `{seed}` in its name is replaced.
        key: of the value there.
        each: whether the mean of all that was found counts, and not the last.
    """

    name: str
    better: Better
    regex: str | None = None
    file: str | None = None
    key: str | None = None
    each: bool = False


class Target(Frozen):
    """A value that each run shall reach.

    Attributes:
        name: of what the curve shows.
        better: `lower`: it is reached from above.
        value: to reach.
        curve: what is searched in each printed line; its groups are a step and the value there.
    """

    name: str
    better: Better
    value: float
    curve: str

    @property
    def written(self) -> str:
        """As it is printed: `val_loss ≤ 3.28`."""
        return f"{self.name} {'≤' if self.better == 'lower' else '≥'} {self.value:g}"


class Reads(Frozen):
    """All that is read of a run."""

    values: tuple[Reading, ...] = ()
    target: Target | None = None

    @property
    def search(self) -> dict[str, Any] | None:
        """What `one_command.py` looks for; None: nothing that is printed."""
        values = {each.name: each.regex for each in self.values if each.regex is not None}
        curve = self.target and self.target.curve
        return {"values": values, "curve": curve} if values or curve else None


def reads(
    values: Sequence[str],
    jsonl: Sequence[str],
    better: Sequence[str],
    target: str | None,
    curve: str | None,
    *,
    each: bool,
) -> Reads:
    """Read the flags as they are typed.

    Raises:
        UsageError: if one is invalid, or whether lower or higher is better is neither said nor known.
    """
    named = dict[str, dict[str, str]]()
    for text in values:
        name, _, regex = text.partition("=")
        if not NAME.fullmatch(name) or not regex:
            raise UsageError(f"--value {shown(text)} is no NAME=REGEX. Write {EXAMPLE}.")
        _add(named, name, regex=_regex("--value", regex, 1))
    for text in jsonl:
        file, _, key = text.rpartition(":")
        if not file or not NAME.fullmatch(key):
            raise UsageError(f"--jsonl {shown(text)} is no FILE:KEY. Write --jsonl log.jsonl:val_loss.")
        _add(named, key, file=file, key=key)
    if each and not named:
        raise UsageError(f"--each says how values are read, and none is. Add {EXAMPLE}.")
    ways = directions(better, named)
    made = tuple(Reading(name=name, better=ways[name], each=each, **told) for name, told in named.items())
    return Reads(values=made, target=_target(target, curve))


def _add(named: dict[str, dict[str, str]], name: str, **told: str) -> None:
    if name in named or name in {"slower", "cpu"}:
        raise UsageError(
            f"the value {name} is {'named twice' if name in named else 'a check of times'}: name it otherwise."
        )
    named[name] = told


def _regex(flag: str, regex: str, groups: int) -> str:
    try:
        found = re.compile(regex).groups
    except re.error as error:
        raise UsageError(f"{flag} {shown(regex)} is no regular expression: {error}.") from None
    if found != groups:
        of = "one group, the number" if groups == 1 else "two groups, the step and the value"
        raise UsageError(f"{flag} {shown(regex)} has {found} groups in (…), and needs {of}; write others as (?:…).")
    return regex


def _target(text: str | None, curve: str | None) -> Target | None:
    such_as = r"--target 'val_loss<=3.28' --curve 'step:(\d+).*val_loss:([\d.]+)'"
    if text is None and curve is None:
        return None
    if text is None or curve is None:
        raise UsageError(f"--target and --curve go together. Write {such_as}.")
    at = AT.fullmatch(text.strip())
    value = number_of(at[3]) if at else None
    if at is None or value is None:
        raise UsageError(f"--target {shown(text)} is no NAME<=NUMBER or NAME>=NUMBER. Write {such_as}.")
    better: Better = "lower" if at[2] == "<=" else "higher"
    return Target(name=at[1], better=better, value=value, curve=_regex("--curve", curve, 2))


def directions(given: Sequence[str], names: Mapping[str, object] | Sequence[str]) -> dict[str, Better]:
    """Which direction of each value is better, as `--better` says, or else the value's name.

    Raises:
        UsageError: if `--better` is invalid, or neither says it.
    """
    asked = dict[str, str]()
    for text in given:
        name, equals, way = text.rpartition("=")
        if way not in {"lower", "higher"} or (equals and name not in names):
            known = ", ".join(names) or "none"
            raise UsageError(f"--better {shown(text)} is not lower, higher or VALUE=higher. Values: {known}.")
        asked[name] = way
    ways = {each: asked.get(each) or asked.get("") or better_by_name(each) for each in names}
    for name, found in ways.items():
        if found is None:
            raise UsageError(
                f"is a lower or a higher {name} better? Add --better {name}=lower or --better {name}=higher."
            )
    return {name: "lower" if found == "lower" else "higher" for name, found in ways.items()}


def better_by_name(name: str) -> Better | None:
    """Which direction of a value is better, by the words of its name; None: they do not say it."""
    words = set(re.split(r"[\W_]+", name.lower()))
    if bool(words & LOWER) is bool(words & HIGHER):
        return None
    return "lower" if words & LOWER else "higher"


def number_of(text: object) -> float | None:
    """A finite number, or None."""
    try:
        found = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and not isinstance(text, bool) else None


class NoNumberError(Exception):
    """A run that printed or wrote no number."""


def value_of(reading: Reading, printed: Mapping[str, Sequence[Any]], written: str | None) -> float:
    """Return the value of a run.

    Args:
        reading: what is read.
        printed: by name the last match, how many there were and their sum, as `one_command.py` tells.
        written: what the run wrote to the value's file; None: nothing.

    Raises:
        NoNumberError: if there is none.
    """
    if reading.regex is not None:
        if reading.name not in printed:
            raise NoNumberError(f"it prints no {reading.name}: no line matches {shown(reading.regex)}")
        last, n, total = printed[reading.name]
        found = number_of(total / n if reading.each else last)
        if found is None:
            raise NoNumberError(f"{reading.name} is {shown(last)}, which is no finite number")
        return found
    if written is None:
        raise NoNumberError(f"it did not write {reading.file}")
    numbers = list[float]()
    for line in written.splitlines():
        record = _record(line)
        if reading.key in record:
            found = number_of(record[reading.key])
            if found is None:
                raise NoNumberError(
                    f"{reading.key} is {shown(record[reading.key])} in {reading.file}, no finite number"
                )
            numbers.append(found)
    if not numbers:
        raise NoNumberError(f"{reading.file} has no {reading.key}")
    return math.fsum(numbers) / len(numbers) if reading.each else numbers[-1]


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # a line that is no JSON, such as the last one of a writer that was stopped
        return {}
    return found if isinstance(found, dict) else {}


def new_text(file: Path, before: tuple[int, bytes] | None) -> str | None:
    """What a run wrote to a file: all of it, or what was appended; None if it wrote nothing.

    Args:
        file: what it may have written.
        before: when it was written last, in ns, and what it held before the run; None: it did not exist.
    """
    after = state_of(file)
    if after is None or (before is not None and after[0] == before[0]):
        return None
    old = b"" if before is None else before[1]
    appended = len(after[1]) > len(old) and after[1].startswith(old)
    return after[1][len(old) if appended else 0 :].decode(errors="replace")


def state_of(file: Path) -> tuple[int, bytes] | None:
    """When a file was written last, in ns, and what it holds; None if there is none that can be read."""
    try:
        return file.stat().st_mtime_ns, file.read_bytes()
    except OSError:
        return None
