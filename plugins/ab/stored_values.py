"""`ab values`: numbers that other tools stored, judged by the same words; times of runs that did not alternate get no verdict."""

from __future__ import annotations

import csv
import glob
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any, NamedTuple

from modbench.extend import ByClock, Contrast, Effect, Rule, Seen, Sentence, Side, UsageError, quantile, shown, verdicts
from modbench.extend import effects as effects_module
from modbench.plugins.ab.flags import MARGIN, StoredFlags, checks_of
from modbench.plugins.ab.printed import Better, better_by_name, directions, number_of
from modbench.plugins.ab.question import Effects, Result, Row, judge

# What one run of a tool stored: names, and text or numbers.
Run = Mapping[str, Any]
READ = (".csv", ".json", ".jsonl", ".tsv")
# Words of a name that is of a time, or of a rate.
TIMES = {
    "time",
    "latency",
    "duration",
    "runtime",
    "seconds",
    "sec",
    "secs",
    "s",
    "ms",
    "us",
    "ttft",
    "tpot",
    "itl",
    "e2el",
}
RATES = {"throughput", "tps", "rps", "qps", "goodput", "second", "sec"}
# Of the statistics of a metric that GuideLLM writes those that are read.
GUIDELLM = (".mean", ".median", ".p95", ".p99")
# Degrees of freedom of an error that a tool has estimated over many questions.
MANY = 1e9


class Independent(NamedTuple):
    """Numbers of runs of two sides that have nothing in common."""

    base: Sequence[float]
    new: Sequence[float]

    def contrast(self, rule: Rule, seen: Seen | None, _signs: Mapping[int, int] | None = None) -> Contrast:
        """Compare them (Welch's t)."""
        base, new = (Side(ByClock(dict(enumerate(each)))) for each in self)
        return verdicts.contrast(base, new, "independent", rule, seen)


class WithErrors(NamedTuple):
    """One number of each side, new - base, and its standard error over questions, as lm-evaluation-harness writes it.

    Both sides' errors are taken as independent. Those of two models on the same questions are not, and the interval is then
    rather too wide.
    """

    apart: float
    error: float

    def contrast(self, rule: Rule, seen: Seen | None, _signs: Mapping[int, int] | None = None) -> Contrast:
        """Compare them, by a normal distribution."""
        wide, narrow = (quantile(share, MANY) * self.error for share in (0.975, 0.95))
        ends = (self.apart - wide, self.apart + wide, self.apart - narrow, self.apart + narrow)
        p = 2 * effects_module.t_below(-abs(self.apart), self.error, MANY)
        return verdicts.estimated(Effect(self.apart, *ends, p=p, error=self.error, freedom=MANY), rule, seen=seen)


