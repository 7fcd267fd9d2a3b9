"""Whole requests beside what prefill and decode steps, measured apart, predict for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from modbench.harness.domain.case import Case, Place
from modbench.reports.model import Estimate, Listed, Sentence, Value
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.data import frame

REQUEST = "latency/request"
# Times that a prediction is made of, the first that was measured.
PROMPT, STEP = ("latency/prefill", "ttft"), ("latency/decode", "tpot")
_NUMBERS = ("seconds", "prefill_s", "step_s", "predicted_s", "measured_over_predicted")


@dataclass(frozen=True)
class Request:
    """A request of an arm, and its prediction: the time of the prompt, and a step's time for each new token.

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
        return self.prefill_s + self.case.place.new_tokens * self.step_s

    @property
    def measured_over_predicted(self) -> float | None:
        """The measured time as a multiple of the prediction."""
        predicted = self.predicted_s
        return None if self.seconds is None or predicted is None else self.seconds / predicted


def request(loaded: Loaded, case: Case) -> Request:
    """Return a request, a case whose place has new tokens, beside its prediction."""
    apart = case.place.model_copy(update={"new_tokens": 0})

    def known(metrics: tuple[str, ...], place: Place = apart) -> float | None:
        rows = (loaded.at(metric, case.arm, place) for metric in metrics)
        return next((float(row.value) for row in rows if row is not None and row.status == "ok"), None)

    parts = known(PROMPT), known(STEP)
    lacks = [what for what, value in zip(("prefill", "decode step"), parts, strict=True) if value is None]
    place = case.place
    words = "no prediction: {parts} at T = {T}, B = {B} not measured"
    reason = Sentence(words, parts=Listed(lacks, " and "), T=place.seq_len, B=place.batch_size)
    return Request(case, known((REQUEST,), place), *parts, reason if lacks else None)


def requests(loaded: Loaded) -> Iterator[Request]:
    """Yield the requests of a run, place by place."""
    for comparison in loaded.plan.comparisons:
        if REQUEST in comparison.metrics:
            yield from (request(loaded, case) for case in comparison.arms)


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `requests.csv`: a row for each request of each arm, in s."""
    where, told = ("seq_len", "new_tokens", "batch_size"), (*_NUMBERS, "reason")
    rows = (
        {"case_id": each.case.id, "arm": each.case.arm, **each.case.place.model_dump(include={*where})}
        | {name: getattr(each, name) for name in told}
        for each in requests(loaded)
    )
    return frame(rows, ("case_id", "arm", *where, *told), numbers=_NUMBERS)


def in_short(loaded: Loaded) -> list[Sentence]:
    """Say between which multiples of their predictions the measured requests lie; nothing where none was predicted."""
    found = [each.measured_over_predicted for each in requests(loaded)]
    known = [each for each in found if each is not None]
    if not known:
        return []
    span = Estimate(None, min(known), max(known), "ratio")
    return [Sentence("Requests took {span} as long as prefill + N decode steps, measured apart.", span=span)]
