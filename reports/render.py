"""Writes a run's views: report.html and its CSV files. They depend on nothing but the folder's files."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from modbench.harness.core.files import write_atomically
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import cell, escaped
from modbench.reports import asked, breakeven, exchange, head, isoflop
from modbench.reports.figures import blaming_artifacts, panels
from modbench.reports.load import Loaded, load
from modbench.reports.machine import gpu, machine_check, warnings
from modbench.reports.pairs import COMPARISONS
from modbench.reports.templates import fill

PAGE = "report.html"


def write(folder: str | Path, baseline: str | None = None, *, all_pairs: bool = False) -> Loaded:
    """Read a run folder and write its views, compared with the baseline (default: the suite's anchor).

    `all_pairs` compares any two arms, however many pairs that makes.

    Raises:
        UsageError: if it is not a run folder, is damaged, or has no such arm.
    """
    loaded = load(folder, baseline, all_pairs=all_pairs)
    views(loaded)
    return loaded


def views(loaded: Loaded) -> None:
    """Write the views of a run that was read."""
    write_atomically(loaded.path / "cases.csv", csv(loaded.cases))
    write_atomically(loaded.path / "comparisons.csv", csv(loaded.pairs[COMPARISONS]))
    sweep = isoflop.table(loaded)
    if not sweep.empty:
        write_atomically(loaded.path / "isoflop.csv", csv(sweep))
    lines = breakeven.table(loaded)
    if not lines.empty:
        write_atomically(loaded.path / "breakeven.csv", csv(lines))
    rates = exchange.table(loaded)
    if not rates.empty:
        write_atomically(loaded.path / "exchange.csv", csv(rates))
    write_atomically(loaded.path / PAGE, html(loaded))


def csv(frame: pd.DataFrame) -> str:
    """Return CSV in base units with full precision; null is an empty cell. No text in it is a formula or a control."""
    texts = {str(name): frame[name].map(cell) for name in frame if frame[name].dtype.kind not in "biufc"}
    return masked(str(frame.assign(**texts).to_csv(index=False, lineterminator="\n")))


def html(loaded: Loaded) -> str:
    """Return the whole page as one file that needs no network."""
    rendered = []
    for name, panel in panels():
        with blaming_artifacts(name, loaded):
            fragment = panel.render(loaded)
        if fragment is not None:
            rendered.append((panel, fragment))
    run = loaded.run
    page = fill(
        "report",
        title=asked.title(loaded),
        head=head.head(loaded),
        panels=rendered,
        command=shlex.join(run.command),
        date=run.started[:10],
        suite=run.plan.suite,
        version=run.environment["packages"]["modbench"],
        commit=(run.environment["git"]["commit"] or "")[:7],
        gpu=gpu(loaded),
        machine_check=machine_check(loaded),
        warnings=warnings(loaded),
        missing=run.missing,
        damaged=run.damaged,
        failed=len(loaded.failed.case_id.unique()),
    )
    return masked(escaped(page))
