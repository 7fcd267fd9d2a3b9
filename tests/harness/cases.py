"""Cases and protocols without a suite: a model of some shape at a small place, and what a process of it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, Condition, GridPoint, Protocol
from modbench.harness.planning.text.corpus import from_file
from modbench.harness.registry.case_facts import with_facts


def case_of(
    model: str,
    shape: Mapping[str, Any],
    *,
    variant_parts: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    conditions: tuple[Condition, ...] = (),
    **grid_point: Any,
) -> Case:
    """A case on one thread of the CPU, in fp32, with two rows of 16 tokens, unless `grid_point` says otherwise."""
    at = {"seq_len": 16, "batch_size": 2, "dtype": "fp32", "device": "cpu", "threads": 1, "compile": False} | grid_point
    config, where = ModelConfig.model_validate(dict(shape)), GridPoint.model_validate(at)
    given = tuple((options or {}).items())
    return with_facts(
        Case(
            model=model,
            variant_parts=variant_parts,
            config=config,
            grid_point=where,
            options=given,
            conditions=conditions,
        )
    )


def protocol_of(text: Path | None = None, **more: Any) -> Protocol:
    """One round with seed 0, on the text in a file if there is one."""
    corpus: dict[str, Any] = {"corpus": "", "corpus_path": None, "corpus_sha256": ""}
    if text is not None:
        corpus = {"corpus": "path", "corpus_path": str(text), "corpus_sha256": from_file(text).sha256}
    return Protocol(**({"rounds": 1, "warm_up_calls": 1, "seed": 0} | corpus | more))
