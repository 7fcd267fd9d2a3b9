"""What every variant took at every place, beside its ratio to the baseline: a table for each metric and setting."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.group_by import grouped
from modbench.harness.domain.case import Case, GridPoint
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Table, Value, pivot, where_it_ran
from modbench.reports.questions import win_rate
from modbench.reports.tables import losses
from modbench.reports.tables.load import MOST_LENGTHS, Loaded, Row, subsample_evenly
from modbench.reports.tables.pairs import of_row
from modbench.reports.wording import EXACT, WORKLOADS

# Metrics of the tables, with their titles, in the order in which they are printed.
TABLES = {
    **WORKLOADS,
    "ttft": "TTFT, read by the host",
    "tpot": "TPOT, read by the host",
    "tokens_per_s/prefill": "prefill",
    "tokens_per_s/decode": "decode",
    "tokens_per_s/greedy": "greedy decode",
    "tokens_per_s/request": "new tokens of requests",
    **EXACT,
}
# Times whose tables stand without `-v`.
TIMES = frozenset({*WORKLOADS, "ttft", "tpot"})
RATIO = "Speed-up over {baseline}, with its 95 % CI over processes."
SHARE = "Share of {baseline}; below 100 % is better."
MORE = "{n} more grid points are in comparisons.csv."
# Settings of one metric that get a table of their own at most.
MOST_SETTINGS = 6


def tables(loaded: Loaded, metrics: Collection[str] | None = None, settings: int = MOST_SETTINGS) -> list[Table]:
    """Return the tables of a run: a row for each variant, a column for each length; of one length, a column for each batch size.

    There are none where sizes differ between variants, so that no ratio says anything.
    """
    if loaded.sizes_differ or not loaded.variants:
        return []
    known = loaded.tables.metrics  # some are additions, which a copy may lack
    wanted = [metric for metric in TABLES if metric in known and (metrics is None or metric in metrics)]
    return [made for metric in wanted for made in _of_metric(loaded, metric, settings)]


def with_losses(loaded: Loaded, settings: int = MOST_SETTINGS) -> list[Table]:
    """Return all of these tables, then that of held-out losses where there is one."""
    loss = loss_table(loaded)
    return [*tables(loaded, settings=settings), *([] if loss is None else [loss])]


def _of_metric(loaded: Loaded, metric: str, settings: int) -> Iterator[Table]:
    grid_points = list(dict.fromkeys(each.grid_point for each in loaded.plan.comparisons if metric in each.metrics))
    # A table for each batch size, unless it stands in the titles of columns: of generation, and of one length.
    in_titles = loaded.tables.metrics[metric].workload in GENERATION or len({at.seq_len for at in grid_points}) == 1
    groups = grouped(((at.batch_size * (not in_titles), at.dtype, at.execution), at) for at in grid_points)
    for theirs in list(groups.values())[:settings]:
        ordered = sorted(theirs, key=lambda at: (at.batch_size, at.seq_len, at.new_tokens))
        known = [at for at in ordered if any(_measured(loaded, metric, case, at) for case in loaded.variants)]
        shown = subsample_evenly(known or ordered, MOST_LENGTHS)
        more = len(known or ordered) - len(shown)
        made = pivot(TABLES[metric], _cells(loaded, metric, shown))
        first, batches = shown[0], {at.batch_size for at in theirs}
        shared: list[Value] = [Sentence("B = {B}", B=first.batch_size)] * (len(batches) == 1)
        shared += [first.dtype, *[first.execution] * (first.execution != "eager")]
        over = Sentence(SHARE if metric in EXACT else RATIO, baseline=loaded.baseline)
        notes = [over, *[Sentence(MORE, n=more)] * (more > 0)]
        yield from _of_variants(loaded, replace(made, at=Listed(shared), notes=notes, file="comparisons.csv"))


def _of_variants(loaded: Loaded, made: Table) -> list[Table]:
    """Return a table without the variants of which it holds nothing; none where there is no other."""
    rows = [row for row in made.rows if any(cell != "" for cell in row[1:])]
    left_out = len(loaded.variants) - len(loaded.shown)
    return [replace(made, rows=rows, left_out=left_out, rows_are="variants")] if rows else []


def _cells(
    loaded: Loaded, metric: str, grid_points: Sequence[GridPoint]
) -> Iterator[tuple[Value, Value, Value, Value]]:
    """Yield the cells of a table; of each place the fastest is marked, where it is significantly faster than all others."""
    for at in grid_points:
        column = {case.variant: (case, cell(loaded, metric, case, at)) for case in loaded.shown}
        known = {key: each for key, (_, each) in column.items() if isinstance(each, Finding) and each.status == "ok"}
        ids = {key: each.case.id for key, each in known.items()}
        best = None if metric in EXACT else win_rate.best(loaded, metric, ids)
        title = where_it_ran(at, grid_points)
        for key, (case, found) in column.items():
            yield case, "", title, replace(known[key], best=True) if key == best else found


def _measured(loaded: Loaded, metric: str, case: Case, at: GridPoint) -> bool:
    """Whether a variant has a value at a place, or failed there: a search leaves places out."""
    own = loaded.case(case.variant, metric, at)
    return own is not None and own.status != "skipped"


def cell(loaded: Loaded, metric: str, case: Case, at: GridPoint) -> Value:
    """Return a variant's value at a place, and what is found of it against the baseline; empty where it was not planned."""
    return _found(loaded, loaded.case(case.variant, metric, at), loaded.pair(case.variant, metric, at))


