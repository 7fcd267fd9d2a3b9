"""JSON, report.json: everything that the HTML report says as data, by the schema in `modbench/schemas/report.schema.json`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from modbench.harness.core.immutable import Frozen
from modbench.harness.core.masking import masked
from modbench.harness.domain.case import Case
from modbench.reports.markup.data import rows, sentences
from modbench.reports.markup.number_format import plain
from modbench.reports.output_format import Format
from modbench.reports.questions import summary
from modbench.reports.questions.found_warnings import doubts
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.questions.user_models import BestSetting, best_settings
from modbench.reports.section import more_data, more_tables
from modbench.reports.sections.failures_and_warnings import Failed, failures
from modbench.reports.sections.method import facts
from modbench.reports.tables.cases import CASES
from modbench.reports.tables.columns import TYPES
from modbench.reports.tables.comparisons import COMPARISONS, MORE
from modbench.reports.tables.load import Loaded, matched_beside
from modbench.reports.wording import name, short

# --- the schema

# Version of report.json: it rises when a field changes its meaning or goes; new fields do not raise it.
VERSION = 2

_TYPES = {"count": int, "number": float, "flag": bool, "text": str}


def type_of(column: str) -> type:
    """Return the type of a column's values that are not null."""
    return _TYPES[TYPES[column]]


def _row(name: str, doc: str, columns: list[str]) -> type[Frozen]:
    fields: dict[str, Any] = {column: (type_of(column) | None, None) for column in columns}
    return create_model(name, __base__=Frozen, __doc__=doc, **fields)


CaseRow = _row("CaseRow", "A row of cases.csv: one case and metric, in base units; null with its reason.", CASES)
PairRow = _row(
    "PairRow",
    "A row of comparisons.csv with the columns that the report adds: one pair of variants and metric; a ratio above 1 is better.",
    [*COMPARISONS, *MORE],
)


class Run(Frozen):
    """What was run, with what.

    Attributes:
        suite: name of the suite.
        effort: preset of processes and rounds.
        protocol: processes and rounds, in words.
        margin: differences below this share are of no practical interest.
        seeds: seeds of weights and data.
        claims: whether verdicts may be given.
        command: the command line.
        started: start time, UTC, ISO 8601.
        modbench: version of modbench.
        commit: commit of its checkout, if it ran from one.
        baseline: the variant that the rows with `primary` compare with.
        jobs: jobs that were planned.
        missing: jobs without a record.
        damaged: what is wrong with records that cannot be believed.
    """

    suite: str
    effort: str
    protocol: str
    margin: float
    seeds: tuple[int, ...]
    claims: bool
    command: tuple[str, ...]
    started: str
    modbench: str
    commit: str | None
    baseline: str
    jobs: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]


class Machine(Frozen):
    """Where it was run.

    Attributes:
        device: `cpu` or `cuda`.
        name: the processor, or the GPU.
        check: verdict of the machine check: `fit`, `inconclusive`, `unfit` or `unknown`.
        check_in_words: what is known of it.
        facts: the report's facts about machine and method, by term.
    """

    device: str
    name: str
    check: str
    check_in_words: str
    facts: dict[str, str]


class Variant(Frozen):
    """A variant.

    Attributes:
        variant: its id without the grid part, as in the rows.
        name: what sentences call it.
        short: what figures call it.
        model: the model.
        capacity: MoD's share of tokens in a routed block; null for others.
        matched_of: for a matched baseline, the first variant that it costs as much as.
        match: the dense variant that costs as much as this one; null where there is none.
        match_quantity: what they have in common; null where there is none.
        no_match: why a model of the user's has none although the suite asks for one; null otherwise.
    """

    variant: str
    name: str
    short: str
    model: str
    capacity: float | None
    matched_of: str | None
    match: str | None = None
    match_quantity: str | None = None
    no_match: str | None = None


