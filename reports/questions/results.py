"""What every arm took at every place, beside its ratio to the baseline: a table for each metric and setting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.grouped import grouped
from modbench.harness.domain.case import Case, Place
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value, where_it_ran
from modbench.reports.questions import win_rate
from modbench.reports.tables import losses
from modbench.reports.tables.findings import of_row
from modbench.reports.tables.load import MOST_LENGTHS, Loaded, subsample_evenly
from modbench.reports.wording import EXACT, SERVING, WORKLOADS

# Metrics of the tables, with their titles, in the order in which they are printed.
TABLES = {
    **WORKLOADS,
    **SERVING,
    "ttft": "TTFT, read by the host",
    "tpot": "TPOT, read by the host",
    "tokens_per_s/prefill": "prefill",
    "tokens_per_s/decode": "decode",
    "tokens_per_s": "greedy decode",
    "tokens_per_s/request": "new tokens of requests",
    **EXACT,
}
# Times whose tables stand without `-v`.
TIMES = frozenset({*WORKLOADS, "ttft", "tpot"})
# Settings of one metric that get a table of their own at most.
MOST_SETTINGS = 6


def tables(loaded: Loaded, metrics: Collection[str] | None = None, settings: int = MOST_SETTINGS) -> list[Table]:
    """Return the tables of a run: a row for each arm, a column for each length; of one length, a column for each batch size.

    There are none where sizes differ between arms, so that no ratio says anything.
    """
    if loaded.sizes_differ or not loaded.arms:
        return []
    known = loaded.tables.metrics  # some are additions, which a copy may lack
    wanted = [metric for metric in TABLES if metric in known and (metrics is None or metric in metrics)]
    return [made for metric in wanted for made in _of_metric(loaded, metric, settings)]


def with_losses(loaded: Loaded, settings: int = MOST_SETTINGS) -> list[Table]:
    """Return all of these tables, then that of held-out losses where there is one."""
    loss = loss_table(loaded)
    return [*tables(loaded, settings=settings), *([] if loss is None else [loss])]


def _of_metric(loaded: Loaded, metric: str, settings: int) -> Iterator[Table]:
    places = [each.place for each in loaded.plan.comparisons if metric in each.metrics]
    places = list(dict.fromkeys(places))
    generated = loaded.tables.metrics[metric].workload in GENERATION
    over_batches = len({place.seq_len for place in places}) == 1 and len({place.batch_size for place in places}) > 1
    fixed = {place: "" if generated else place.seq_len if over_batches else place.batch_size for place in places}
    groups = grouped(((fixed[place], place.dtype, place.execution), place) for place in places)
    letter = "B" if over_batches else "T"
    words, held = ("B = {B}", "T = {T}") if over_batches else ("T = {T}", "B = {B}")
    if generated:
        words = "{length}, B = {B}"
    for theirs in list(groups.values())[:settings]:
        ordered = sorted(theirs, key=lambda place: (place.batch_size, place.seq_len, place.new_tokens))
        known = [place for place in ordered if any(_measured(loaded, metric, case, place) for case in loaded.arms)]
        shown = subsample_evenly(known or ordered, MOST_LENGTHS)
        rows = filled([case, *(cell(loaded, metric, case, place) for place in shown)] for case in loaded.shown)
        if not rows:
            continue
        first = shown[0]
        shared: list[Value] = [first.dtype, *[first.execution] * (first.execution != "eager")]
        if not generated:
            shared.insert(0, Sentence(held, T=first.seq_len, B=first.batch_size))
        titles = (Sentence(words, length=where_it_ran(at, ()), T=at.seq_len, B=at.batch_size) for at in shown)
        yield Table(
            TABLES[metric],
            ("", *titles),
            _with_best(loaded, metric, rows),
            at=Listed(shared),
            notes=[*_notes(loaded, metric, letter, len(known or ordered) - len(shown))],
            left_out=len(loaded.arms) - len(loaded.shown),
            file="comparisons.csv",
            rows_are="arms",
        )


def _measured(loaded: Loaded, metric: str, case: Case, place: Place) -> bool:
    """Whether an arm has a value at a place, or failed there: a search leaves places out."""
    own = loaded.at(metric, case.arm, place)
    return own is not None and own.status != "skipped"


def filled(rows: Iterable[Sequence[Value]]) -> list[Sequence[Value]]:
    """Return the rows that hold more than the name of an arm."""
    return [row for row in rows if any(cell != "" for cell in row[1:])]


def cell(loaded: Loaded, metric: str, case: Case, place: Place) -> Value:
    """Return an arm's value at a place, and what is found of it against the baseline; empty where it was not planned."""
    own, pair = loaded.at(metric, case.arm, place), loaded.pair_at(metric, case.arm, place)
    if own is None:
        return ""
    where = loaded.cases_by_id[own.case_id]
    value = loaded.values.get((own.case_id, metric))
    alone = Finding(where, None, place, metric, value=Estimate(value, unit=str(own.unit)), status=str(own.status))
    if pair is None or value is None:
        return alone
    base = loaded.cases_by_id[pair.baseline_case_id]
    made = of_row(pair, where, base, value, loaded.values.get((base.id, metric)))
    return replace(alone, against=base) if made.status != "ok" else made


