"""Notes of counting."""

from __future__ import annotations

from pydantic import Field

from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.notes.causality import Causality
from modbench.harness.roofline.work import Listed

# The metric that carries the long notes of a case.
CARRIER = "flops/forward"
# Name of the row of a whole forward pass among those of its modules.
WHOLE = "the whole forward pass"


class Claim(Frozen):
    """The statement of a module about the tokens that it executed, and the observation (`harness/subject/skip_claims.py`).

    Attributes:
        module: its path; empty for the model.
        capacity: share of tokens that it claims to process.
        tokens: tokens of the batch.
        stated: tokens that it states it processed.
        rows: rows that most of its weights were multiplied with; None if too few products were observed.
        masked: whether it computed rows that it states it skipped.
    """

    module: str
    capacity: float
    tokens: int
    stated: int
    rows: float | None
    masked: bool

    @property
    def said(self) -> str:
        """What it states and what was observed, where it computed what it states it skipped."""
        return (
            f"{self.module or 'the model'} says it processed {self.stated} of {self.tokens} tokens, but its weights were "
            f"multiplied with {self.rows:.0f} rows"
        )


class ModuleFlops(Frozen):
    """FLOPs of one module, counted in three ways; None where a counter has no number.

    Attributes:
        module: its path, or words for a total.
        closed_form: by the model's closed form.
        counter: by torch's counter.
        fvcore: by fvcore, doubled.
    """

    module: str
    closed_form: float | None
    counter: float | None
    fvcore: float | None = None


class Operators(Frozen):
    """Operators of a forward pass without a FLOP formula, with their number of calls.

    Attributes:
        cheap: operators that count 0 by convention.
        unknown: operators whose FLOPs are unknown, and work that the counter cannot see.
    """

    cheap: dict[str, int] = Field(default_factory=dict)
    unknown: dict[str, int] = Field(default_factory=dict)


class CountNotes(Notes):
    """Results of counting a case. Every metric carries the first three, `flops/forward` the others.

    Attributes:
        params: parameters of the built module.
        forward_causal: FLOPs of a forward pass, attention over the lower triangle.
        train_step_causal: the same for a training step.
        source: what counted, in words.
        parts: forward FLOPs by component.
        counter_forward: a forward pass by torch's counter.
        counter_train_step: a training step by torch's counter.
        fvcore_reason: why fvcore has no number.
        modules: FLOPs by module.
        explained: `COUNTER MODULE` to the reason why that count differs there by design.
        decode_elements: elements that a decode step must read.
        effective_capacity: capacity after rounding.
        depth_ratio: mean share of the blocks that ran.
        trained_share: FLOPs that a training step ran, as a share of what the forward pass implies: three times its FLOPs, or less
            where weights are frozen.
        train_forward_share: FLOPs of forward passes in training mode, as a share of those in evaluation mode on the same tokens.
        training_unchecked: why training mode could not be compared with evaluation mode.
        counted_inputs: batches over which the FLOPs are a mean; more than one where they depend on the input.
        uncounted: operators without a known formula.
        operators: operators that no formula counts; None if the model could not run on real tensors.
        claims: what modules state about the tokens they executed.
        claims_reason: why there is no claim.
        reused: evidence that a call returned an earlier answer; None: it was computed.
        other_precision: evidence that products were computed in a narrower number format than the case's.
        causality: whether logits depend on later tokens; None if that could not be tested.
        guards: why a guard could not run.
        forward_operators: the operators of a forward pass by kind and size; None where they were not recorded.
        train_operators: the operators of a training step, the optimizer's included.
        operators_reason: why they were not recorded.
    """

    params: int | None = None
    forward_causal: float | None = None
    train_step_causal: float | None = None
    source: str | None = None
    parts: dict[str, float] = Field(default_factory=dict)
    counter_forward: float | None = None
    counter_train_step: float | None = None
    fvcore_reason: str | None = None
    modules: tuple[ModuleFlops, ...] = ()
    explained: dict[str, str] = Field(default_factory=dict)
    decode_elements: float | None = None
    effective_capacity: float | None = None
    depth_ratio: float | None = None
    trained_share: float | None = None
    train_forward_share: float | None = None
    training_unchecked: str | None = None
    counted_inputs: int = 1
    uncounted: tuple[str, ...] = ()
    operators: Operators | None = None
    claims: tuple[Claim, ...] = ()
    claims_reason: str | None = None
    reused: str | None = None
    other_precision: str | None = None
    causality: Causality | None = None
    guards: str | None = None
    forward_operators: Listed | None = None
    train_operators: Listed | None = None
    operators_reason: str | None = None
