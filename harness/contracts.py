"""What an addition exports: a `Model`, a `Metric`, a `Corpus`. Plain data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modbench.harness.units import Unit

Pass = Literal["count", "inspect", "time", "memory", "train"]
Workload = Literal["forward", "train_step", "prefill", "decode", "train"]


@dataclass(frozen=True)
class Cost:
    """Closed-form cost of one case. 1 multiply-add = 2 FLOPs; embedding look-ups, norms, softmax and top-k count 0.

    Attributes:
        parts: forward FLOPs per component, the whole batch; attention scores and values over the full square.
        scores_causal: FLOPs of scores and values over the lower triangle alone, diagonal included.
        params: number of parameters.
        saved: elements that autograd keeps for the backward pass, an estimate within about a tenth.
        train_only: FLOPs, forward and backward, of what runs while training alone, such as an auxiliary predictor.
        training: cost of the forward pass while training, where it is another; None: the same.
    """

    parts: Mapping[str, float]
    scores_causal: float
    params: int
    saved: float
    train_only: float = 0.0
    training: Cost | None = None

    @property
    def forward(self) -> float:
        """`flops/forward`: what a counter sees (full-square attention, head included)."""
        return sum(self.parts.values())

    @property
    def forward_causal(self) -> float:
        """`flops/forward/causal`: what a causal kernel must do."""
        return self.forward - self.parts.get("scores", 0.0) + self.scores_causal

    @property
    def train_step(self) -> float:
        """`flops/train_step`: backward is twice forward; the optimizer counts 0."""
        return 3 * (self.training or self).forward + self.train_only

    @property
    def train_step_causal(self) -> float:
        """The same with causal attention: what a training step is promised by."""
        return 3 * (self.training or self).forward_causal + self.train_only

    def memory_train(self, bytes_per_element: int) -> float:
        """Forecast of `memory/peak_allocated` in B: parameters and both AdamW moments, then activations or gradients.

        Activations are largest when the backward pass starts, gradients when it ends: the larger of the two decides.
        """
        return bytes_per_element * (3 * self.params + max(self.saved, self.params))


@dataclass(frozen=True)
class Model:
    """An architecture. Its file's first docstring line is its description.

    Attributes:
        build: `build(config) -> nn.Module` that maps int64 tokens [B, T] to logits [B, T, vocab_size].
        cost: `cost(config, seq_len, batch_size) -> Cost`, the closed form that the counter is held against.
        options: routing keys that this model reads, with their defaults; a key outside it is the user's mistake.
        sees_future: whether a model of this shape routes by a top-k that depends on what later tokens are.
        dynamic: whether its cost depends on the input: counted on real tensors, by what `module.realised` says it did,
            which `cost` is then given as a fourth argument.
        decode_bytes: `decode_bytes(config, context, batch_size)`: elements that one decode step must read; None: not known.
    """

    build: Callable[[Any], Any]
    cost: Callable[..., Cost]
    options: Mapping[str, object] = field(default_factory=dict)
    sees_future: Callable[[Any], bool] = lambda _: False
    dynamic: bool = False
    decode_bytes: Callable[[Any, int, int], float] | None = None


@dataclass(frozen=True)
class Metric:
    """A quantity as data. Formatting hangs off the unit, never off the metric.

    Attributes:
        key: slash-grouped name.
        unit: base unit of stored values.
        better: which direction the reader wants.
        made_in: the pass that makes it. The pass decides what `measure` is given and returns (see harness/passes).
        workload: what runs while it is measured.
        about: one sentence for `modbench list metrics`.
        measure: the function that the pass calls.
        per: what one sample is divided by: nothing, or the decode steps that a call makes.
        scored_as: `ratio` where baseline over case has a meaning, `difference` where only case minus baseline has.
    """

    key: str
    unit: Unit
    better: Literal["lower", "higher"]
    made_in: Pass
    workload: Workload
    about: str
    measure: Callable[..., Any]
    per: Literal["call", "step"] = "call"
    scored_as: Literal["ratio", "difference"] = "ratio"


@dataclass(frozen=True)
class Text:
    """A corpus as it was read: bytes to train on, bytes held out, and the hash that names them."""

    name: str
    train: bytes
    val: bytes
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """A source of text. `read(path)` gets None where the corpus needs no path."""

    read: Callable[[str | None], Text]
