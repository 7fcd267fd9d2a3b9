"""How the share of choices that reach real experts is held at `capacity`: by a loss, by a bias, or by a threshold.

Shapes: N tokens, E experts, X choices (E plus nulls).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig

# Nats that a controller moves in one step if the share is off by 1: it settles in about ten steps. The mean share over n steps
# differs from its target by what the controller moved in these, divided by RATE x n.
RATE = 0.3
# Outside training the mean of a controller's last values decides, of some 1 / SETTLES steps: each answers the noise of one batch.
SETTLES = 0.05
# Least share that the loss aims at: a no-op that should never be taken does not divide by 0.
LEAST = 1e-3


def balance_loss(p_X: Tensor, taken_X: Tensor, target_X: Tensor) -> Tensor:
    """The sum over all choices, no-ops included, of share taken x mean probability / target share.

    With equal targets 1/X this is Fedus et al. 2021 (arXiv 2101.03961), equation 4, over N + M choices as in arXiv
    2601.15370. It is least where shares and probabilities are the targets. Summed over real experts only, it is least where
    all tokens take no-ops: their share then falls to 0.

    Args:
        p_X: mean probability of each choice.
        taken_X: mean over tokens of how often each is taken.
        target_X: share that each should have; they sum to 1.
    """
    return (taken_X * p_X / target_X.clamp(min=LEAST)).sum()


class Controller(nn.Module):
    """A number that a step of training moves by how much the share of the last step missed its target; no gradient.

    `bias`: a number for each real expert, added to its logit to select and not to weigh. Wang et al. 2024 (arXiv 2408.15664,
    DeepSeek) move it by the sign, LongCat-Flash (arXiv 2509.01322) by the size of target minus share and for real experts
    only, as here; they add to a probability, here it is a logit, so that a step means the same however small probabilities
    have become.

    `threshold`: one number, the log of a probability. Among its k best real experts a token takes those above it, and no-ops
    instead of the others.

    Counts are collected by `count` in training mode and used by `move`, once for each step of the optimizer. Forward passes that
    only recompute activations inside a backward pass are not counted. Ranks add up their counts, so that all move alike.
    """

    value: Tensor
    settled: Tensor
    counted: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.capacity is not None
        self.n_experts, self.top_k, self.target = config.n_experts, config.experts_top_k, config.capacity
        self.by_bias = config.balance == "bias"
        # A threshold starts at what a real expert has if all choices are as likely as they should be.
        uniform = math.log(self.target / self.n_experts)
        start = torch.zeros(config.n_experts) if self.by_bias else torch.tensor(uniform)
        self.register_buffer("value", start)
        self.register_buffer("settled", start.clone())
        self.register_buffer("counted", torch.zeros(config.n_experts + 1, dtype=torch.int64), persistent=False)

    def count(self, taken_E: Tensor, tokens: Tensor | int) -> None:
        """Add how often each real expert was taken, and among how many tokens.

        Inside a backward pass, activations are computed again (checkpointing): that decision was counted before.
        """
        if self.training and torch._C._current_graph_task_id() == -1:  # noqa: SLF001  # no public way to know
            self.counted[:-1] += taken_E
            self.counted[-1] += tokens

    @torch.no_grad()
    def move(self) -> None:
        """Move by the counts since the last step, of all ranks; nothing moves if there are none."""
        counted = self.counted
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counted)
        choices = (counted[-1] * self.top_k).clamp(min=1)
        share_E = counted[:-1] / choices
        missed = self.target - self.n_experts * share_E if self.by_bias else share_E.sum() - self.target
        self.value += RATE * missed * (counted[-1] > 0)
        self.settled += SETTLES * (self.value - self.settled) * (counted[-1] > 0)
        counted.zero_()

    @property
    def now(self) -> Tensor:
        """What decides: the value of this step while training, else the mean of the last ones."""
        return self.value if self.training else self.settled

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Controller:  # noqa: FBT001, FBT002  # torch's signature
        """Move with the module, but stay in float32: a small step would be lost in a two-byte format."""
        exact = self.value, self.settled
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        if not exact[0].is_meta:
            self.value, self.settled = (each.to(self.value.device) for each in exact)
        return self
