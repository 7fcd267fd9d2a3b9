"""A run as tidy tables, for notebooks and scripts, and as a cell of a notebook: `modbench.load(RUN)`. Loads pandas, not torch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from modbench.extend import (
    COMPARISONS,
    DECIDED,
    HAIR,
    MUTED,
    PAPER,
    TIMED,
    Finding,
    Listed,
    Loaded,
    Outcome,
    Record,
    Sentence,
    Short,
    StoredRun,
    TrainNotes,
    Value,
    by_length,
    cells,
    counted,
    cut,
    ends_of,
    explained,
    html_lines,
    html_table,
    inline,
    machine_check,
    name,
    name_rows,
    new_figure,
    number_text,
    plain,
    printable_text,
    printed_run,
    public,
    ratio_axis,
    short,
    subsample_evenly,
    summary,
    to_svg,
    value_tables,
    variant_titles,
    verdict_words,
)
from modbench.extend import (
    REPORT_FILE as PAGE,
)
from modbench.extend import (
    grid_point_in_words as grid_point,
)
from modbench.extend import (
    line_beside as beside,
)
from modbench.extend import load as read
from modbench.extend import (
    plain_html_of as html,
)

# Variants and lengths of the table at most, and tables.
MOST_VARIANTS, MOST_LENGTHS, MOST_TABLES = 16, 6, 2
# Characters of all sentences about doubts.
MOST_SAID = 4000
# Rows of the figure at most, and letters of a name.
MOST_ROWS, MOST_LETTERS = 12, 28
# An interval may leave the frame: one of a single noisy row would hide all the others.
ROOM = 1.25
# Colours that can be read on a light ground and on a dark one; text has the notebook's own.
_COLOURS = {"ink": "currentColor", "muted": "#7d868f", "hair": "#9aa3ab55", "paper": "none", "series-1": "#2b87c8"}
_SERIES_1 = "#020501"


def as_cell(loaded: Loaded, page: Path | None) -> str:
    """Return the run, with its report if that was written, as one element of HTML."""
    told = summary.head(loaded)
    warned = (Sentence("⚠ {said}", said=each) for each in machine_check.warnings(loaded))
    said: list[Value] = [*warned, told.asked, *told.answer]
    tables, doubt = [*_tables(loaded)], Listed(told.doubts, "; ") if told.doubts else None
    known = (("Sure", told.sure), ("Doubt", doubt))
    doubts: list[Value] = [Sentence("{word}: {said}", word=word, said=each) for word, each in known if each]
    doubts += explained(tables, margin=loaded.suite.margin)
    where = f"report: {page}" if page else f"modbench report {loaded.path} writes its page"
    link = f'<a href="{inline(str(page))}">{inline(where)}</a>' if page else str(inline(where))
    above, below = (html_lines(plain(each)[:MOST_SAID] for each in those if each) for those in (said, doubts))
    return html(above, *tables, _figure(loaded), below, f"<div>{link}</div>")


def _tables(loaded: Loaded) -> Iterator[str]:
    """The first tables of the terminal that have something to show."""
    for made in value_tables.with_losses(loaded, settings=1)[:MOST_TABLES]:
        kept = [0, *subsample_evenly(range(1, len(made.head)), MOST_LENGTHS)]
        chosen = [made.rows[0], *subsample_evenly(made.rows[1:], MOST_VARIANTS - 1)]
        rows = [[row[at] for at in kept] for row in chosen]
        head, *body = cells(replace(made, head=[made.head[at] for at in kept], rows=rows), Short())
        yield html_table(head, body)


def _figure(loaded: Loaded) -> str:
    """Speed-ups at the longest length that was timed; nothing where no time is compared."""
    lengths = [] if loaded.sizes_differ else loaded.lengths[-1:]
    for metric in TIMED:
        found = [
            replace(each, what=f"{short(case)}, {grid_point('T', at)}")
            for case in loaded.variants_shown
            for at, each in by_length(loaded, metric, case, loaded.baseline, lengths).items()
            if each.typical.value is not None
        ]
        if found:
            return ratio_figure(subsample_evenly(found, MOST_ROWS), name(loaded.baseline), loaded.suite.margin)
    return ""


def ratio_figure(found: Sequence[Finding], baseline: str, margin: float) -> str:
    """Draw ratios to a baseline, of many the first, as an SVG of some kilobytes without a style sheet; shaded is the margin."""
    rows = [(cut(plain(each.what), MOST_LETTERS, 8), each.typical, each.verdict) for each in found[:MOST_ROWS]]
    ratios = [ratio.value or 0.0 for _, ratio, _ in rows]
    # A notebook holds many figures, and a part of one must not refer to a part of another.
    identity = f"ratios-{hashlib.sha256(repr((rows, baseline, margin)).encode()).hexdigest()[:8]}"
    figure, (axis,) = new_figure(5.4, 0.62 + 0.2 * len(rows))
    figure.suptitle(f"speed-up over {cut(baseline, MOST_LETTERS, 8)}", x=0.01, ha="left", fontsize=8.5, color=MUTED)
    ratio_axis(axis, "x", ends_of(ratios, ROOM))
    axis.axvspan(1 / (1 + margin), 1 + margin, color=HAIR, linewidth=0)
    axis.axvline(1, color=MUTED, linewidth=0.8)
    for y, (_, ratio, verdict) in enumerate(rows):
        if ratio.ends is not None:
            axis.plot(ratio.ends, [y, y], color=_SERIES_1, linewidth=1.4)
        face = _SERIES_1 if verdict in DECIDED else PAPER
        axis.plot([ratios[y]], [y], "o", markersize=5, markerfacecolor=face, markeredgecolor=_SERIES_1)
        beside(axis, y, f"{number_text(ratio)}  {plain(verdict_words(verdict))}")
    name_rows(axis, [called for called, *_ in rows])
    label = "; ".join(f"{plain(each.what)}: {number_text(each.typical)}" for each in found[:MOST_ROWS])
    svg = to_svg(figure, identity, f"Speed-up over {baseline}: {label}")
    svg = re.sub(r"var\(--([\w-]+)\)", lambda found: _COLOURS[found[1]], svg)
    return svg.replace("<svg ", '<svg style="max-width:34em" ', 1)


# First columns of `samples`; what witnesses saw of a sample follows.
SAMPLE_COLUMNS = ("round", "block", "position", "calls", "input", "wall_s", "cpu_s")
SAMPLES = ("case_id", "variant", "metric", "unit", "job", "process", "seed", "sample", "value", *SAMPLE_COLUMNS)
LOSSES = ("case_id", "variant", "seed", "kind", "step", "tokens", "wall_s", "loss_nat")


@dataclass(frozen=True, repr=False)
class Results:
    """A run's results as tables. Values are in base units (s, B, FLOP, J, nat, ratio); what was not measured has a reason.

    Tables are made when first asked for. The tables are yours: changing one changes nothing else.

    In a notebook it shows the answer, a table and a figure; printed, what `modbench run` prints at its end.

    Attributes:
        loaded: the run as reports read it.
        wall_s: duration of the run in s, where it was just made; else None.
    """

    loaded: Loaded
    wall_s: float | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.loaded.path

    @property
    def report(self) -> Path | None:
        """The page; None if it was not written: `modbench report RUN` writes it."""
        page = self.path / PAGE
        return page if page.exists() else None

    @property
    def run(self) -> StoredRun:
        """What was run: its `plan`, `environment`, `command` and `started`; `missing` names jobs without a record."""
        return self.loaded.run

    @cached_property
    def cases(self) -> pd.DataFrame:
        """`cases.csv`: a row for each case and metric that was asked for."""
        return self.loaded.cases.copy()

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """`comparisons.csv`: a row for each pair and metric; `primary`: against the baseline, `aa_control`: a check."""
        return self.loaded.pairs[[*COMPARISONS, "primary", "aa_control"]].copy()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each raw sample.

        `value` is what the metric is computed from (for times `wall_s`, per call). Samples of one `block` of a process lie beside
        each other in time; nothing is left out, so that samples that were noisy are in it too.
        """
        frames = [each for record in self.run.records for each in _samples(record)]
        if not frames:
            return pd.DataFrame(columns=list(SAMPLES))
        made = pd.concat(frames, ignore_index=True)
        return made.reindex(columns=[*SAMPLES, *(column for column in made if column not in SAMPLES)])

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Training curves: a row for each step that read its loss.

        `kind` is `train` for the loss of a step's batch before its update, `held_out` for evaluations during training; losses are
        in nats per token.
        """
        rows = [row for record in self.run.records for outcome in record.outcomes for row in _losses(record, outcome)]
        return pd.DataFrame(rows, columns=list(LOSSES)).astype({"step": "Int64", "tokens": "Int64"})

    def __repr__(self) -> str:
        plan = self.run.plan
        missing = len(self.run.missing)
        lacking = f", {counted(missing, 'job')} missing" if missing else ""
        counts = [(len(self.loaded.variants), "variant"), (len(plan.cases), "case"), (len(plan.jobs), "job")]
        said = ", ".join(counted(number, what) for number, what in counts)
        return f"<modbench run {str(self.path)!r}: suite {plan.suite.name!r}, {plan.suite.effort}, {said}{lacking}>"

    def __str__(self) -> str:
        page = self.report or f"not written; modbench report {self.path} writes it"
        return printable_text([printed_run.closing(self.loaded, page, self.wall_s, more="")])

    def _repr_html_(self) -> str:
        return as_cell(self.loaded, self.report)


@public("mb.load('runs/quick-1')")
def load(
    run_folder: str | Path,
    baseline: str | None = None,
    *,
    all_pairs: bool = False,
    title: Mapping[str, str] | None = None,
) -> Results:
    """Read a run folder as tables.

    Args:
        run_folder: the run folder.
        baseline: the variant that others are compared with, by its id or by what the report calls it; None: the suite's baseline.
        all_pairs: whether any two variants are compared, however many pairs that makes.
        title: titles of variants, in place of those that the run has, such as `{"mod[c0.125]": "Ours"}`.

    Raises:
        UsageError: if it is not a run folder, is damaged, or has no such variant.
    """
    return Results(read(run_folder, baseline, all_pairs=all_pairs, title=variant_titles.of(title or {}, "title")))


def _samples(record: Record) -> Iterator[pd.DataFrame]:
    variants = {case.id: case.variant for case in record.job.comparison.timed.variants}
    for outcome in record.outcomes:
        if not outcome.samples:
            continue
        made = pd.DataFrame(dict(outcome.samples))
        yield made.assign(
            case_id=outcome.case,
            variant=variants.get(outcome.case, ""),
            metric=outcome.metric,
            unit=outcome.unit,
            job=record.job.name,
            process=record.job.process,
            seed=record.job.protocol.seed,
            sample=range(len(made)),
            value=made.get(record.job.facts.column, math.nan),
        )


def _losses(record: Record, outcome: Outcome) -> Iterator[dict[str, Any]]:
    if not isinstance(outcome.notes, TrainNotes):
        return
    notes = outcome.notes
    variants = {case.id: case.variant for case in record.job.comparison.variants}
    told = {"case_id": outcome.case, "variant": variants.get(outcome.case, ""), "seed": notes.seed}
    if notes.curve is not None:
        curve = notes.curve
        for step, tokens, loss, wall_s in zip(curve.step, curve.tokens, curve.loss, curve.wall_s, strict=True):
            if loss is not None:
                yield {**told, "kind": "train", "step": step, "tokens": tokens, "wall_s": wall_s, "loss_nat": loss}
    if notes.looks is not None:
        for step, loss in zip(notes.looks.step, notes.looks.loss, strict=True):
            yield {**told, "kind": "held_out", "step": step, "loss_nat": loss}
