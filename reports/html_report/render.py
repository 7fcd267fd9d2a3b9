"""Writes a run's views: report.html, cases.csv and other formats. They depend on nothing but the folder's files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UnreadableError, UsageError, in_short, unknown
from modbench.harness.core.group_by import grouped
from modbench.harness.registry import catalogue
from modbench.reports.blocks import Alert, Block, Estimate, Figure, Sentence, Value
from modbench.reports.figures import style
from modbench.reports.html_report import layout
from modbench.reports.html_report.layout import Page, PageSection
from modbench.reports.markup.html import fill, inline, written
from modbench.reports.markup.number_format import plain
from modbench.reports.output_format import DEFAULT, Format
from modbench.reports.questions import summary
from modbench.reports.questions.machine_check import doubtful, gpu, machine_check, warnings
from modbench.reports.questions.user_models import first_variant
from modbench.reports.section import Section, more_tables, sections
from modbench.reports.tables.job_files import Files
from modbench.reports.tables.load import Loaded, load, matched_beside
from modbench.reports.tables.rerun_command import Again

# Files with raw samples that are named; the rest are counted.
MOST_FILES = 3


@contextlib.contextmanager
def blaming_artifacts(section: Section, loaded: Loaded) -> Iterator[None]:
    """Turn an error of a section that reads artifacts into one of its data: they have no schema; a lack is damage.

    Raises:
        UsageError: if an artifact is damaged.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        artifacts = loaded.path / "artifacts"
        if isinstance(error, UsageError) or not (section.reads_artifacts and artifacts.is_dir()):
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        raise UnreadableError(
            f"{artifacts}: a file in it is damaged ({said}). If you remove it, its sections stay empty."
        ) from error


def drawn(loaded: Loaded, of: Callable[[str], object] = bool) -> Iterator[tuple[str, Figure]]:
    """Yield the section and every figure that the run has data for, in the report's order; only `of` some sections' names."""
    for name, section in sections():
        if section.draws and of(name):
            with style.numbered(loaded.variants):
                found = rendered(name, section, loaded, as_html=False)
            yield from ((name, each) for each in found if isinstance(each, Figure))


def figure_named(loaded: Loaded, name: str) -> Figure:
    """Return the figure of this name, or the only figure of the section of this name.

    Raises:
        UsageError: if the run has no such figure, or the section has several.
    """
    words = set(re.split("[-_]", name))
    # Figures are mostly named like their section: those above it need not be drawn.
    for _, drawing in drawn(loaded, lambda section: words & {*section.split("_")}):
        if drawing.name == name:
            return drawing
    every = [*drawn(loaded)]
    found = [each for _, each in every if each.name == name] or [each for section, each in every if section == name]
    if len(found) == 1:
        return found[0]
    there = [each.name for each in found] or [each.name for _, each in every]
    if found:
        raise UsageError(f"section {name!r} has several figures: {', '.join(there)}. Name one of them.")
    if not every:
        raise UsageError(f"{str(loaded.path)!r} has no figure: none of its sections has data to draw.")
    if any(section.draws and of == name for of, section in sections()):
        raise UsageError(
            f"section {name!r} draws nothing in {str(loaded.path)!r}: the run lacks what it compares. Figures there: "
            f"{', '.join(there)}."
        )
    raise unknown("figure", name, there)


def rendered(name: str, section: Section, loaded: Loaded, *, as_html: bool = True) -> list[Block | Markup]:
    """Return what a section shows, as blocks or as in the HTML report; instead of one of the user's that raises, the reason."""
    shipped = catalogue.is_shipped("sections", name)
    try:
        with blaming_artifacts(section, loaded):
            made = section.render(loaded) or ()
            blocks: list[Block | Markup] = [made] if isinstance(made, Markup) else [*made]
            # Blocks of several sections are written together; those of the user's here, so that what they raise is theirs.
            shown = written(blocks) if as_html and not (section.printed and shipped) else None
    except Exception as error:
        if shipped:
            raise
        said = f"{type(error).__name__}: {in_short(error)}"
        return [Alert(f"{catalogue.find('sections', name).path} cannot be shown: {said}")]
    if shown is None:
        return blocks
    return [shown if section.printed else Markup('<div class="unprinted">{}</div>').format(shown)]


