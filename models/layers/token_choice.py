"""Tokens that choose among experts and no-ops: integrated MoDE as it is used today. No choice of a real expert is dropped.

Shapes: B batch, T tokens, N = B T, D width, E experts, C no-ops that compete, X = E + C, k choices of a token.
"""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.language_model import Decision
from modbench.models.layers.balance import Controller, balance_loss
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.dropless import weighted_sum
from modbench.models.layers.experts import ExpertMLP, has_values
from modbench.models.layers.null_choices import null_choices, real_pairs, spread
from modbench.models.layers.router import own_precision
from modbench.models.layers.span import span


class Constants(nn.Module):
    """Constant experts (MoE++, arXiv 2410.07348): a0 x + a1 v, where [a0, a1] = softmax(W x), with a learned vector v.

    Args:
        width: D.
        number: how many, each with a W and a v of its own.
    """

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 2 * number, bias=False)
        self.vector_CD = nn.Parameter(torch.empty(number, width))

    def forward(self, x_ND: Tensor, weight_NC: Tensor) -> Tensor:
        """The sum over the constants of weight times output; the weight of one that is not taken is 0."""
        share_N2C = self.mix(x_ND).float().unflatten(1, (2, -1)).softmax(1) * weight_NC[:, None]
        vector_ND: Tensor = share_N2C[:, 1].to(self.vector_CD.dtype) @ self.vector_CD
        y_ND: Tensor = share_N2C[:, 0].sum(1, keepdim=True) * x_ND + vector_ND
        return y_ND


