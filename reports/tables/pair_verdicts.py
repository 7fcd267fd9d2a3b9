"""Verdicts on pairs: each row's effects become a word, among the other rows of its family; and where verdicts are withheld.

A family holds the arms against the report's baseline, for one metric at one place. Whether an arm is told from its baseline then
does not depend on other lengths, other metrics or pairs that no reader asked about. Matched baselines against the report's are a
family of their own, since they differ from it on purpose; so are the arms against their matched baselines, and all other pairs,
whose rows say so. Which pair belongs where: `comparisons.pairs`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.contracts import Estimand
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label, of_cell
from modbench.harness.domain.case import Case
from modbench.harness.results.run_file import StoredRun
from modbench.harness.stats import contamination, effects, sample_size, verdicts
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Disturbed, Estimates
from modbench.reports.model import Estimate, Sentence
from modbench.reports.tables import provenance
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.outcomes import HELD_OUT, Tables
from modbench.reports.writers.number_format import plain, ratio


@dataclass(frozen=True)
class Evidence:
    """What a pair's verdict is made from.

    Attributes:
        wall: by wall time, or of a difference.
        disturbed: what may have disturbed the two; None: they are no times.
        better: for a difference without a ratio, which direction is better; None for a ratio.
        estimand: what the effect of a time is of.
        family: rows with the same value are judged together.
        other: whether the pair is neither one against the report's baseline nor one of equal cost.
    """

    wall: Estimates
    disturbed: Disturbed | None = None
    better: str | None = None
    estimand: Estimand = "median"
    family: Hashable = None
    other: bool = False


def judge(rows: Sequence[dict[str, Any]], margin: float, *, claims: bool) -> None:
    """Add verdict, reason and labels to the rows that have `evidence`, which is taken from them."""
    found: dict[int, Evidence] = {
        i: row.pop("evidence") for i, row in enumerate(rows) if row.get("evidence") is not None
    }
    wall = _in_family({i: (each.family, each.wall) for i, each in found.items()})
    cpu = _in_family(
        {i: (each.family, each.disturbed.cpu) for i, each in found.items() if each.disturbed and each.disturbed.cpu}
    )
    sizes = Counter(each.family for each in found.values() if each.wall.effect.p is not None)
    for i, evidence in found.items():
        row, estimates = rows[i], wall[i]
        row["p_adjusted"] = estimates.p
        disturbed = evidence.disturbed and evidence.disturbed._replace(cpu=cpu.get(i))
        if not claims:
            if disturbed is not None and disturbed.share > contamination.MOST:
                _label(row, Label.CONTAMINATED)
                row["reason"] = joined_reasons([row["reason"], Reason("disturbed", share=disturbed.share)])
        elif evidence.better is not None:
            row["verdict"] = verdicts.difference_verdict(evidence.wall.effect, evidence.better, row["p_adjusted"])
            # Confirmation looks several times, and advises its own number of seeds.
            if row["verdict"] == "inconclusive" and row["metric"] in HELD_OUT:
                among = _among(estimates, sizes[evidence.family])
                row["needed"] = None if among else sample_size.to_decide(evidence.wall.effect, 0.0)
                few, many = f"not even {sample_size.MOST} seeds would", f"{row['needed']} seeds would probably"
                seeds = f"{few if row['needed'] is None else many} tell it from none"
                row["reason"] = joined_reasons([row["reason"], among or seeds])
        else:
            _judge_ratio(row, evidence, margin, estimates, disturbed, sizes[evidence.family])


def _in_family(by_row: Mapping[int, tuple[Hashable, Estimates]]) -> dict[int, Estimates]:
    """The estimates of one clock, by row, with p-values among the rows of a family."""
    families = grouped(
        (family, (i, each.effect.p)) for i, (family, each) in by_row.items() if each.effect.p is not None
    )
    adjusted = {i: p for family in families.values() for i, p in effects.adjusted(dict(family)).items()}
    return {i: each._replace(p=adjusted.get(i)) for i, (_, each) in by_row.items()}


def _judge_ratio(
    row: dict[str, Any],
    evidence: Evidence,
    margin: float,
    wall: Estimates,
    disturbed: Disturbed | None,
    family: int,
) -> None:
    found = verdicts.judge(wall, margin, disturbed)
    row["verdict"] = found.word
    if found.noisy:
        _label(row, Label.CONTAMINATED)
        row["reason"] = joined_reasons([row["reason"], found.reason])
        return
    deciding = wall
    if found.by_cpu:
        assert disturbed is not None
        assert disturbed.cpu is not None
        deciding = disturbed.cpu
        row |= {"p_adjusted": deciding.p, "launch_sd": deciding.effect.sd}
        _label(row, Label.BY_CPU)
    more: list[Reason | str | None] = []
    if found.word == "inconclusive":
        more.append(_undecided(deciding, margin, family))
    elif evidence.other:
        more.append("neither against the report's baseline nor of equal cost: judged in a family of its own")
    if found.tail:
        _label(row, Label.TAIL)
        assert deciding.other is not None
        names = ("the median", "the mean")[:: 1 if evidence.estimand == "median" else -1]
        this, other = (ratio(math.exp(each.value)) for each in (deciding.effect, deciding.other))
        more.append(f"{names[0]} says {this}, {names[1]} {other}")
    row["reason"] = joined_reasons([row["reason"], found.reason, *more])


def _undecided(clock: Estimates, margin: float, family: int) -> Reason | str:
    """Why a pair is inconclusive, and what would decide it."""
    if among := _among(clock, family):
        return among
    if clock.effect.sd is None:
        return "a single launch gives no verdict"
    return sample_size.would_decide(clock.effect, margin)


def _among(clock: Estimates, family: int) -> str | None:
    """Say that an effect whose interval excludes none is not significant in its family; None where the interval includes none."""
    if clock.p is None or not clock.effect.excludes_0:
        return None
    words = "not significant among {n} comparisons (Holm p {p})"
    return plain(Sentence(words, n=family, p=Estimate(clock.p, kind="p")))


def _label(row: dict[str, Any], label: Label) -> None:
    row["labels"] = ";".join(filter(None, [row["labels"], label]))


SMOKE = "a smoke run makes no claims"
UNCHECKED = "the machine was not checked: run `modbench doctor`, or leave `twin` on"
SILENT = "the machine was not checked, as its twin was disturbed or failed: run `modbench doctor`, or measure again"
INCOMPLETE = "the machine was not checked, as the run is incomplete: `modbench resume` measures the rest"
# Verdicts on a twin that say that equal models came out unequal, beyond chance over all twins of the run.
APART = ("better", "worse", "different")


# Verdicts and labels of the twins of a run.
Twins: TypeAlias = "Sequence[tuple[object, object]]"


def has_evidence(twins: Twins) -> bool:
    """Whether a verdict on a twin says something of the machine; that on a disturbed twin does not."""
    return any(isinstance(verdict, str) and Label.CONTAMINATED not in of_cell(labels) for verdict, labels in twins)


def why_unchecked(run: StoredRun, twins: Sized) -> str:
    """Return why nothing speaks for the machine, and what would help, from what is known of twins."""
    return UNCHECKED if not len(twins) else INCOMPLETE if run.missing else SILENT


def suppress(tables: Tables, rows: Sequence[dict[str, Any]], twins: Twins) -> None:
    """Remove verdicts that may not be given, with the reason."""
    if not (provenance.certificates(tables.run) or has_evidence(twins)):
        for row in rows:
            if tables.made_in(tables.metrics[row["metric"]]).times:
                _remove(row, why_unchecked(tables.run, twins))
    cases = {case.id: case for case in tables.plan.cases}
    for row in rows:
        sides = (cases[row["case_id"]], cases[row["baseline_case_id"]])
        for why in (_of_hardware, _of_code):
            if (
                row.get("verdict") is not None
                and (said := why(tables, *sides, tables.metrics[row["metric"]])) is not None
            ):
                _remove(row, said)


def _remove(row: dict[str, Any], why: str) -> None:
    if row.get("verdict") is not None:
        row["verdict"], row["reason"] = None, "; ".join(filter(None, (row["reason"], why)))


def machine_labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a time whose launches ran on several machines or GPUs."""
    return [Label.SEVERAL_MACHINES] if len(_hardware(tables, case, metric)) > 1 else []


def _of_hardware(tables: Tables, case: Case, _baseline: Case, metric: Metric) -> str | None:
    kinds = set(_hardware(tables, case, metric).values())
    if len(kinds) < 2:
        return None
    why = f"its launches ran on different hardware ({' and on '.join(sorted(kinds))}), which no verdict may pool"
    return f"{why}: ask for one kind, as with --constraint or CUDA_VISIBLE_DEVICES"


def _of_code(tables: Tables, case: Case, baseline: Case, metric: Metric) -> str | None:
    if not tables.changed:
        return None
    names = provenance.mixed_versions(
        provenance.joined_versions(tables.code_versions(side, metric) for side in (case, baseline))
    )
    return (
        f"its units ran several versions of {provenance.versions_in_words(names)}, which no verdict may pool"
        if names
        else None
    )


def _hardware(tables: Tables, case: Case, metric: Metric) -> dict[str, str]:
    """Hardware of the nodes and GPUs that timed a case for a metric, each once; none where run.json names all there is."""
    return tables.behind(case, metric).nodes if tables.made_in(metric).times else {}