def compared(
    base: str, new: str, names: Sequence[str], better: Sequence[str], pair: str | None, flags: StoredFlags
) -> Result:
    """Compare two files or folders.

    Args:
        base: the base's, as typed.
        new: the new side's.
        names: columns; none: all that both have, whose better direction is known.
        better: which direction is, as typed.
        pair: the column by which runs are paired; None: they are independent.
        flags: of the comparison.

    Raises:
        UsageError: if one cannot be read, lacks a column, or a column has no numbers.
    """
    sides = runs_of(base), runs_of(new)
    errors = {_error_of(name) for name in sides[0][0]}
    known = [
        name for name in sides[0][0] if name not in {pair, *errors} and all(_numbers(side, name) for side in sides)
    ]
    for name in names:
        _check_column(name, (base, new), sides)
    asked = {name for name in (each.rpartition("=")[0] for each in better) if name}
    wanted = [*names] or [name for name in known if name in asked or _way(name) is not None]
    if not wanted:
        raise UsageError(
            f"{shown(base)} and {shown(new)} share no column of numbers whose better direction is known. Name it: --value "
            f"COLUMN --better lower. Columns of numbers: {', '.join(known) or 'none'}."
        )
    ways = directions(better, [name for name in wanted if _scale(name) is None])
    pairs = None if pair is None else _paired(pair, (base, new), sides)
    rows = [_row(name, pairs or sides, ways.get(name), paired=pairs is not None) for name in wanted]
    checks = checks_of(flags.fail_on, wanted) if flags.fail_on else None
    n, m = map(len, pairs or sides)
    how = "{n:pair} of runs by {pair}" if pairs else "{n:run} of the base, {m} of the new side, not in turn"
    left = [name for name in known if name not in wanted]
    how += "; left out, since a better direction is not known: {left}" if left and not names else ""
    told = Sentence(how + "; 95 % confidence intervals", n=n, m=m, pair=pair, left=_some(left))
    margin = MARGIN if flags.margin is None else flags.margin
    judged = judge(rows, margin, checks)
    noun = "pair" if pairs else "" if any(isinstance(row.blocks, WithErrors) for row in rows) else "run"
    return Result((base, new), judged, margin, checks, how=told, noun=noun, folder=flags.out or "")


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_column(name: str, typed: Sequence[str], sides: Sequence[Sequence[Run]]) -> None:
    for file, side in zip(typed, sides, strict=True):
        known = [each for each in side[0] if number_of(side[0][each]) is not None]
        if not any(name in run for run in side):
            raise UsageError(
                f"{shown(file)} has no column {shown(name)}. Columns of numbers: {_some(known, 12) or 'none'}."
            )
        bad = next(
            (run[name] for run in side if name in run and not _empty(run[name]) and number_of(run[name]) is None), None
        )
        if bad is not None or not _numbers(side, name):
            raise UsageError(
                f"the column {name} of {shown(file)} is not of finite numbers: it has {shown(bad)}. Columns of numbers: "
                f"{_some(known, 12) or 'none'}."
            )


def _empty(value: object) -> bool:
    return value is None or value == ""


def _numbers(side: Sequence[Run], name: str) -> list[float]:
    return [found for run in side if (found := number_of(run.get(name))) is not None]


def _paired(pair: str, typed: Sequence[str], sides: Sequence[Sequence[Run]]) -> tuple[list[Run], list[Run]]:
    """The runs of both sides with the same value in a column, in the same order."""
    keyed = list[dict[str, Run]]()
    for file, side in zip(typed, sides, strict=True):
        by = {str(run[pair]): run for run in side if not _empty(run.get(pair))}
        if len(by) < len(side):
            what = f"has no column {shown(pair)}" if not by else f"has several runs, or none, of one {pair}"
            raise UsageError(f"{shown(file)} {what}: --pair needs a column in which each run has a value of its own.")
        keyed.append(by)
    both = [key for key in keyed[0] if key in keyed[1]]
    if not both:
        raise UsageError(f"{shown(typed[0])} and {shown(typed[1])} have no {pair} in common.")
    return [keyed[0][key] for key in both], [keyed[1][key] for key in both]


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.lower()))


def _scale(name: str) -> str | None:
    """Whether a column is of times or of rates, by its name; None: of values."""
    words = _words(name)
    if words & RATES and ("per" in words or words & (RATES - {"second", "sec"}) or "/" in name):
        return "rate"
    return "time" if words & TIMES else None


def _way(name: str) -> Better | None:
    return "lower" if _scale(name) is not None else better_by_name(name)


def _row(name: str, sides: Sequence[Sequence[Run]], better: Better | None, *, paired: bool) -> Row:
    base, new = (_numbers(side, name) for side in sides)
    if better is None:
        if min(*base, *new) <= 0:
            return Row(name, name, why="it is 0 or less in some run, and a time or a rate is not", unit="")
        sign = -1 if _scale(name) == "rate" else 1
        logs = Independent(*([sign * math.log(each) for each in side] for side in (base, new)))
        return Row(name, name, logs, None, None, geometric_mean(base), geometric_mean(new), unit="")
    errors = [_numbers(side, _error_of(name)) for side in sides]
    made: Effects | Independent | WithErrors = Independent(base, new)
    if len(base) == len(new) == 1 and all(errors):
        made = WithErrors(new[0] - base[0], math.hypot(*(each[0] for each in errors)))
    elif paired:
        both = [(number_of(one.get(name)), number_of(other.get(name))) for one, other in zip(*sides, strict=True)]
        made = Effects({i: one - other for i, (one, other) in enumerate(both) if one is not None and other is not None})
    return Row(name, name, made, None, None, fmean(base), fmean(new), unit="", timed=False, better=better)


