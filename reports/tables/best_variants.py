"""The MoD and the MoDE variant of a run with the lowest held-out loss, which `--variants-from` takes into another suite."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modbench.harness.core.config import SHAPE_KEYS
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.domain.variant_tables import TakenVariant, VariantsFrom
from modbench.harness.registry import catalogue
from modbench.harness.registry.user_routers import is_spec
from modbench.reports.blocks import Listed, Sentence
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.values import PER_TOKEN
from modbench.reports.wording import model_name

MOD, MODE = ("mod",), ("mode_staged", "mode_integrated")
# Taken at the capacity of the best MoD variant where the run has no MoDE: the better of the two in docs/results-tasks.md.
DEFAULT_MODE = "mode_integrated"


def best_variants(loaded: Loaded) -> VariantsFrom:
    """Return the best MoD and the best MoDE variant of a run, by their mean loss at the longest length that it trained at.

    Variants that differ from the run's dense model in more than routing, such as their mixer, are left out, and so are those
    whose router is a user's file: a run folder may be a stranger's.

    Raises:
        UsageError: if the run is a sweep over sizes, lacks records, or trained no MoD.
    """
    run, asked = loaded.run, f"--variants-from {loaded.path}"
    if loaded.sizes_differ:
        raise UsageError(f"{asked}: a sweep over sizes has no variants of one shape. Take a run of one shape.")
    if run.incomplete is not None:
        raise UsageError(f"{asked}: {run.incomplete} `modbench resume {loaded.path}` completes it.")
    for metric in PER_TOKEN:
        rows = _rows(loaded, metric)
        if any(case.model in MOD for case, _ in rows):
            break
    else:
        raise UsageError(
            f"{asked}: no MoD variant there has a held-out loss, by which the best is chosen, and differs from "
            f"{_dense(loaded).variant} only in modbench's own routing (not in its mixer, say). Take a run that trains one."
        )
    length = max(int(row.seq_len) for case, row in rows if case.model in MOD)
    rows = [(case, row) for case, row in rows if int(row.seq_len) == length]
    mod = _best(rows, MOD)
    assert mod is not None
    mode = _best(rows, MODE) or TakenVariant(model=DEFAULT_MODE, settings=_settings(DEFAULT_MODE, mod.settings))
    return VariantsFrom(
        run=str(loaded.path),
        metric=metric,
        seq_len=length,
        smoke=not loaded.suite.claims,
        variants=(mod, mode),
    )


def _dense(loaded: Loaded) -> Case:
    return next((case for case in loaded.variants if case.model == "dense" and not case.matched), loaded.baseline)


def _rows(loaded: Loaded, metric: str) -> list[tuple[Case, Row]]:
    """The rows of a loss whose variants differ from the dense model in their routing alone, and run no code of a user's."""
    shape = _dense(loaded).config.model_dump(include={*SHAPE_KEYS})
    found = loaded.cases[(loaded.cases.metric == metric) & (loaded.cases.status == "ok")]
    rows = [(loaded.cases_by_id[str(row.case_id)], row) for row in found.itertuples(index=False)]
    return [
        (case, row)
        for case, row in rows
        if case.config.model_dump(include={*SHAPE_KEYS}) == shape and not is_spec(case.config.router)
    ]


def _best(rows: list[tuple[Case, Row]], models: Collection[str]) -> TakenVariant | None:
    """The variant of these models with the lowest loss; None where there is none."""
    found = [(case, row) for case, row in rows if case.model in models]
    if not found:
        return None
    case, row = min(found, key=lambda each: float(each[1].value))
    return TakenVariant(
        model=case.model,
        settings=_settings(case.model, case.config.model_dump()),
        variant=case.variant,
        loss=float(row.value),
        seeds=int(row.n),
        among=len(found),
    )


def _settings(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """The keys among these that a model reads, where they are not its defaults; its capacity always."""
    options = catalogue.model_options(model)
    return {key: given[key] for key in options if key in given and (key == "capacity" or given[key] != options[key])}


def sentence(taken: VariantsFrom) -> Sentence:
    """Say which variants were taken from which run, and by what."""
    words = "Variants from {run}: {variants} (lowest {metric} at T = {length})"
    words += "; a smoke run: no evidence" * taken.smoke
    said = [each.variant or f"{model_name(each.model)} of the same capacity" for each in taken.variants]
    return Sentence(words, run=taken.run, variants=Listed(said, " and "), metric=taken.metric, length=taken.seq_len)