def _found(loaded: Loaded, own: Row | None, pair: Row | None) -> Value:
    """Return what rows of `cases` and `comparisons` say of a variant, a loss in the unit of the report."""
    if own is None:
        return ""
    case, value = loaded.cases_by_id[own.case_id], loaded.values.get((own.case_id, own.metric))
    shown = losses.as_shown(loaded, Estimate(value, unit=str(own.unit)))
    alone = Finding(case, None, case.grid_point, str(own.metric), value=shown, status=str(own.status))
    if pair is None or value is None:
        return alone
    base = loaded.cases_by_id[pair.baseline_case_id]
    made = of_row(pair, case, base, value, loaded.values.get((base.id, own.metric)))
    if made.status != "ok":
        return replace(alone, against=base)
    return replace(made, value=shown, typical=losses.as_shown(loaded, made.typical))


def loss_table(loaded: Loaded) -> Table | None:
    """Return held-out losses, all in the same unit, each with its difference to the baseline's; None where none was asked for.

    Of several lengths each has a column, with the loss that is comparable with dense where that was asked for.
    """
    shown, lengths = losses.shown(loaded), losses.lengths(loaded)
    if not shown or loaded.sizes_differ:
        return None
    loss = losses.comparable(loaded)
    columns: list[tuple[losses.Loss, int | None, Value]] = [(each, None, each.title) for each in shown]
    if len(lengths) > 1:
        columns = [(loss, at, Sentence("T = {T}", T=at)) for at in lengths]
    cells = (
        (case, "", title, loss_cell(loaded, case, each, at)) for each, at, title in columns for case in loaded.shown
    )
    unit = f"{loss.unit}, lower is better" + f"; {loss.title}" * (len(lengths) > 1)
    made = replace(pivot("held-out loss", cells), notes=[unit, losses.seeds_in_words(loaded)], file="cases.csv")
    return next(iter(_of_variants(loaded, made)), None)


def loss_cell(loaded: Loaded, case: Case, loss: losses.Loss, length: int | None) -> Value:
    """Return a loss in the unit in which it is shown, and its difference to the baseline's; empty where it was not planned."""
    own, pair = (found(case.variant, loss.metric, length) for found in (loaded.case, loaded.pair))
    return _found(loaded, own, None if pair is None or pair.status != "ok" else pair)
