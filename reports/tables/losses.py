"""Held-out losses in the same unit: bits per byte of text wherever they can be converted, else nats per token."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from modbench.harness.domain.case import Job
from modbench.reports.blocks import Estimate, Sentence
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import Loaded, once_a_run

BITS, NATS = "bits/byte", "nats/token"
# Seeds without which losses support no claim.
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Loss:
    """A loss that a run measured.

    Attributes:
        title: what it is.
        metric: its key.
        unit: in which it is shown.
        factor: from the metric's unit to that one.
    """

    title: str
    metric: str
    unit: str
    factor: float

    @property
    def base(self) -> str:
        """The base unit that it is shown in (`harness/core/units.py`)."""
        return base_of(self.unit)


def base_of(unit: str) -> str:
    """Return the base unit of a unit in which losses are shown."""
    return "bit/B" if unit == BITS else "nat"


def shown(loaded: Loaded) -> list[Loss]:
    """Return the losses to show: as routed in training, and routed causally, of those that the suite asked for."""
    asked, (unit, factor) = loaded.suite.metrics, unit_of(loaded)
    bits = Loss("as trained", "bpb/val", BITS, 1.0)
    if mixed(loaded) and bits.metric in asked:
        return [bits]
    trained = bits if unit == BITS and bits.metric in asked else Loss("as trained", "loss/val", unit, factor)
    causal = Loss("routed causally", "loss/val_causal", unit, factor)
    return [each for each in (trained, causal) if each.metric in asked]


def comparable(loaded: Loaded) -> Loss:
    """Return the loss that compares with dense, of a run that asked for one: routed causally where that was measured."""
    ok, known = set(loaded.comparisons[loaded.comparisons.status == "ok"].metric), shown(loaded)[::-1]
    return next((each for each in known if each.metric in ok), known[0])


def lengths(loaded: Loaded) -> list[int]:
    """Return the sequence lengths at which variants were trained on a corpus, ascending."""
    return sorted({job.comparison.grid_point.seq_len for job in loaded.runs})


def beside(loaded: Loaded, length: int) -> int:
    """Return the length of training whose losses stand beside a length: the same, or where none was trained the longest."""
    trained = lengths(loaded)
    return length if length in trained or not trained else trained[-1]


def mixed(loaded: Loaded) -> bool:
    """Whether variants read different tokens: then losses per token do not compare, and bits per byte do."""
    return len(_tokenizers(loaded)) > 1


def _tokenizers(loaded: Loaded) -> set[str]:
    """The tokenizers of all runs on a corpus; a pretrained model brings its own."""
    runs = (job.protocol.train for job in loaded.plan.jobs if job.protocol.corpus)
    return {run.tokenizer for run in runs if run is not None}


def as_shown(loaded: Loaded, made: Estimate) -> Estimate:
    """Return a loss in nats per token in the unit of all losses of the report; anything else as it is."""
    unit, factor = unit_of(loaded)
    return made.scaled(factor, base_of(unit)) if made.unit == "nat" else made


@once_a_run
def unit_of(loaded: Loaded) -> tuple[str, float]:
    """Return the unit of losses in the report, and the factor from nats per token to it.

    With a tokenizer of bytes a token is a byte. With another the factor follows from a case whose loss was measured in both.
    """
    found = _tokenizers(loaded)
    if len(found) > 1:
        return NATS, 1.0
    if found == {"bytes"}:
        return BITS, 1 / math.log(2)
    for case in loaded.variants:
        bits, nats = loaded.value(case.variant, "bpb/val"), loaded.value(case.variant, "loss/val")
        if bits and nats:
            return BITS, bits / nats
    return NATS, 1.0


def few_seeds(loaded: Loaded) -> bool:
    """Whether losses are from too few seeds for a claim."""
    return len(loaded.suite.seeds) < LEAST_SEEDS


def seeds_in_words(loaded: Loaded, seeds: int | None = None) -> str:
    """Say how many seeds there are, by default those of the suite: `1 seed: illustration, no claim`, or `3 seeds`."""
    n = len(loaded.suite.seeds) if seeds is None else seeds
    few = n < LEAST_SEEDS or not loaded.suite.claims
    return plain(Sentence("{n:seed}" + ": illustration, no claim" * few, n=n))


def seconds_of(loaded: Loaded, jobs: Iterable[Job]) -> float | None:
    """Return the seconds that a job took, on average over those that ended; None where none did."""
    ended = [loaded.records[job.name].wall_s for job in jobs if job.name in loaded.records]
    return fmean(ended) if ended else None