class Report(Frozen, extra="allow"):
    """Everything that the HTML report says, as data. Nothing in it is rounded; what was not measured is null, with a reason.

    Sections of plug-ins may add keys.

    Attributes:
        schema_version: version of this schema.
        title: the question.
        asked: what was compared with what.
        answer: the answer, in at most two sentences.
        best_settings: of a user's model with several settings the fastest at each place.
        audits: what was found of the user's models, by variant, where a plug-in audits them.
        sure: what the numbers stand on.
        cautions: what a reader should hold against them.
        warnings: what must be read before anything else.
        run: what was run.
        machine: where.
        variants: the variants, the baseline first.
        cases: one row for each case and metric.
        comparisons: one row for each pair and metric; `primary`: against the baseline; `aa_control`: a check of the machine.
        tables: further tables that the suite asked for, by name, such as `isoflop`: rows as in the CSV file of that name.
        failed: failures.
        doubts: reasons to doubt numbers, each with its cells and with what to do about it.
    """

    schema_version: int = VERSION
    title: str
    asked: str
    answer: tuple[str, ...]
    best_settings: tuple[BestSetting, ...] = ()
    audits: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sure: tuple[str, ...]
    cautions: tuple[str, ...]
    warnings: tuple[str, ...]
    run: Run
    machine: Machine
    variants: tuple[Variant, ...]
    cases: tuple[CaseRow, ...]  # type: ignore[valid-type]  # made from the columns
    comparisons: tuple[PairRow, ...]  # type: ignore[valid-type]  # as above
    tables: dict[str, tuple[dict[str, str | bool | int | float | None], ...]]
    failed: tuple[Failed, ...]
    doubts: tuple[str, ...]


# --- the report

NAME = "report.json"


def report(loaded: Loaded) -> Report:
    """Return the report as data, checked by its schema."""
    check, in_words = machine_check(loaded)
    told, run, suite = summary.head(loaded), loaded.run, loaded.suite
    return Report(
        title=plain(summary.title(loaded)),
        asked=plain(told.asked),
        answer=sentences(told.answer),
        best_settings=tuple(best_settings(loaded)),
        sure=sentences(filter(None, [told.sure])),
        cautions=sentences(told.doubts),
        warnings=sentences(warnings(loaded)),
        run=Run(
            suite=suite.name,
            effort=suite.effort,
            protocol=suite.processes_in_words,
            margin=suite.margin,
            seeds=suite.seeds,
            claims=suite.claims,
            command=tuple(run.command),
            started=run.started,
            modbench=run.environment["packages"]["modbench"],
            commit=run.environment["git"]["commit"],
            baseline=loaded.baseline.variant,
            jobs=len(run.plan.jobs),
            missing=tuple(run.missing),
            damaged=tuple(str(damaged.error) for damaged in run.damaged),
        ),
        machine=Machine(
            device=loaded.plan.device,
            name=loaded.tables.device_name,
            check=check,
            check_in_words=plain(in_words),
            facts={term: plain(fact) for term, fact in facts(loaded)},
        ),
        variants=tuple(_variant(loaded, case) for case in loaded.variants),
        cases=tuple(CaseRow(**row) for row in rows(loaded.cases)),
        comparisons=tuple(PairRow(**row) for row in rows(loaded.pairs)),
        tables={title: tuple(rows(table)) for title, table in more_tables(loaded).items()},
        failed=tuple(failures(loaded)),
        doubts=sentences(each.sentence for each in doubts(loaded)),
        **more_data(loaded),
    )


def _variant(loaded: Loaded, case: Case) -> Variant:
    targets = (matched.target for matched in loaded.plan.matched_baselines if matched.variant == case.variant)
    beside = matched_beside(loaded, case)
    return Variant(
        variant=case.variant,
        name=name(case),
        short=short(case),
        model=case.short_model,
        capacity=case.config.capacity,
        matched_of=next(targets, None) if case.matched else None,
        match=beside.case.variant if beside else None,
        match_quantity=beside.matched.quantity if beside else None,
        no_match=loaded.plan.no_matches.get(case.variant),
    )


FORMAT = Format(lambda loaded: {NAME: masked(report(loaded).model_dump_json(indent=1)) + "\n"})
