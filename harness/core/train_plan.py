"""The settings of training runs: budgets, the learning rate and its schedule. No torch.

The width rule: peak rate 2e-3 at width 256, falling with the square root of the width. Rates of published GPTs fall with the
width to the power of about -0.8 (Brown et al. 2020, table 2.1: 6e-4 at 768, 0.6e-4 at 12,288), of hidden matrices under muP
with -1 (Yang et al. 2022, table 3); at widths of 64 to 256, where embeddings and head are much of the model and follow
another law, the square root is a compromise. It is a starting point: isoFLOP results try at least three rates around it for
every variant.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from modbench.harness.core.config import MOST_TOKENS
from modbench.harness.core.contracts import TOKENIZERS
from modbench.harness.core.errors import UsageError
from modbench.harness.core.immutable import Frozen

# Part of the held-out windows: all, or every other one, so that no window that chose a size confirms it.
HeldOutPart = Literal["all", "explore", "confirm"]


WIDTH, RATE_AT_WIDTH = 256, 2e-3
WARM_UP_SHARE = 0.1
DEFAULT_TOKENS = 200_000
# Rates that are tried beyond the range that a suite names.
MOST_MORE = 3
# Equal training FLOPs: equal within this share. Steps are whole, so a run must have enough of them.
FLOPS_TOLERANCE = 0.01
BUDGETS = ("steps", "tokens", "flops")
# Far above what anybody has trained: 1e14 tokens, 1e27 FLOPs.
MOST_TRAINED, MOST_STEPS, MOST_FLOPS = 10**15, 10**10, 1e30

# Fields that change nothing that is measured.
OF_THE_LOGGER = frozenset({"log_to", "log_every"})
# Fields that are the place of a case, too.
OF_THE_PLACE = frozenset({"seq_len", "batch_size"})

Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]

Parallel = Literal["ddp", "fsdp"]


class TrainPlan(Frozen):
    """A training run as a suite describes it. The budget is one of `steps`, `tokens` or `flops`; default 200,000 tokens.

    Attributes:
        seq_len: tokens per sequence; of several lengths, every variant is trained at each.
        batch_size: sequences per step; for several lengths as many batch sizes, of the same tokens per step.
        tokens: tokens to train on; steps = tokens / (seq_len * batch_size).
        steps: optimizer steps; 0 evaluates the weights as they are.
        flops: training FLOPs (`flops/train_step` times steps); each model takes as many steps as this budget allows.
        lr: peak learning rate of AdamW; None: the width rule.
        weight_decay: of AdamW, on every parameter.
        clip: the gradient is clipped to this norm.
        accumulate: pieces that a batch is computed in, one after the other, before the optimizer steps.
        val_tokens: held-out tokens that the loss is measured on.
        tokenizer: `bytes`, `bpe` (byte-level pairs learned from the training text, `vocab_size` tokens in all), or that of a
            model, such as `hf:FOLDER`. A model with stored weights gets its own instead of `bytes`.
        looks: how often during training the held-out loss (and what routers do) is measured.
        watch: whether decisions of routers are recorded and described after training.
        flips: single decisions that are reversed to measure what they are worth; 0: none.
        checkpoint_s: seconds between checkpoints.
        log_to: logger that gets the run's numbers as it goes on, such as `tensorboard`; None: no logger.
        log_every: steps between what it gets.
        ranks: processes that share a run on a machine, each with its share of the batch and on a GPU of its own; torchrun starts
            them. Learning rates are tried on one.
        parallel: how ranks share a run: `ddp` (each holds the model) or `fsdp` (each holds a part of it).
    """

    seq_len: Tokens | tuple[Tokens, ...] = 256
    batch_size: Tokens | tuple[Tokens, ...] = 4
    tokens: Annotated[int, Field(ge=1, le=MOST_TRAINED)] | None = None
    steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] | None = None
    flops: Annotated[float, Field(gt=0, le=MOST_FLOPS)] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.1
    clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    accumulate: Annotated[int, Field(ge=1)] = 1
    val_tokens: Annotated[int, Field(ge=1, le=MOST_TRAINED)] = 16_384
    tokenizer: str = "bytes"
    looks: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    watch: bool = False
    flips: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    checkpoint_s: Annotated[float, Field(ge=0, le=1e9)] = 60.0
    log_to: str | None = None
    log_every: Annotated[int, Field(ge=1, le=1_000_000_000)] = 10
    ranks: Annotated[int, Field(ge=1, le=1024)] = 1
    parallel: Parallel = "ddp"

    @model_validator(mode="before")
    @classmethod
    def _one_budget(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        said = [key for key in BUDGETS if data.get(key) is not None]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} are {len(said)} budgets: a run has one. Keep one of them")
        return data if said else {**data, "tokens": DEFAULT_TOKENS}

    @field_validator("seq_len", "batch_size", mode="before")
    @classmethod
    def _one_is_itself(cls, value: object) -> object:
        if isinstance(value, list | tuple) and len(value) == 1 and not isinstance(value[0], list | tuple):
            return value[0]
        return value

    @field_validator("tokenizer")
    @classmethod
    def _is_tokenizer(cls, name: str) -> str:
        if name not in TOKENIZERS and ":" not in name:
            raise ValueError(f"tokenizer {name!r} is none: write bytes, bpe, or hf:FOLDER for that of a model")
        return name

    @model_validator(mode="after")
    def _divides(self) -> TrainPlan:
        for _, batch_size in self.grid_points:
            if batch_size % self.accumulate:
                raise ValueError(f"accumulate {self.accumulate} does not divide batch_size {batch_size}")
            if batch_size % (self.ranks * self.accumulate):
                parts = f"{self.ranks} ranks" + f", {self.accumulate} pieces each" * (self.accumulate > 1)
                raise ValueError(f"batch_size {batch_size} cannot be divided among {parts}")
        return self

    @property
    def grid_points(self) -> tuple[tuple[int, int], ...]:
        """Length and batch size of every place that variants are trained at.

        Raises:
            ValueError: if the two lists do not belong together.
        """
        lengths, batches = (each if isinstance(each, tuple) else (each,) for each in (self.seq_len, self.batch_size))
        if not lengths or len(set(lengths)) < len(lengths):
            raise ValueError(f"seq_len {list(lengths)}: give at least one length, and each once")
        if len(lengths) != len(batches) or len({t * b for t, b in zip(lengths, batches, strict=True)}) > 1:
            largest = max((t * b for t, b in zip(lengths, batches, strict=False)), default=0)
            step = next((each for each in (largest, max(lengths)) if each and not any(each % t for t in lengths)), 0)
            raise ValueError(
                f"seq_len {list(lengths)} with batch_size {list(batches)}: every length needs a batch size of its own, and all "
                "steps the same tokens"
                + f". For {step:,} tokens a step write batch_size = {[step // t for t in lengths]}"
                * bool(step)
            )
        return tuple(zip(lengths, batches, strict=True))

    @property
    def lengths(self) -> tuple[int, ...]:
        """The sequence lengths that variants are trained at."""
        return tuple(length for length, _ in self.grid_points)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a batch, the same at every length."""
        return math.prod(self.grid_points[0])

    @property
    def measured(self) -> TrainPlan:
        """What numbers depend on besides the place of their case: the plan without its lengths, batches and logger."""
        fields = TrainPlan.model_fields
        return self.model_copy(update={name: fields[name].default for name in OF_THE_LOGGER | OF_THE_PLACE})

    def resolved(self, d_model: int, step_flops: float | None, budget: float | None = None) -> TrainRun:
        """Resolve the plan, which has one length, for one model.

        Args:
            d_model: its width, for the learning-rate rule.
            step_flops: training FLOPs of a step; None: unknown (a user's model).
            budget: training FLOPs to spend, instead of the plan's own budget.

        Raises:
            UsageError: if the budget is in FLOPs and those of a step are unknown, or it does not cover one step.
        """
        flops = self.flops if budget is None else budget
        if flops is not None and step_flops is None:
            raise UsageError("a budget of FLOPs needs a closed form: a user's model takes train.steps or train.tokens.")
        if flops is not None and step_flops is not None:
            steps = round(flops / step_flops)
            if steps < 1:
                raise UsageError(
                    f"{flops:.3g} training FLOPs are less than one step ({step_flops:.3g}): raise the budget."
                )
        else:
            steps = (
                self.steps
                if self.steps is not None
                else max(1, (self.tokens or DEFAULT_TOKENS) // self.tokens_per_step)
            )
        said = self.model_dump() | {"steps": steps, "tokens": None, "flops": None, "lr": self.lr or width_rule(d_model)}
        return TrainRun.model_validate(said)


class TrainRun(TrainPlan):
    """A training run of one model, with its number of steps and its rate.

    Attributes:
        rate_from: name of the job whose record holds a factor for the rate; None: no factor.
        held_out: which of the held-out sequences the loss is measured on.
    """

    seq_len: Tokens = 256
    batch_size: Tokens = 4
    steps: Annotated[int, Field(ge=0, le=10**18)]
    lr: Annotated[float, Field(gt=0, le=10)]
    rate_from: str | None = None
    held_out: HeldOutPart = "all"


def width_rule(d_model: int) -> float:
    """Peak learning rate of AdamW at a width."""
    return RATE_AT_WIDTH * math.sqrt(WIDTH / d_model)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over a tenth of the steps, then cosine to zero at the end of the run (the paper's 1x cosine)."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up + 1) / (steps - warm_up + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