# --- what tools write


def runs_of(typed: str) -> list[Run]:
    """What each run stored: of a file, of all files of a folder or a pattern, or of TensorBoard's folders.

    Raises:
        UsageError: if there is none, or it cannot be read.
    """
    path = Path(typed)
    events = sorted({each.parent for each in path.rglob("events.out.tfevents*")}) if path.is_dir() else []
    if events:
        return [_of_events(each) for each in events]
    files = [path] if path.is_file() else sorted(Path(each) for each in glob.glob(typed))  # noqa: PTH207  # as typed
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in READ)
    if not files:
        raise UsageError(f"{shown(typed)}: no such file, or no {', '.join(READ)} or events of TensorBoard in it.")
    made = [run for file in files for run in _of_file(file)]
    if not made:
        raise UsageError(f"{shown(typed)} holds no run.")
    return made


def _of_file(file: Path) -> list[Run]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix in {".csv", ".tsv"}:
            rows = [*csv.DictReader(text.splitlines(), delimiter="\t" if file.suffix == ".tsv" else ",")]
            return _of_chart(rows) or [{str(key): value for key, value in row.items()} for row in rows]
        if file.suffix == ".jsonl":
            return [_flat(json.loads(line)) for line in text.splitlines() if line.strip()]
        return [*_of_json(json.loads(text))]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{shown(str(file))} cannot be read: {error}.") from None


def _of_chart(rows: Sequence[Mapping[str, str]]) -> list[Run]:
    """The last value of each run in a chart of Weights & Biases, whose columns are `Step` and `RUN - METRIC`."""
    if not rows or "Step" not in rows[0]:
        return []
    made = dict[str, dict[str, str]]()
    for row in rows:
        for column, value in row.items():
            run, dash, metric = str(column).rpartition(" - ")
            if dash and not metric.endswith(("__MIN", "__MAX")) and value:
                made.setdefault(run, {})[metric] = value
    return [{"run": run, **values} for run, values in made.items()]


def _of_json(found: Any) -> Iterator[Run]:  # noqa: ANN401  # of JSON
    """What a tool stored: vLLM's bench an object, GuideLLM a list of benchmarks, lm-evaluation-harness results by task."""
    if isinstance(found, list):
        yield from (_flat(each) for each in found)
    elif isinstance(found, dict) and isinstance(found.get("benchmarks"), list):
        for each in found["benchmarks"]:
            told = _flat(each.get("metrics", {}))
            yield {
                name.replace(".successful.", "."): value
                for name, value in told.items()
                if ".successful." in name and name.endswith(GUIDELLM)
            }
    elif isinstance(found, dict) and isinstance(found.get("results"), dict):
        yield {f"{task}/{key}": each for task, told in found["results"].items() for key, each in _flat(told).items()}
    else:
        yield _flat(found)


def _error_of(name: str) -> str:
    """The column of a value's standard error, as lm-evaluation-harness names it: of `acc,none` `acc_stderr,none`."""
    metric, comma, filtered = name.partition(",")
    return f"{metric}_stderr{comma}{filtered}"


def _flat(found: Any, before: str = "") -> dict[str, Any]:  # noqa: ANN401  # of JSON
    """Nested objects as columns with dots; lists, such as the latencies of single requests, are left out."""
    if not isinstance(found, dict):
        raise ValueError("a run is no JSON object")  # noqa: TRY004  # as JSON's own error
    made = dict[str, Any]()
    for key, value in found.items():
        if isinstance(value, dict):
            made |= _flat(value, f"{before}{key}.")
        elif not isinstance(value, list):
            made[f"{before}{key}"] = value
    return made


def _of_events(folder: Path) -> Run:
    """The last value of each scalar that a run logged for TensorBoard."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise UsageError(f"{shown(str(folder))} needs TensorBoard: pip install tensorboard") from None
    found = EventAccumulator(str(folder), size_guidance={"scalars": 1, "tensors": 1})
    found.Reload()
    scalars = {tag: found.Scalars(tag)[-1].value for tag in found.Tags()["scalars"]}
    return {"run": folder.name, **scalars}