class TokenChoiceMLP(ExpertMLP):
    """Each token takes its `experts_top_k` best among N experts and M no-ops.

    Its output is the sum, over those that it takes, of

    - probability x MLP of the token, for a real expert;
    - 0, for a no-op with `no_op = "zero"` (Raposo et al. 2024, figure 7; MoE++'s zero expert);
    - probability x the token, `"identity"` (LongCat-Flash, arXiv 2509.01322; MoE++'s copy);
    - probability x (a0 x the token + a1 x v), `"constant"` (MoE++, arXiv 2410.07348; see `Constants`).

    Probability is the softmax over all N + M, not made to sum to 1 over those taken; the token is what an MLP reads, the normed
    stream. No-ops are never computed as MLPs.

    With `no_op_logits = "shared"` the M no-ops are copies of one logit (arXiv 2601.15370): they have equal probabilities, and
    those that a token takes are one no-op, weighed by their sum.

    `balance` says how the share of real choices is held at `capacity`: see `balance.py`.

    Args:
        config: shape.
        layer: index of its block.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        assert config.capacity is not None
        nulls, n = null_choices(config), config.n_experts
        super().__init__(config, layer, share=config.capacity * config.experts_top_k / n, no_ops=nulls.logits)
        self.nulls = nulls
        self.copies = nulls.number if nulls.logits < nulls.number else 1  # of each null logit
        self.constants = Constants(config.d_model, nulls.constants) if nulls.constants else None
        self.controller = None if config.balance == "loss" else Controller(config)
        self.pairs = 0  # of a token and a real expert, in the last call

    @property
    def has_loss(self) -> bool:
        """A bias balances without a loss."""
        return self.config.balance != "bias"

    def _of_chosen(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """What chosen experts and no-ops add to each token."""
        x_ND = x_BTD.flatten(0, 1)
        # Float32 logits where the weights are float32, under autocast too: see `own_precision`.
        with span("router"):
            logit_NX, p_NX = self._probabilities(own_precision(self.router, x_ND))
        x = p_NX.shape[1]
        choice_Nk = self._choices(logit_NX.detach(), p_NX.detach())
        if ctx.real_BT is not None:
            choice_Nk = choice_Nk.masked_fill(~ctx.real_BT.flatten()[:, None], x)
        # One more column takes choices that are not made.
        yes_Nk = torch.ones_like(choice_Nk, dtype=torch.bool)
        taken_NX = p_NX.new_zeros(len(p_NX), x + 1, dtype=torch.bool).scatter(1, choice_Nk, yes_Nk)[:, :x]
        weight_NX = p_NX * taken_NX
        if self._is_few(p_NX, ctx):
            weights = weight_NX[:, : self.n_experts].tolist()
            self._say(sum(map(bool, chain(*weights))))
            y_ND = self.experts.few(x_ND, weights)
            return self._with_no_ops(y_ND, x_ND, weight_NX[:, self.n_experts :]).view_as(x_BTD)
        if ctx.auxiliary is not None and self.has_loss:
            ctx.auxiliary.append(self._loss(p_NX, taken_NX, ctx.real_BT))
        self._record(p_NX, taken_NX, x_BTD.shape, ctx)
        if ctx.causal and not ctx.on_host:
            weight_BET = weight_NX[:, : self.n_experts].view(*x_BTD.shape[:2], -1).transpose(1, 2)
            y_ND = self._all_experts(x_BTD, weight_BET).flatten(0, 1)
        else:
            y_ND = self._dropless(x_ND, weight_NX, choice_Nk, taken_NX, ctx.real_BT)
        return self._with_no_ops(y_ND, x_ND, weight_NX[:, self.n_experts :]).view_as(x_BTD)

    def _probabilities(self, logit: Tensor) -> tuple[Tensor, Tensor]:
        """The logits and probabilities [N, X] that compete, from the router's: copies of one logit are written out."""
        if self.copies == 1:
            return logit, logit.softmax(-1)
        real_NE, null_N1 = logit.split([self.n_experts, 1], dim=-1)
        p = torch.cat((real_NE, null_N1 + math.log(self.copies)), -1).softmax(-1)
        columns = self.nulls.columns
        copies_NC = (p[:, self.n_experts :] / self.copies).expand(-1, columns)
        return torch.cat((real_NE, null_N1.expand(-1, columns)), -1), torch.cat((p[:, : self.n_experts], copies_NC), -1)

    @torch.no_grad()
    def _choices(self, logit_NX: Tensor, p_NX: Tensor) -> Tensor:
        """The k choices of each token; X where a choice is not made, as there is no further no-op."""
        k, e, controller = self.config.experts_top_k, self.n_experts, self.controller
        if controller is None:
            return logit_NX.topk(k, dim=-1).indices
        if controller.by_bias:
            real_NE = logit_NX[:, :e] + controller.now
            return torch.cat((real_NE, logit_NX[:, e:]), -1).topk(k, dim=-1).indices
        best_Nk = p_NX[:, :e].topk(k, dim=-1)
        passes_Nk = best_Nk.values.log() > controller.now
        # The best real experts, if they pass; then the best no-ops.
        null_NC = p_NX[:, e:]
        null = null_NC.topk(min(k, null_NC.shape[1]), dim=-1)
        score = torch.cat((torch.where(passes_Nk, best_Nk.values + 2, -1.0), null.values), -1)
        top = score.topk(k, dim=-1)
        choice_Nk = torch.cat((best_Nk.indices, null.indices + e), -1).gather(1, top.indices)
        return choice_Nk.masked_fill(top.values < 0, p_NX.shape[1])

    def _loss(self, p_NX: Tensor, taken_NX: Tensor, real_BT: Tensor | None) -> Tensor:
        """The balance loss over the real tokens, no-ops included."""
        config, e, m = self.config, self.n_experts, self.nulls.number
        if real_BT is None:
            p_X, taken_X = p_NX.mean(0), taken_NX.float().mean(0)
        else:  # sums, not an index by mask, whose size the host would have to wait for; padding takes nothing
            n = real_BT.sum()
            p_X, taken_X = p_NX.where(real_BT.flatten()[:, None], 0).sum(0) / n, taken_NX.float().sum(0) / n
        assert config.capacity is not None
        real, null = config.capacity / e, 1 - config.capacity
        if self.copies > 1:  # as one: the sum over copies of equal shares and probabilities
            p_X = torch.cat((p_X[:e], p_X[e : e + 1] * m))
            taken_X = torch.cat((taken_X[:e], taken_X[e:].sum(0, keepdim=True)))
        target_X = torch.full_like(p_X, real)
        target_X[e:] = null / max(1, len(p_X) - e)
        return config.aux_weight * balance_loss(p_X, taken_X, target_X)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch has no types here
    def _dropless(
        self, x_ND: Tensor, weight_NX: Tensor, choice_Nk: Tensor, taken_NX: Tensor, real_BT: Tensor | None
    ) -> Tensor:
        """The experts over the tokens that chose them. Shapes depend on the choices, so the host waits for their number, once."""
        taken_E = taken_NX[:, : self.n_experts].sum(0)
        if self.controller is not None:
            self.controller.count(taken_E, len(x_ND) if real_BT is None else real_BT.sum())
        expected = spread(real_pairs(self.config, len(x_ND)), self.n_experts)  # where there are shapes alone
        counts: list[int] = taken_E.tolist() if has_values(taken_E) else expected
        self._say(sum(counts))
        return weighted_sum(self.experts, x_ND, weight_NX, choice_Nk, counts)

    def _say(self, pairs: int) -> None:
        """Record how many pairs this call computed: claims are checked against it."""
        self.pairs = pairs
        self.executed_tokens = -(-pairs // self.n_experts)

    def _with_no_ops(self, y_ND: Tensor, x_ND: Tensor, weight_NC: Tensor) -> Tensor:
        """Add what the no-ops give."""
        if self.config.no_op == "zero" or not self.nulls.number:
            return y_ND
        if self.constants is None:
            return y_ND + (weight_NC.sum(1, keepdim=True) * x_ND).to(y_ND.dtype)
        if self.copies > 1:
            weight_NC = weight_NC.sum(1, keepdim=True)
        given_ND: Tensor = self.constants(x_ND, weight_NC)
        return y_ND + given_ND.to(y_ND.dtype)

    def _record(self, p_NX: Tensor, taken_NX: Tensor, shape: torch.Size, ctx: ForwardContext) -> None:  # type: ignore[override]  # rows by token
        """Record which expert takes which token, if the forward pass is observed."""
        if ctx.observer is None:
            return
        e = self.n_experts
        taken_BET = taken_NX[:, :e].view(*shape[:2], e).transpose(1, 2)
        score_BT = p_NX[:, :e].amax(1).view(shape[:2])
        decision = Decision(
            self.layer, score_BT, taken_BET.any(1), taken_BET=taken_BET, choices=self.config.experts_top_k
        )
        ctx.observer.decisions.append(decision)
