"""JSON, report.json: everything that the page says as data, by the schema that `modbench schema report` prints."""

from __future__ import annotations

from modbench.harness.core.masking import masked
from modbench.reports.format import Format
from modbench.reports.formats import _schema as schema
from modbench.reports.formats.csv import more
from modbench.reports.panels.doubts import doubts
from modbench.reports.panels.failures import failures
from modbench.reports.panels.machine import facts
from modbench.reports.questions import first_screen
from modbench.reports.questions.machine import machine_check, warnings
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import name, short
from modbench.reports.writers.data import rows, sentences
from modbench.reports.writers.number_format import plain

NAME = "report.json"


def report(loaded: Loaded) -> schema.Report:
    """Return the report as data, checked by its schema."""
    check, in_words = machine_check(loaded)
    told = first_screen.head(loaded)
    return schema.Report(
        title=first_screen.title(loaded),
        asked=plain(told.asked),
        answer=sentences([*told.answer, *told.details]),
        sure=sentences(told.sure),
        cautions=sentences(told.doubts),
        warnings=tuple(warnings(loaded)),
        run=_run(loaded),
        machine=schema.Machine(
            device=loaded.run.plan.device,
            name=loaded.device_name,
            check=check,
            check_in_words=in_words,
            facts={term: plain(fact) for term, fact in facts(loaded)},
        ),
        arms=_arms(loaded),
        cases=tuple(schema.CaseRow(**row) for row in rows(loaded.cases)),
        comparisons=tuple(schema.PairRow(**row) for row in rows(loaded.pairs)),
        tables={title: tuple(rows(table)) for title, table in more(loaded).items()},
        failed=tuple(
            schema.Failed(case_id=each.case_id, metrics=each.metrics, reason=each.reason) for each in failures(loaded)
        ),
        doubts=tuple(
            schema.Doubted(
                doubt=each.title,
                findings=tuple(schema.Finding(found=found, where=plain(where)) for found, where in each.findings),
                more=each.more,
                advice=each.advice,
            )
            for each in doubts(loaded)
        ),
    )


def _run(loaded: Loaded) -> schema.Run:
    run, suite = loaded.run, loaded.run.plan.suite
    return schema.Run(
        suite=suite.name,
        effort=suite.effort,
        protocol=suite.launches_in_words,
        margin=suite.margin,
        seeds=suite.seeds,
        claims=suite.claims,
        command=tuple(run.command),
        started=run.started,
        modbench=run.environment["packages"]["modbench"],
        commit=run.environment["git"]["commit"],
        baseline=loaded.arms[0].arm,
        units=len(run.plan.units),
        missing=tuple(run.missing),
        damaged=tuple(str(damaged.error) for damaged in run.damaged),
    )


def _arms(loaded: Loaded) -> tuple[schema.Arm, ...]:
    targets = {rung.arm: rung.target for rung in loaded.run.plan.ladder}
    return tuple(
        schema.Arm(
            arm=case.arm,
            name=name(case),
            short=short(case),
            model=case.short_model,
            capacity=case.config.capacity,
            rung_of=targets.get(case.arm),
        )
        for case in loaded.arms
    )


FORMAT = Format(lambda loaded: {NAME: masked(report(loaded).model_dump_json(indent=1)) + "\n"})
