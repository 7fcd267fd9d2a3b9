"""Writes a run's views: report.html, cases.csv and other formats. They depend on nothing but the folder's files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from modbench.harness.core.errors import UnreadableError, UsageError, in_short, unknown
from modbench.harness.core.files import write_atomically
from modbench.harness.registry import catalogue
from modbench.reports.figures import style
from modbench.reports.format import DEFAULT, Format
from modbench.reports.model import Alert, Figure, Sentence, Value
from modbench.reports.page import layout
from modbench.reports.page.layout import Page, Section
from modbench.reports.panel import Panel, panels
from modbench.reports.questions import first_screen
from modbench.reports.questions.machine import doubtful, gpu, machine_check, warnings
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.html import fill, inline, written


@contextlib.contextmanager
def blaming_artifacts(panel: str, loaded: Loaded) -> Iterator[None]:
    """Turn an error of a panel about routing into one of its data: artifacts have no schema; what one lacks is damage, no bug.

    Raises:
        UsageError: if an artifact is damaged.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        artifacts = loaded.path / "artifacts"
        if isinstance(error, UsageError) or not (panel.startswith("routing_") and artifacts.is_dir()):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        raise UnreadableError(
            f"{artifacts}: a file in it is damaged ({said}). If you remove it, its panels stay empty."
        ) from error


def drawn(loaded: Loaded, of: Callable[[str], object] = bool) -> Iterator[tuple[str, Figure]]:
    """Yield the panel and every figure that the run has data for, in the order of the page; only `of` some panels' names."""
    for name, panel in panels():
        if panel.draws and of(name):
            try:
                with blaming_artifacts(name, loaded), style.numbered(loaded.arms):
                    found = [each for each in panel.render(loaded) or () if isinstance(each, Figure)]
            except Exception:
                if catalogue.is_shipped("panels", name):
                    raise
                continue  # the page says what is wrong with it
            yield from ((name, each) for each in found)


def figure_named(loaded: Loaded, name: str) -> Figure:
    """Return the figure of this name, or the only figure of the panel of this name.

    Raises:
        UsageError: if the run has no such figure, or the panel has several.
    """
    words = set(re.split("[-_]", name))
    # Figures are mostly named like their panel: those above it need not be drawn.
    for _, drawing in drawn(loaded, lambda panel: words & {*panel.split("_")}):
        if drawing.name == name:
            return drawing
    every = [*drawn(loaded)]
    found = [each for _, each in every if each.name == name] or [each for panel, each in every if panel == name]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"panel {name!r} has several figures: {names}. Name one of them.")
    if found:
        return found[0]
    if not every:
        raise UsageError(f"{str(loaded.path)!r} has no figure: none of its panels has data to draw.")
    there = [each.name for _, each in every]
    if any(panel.draws and of == name for of, panel in panels()):
        raise UsageError(
            f"panel {name!r} draws nothing in {str(loaded.path)!r}: the run lacks what it compares. Figures there: "
            f"{', '.join(there)}."
        )
    raise unknown("figure", name, there)


def rendered(name: str, panel: Panel, loaded: Loaded) -> Markup | None:
    """Render a panel; instead of one of the user's that raises, return the reason."""
    try:
        with blaming_artifacts(name, loaded):
            made = panel.render(loaded)
            return made if isinstance(made, Markup) else written(made or ())
    except Exception as error:
        if catalogue.is_shipped("panels", name):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        return written([Alert(f"{catalogue.find('panels', name).path} cannot be shown: {said}")])


def broken() -> Iterator[Section]:
    """Yield a section for every panel and doubt of the user's that cannot be used."""
    for entry in (*catalogue.broken("panels"), *catalogue.broken("doubts")):
        said = Alert(f"{entry.where} cannot be used: {entry.problem}")
        yield Section(f"{entry.one.capitalize()} {entry.name!r}", [said])


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
    told = first_screen.head(loaded)
    lead = fill("lead", told=told, left_out=first_screen.left_out(loaded), inline=inline)
    sections = [Section("The answer", [lead], lead=True)]
    for name, panel in panels():
        with style.numbered(loaded.arms):
            fragment = rendered(name, panel, loaded)
        if fragment is not None:
            parts = panel.span, panel.folded, panel.printed, panel.reading
            sections.append(Section(panel.title, [fragment], *parts))
    run, check = loaded.run, machine_check(loaded)
    failed = len(loaded.failed.case_id.unique())
    checked = [] if doubtful(loaded) else [check[1]]
    unfit = check[0] == "unfit"
    alarms: list[tuple[object, Value]] = [
        (not run.plan.suite.claims, "smoke run: no claims"),
        (run.missing, Sentence("incomplete: {n} units missing", n=len(run.missing))),
        (run.damaged, Sentence("damaged: {n:unit} cannot be believed", n=len(run.damaged))),
        (failed, Sentence("{n:case} failed", n=failed)),
    ]
    page = Page(
        first_screen.title(loaded),
        about(loaded),
        run.command,
        [*sections, *broken()],
        asked=told.asked,
        alarms=[*(said for holds, said in alarms if holds), *checked * unfit],
        badges=[*[f"GPU: {gpu(loaded)}"] * (run.plan.device == "cuda"), *checked * (not unfit)],
        warnings=[*warnings(loaded)],
    )
    return layout.html(page)


def about(loaded: Loaded) -> str:
    """Return a line about a run: when it was made, with which suite, launches and version."""
    run, suite = loaded.run, loaded.suite
    launches = suite.launches_in_words.replace(" x ", " × ")
    version, commit = run.environment["packages"]["modbench"], run.environment["git"]["commit"] or ""
    parts = [run.started[:10], f"suite {suite.name}", f"{suite.effort}: {launches}", f"modbench {version}"]
    return " · ".join([*parts, *[f"commit {commit[:7]}"] * bool(commit)])
