"""The columns of `cases.csv` and `comparisons.csv`, each declared once; lists, types of cells and JSON follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

# A number is a float, a count a whole number; both may be null.
Type: TypeAlias = Literal["text", "number", "count", "flag"]


class Column(NamedTuple):
    """A column.

    Attributes:
        name: in the head of the CSV file, and in JSON.
        type: what it holds.
        meaning: what a reader must know, as a noun phrase.
        unit: base unit; empty: it has none, or that of the row's metric.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""


def _interval(number: str, meaning: str, ends: str) -> tuple[Column, Column, Column]:
    """A number and the ends of its 95 % confidence interval."""
    return (
        Column(number, "number", meaning),
        Column(f"{ends}ci_low", "number", f"lower end of the 95 % confidence interval of {number}"),
        Column(f"{ends}ci_high", "number", f"upper end of the 95 % confidence interval of {number}"),
    )


CASE = (
    Column("case_id", "text", "the arm at a place"),
    Column("arm", "text", "the model with its settings"),
    Column("model", "text", "the model's name in the catalogue, or a user's `FILE.py:build`"),
    Column("capacity", "number", "MoD's share of tokens in a routed block"),
    Column("depth_ratio", "number", "mean share of the blocks that ran"),
    Column("seq_len", "count", "sequence length", "tokens"),
    Column("batch_size", "count", "sequences per call"),
    Column("workload", "text", "what was measured: forward, train_step, decode, …"),
    Column("device", "text", "`cpu` or `cuda`"),
    Column("dtype", "text", "number format of weights and activations"),
    Column("compile", "flag", "whether the model was compiled"),
    Column("threads", "count", "CPU threads of a process"),
    Column("seed", "text", "seeds of weights and data"),
    Column("params", "count", "parameters of the built module"),
    Column("effort", "text", "preset of launches and rounds"),
    Column("config", "text", "settings that are not default, as JSON"),
)
METRIC = (Column("metric", "text", "the metric's key"), Column("unit", "text", "base unit of the value or difference"))
LEVEL = Column("ci_level", "number", "level of the confidence interval")
STATUS = (
    Column("status", "text", "`ok`, `skipped` or `failed`"),
    Column("reason", "text", "why something is null, or what the numbers do not cover"),
)
LABELS = Column("labels", "text", "what must be said beside it, joined by `;`")
TITLE = Column("arm_title", "text", "what tables and figures call the arm")
NEW_TOKENS = Column("new_tokens", "count", "tokens that follow the prompt in a whole request", "tokens")
# A row of `cases.csv`: one metric of one case.
VALUES = (
    *CASE,
    *METRIC,
    Column("statistic", "text", "what the value is of its samples"),
    *_interval("value", "the value", ""),
    LEVEL,
    Column("n", "count", "launches or seeds; 1 of a count"),
    *STATUS,
    LABELS,
    TITLE,
    NEW_TOKENS,
)
RATIO, *ENDS = _interval(
    "ratio", "speed-up or saving over the baseline by the metric's estimand; above 1 is better", ""
)


def _baseline(*columns: Column) -> tuple[Column, ...]:
    return tuple(
        each._replace(name=f"baseline_{each.name}", meaning=f"{each.meaning}, of the baseline") for each in columns
    )


# A row of `comparisons.csv`: one metric of two cases.
PAIRS = (
    *CASE,
    *_baseline(*CASE),
    *METRIC,
    RATIO,
    Column("difference", "number", "the case's value minus the baseline's"),
    *ENDS,
    LEVEL,
    Column("ideal", "number", "the ratio that FLOPs, or a forecast, promise"),
    Column("efficiency", "number", "ratio over ideal"),
    Column("realised", "number", "share of the promised change that was measured"),
    Column(
        "verdict", "text", "better, worse, different, equivalent or inconclusive; null where nothing may be claimed"
    ),
    Column("mde", "number", "smallest true effect that would be detected with 80 % power, as a share"),
    Column("paired", "flag", "whether it is compared process by process, or seed by seed"),
    *STATUS,
    *_interval("mean_ratio", "ratio by means, where `ratio` is by medians", "mean_"),
    Column("attainable", "number", "the ratio that the measured peaks of this machine allow"),
    *_interval("realised", "share of the promised change that was measured", "realised_")[1:],
    LABELS,
    *_baseline(LABELS),
    *_interval("cpu_ratio", "ratio by CPU time", "cpu_"),
    TITLE,
    *_baseline(TITLE),
    NEW_TOKENS,
    *_interval("median_ratio", "ratio by medians, where `ratio` is by means", "median_"),
)
# More columns of pairs, which only the page shows.
MORE = (
    Column("disturbed", "number", "share of the blocks of either arm in which a sample was disturbed"),
    Column("p_adjusted", "number", "p-value of no difference among the pairs that are judged together (Holm)"),
    Column("primary", "flag", "whether it is compared with the report's baseline"),
    Column("twin", "flag", "whether it compares an anchor with its twin, a check of the machine"),
    Column("needed", "number", "seeds that would decide it, if all is as estimated"),
    # Of the effects on the log scale, by both estimands: reports/questions/break_even.py.
    Column("launch_sd", "number", "standard deviation of the effect between launches, on the log scale"),
    Column("other_launch_sd", "number", "the same by the other estimand"),
    Column("launches", "number", "launches that the effect is from"),
)
TYPES: Mapping[str, Type] = {each.name: each.type for each in (*VALUES, *PAIRS, *MORE)}


def names(columns: Iterable[Column]) -> list[str]:
    """Return the names of columns."""
    return [each.name for each in columns]


def frame(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column]) -> pd.DataFrame:
    """Return rows as a table whose columns have their types, also where there is no row; a key that lacks is null."""
    return pd.DataFrame({each.name: _series(rows, each) for each in columns}, index=range(len(rows)))


def _series(rows: Sequence[Mapping[str, Any]], column: Column) -> pd.Series:
    cells = [row.get(column.name) for row in rows]
    if column.type == "number":
        return pd.Series(np.array(cells, float))  # None is not a number
    null = any(cell is None for cell in cells)
    if column.type == "text":  # objects: pandas' own strings are slow to read one by one
        return pd.Series([np.nan if cell is None else cell for cell in cells], dtype="object")
    if column.type == "count":
        return pd.Series(cells, dtype="Int64" if null else "int64")
    return pd.Series(cells, dtype="object" if null else "bool")
