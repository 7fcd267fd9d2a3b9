"""Writes a run's views: report.html, cases.csv and other formats. They depend on nothing but the folder's files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from modbench.harness.core import catalogue
from modbench.harness.core.files import write_atomically
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped
from modbench.reports import additions, asked, head, style
from modbench.reports.figures import panels
from modbench.reports.format import DEFAULT, Format
from modbench.reports.load import Loaded, load
from modbench.reports.machine import gpu, machine_check, warnings
from modbench.reports.templates import fill

PAGE = "report.html"


def write(folder: str | Path, baseline: str | None = None, *, all_pairs: bool = False) -> Loaded:
    """Read a run folder and write its page and tables, compared with the baseline (default: the suite's anchor).

    `all_pairs` compares any two arms, however many pairs that makes.

    Raises:
        UsageError: if it is not a run folder, is damaged, or has no such arm.
    """
    loaded = load(folder, baseline, all_pairs=all_pairs)
    views(loaded)
    return loaded


def views(loaded: Loaded, formats: Sequence[str] = DEFAULT, out: str | Path | None = None) -> list[Path]:
    """Write a run that was read in these formats, into its folder or another, and return the paths of the files."""
    where, written = loaded.path if out is None else Path(out), []
    if out is not None:  # a run folder that was moved away meanwhile is not made again
        where.mkdir(parents=True, exist_ok=True)
    for name in formats:
        made: Format = catalogue.load("formats", name)
        for file, content in made.files(loaded).items():
            write_atomically(where / file, content)
            written.append(where / file)
    return written


def html(loaded: Loaded) -> str:
    """Return the whole page as one file that needs no network."""
    rendered = []
    for name, panel in panels():
        with style.numbered(loaded.arms):
            fragment = additions.rendered(name, panel, loaded)
        if fragment is not None:
            rendered.append((panel, fragment))
    rendered += additions.broken()
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
