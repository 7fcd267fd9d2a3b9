"""Notes that passes keep with their samples, as typed models: a pass fills one in; doubts and reports read it."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from modbench.harness.core.immutable import Frozen
from modbench.harness.machine.roofline.table import Table
from modbench.harness.machine.roofline.work import Listed


class Notes(Frozen):
    """Base of all notes: further facts about a number. A pass without notes uses it as it is."""


# A whole number that others are divided by.
Divisor = Annotated[int, Field(ge=1)]
SomeNotes = TypeVar("SomeNotes", bound=Notes)


class Causality(Frozen):
    """Whether logits depend on later tokens (`harness/call/subject/check_causality.py`).

    Attributes:
        reads_future: whether earlier log-probabilities changed when later tokens did; None where it was not tested.
        change: largest change of an earlier log-probability, in nats.
        at: how many tokens came before the first changed one; None where no log-probability changed.
        reason: why it was not tested.
        tried: whether there was anything to test.
    """

    reads_future: bool | None
    change: float | None = None
    at: int | None = None
    reason: str | None = None
    tried: bool = True


# The metric that carries the long notes of a case.
CARRIER = "flops/forward"
# Name of the row of a whole forward pass among those of its modules.
WHOLE = "the whole forward pass"


class Claim(Frozen):
    """The statement of a module about the tokens that it executed, and the observation (`check_skipping.py`).

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
        guards: why a validity check could not run.
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
    counted_inputs: Divisor = 1
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


class MemoryNotes(Notes):
    """Forecast of a number of bytes.

    Attributes:
        forecast: in B; None if there is none.
        forecast_reason: why there is no forecast.
        alloc_retries: how often the allocator had to empty its cache; None without CUDA.
    """

    forecast: float | None = None
    forecast_reason: str | None = None
    alloc_retries: int | None = None


class FitNotes(Notes):
    """Budget and forecast of the search for the largest input that fits.

    Attributes:
        memory_limit_bytes: bytes that a training step may allocate.
        forecast: the largest value whose forecast fits.
        forecast_reason: why there is no forecast.
    """

    memory_limit_bytes: int | None = None
    forecast: int | None = None
    forecast_reason: str | None = None


class TimeNotes(Notes):
    """How a time was measured.

    Attributes:
        clock: the clocks that were read.
        tokens: tokens of one call, of one decode step, or new ones of a request.
        inputs: input batches that the calls read in turn.
        first_call_s: seconds of the first call.
        steadiness_tested: whether there were enough rounds to test for drift.
        warmed_up_again: which variants drifted, so that all were warmed up a second time.
        unsteady: how this variant still drifted after that; None: it did not.
        unchecked: which validity check could not run, and why.
        reused: evidence that a timed call returned an earlier answer.
        device_s: seconds of the device in a call.
        device_share: share of the end-to-end time in which the device was busy; None if it waited for the host.
        starved: share of the device timings in which the device waited for the host.
        escaped: share of calls after which work went on outside the timed stream.
        syncs: operators after which the host waited for the device.
        l2: the state of the L2 cache before a call.
        unwatched: why the driver was not asked for clocks, power and other processes during a timing on a GPU; None: it was.
    """

    clock: str = ""
    tokens: Divisor | None = None
    inputs: Divisor | None = None
    first_call_s: float | None = None
    steadiness_tested: bool | None = None
    warmed_up_again: str | None = None
    unsteady: str | None = None
    unchecked: str | None = None
    reused: str | None = None
    device_s: float | None = None
    device_share: float | None = None
    starved: float | None = None
    escaped: float | None = None
    syncs: int | None = None
    l2: str | None = None
    unwatched: str | None = None


class CompileNotes(Notes):
    """How a compilation was timed.

    Attributes:
        cache: the state of the compiler's cache.
    """

    cache: str


Columns = TypeVar("Columns", bound=Frozen)


def equally_long(columns: Columns) -> Columns:
    """Require columns of one length."""
    if len({len(values) for _, values in columns}) > 1:
        raise ValueError("its columns are not equally long")
    return columns


class Curve(Frozen):
    """A training run, step by step.

    Attributes:
        step: number of the step, from 0.
        tokens: tokens seen after the step.
        loss: loss of the step's batch before its update, in nats per token; None if it was not read.
        wall_s: seconds of training after the step; on a GPU when the device had finished it.
    """

    step: list[int]
    tokens: list[int]
    loss: list[float | None]
    wall_s: list[float]

    _equally_long = model_validator(mode="after")(equally_long)


class Looks(Frozen):
    """Held-out losses during training.

    Attributes:
        step: steps made before the evaluation.
        loss: in nats per token, on a few windows.
    """

    step: list[int]
    loss: list[float]

    _equally_long = model_validator(mode="after")(equally_long)


class TrainNotes(Notes):
    """How a model was trained. Only the first metric of a run carries the long fields.

    Attributes:
        seed: seed of weights and data.
        corpus: name or path of the corpus.
        corpus_sha256: its hash.
        tokenizer: what its tokens are.
        sees_future: whether the model read later tokens when the loss was measured.
        causality: whether logits depend on later tokens after training.
        lr: learning rate.
        steps: number of steps.
        curve: the training run.
        looks: held-out losses during training.
        by_position: held-out loss at each position in the window.
        by_block: held-out loss, without the future, of each of up to 64 stretches of the held-out text, in order: what the choice
            of text adds to the error of a difference. Of fresh runs only.
        spent: seconds of forward, backward, optimizer, and outside of all three; on a GPU between CUDA events, not of launching.
        resumed_at: steps that were made before the run was last resumed.
        routing: what the routers did, in numbers (`plugins/routing/describe.py`).
    """

    seed: int
    corpus: str | None = None
    corpus_sha256: str | None = None
    tokenizer: str | None = None
    sees_future: bool | None = None
    causality: Causality | None = None
    lr: float | None = Field(default=None, gt=0)
    steps: int | None = None
    curve: Curve | None = None
    looks: Looks | None = None
    by_position: list[float] | None = None
    by_block: list[float] | None = None
    spent: dict[str, float] = Field(default_factory=dict)
    resumed_at: int = 0
    routing: dict[str, float | str | None] | None = None


class PeakFinding(Notes):
    """The machine's measured peak.

    Attributes:
        device: `cpu` or `cuda`.
        dtype: number format.
        threads: CPU threads.
        flop_per_s: FLOP/s of the fastest matrix product.
        shape: shape of that product.
        bytes_per_s: B/s of the fastest copy, read and write.
        how: how it was measured, in words.
    """

    device: str
    dtype: str
    threads: int
    flop_per_s: float = Field(gt=0)
    shape: str
    bytes_per_s: float = Field(gt=0)
    how: str


class RooflineFinding(Notes):
    """The machine's measured peaks by shape.

    Attributes:
        table: times by kind of operator and size.
        not_kept: why later plans will not know it; None: it was kept.
        reused: whether an earlier run or `modbench doctor` measured it on this machine, within the last day.
    """

    table: Table
    not_kept: str | None = None
    reused: bool = False


class WithoutUserCodeFinding(Notes):
    """A process of the shipped variants in a process without the user's code.

    Attributes:
        samples: raw samples by metric, case and column, as those of other processes.
        blocks: what witnesses saw of its blocks, by column.
        reason: why a variant has no samples; None: all have.
    """

    samples: dict[str, dict[str, dict[str, list[float]]]]
    blocks: dict[str, list[float]]
    reason: str | None = None
