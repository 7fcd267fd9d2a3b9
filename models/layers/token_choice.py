"""Tokens that choose among experts and no-ops: integrated MoDE as it is used today. No choice of a real expert is dropped.

`capacity` is rho, the share of all choices that reach a real expert. Among N + M choices taken equally often it is N / (N + M),
so M = N (1 - rho) / rho (arXiv 2601.15370): `null_choices`. The share is held by a loss, by a bias, or by a threshold:
`balance_loss`, `Controller`.

Shapes: B batch, T tokens, N = B T, D width, E experts, C no-ops that compete, X = E + C, k choices of a token, S = N k,
P pairs of a token and a real expert.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import MOST_EXPERTS, ModelConfig
from modbench.harness.core.contracts import FLOAT32, INT64, Amount, Layer
from modbench.harness.core.language_model import Decision
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet, highest, norm_back, norm_memory
from modbench.models.layers.experts import ExpertMLP, Experts, count_experts, has_values, with_shared
from modbench.models.layers.kernels import span
from modbench.models.layers.router import own_precision

# rho is a decimal number such as 0.3, whose M is whole up to rounding.
NEARLY = 1e-6
# Nats that a controller moves in one step if the share is off by 1: it settles in about ten steps. The mean share over n steps
# differs from its target by what the controller moved in these, divided by RATE x n.
RATE = 0.3
# Outside training the mean of a controller's last values decides, of some 1 / SETTLES steps: each answers the noise of one batch.
SETTLES = 0.05
# Least share that the loss aims at: a no-op that should never be taken does not divide by 0.
LEAST = 1e-3


@dataclass(frozen=True)
class NullChoices:
    """Null choices of one shape.

    Attributes:
        number: M, null choices beside the real experts; 0 where rho is 1.
        logits: of these, how many have a logit of their own: all, or one for all.
        columns: null choices that a token's top-k compares; of copies it can take no more than k.
        constants: constant experts that the block holds; copies are one expert.
    """

    number: int
    logits: int
    columns: int
    constants: int


def null_choices(config: ModelConfig) -> NullChoices:
    """The null choices of a shape whose tokens choose.

    `n_no_ops` given by hand counts: `capacity` is still the share that is held, and M says only among how many no-ops the rest
    is divided. Left out, it follows from `capacity`.

    Raises:
        ValueError: if no whole M gives `capacity`, or M is so small that some of a token's choices must be real.
    """
    assert config.capacity is not None
    n, k, rho = config.n_experts, config.experts_top_k, config.capacity
    m = _whole(n, rho) if config.n_no_ops is None else config.n_no_ops
    if m > MOST_EXPERTS:
        raise ValueError(
            f"capacity {rho:g} asks for {m} no-ops beside {n} experts; at most {MOST_EXPERTS} are possible"
        )
    if rho * k < k - m - NEARLY:
        raise ValueError(
            f"a token has {k} choices and {m} no-ops, so at least {(k - m) / k:g} of its choices are real: capacity "
            f"{rho:g} needs n_no_ops of at least {-(-k * (1 - rho) // 1):.0f}"
        )
    shared = config.no_op_logits == "shared"
    logits = min(m, 1) if shared else m
    return NullChoices(m, logits, min(m, k) if shared else m, logits if config.no_op == "constant" else 0)


def _whole(n: int, rho: float) -> int:
    """M = N (1 - rho) / rho, if it is a whole number."""
    m = n * (1 - rho) / rho
    if abs(m - round(m)) <= NEARLY * max(1.0, m):
        return round(m)
    near = sorted({n / (n + each) for each in (int(m), int(m) + 1)})
    others = [
        each
        for away in range(1, 64)
        for each in (n - away, n + away)
        if each >= 1 and abs(each * (1 - rho) / rho - round(each * (1 - rho) / rho)) <= NEARLY * max(1.0, m)
    ]
    experts = f"n_experts {others[0]}, " if others else ""
    raise ValueError(
        f"capacity {rho:g} with n_experts {n} asks for {m:.4g} no-ops, which is no whole number. Nearest: {experts}"
        f"capacity {' or '.join(f'{each:.4g}' for each in near)}; or set n_no_ops"
    )


def refuse_unused(config: ModelConfig) -> None:
    """Refuse what only tokens that choose can have.

    Raises:
        ValueError: if experts choose, and an option of token choice is set.
    """
    for key, default in (("no_op", "zero"), ("no_op_logits", "own"), ("balance", "loss")):
        value = getattr(config, key)
        if config.choice == "expert" and value != default:
            raise ValueError(
                f"{key} {value!r} needs choice 'token': where experts choose, no token takes a no-op, and each expert's "
                "share is fixed"
            )


def real_pairs(config: ModelConfig, tokens: int) -> int:
    """Pairs of a token and a real expert that are expected among so many tokens: capacity x top-k each."""
    assert config.capacity is not None
    return int(config.capacity * config.experts_top_k * tokens + 1e-9)


def spread(pairs: int, n_experts: int) -> list[int]:
    """Pairs of each expert, as equal as can be."""
    return [pairs // n_experts + (e < pairs % n_experts) for e in range(n_experts)]


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

    `balance` says how the share of real choices is held at `capacity`: see `balance_loss` and `Controller`.

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
        if ctx.decisions is None:
            return
        e = self.n_experts
        taken_BET = taken_NX[:, :e].view(*shape[:2], e).transpose(1, 2)
        score_BT = p_NX[:, :e].amax(1).view(shape[:2])
        decision = Decision(
            self.layer, score_BT, taken_BET.any(1), taken_BET=taken_BET, choices=self.config.experts_top_k
        )
        ctx.decisions.append(decision)


def weighted_sum(experts: Experts, x_ND: Tensor, weight_NX: Tensor, choice_Nk: Tensor, counts: list[int]) -> Tensor:
    """For each token the sum of weight times expert output over the real experts that it chose: [N, D].

    Args:
        experts: the E experts.
        x_ND: tokens.
        weight_NX: what each choice weighs.
        choice_Nk: what each token chose; numbers from E on are no real expert.
        counts: how many tokens chose each expert.
    """
    choice_S, k = choice_Nk.flatten(), choice_Nk.shape[1]
    place_P = choice_S.argsort(stable=True)[: sum(counts)]  # no real expert: behind all that are
    token_P = place_P // k
    at_P = token_P * weight_NX.shape[1] + choice_S.index_select(0, place_P)
    with span("gather"):
        x_PD = x_ND.index_select(0, token_P)
    with span("experts"):
        y_PD = _each(experts, x_PD, counts) * weight_NX.flatten().index_select(0, at_P)[:, None]
    with span("scatter"):
        return torch.zeros_like(x_ND).index_add_(0, token_P, y_PD.to(x_ND.dtype))


def _each(experts: Experts, x_PD: Tensor, counts: list[int]) -> Tensor:
    """Each expert over its rows. One without rows is called too: its gradient is 0 and not missing, as ranks need it."""
    ups, downs = experts.up_EDF.unbind(), experts.down_EFD.unbind()
    gates = [None] * len(ups) if experts.gate_EDF is None else experts.gate_EDF.unbind()
    pieces = []
    for x, gate, up, down in zip(x_PD.split(counts), gates, ups, downs, strict=True):
        hidden = F.gelu(x @ up) if gate is None else F.silu(x @ gate) * (x @ up)
        pieces.append(hidden @ down)
    return torch.cat(pieces)


def token_choice_cost(sheet: CostSheet, n: int, pairs: int, nulls: NullChoices) -> None:
    """Norm, router over n tokens, experts over all their `pairs` (of the whole batch), and constant no-ops over n tokens."""
    config, d, c = sheet.config, sheet.config.d_model, nulls.constants
    count_experts(sheet, n, pairs, config.n_experts + nulls.logits)
    sheet.matmul("no-ops", n, d, 3 * c, at=f"{sheet.here}mlp")
    sheet.params += d * 3 * c
    sheet.keep(_token_choice_memory(config, n * sheet.batch_size, pairs, nulls))


def _token_choice_memory(config: ModelConfig, tokens: float, pairs: float, nulls: NullChoices) -> Layer:
    """Norm, router over all tokens, MLPs over the pairs of a token and an expert, no-ops, their weighted sum, residual.

    Args:
        config: shape.
        tokens: tokens of the input.
        pairs: tokens of all experts together.
        nulls: the no-ops beside the experts.
    """
    d, f, e, c = config.d_model, config.expert_width, config.n_experts, nulls.constants
    gated = config.activation == "swiglu"
    choices = e + nulls.columns
    # Probabilities and which are taken; of a constant its two shares, weighted and not, its weight and their sum.
    scores = Amount(0, exact=FLOAT32 * choices + choices + FLOAT32 * (6 * c + 1) * (c > 0))
    hidden = Amount((4 if gated else 2) * f)
    each = hidden + Amount(3 * d, exact=2 * INT64 + 2 * FLOAT32)
    stream = norm_memory(config) + scores + Amount(d)
    weights = Amount(e * (3 if gated else 2) * d * f)
    return with_shared(
        config,
        tokens,
        stream * tokens + each * pairs,
        weights.elements + d * (e + nulls.logits + 3 * c) + config.norm_params,
        back=(
            Amount((2 if gated else 1) * f) * (pairs / e) + Amount(d * f),  # at the activation of the first expert
            weights + Amount(e * d * f) - (hidden + Amount(2 * d)) * pairs,  # when gradients of experts are stacked
        ),
        at_norm=norm_back(config) * tokens - each * pairs + weights,
        forward=Amount(2 * d) * tokens + highest(Amount(3 * d), Amount(2 * d + (3 if gated else 2) * f / e)) * pairs,
    )