def _with_best(loaded: Loaded, metric: str, rows: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """Mark the best of each column, where it is told apart from all others."""
    made = [list(row) for row in rows]
    for at in range(1, len(rows[0])):
        found = [(row, each) for row in made if isinstance(each := row[at], Finding) and each.status == "ok"]
        ids = {each.case.arm: each.case.id for _, each in found}
        best = win_rate.best(loaded, metric, ids)
        for row, each in found:
            if each.case.arm == best:
                row[at] = replace(each, best=True)
    return made


def _notes(loaded: Loaded, metric: str, letter: str, left_out: int) -> Iterator[Value]:
    timed = loaded.tables.metrics[metric].unit == "s"
    said = "Ratio: {baseline} ÷ row; above 1× is better."
    if timed:
        said += " In brackets the 95 % interval over launches, {launches}."
    yield Sentence(said, baseline=loaded.baseline, launches=loaded.suite.launches_in_words)
    if timed and not loaded.suite.claims:
        yield "A smoke run: no claims."
    if left_out:
        yield Sentence("{more} more values of {letter} are in comparisons.csv.", more=left_out, letter=letter)


def loss_table(loaded: Loaded) -> Table | None:
    """Return held-out losses, all in one unit, each with its difference to the baseline's; None where none was asked for.

    Of several lengths each has a column, with the loss that is comparable with dense where that was asked for.
    """
    shown, lengths = losses.shown(loaded), losses.lengths(loaded)
    if not shown or loaded.sizes_differ:
        return None
    several = len(lengths) > 1
    columns = [(losses.comparable(loaded), at) for at in lengths] if several else [(each, None) for each in shown]
    titles = [each.title if length is None else Sentence("T = {T}", T=length) for each, length in columns]
    head = ("" if several else f"held-out loss, {shown[0].unit} (lower is better)", *titles)
    rows = filled([case, *(loss_cell(loaded, case, *column) for column in columns)] for case in loaded.shown)
    left_out = len(loaded.arms) - len(loaded.shown)
    notes = [*[f"{columns[0][0].title}, {shown[0].unit}, lower is better"] * several, losses.seeds_in_words(loaded)]
    return (
        Table("held-out loss", head, rows, notes=notes, left_out=left_out, file="cases.csv", rows_are="arms")
        if rows
        else None
    )


def loss_cell(loaded: Loaded, case: Case, loss: losses.Loss, length: int | None) -> Value:
    """Return a loss in the unit in which it is shown, and its difference to the baseline's; empty where it was not planned."""
    own, pair = (found(case.arm, loss.metric, length) for found in (loaded.case, loaded.pair))
    if own is None:
        return ""
    value = Estimate(float(own.value) * loss.factor if own.status == "ok" else None, unit=loss.base)
    alone = Finding(case, None, case.place, loss.metric, value=value, status=str(own.status))
    if pair is None or pair.status != "ok" or value.value is None:
        return alone
    made = of_row(pair, case, loaded.baseline)
    return replace(made, value=value, typical=made.typical.scaled(loss.factor, loss.base))