def page_sections(loaded: Loaded) -> Iterator[PageSection]:
    """Yield what sections show, in their order; those with one title are one part of the report."""
    found = ((section.title, (section, rendered(name, section, loaded))) for name, section in sections())
    for title, every in grouped(found).items():
        shown = [(section, blocks) for section, blocks in every if blocks]
        if shown:
            yield PageSection(
                title,
                [block for _, blocks in shown for block in blocks],
                max(section.span for section, _ in shown),
                all(section.folded for section, _ in shown),
                any(section.printed for section, _ in shown),
                " ".join(filter(None, (section.reading for section, _ in shown))),
            )


def broken() -> Iterator[PageSection]:
    """Yield the user's sections and warnings that cannot be used, with the reason."""
    for entry in (*catalogue.broken("sections"), *catalogue.broken("warnings")):
        said = Alert(f"{entry.path} cannot be used: {entry.problem}")
        yield PageSection(f"{entry.one.capitalize()} {entry.name!r}", [said])


def write(folder: str | Path, baseline: str | None = None, *, all_pairs: bool = False) -> Loaded:
    """Read a run folder and write its page and tables, compared with the baseline (default: the suite's baseline).

    `all_pairs` compares any two variants, however many pairs that makes.

    Raises:
        UsageError: if it is not a run folder, is damaged, or has no such variant.
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
    told = summary.head(loaded)
    lead = fill("lead", told=told, left_out=summary.left_out(loaded), inline=inline)
    run, (status, check) = loaded.run, machine_check(loaded)
    said: list[Value] = ["smoke run: no claims"] * (not run.plan.suite.claims)
    counts = {
        "incomplete: {n:job has|jobs have} no record": len(run.missing),
        "damaged: {n:job} cannot be believed": len(run.damaged),
        "{n:case} failed": len(loaded.failed.case_id.unique()),
    }
    checked = [] if doubtful(loaded) else [check]
    with style.numbered(loaded.variants):
        page = Page(
            summary.title(loaded),
            about(loaded),
            run.command,
            [PageSection("Summary", [lead, behind(loaded)], lead=True), *page_sections(loaded), *broken()],
            asked=told.asked,
            alarms=[*said, *(Sentence(words, n=n) for words, n in counts.items() if n), *checked * (status == "unfit")],
            badges=[*[f"GPU: {gpu(loaded)}"] * (run.plan.device == "cuda"), *checked * (status != "unfit")],
            warnings=[*warnings(loaded)],
        )
        return layout.html(page)


def behind(loaded: Loaded) -> Markup:
    """Say where the numbers are, and for the variant that is shown first the raw samples and the command to repeat it."""
    first = first_variant(loaded)
    beside = None if first is None else matched_beside(loaded, first)
    variants = [case.variant for case in (first, beside.case if beside else None) if case is not None]
    wanted = [case for case in loaded.plan.cases if case.variant in variants]
    samples = Files(loaded.run, {case.id for case in wanted})
    groups: list[str | None] = [*sorted(loaded.timed)] or [None]
    paths = [*dict.fromkeys(path for case in wanted for group in groups for path in samples.records(case.id, group))]
    command, why = Again(loaded.run).if_any(wanted) if wanted else (layout.typed(loaded.run.command), "")
    return fill(
        "behind",
        tables=[f"{name}.csv" for name in ("comparisons", "cases", *more_tables(loaded))],
        files=paths[:MOST_FILES],
        more=max(0, len(paths) - MOST_FILES),
        command=command,
        no_command=why,
    )


def about(loaded: Loaded) -> str:
    """Return a line about a run: when it was made, with which suite, text, processes and version."""
    run, suite = loaded.run, loaded.suite
    processes = suite.processes_in_words.replace(" x ", " × ")
    version, commit = run.environment["packages"]["modbench"], run.environment["git"]["commit"] or ""
    parts = [
        run.started[:10],
        f"suite {suite.name}",
        f"{suite.effort}: {processes}",
        *_trained(loaded),
        f"modbench {version}",
    ]
    return " · ".join([*parts, *[f"commit {commit[:7]}"] * bool(commit)])


def _trained(loaded: Loaded) -> Iterator[str]:
    """Yield the text that models read, and how many tokens of it they were trained on; nothing where none was."""
    runs = [run for job in loaded.runs if (run := job.protocol.train) is not None]
    if runs:
        tokens = sorted({run.steps * run.tokens_per_step for run in runs})
        words = "text {corpus}: {tokens} training tokens, {n:seed}"
        span = Estimate(None, tokens[0], tokens[-1], "count")
        yield plain(Sentence(words, corpus=loaded.suite.corpus, tokens=span, n=len(loaded.suite.seeds)))
