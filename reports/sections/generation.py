"""Prefill, decode and requests: time, speed-up, rates and bytes of every variant by length and batch size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modbench.harness.domain.case import Case, GridPoint
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Table, Value, where_it_ran
from modbench.reports.data_table import DataTable, count, grid_point, number, text
from modbench.reports.questions import value_tables
from modbench.reports.section import Section
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.wording import WORKLOADS, in_title

REQUEST = "latency/request"
# Times that a prediction is made of, the first that was measured.
PROMPT, STEP = ("latency/prefill", "ttft"), ("latency/decode", "tpot")
# What stands beside the time of each workload: titles by metric. A column without any number is left out.
BESIDE: Mapping[str, Mapping[str, str]] = {
    "latency/prefill": {"ttft": "first token", "tokens_per_s/prefill": "tokens/s"},
    "latency/decode": {
        "latency/decode/p50": "p50",
        "latency/decode/p95": "p95",
        "tpot": "per token",
        "tokens_per_s/decode": "tokens/s",
        "tokens_per_s/greedy": "tokens/s, greedy",
        "memory/kv_cache": "KV cache",
    },
    REQUEST: {"tokens_per_s/request": "tokens/s"},
}
# What prefill and decode steps, measured apart, predict of a request, and what part of it was measured.
PREDICTED = ("prefill + N steps", "measured ÷ that")
# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


@dataclass(frozen=True)
class Request:
    """A request of a variant, and its prediction: the time of the prompt, and a step's time for each new token.

    Attributes:
        case: the case, whose place has the tokens of the prompt and the decode steps after it.
        seconds: as measured from end to end; None where it was not.
        prefill_s: time of a prompt of this length, as measured by itself.
        step_s: time of a decode step after such a prompt, as measured by itself.
        reason: why there is no prediction.
    """

    case: Case
    seconds: float | None
    prefill_s: float | None
    step_s: float | None
    reason: Value

    @property
    def predicted_s(self) -> float | None:
        """The prediction."""
        if self.prefill_s is None or self.step_s is None:
            return None
        return self.prefill_s + self.case.grid_point.new_tokens * self.step_s

    @property
    def measured_over_predicted(self) -> float | None:
        """The measured time as a multiple of the prediction."""
        predicted = self.predicted_s
        return None if self.seconds is None or predicted is None else self.seconds / predicted


def request(loaded: Loaded, case: Case) -> Request:
    """Return a request, a case whose place has new tokens, beside its prediction."""
    apart = case.grid_point.model_copy(update={"new_tokens": 0})

    def known(metrics: tuple[str, ...], where: GridPoint = apart) -> float | None:
        rows = (loaded.case(case.variant, metric, where) for metric in metrics)
        return next((float(row.value) for row in rows if row is not None and row.status == "ok"), None)

    parts = known(PROMPT), known(STEP)
    lacks = [what for what, value in zip(("prefill", "decode step"), parts, strict=True) if value is None]
    words = "no prediction: {parts} at T = {T}, B = {B} not measured"
    reason = Sentence(words, parts=Listed(lacks, " and "), T=case.grid_point.seq_len, B=case.grid_point.batch_size)
    return Request(case, known((REQUEST,), case.grid_point), *parts, reason if lacks else None)


def requests(loaded: Loaded) -> Iterator[Request]:
    """Yield the requests of a run, place by place."""
    for comparison in loaded.plan.comparisons:
        if REQUEST in comparison.metrics:
            yield from (request(loaded, case) for case in comparison.variants)


TABLE = DataTable[Request](
    "requests",
    "a request of a variant",
    (
        text("case_id", "the case", lambda row: row.case.id),
        text("variant", "its variant", lambda row: row.case.variant),
        grid_point(lambda row: row.case.grid_point, "seq_len"),
        count("new_tokens", "decode steps after the prompt", lambda row: row.case.grid_point.new_tokens, "tokens"),
        grid_point(lambda row: row.case.grid_point, "batch_size"),
        number("seconds", "time from end to end", lambda row: row.seconds, "s"),
        number("prefill_s", "time of such a prompt, measured by itself", lambda row: row.prefill_s, "s"),
        number("step_s", "time of a decode step after it, measured by itself", lambda row: row.step_s, "s"),
        number("predicted_s", "time of the prompt and of a step for each new token", lambda row: row.predicted_s, "s"),
        number("measured_over_predicted", "the time as a multiple of that", lambda row: row.measured_over_predicted),
        text("reason", "why there is no prediction", lambda row: row.reason),
    ),
    requests,
)


def table(loaded: Loaded, metric: str) -> Table | None:
    """Return a row for every variant at every length and batch size, by the time of a workload.

    None where that was not planned.
    """
    grid_points = list(dict.fromkeys(each.grid_point for each in loaded.plan.comparisons if metric in each.metrics))
    rows = [
        [case, where_it_ran(grid_point, grid_points), *_cells(loaded, metric, found)]
        for grid_point in grid_points
        for case in loaded.shown
        if isinstance(found := value_tables.cell(loaded, metric, case, grid_point), Finding)
    ]
    ratio = f"over {in_title(loaded.baseline)} [95 %]"
    head = (WORKLOADS[metric], "where", "time", ratio, *PREDICTED, *BESIDE[metric].values())
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] is not None for row in rows)]
    few = [[row[at] for at in kept] for row in subsample_evenly(rows, MOST_ROWS)]
    left_out, titles = len(rows) - len(few), [head[at] for at in kept]
    return Table(WORKLOADS[metric], titles, few, left_out=left_out, file="comparisons.csv") if grid_points else None


def _cells(loaded: Loaded, metric: str, found: Finding) -> Iterator[Value]:
    yield _own(found)
    yield None if found.against is None else found.beside()  # of the baseline its time alone
    made = request(loaded, found.case) if found.grid_point.new_tokens else None
    known = made is not None and made.measured_over_predicted is not None
    yield Estimate(made.predicted_s, unit="s") if made and known else None
    yield Estimate(made.measured_over_predicted, kind="ratio") if made and known else None
    yield from (_own(value_tables.cell(loaded, key, found.case, found.grid_point)) for key in BESIDE[metric])


def _own(found: Value) -> Value:
    """Return the variant's own number, `failed`, or nothing where it was not asked for or not measured."""
    if not isinstance(found, Finding):
        return None
    if found.status == "failed":
        return "failed"
    return found.value if found.value is not None and found.value.value is not None else None


def render(loaded: Loaded) -> list[Table]:
    """Show a table for each workload; of decoding alone the map says it."""
    tables = [made for metric in BESIDE if (made := table(loaded, metric)) is not None]
    return tables if [each.label for each in tables] != [WORKLOADS["latency/decode"]] else []


READING = (
    "A row is a variant at one length and batch size. p50 and p95 are of single decode steps; tokens per second count all rows "
    "of the batch."
)

SECTION = Section(
    title="How fast are prefill, decode and requests?",
    order=15,
    span=12,
    render=render,
    reading=READING,
    tables=[TABLE],
)
