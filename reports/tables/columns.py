"""The columns of `cases.csv` and `comparisons.csv`, each declared once; lists, types of cells and JSON follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import methodcaller
from typing import Any

from modbench.reports import data_table
from modbench.reports.data_table import Type

# A column of rows that hold their cells by name; a key that lacks is null.
Column = data_table.Column[Mapping[str, Any]]


def _column(name: str, kind: Type, meaning: str, unit: str = "") -> Column:
    return Column(name, kind, meaning, methodcaller("get", name), unit)


def _place(*names: str) -> tuple[Column, ...]:
    """Fields of the place where it was measured."""
    return tuple(_column(name, *data_table.PLACE[name]) for name in names)


def _interval(number: str, meaning: str, ends: str) -> tuple[Column, Column, Column]:
    """A number and the ends of its 95 % confidence interval, each under a key of its own."""
    declared: tuple[Column, ...] = data_table.interval(number, meaning, lambda _: None, ends)
    first, low, high = (_column(each.name, each.type, each.meaning) for each in declared)
    return first, low, high


CASE = (
    _column(
        "case_id",
        "text",
        "the variant at a grid point: `mod[c0.125-T512-B1-fp32-cpu1]` has capacity 0.125, length T 512, batch size B 1, "
        "number format fp32 and one CPU thread",
    ),
    _column("variant", "text", "the model with its settings"),
    _column("model", "text", "the model's name in the catalogue, or a user's `FILE.py:build`"),
    _column("capacity", "number", "MoD's share of tokens in a routed block"),
    _column("depth_ratio", "number", "mean share of the blocks that ran"),
    *_place("seq_len", "batch_size"),
    _column("workload", "text", "what was measured: forward, train_step, decode, …"),
    *_place("device", "dtype", "compile", "threads"),
    _column("seed", "text", "seeds of weights and data"),
    _column("params", "count", "parameters of the built module"),
    _column("effort", "text", "preset of processes and rounds"),
    _column("config", "text", "settings that are not default, as JSON"),
)
METRIC = (
    _column("metric", "text", "the metric's key"),
    _column("unit", "text", "base unit of `value` or `difference`"),
)
LEVEL = _column("ci_level", "number", "level of the confidence interval")
STATUS = (
    _column("status", "text", "`ok`, `skipped` or `failed`"),
    _column("reason", "text", "why something is null, or what the numbers do not cover"),
)
LABELS = _column("labels", "text", "labels, which limit what the number says, joined by `;`")
TITLE = _column("title", "text", "what tables and figures call the variant")
WHERE = (
    _column("machine", "text", "the processor, or the GPU"),
    _column("date", "text", "day on which the run began"),
)
NEW_TOKENS = _column("new_tokens", "count", "output tokens of an end-to-end request", "tokens")
# A row of `cases.csv`: one metric of one case.
VALUES = (
    *CASE,
    *METRIC,
    _column("statistic", "text", "how the value follows from its samples, such as `median` or `mean`"),
    *_interval("value", "the value, in `unit`", ""),
    LEVEL,
    _column("n", "count", "processes or seeds behind the value; 1 of what is counted"),
    *STATUS,
    LABELS,
    TITLE,
    NEW_TOKENS,
    *WHERE,
)
RATIO = _column(
    "ratio",
    "number",
    "speed-up or saving over the baseline by the metric's estimand; above 1 is better; null of losses and accuracies",
)
ENDS = tuple(
    _column(name, "number", f"{end} end of the 95 % confidence interval of ratio, or of difference where ratio is null")
    for name, end in (("ci_low", "lower"), ("ci_high", "upper"))
)


def _baseline(*columns: Column) -> tuple[Column, ...]:
    return tuple(
        _column(f"baseline_{each.name}", each.type, f"{each.meaning}, of the baseline", each.unit) for each in columns
    )


# A row of `comparisons.csv`: one metric of two cases.
PAIRS = (
    *CASE,
    *_baseline(*CASE),
    *METRIC,
    RATIO,
    _column("difference", "number", "the case's value minus the baseline's, in `unit`"),
    *ENDS,
    LEVEL,
    _column("theoretical", "number", "theoretical speed-up, from FLOPs, or the ratio of two forecasts"),
    _column("achieved_share", "number", "measured gain over the theoretical gain: (`ratio` - 1) / (`theoretical` - 1)"),
    _column(
        "verdict",
        "text",
        "better, worse, better_open, worse_open, equivalent or inconclusive; null where nothing may be claimed",
    ),
    _column(
        "detectable",
        "number",
        "smallest true effect that would be detected with 80 % power: as a share, or in `unit` where `ratio` is null",
    ),
    _column("paired", "flag", "whether it is compared process by process, or seed by seed"),
    *STATUS,
    *_interval("mean_ratio", "ratio by means, where `ratio` is by medians", "mean_ratio_"),
    _column("predicted", "number", "predicted speed-up, from the measured peaks of this machine (roofline)"),
    *_interval("achieved_share", "achieved share of the theoretical gain", "achieved_share_")[1:],
    LABELS,
    *_baseline(LABELS),
    *_interval("cpu_ratio", "ratio by CPU time", "cpu_ratio_"),
    TITLE,
    *_baseline(TITLE),
    NEW_TOKENS,
    *_interval("median_ratio", "ratio by medians, where `ratio` is by means", "median_ratio_"),
    *WHERE,
)
# More columns of pairs, which only the page shows.
MORE = (
    _column("noisy", "number", "share of the blocks of either variant with a noisy sample"),
    _column("p_adjusted", "number", "p-value of no difference among the pairs that are judged together (Holm)"),
    _column("primary", "flag", "whether it is compared with the report's baseline"),
    _column("aa_control", "flag", "whether it compares the baseline with itself, a check of the machine"),
    _column("seeds_needed", "number", "seeds that would decide it, if all is as estimated"),
    # Of the effects on the log scale, by both estimands: reports/questions/break_even.py.
    _column("process_sd", "number", "standard deviation of the effect between processes, on the log scale"),
    _column("other_process_sd", "number", "the same by the other estimand"),
    _column("processes", "number", "processes that the effect is from"),
)
TYPES: Mapping[str, Type] = {each.name: each.type for each in (*VALUES, *PAIRS, *MORE)}


def names(columns: Iterable[Column]) -> list[str]:
    """Return the names of columns."""
    return [each.name for each in columns]
