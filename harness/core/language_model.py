"""The interface of catalogue models: one protocol that the harness calls and every `models/*.py` is checked against.

A user's own model may have any part of it (`model_methods.py`). Importing this file does not load torch.

Shapes: B batch, T tokens, V vocabulary, C classes, E experts, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.harness.core.config import ModelConfig


@dataclass(frozen=True)
class Decision:
    """The decision of one router for one batch.

    T is the sequence length; for the experts inside a routed block it is the number of tokens that the block processed.

    Attributes:
        layer: index of the block, from 0.
        score_BT: float32; the router's score, or the largest probability of a real expert.
        chosen_BT: True where the block processes the token, or where at least one expert takes it.
        weight_BT: what the block's output was multiplied by; None where it was not.
        predicted_BT: what the causal rule decides for the same input, where the decision itself was by top-k; None where the
            decision was causal, or where there is no causal rule.
        taken_BET: True where the expert takes the token; None for a token router.
        choices: choices that each token has among experts and no-ops; None where tokens do not choose.
    """

    layer: int
    score_BT: Tensor
    chosen_BT: Tensor
    weight_BT: Tensor | None = None
    predicted_BT: Tensor | None = None
    taken_BET: Tensor | None = None
    choices: int | None = None


class Observation(NamedTuple):
    """The result of a forward pass that was observed.

    Attributes:
        logits: as `forward` returns them.
        decisions: of every router, first block first.
        depth_B: blocks that each row ran, where a gate chose for the whole input; else None.
    """

    logits: Tensor
    decisions: list[Decision]
    depth_B: list[int] | None


class DecodeCache(Protocol):
    """The state that a model keeps between decode steps.

    Attributes:
        position_B: position of each row's next token.
    """

    position_B: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes allocated for keys and values."""

    def participation(self) -> list[float | None]:
        """Share of the tokens that each routed block processed; None where a block is not routed. Synchronises."""

    def overflow(self) -> list[int]:
        """Tokens that each block would have processed, had its fixed shapes had room. Synchronises."""

    def reset_counts(self) -> None:
        """Start counting participation and overflow from 0."""

    def mark(self, *, windows: bool = True) -> object:
        """The present state, for `rewind`; without the contents of `windows` if only times matter."""

    def rewind(self, mark: object) -> None:
        """Return to a state that `mark` gave, in place, so that a captured graph sees it too."""

    def advance(self) -> None:
        """Update the host's copy of the positions after a step."""


class LanguageModel(Protocol):
    """A `torch.nn.Module` from the catalogue. With `config.bidirectional` it is a classifier and cannot generate.

    Attributes:
        config: its shape and options.
    """

    config: ModelConfig

    @property
    def realised(self) -> list[int] | None:
        """Blocks that each row of the last call ran; of `early_exit` by token, tokens that each block computed.

        None where every input has the same cost.
        """

    @property
    def has_auxiliary(self) -> bool:
        """Whether training adds a loss to the cross-entropy: `forward(tokens, auxiliary=True)` returns it."""

    def forward(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None = None,
        *,
        causal: bool = False,
        prompt_B: Tensor | None = None,
        auxiliary: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, T, V] (classifiers: [B, C]), with `auxiliary` also the sum of the auxiliary losses.

        Args:
            tokens_BT: int64.
            lengths_B: real tokens of each row; the rest is padding on the right, whose logits mean nothing.
            causal: routers decide without later tokens, as at decode; default: top-k over the sequence, as in training.
            prompt_B: tokens of each row that a whole-input gate may read; default: the first `gate_tokens`.
            auxiliary: return `(logits, loss)`; the loss is a scalar, 0 if there is none.
        """

    def observe(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None = None,
        *,
        causal: bool = False,
        prompt_B: Tensor | None = None,
        flip_LBT: Tensor | None = None,
    ) -> Observation:
        """Like `forward`, and what every router decided. `flip_LBT` reverses single decisions of token routers."""

    def why_no_decode(self) -> str | None:
        """Why this model cannot generate; None if it can."""

    def prefill(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, max_len: int | None = None
    ) -> tuple[Tensor, DecodeCache]:
        """Read prompts; logits [B, V] after the last real token of each row, and the cache with room for `max_len` tokens."""

    def decode(self, tokens_B: Tensor, cache: DecodeCache) -> Tensor:
        """Logits [B, V] after one more token in each row."""

    def decode_step(self, tokens_B: Tensor, cache: DecodeCache) -> Tensor:
        """`decode` without checks and without `cache.advance()`: the part that a CUDA graph captures."""

    def set_progress(self, done: float) -> None:
        """Set what share of training is done, 0 to 1, for schedules such as the capacity warm-up."""

    def after_step(self) -> None:
        """Move what has no gradient, such as a bias of a router; called once after each step of the optimizer."""

    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
        """Set the thresholds of causal routing from typical text."""
