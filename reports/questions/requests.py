"""Whole requests beside what prefill and decode steps, measured apart, predict for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modbench.harness.domain.case import Case, GridPoint
from modbench.reports.data_table import DataTable, count, grid_point, number, text
from modbench.reports.model import Listed, Sentence, Value
from modbench.reports.tables.load import Loaded

REQUEST = "latency/request"
# Times that a prediction is made of, the first that was measured.
PROMPT, STEP = ("latency/prefill", "ttft"), ("latency/decode", "tpot")


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
        rows = (loaded.at(metric, case.variant, where) for metric in metrics)
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
