"""A run folder to its three views: cases.csv, comparisons.csv, report.html. A pure function of the folder's files."""

from __future__ import annotations

import shlex
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from modbench.harness.core import catalogue
from modbench.harness.core.files import write_atomically
from modbench.reports import isoflop, lead
from modbench.reports.load import Loaded, load
from modbench.reports.machine import gpu, machine_check
from modbench.reports.pairs import COMPARISONS
from modbench.reports.panel import Panel

PAGE = "report.html"
_PAGE_FOLDER = Path(__file__).parent / "page"


def write(folder: str | Path, baseline: str | None = None) -> Loaded:
    """Read a run folder and write its views, everything held against the baseline (default: the suite's anchor).

    Raises:
        UsageError: if it is no run folder or is damaged.
    """
    loaded = load(folder, baseline)
    write_atomically(loaded.path / "cases.csv", csv(loaded.cases))
    write_atomically(loaded.path / "comparisons.csv", csv(loaded.pairs[COMPARISONS]))
    sweep = isoflop.table(loaded)
    if not sweep.empty:
        write_atomically(loaded.path / "isoflop.csv", csv(sweep))
    write_atomically(loaded.path / PAGE, html(loaded))
    return loaded


def csv(frame: pd.DataFrame) -> str:
    """CSV in base units with full precision; null is an empty cell."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def html(loaded: Loaded) -> str:
    """The whole page as one file that needs no network."""
    panels: list[Panel] = sorted((catalogue.load("panels", name) for name in catalogue.entries("panels")), key=_order)
    rendered = [(panel, fragment) for panel in panels if (fragment := panel.render(loaded)) is not None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    run = loaded.run
    launches, rounds = run.plan.suite.protocol_size
    return environment.get_template(
        "report.html.j2"
    ).render(
        title=lead.title(loaded),
        lead=lead.lead(loaded),
        panels=rendered,
        css=Markup((_PAGE_FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704  # our own file
        js=Markup((_PAGE_FOLDER / "page.js").read_text(encoding="utf-8")),  # noqa: S704  # our own file
        command=shlex.join(run.command),
        date=run.started[:10],
        suite=run.plan.suite,
        launches=launches,
        rounds=rounds,
        version=run.environment["packages"]["modbench"],
        commit=(run.environment["git"]["commit"] or "")[:7],
        gpu=gpu(loaded),
        machine_check=machine_check(loaded),
        missing=run.missing,
        failed=len(loaded.failed.case_id.unique()),
        device=run.plan.device,
    )


def _order(panel: Panel) -> int:
    return panel.order
