"""Mixture of MLPs: experts that choose tokens (Zhou et al. 2022), or tokens that choose experts (Fedus et al. 2021); their cost.

Shapes: B batch, T tokens, D width, F hidden width, E experts, X = E plus no-ops, N tokens of one expert or of the batch,
k tokens of one expert in one sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig, kept
from modbench.harness.core.contracts import FLOAT32, INT64, Amount, Layer
from modbench.harness.core.language_model import Decision
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet, DecodeSheet, highest, norm_back, norm_memory
from modbench.models.layers.decoder import MLP
from modbench.models.layers.kernels import span
from modbench.models.layers.router import Threshold, own_precision

# Rows of a step of decoding up to which sorting them by expert costs more than it saves.
FEW = 8


def has_values(x: Tensor) -> bool:
    """Whether a tensor has numbers, and not a shape alone."""
    return not (x.is_meta or is_fake(x))


class Experts(nn.Module):
    """E MLPs with stacked weights, computed together in batched products: no loop over experts or tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, f = config.n_experts, config.d_model, config.expert_width
        self.gate_EDF = nn.Parameter(torch.empty(e, d, f)) if config.activation == "swiglu" else None
        self.up_EDF = nn.Parameter(torch.empty(e, d, f))
        self.down_EFD = nn.Parameter(torch.empty(e, f, d))

    def forward(self, x_END: Tensor) -> Tensor:
        """[E, N, D] to [E, N, D], each slice by its own expert."""
        up_ENF = torch.matmul(x_END, self.up_EDF)
        hidden_ENF = F.gelu(up_ENF) if self.gate_EDF is None else F.silu(torch.matmul(x_END, self.gate_EDF)) * up_ENF
        return torch.matmul(hidden_ENF, self.down_EFD)

    def one(self, expert: int, x_ND: Tensor) -> Tensor:
        """One expert over its tokens."""
        up_NF = x_ND @ self.up_EDF[expert]
        hidden_NF = F.gelu(up_NF) if self.gate_EDF is None else F.silu(x_ND @ self.gate_EDF[expert]) * up_NF
        return hidden_NF @ self.down_EFD[expert]

    def few(self, x_ND: Tensor, weight_NE: list[list[float]]) -> Tensor:
        """For each token the sum of weight times expert output: [N, D]. Each expert that has tokens is called once.

        Args:
            x_ND: tokens.
            weight_NE: what each expert weighs for each token, as the host knows it; 0 where it does not take it.
        """
        y_ND = torch.zeros_like(x_ND)
        with span("experts"):
            for expert, weight_N in enumerate(zip(*weight_NE, strict=True)):
                own = [n for n, weight in enumerate(weight_N) if weight]
                if not own:
                    continue
                # Slices, no index: its copy to a GPU would make the host wait.
                x = x_ND if len(own) == len(x_ND) else torch.cat([x_ND[n : n + 1] for n in own])
                for n, y_D in zip(own, self.one(expert, x), strict=True):
                    y_ND[n].add_(y_D, alpha=weight_N[n])
        return y_ND


class ExpertMLP(nn.Module):
    """Experts in place of an MLP. A token's output is the sum over its experts of probability times expert output.

    `choice = "expert"`: every expert takes its top-k tokens of each sequence; a token may get several experts, or none.
    `choice = "token"`: every token takes its most probable experts, and an expert keeps the first k tokens; with
    `capacity_factor` under 1 tokens are dropped. Either way a token with no expert gets exactly 0.

    With causal routing (`ctx.causal`) a token takes the experts whose probability is above a threshold that `calibrate`
    sets (expert choice), or its most probable experts, and none is dropped (token choice).

    No-op experts are part of the softmax, so that a token can prefer to skip, and contribute exactly zero: they are never
    computed (MoDE integrated; Raposo et al. 2024, figure 7).

    `shared_experts` are computed for every token and added without a weight (DeepSeekMoE, arXiv 2401.06066).

    Args:
        config: shape.
        layer: index of its block.
        share: share of a sequence's tokens that each expert takes; at least one token.
        no_ops: no-op experts, which come after the real ones.
    """

    def __init__(self, config: ModelConfig, layer: int, *, share: float, no_ops: int = 0) -> None:
        super().__init__()
        self.config, self.layer, self.share, self.n_experts = config, layer, share, config.n_experts
        # What the module claims to process (harness/call/subject/check_skipping.py).
        self.capacity, self.executed_tokens, self.routed_parts = share, 0, ("experts",)
        self.router = nn.Linear(config.d_model, config.n_experts + no_ops, bias=False)
        self.experts = Experts(config)
        # Several that every token passes are one of their joint width: the same sum, in three products.
        shared = config.shared_experts
        self.shared = MLP(config, shared * config.expert_width) if shared else None
        self.threshold = None
        if config.choice == "expert":
            # Logits start as standard normals: the quantiles of their softmax are known before any text is seen.
            logits = torch.randn(
                4096, config.n_experts + no_ops, generator=torch.Generator().manual_seed(0), device="cpu"
            )
            self.threshold = Threshold(torch.zeros(config.n_experts))
            self.threshold.set(logits.softmax(-1)[:, : config.n_experts].mT, share)

    @property
    def has_loss(self) -> bool:
        """Token choice needs a loss that balances the load."""
        return self.config.choice == "token"

    def forward(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """[B, T, D] to [B, T, D]: what the router's experts add, and the shared experts."""
        y_BTD = self._of_chosen(x_BTD, ctx)
        if self.shared is None:
            return y_BTD
        with span("shared experts"):
            shared_BTD: Tensor = self.shared(x_BTD, ctx)
        return y_BTD + shared_BTD

    def _of_chosen(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """What chosen experts add to each token."""
        # Float32 logits where the weights are float32, under autocast too: see `own_precision`.
        with span("router"):
            p_BTX = own_precision(self.router, x_BTD).softmax(dim=-1)
        if ctx.calibrate and self.threshold is not None:
            real_BT = ctx.real_BT
            p_NX = p_BTX.flatten(0, 1) if real_BT is None else p_BTX[real_BT]
            self.threshold.set(p_NX[:, : self.n_experts].mT, self.share)
        if self._is_few(p_BTX, ctx):
            p_NX = p_BTX.flatten(0, 1)
            return self.experts.few(x_BTD.flatten(0, 1), self._weights(p_NX).tolist()).view_as(x_BTD)
        p_BET = p_BTX[..., : self.n_experts].transpose(1, 2)
        if self.config.choice == "token":
            p_BET, requested_BET = self._token_choice(p_BTX, ctx)
            if ctx.auxiliary is not None:
                ctx.auxiliary.append(self._balance_loss(p_BTX, requested_BET, ctx.real_BT))
        if not ctx.causal:
            return self._top_k_of_each_expert(x_BTD, p_BET, ctx)
        if self.threshold is not None:
            p_BET = p_BET * (p_BET > self.threshold.value[:, None])
        self._record(p_BET, p_BET > 0, ctx)
        return self._grouped_by_expert(x_BTD, p_BET) if ctx.on_host else self._all_experts(x_BTD, p_BET)

    def _is_few(self, p: Tensor, ctx: ForwardContext) -> bool:
        """Whether this is a step of decoding for a few rows: nothing to differentiate, count, watch or trace."""
        learns = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()
        decides = ctx.causal and ctx.on_host and ctx.decisions is None
        return decides and not learns and ctx.real_BT is None and p[..., 0].numel() <= FEW and has_values(p)

    def _weights(self, p_NX: Tensor) -> Tensor:
        """Weight of each expert for each token [N, E], each token by itself; 0 where the expert does not take it."""
        if self.threshold is None:
            best_Nk = p_NX.topk(self.config.experts_top_k, dim=-1)
            return torch.zeros_like(p_NX).scatter_(1, best_Nk.indices, best_Nk.values)[:, : self.n_experts]
        p_NE = p_NX[:, : self.n_experts]
        return p_NE * (p_NE > self.threshold.value)

    def _token_choice(self, p_BTX: Tensor, ctx: ForwardContext) -> tuple[Tensor, Tensor]:
        """Probabilities of the experts that a token requests, 0 elsewhere; and whether it requests the expert."""
        top_BTk = p_BTX.topk(self.config.experts_top_k, dim=-1).indices
        requested_BTX = torch.zeros_like(p_BTX, dtype=torch.bool).scatter_(2, top_BTk, True)
        if ctx.real_BT is not None:
            requested_BTX = requested_BTX & ctx.real_BT[..., None]
        requested_BET = requested_BTX[..., : self.n_experts].transpose(1, 2)
        return p_BTX[..., : self.n_experts].transpose(1, 2) * requested_BET, requested_BET

    def _balance_loss(self, p_BTX: Tensor, requested_BET: Tensor, real_BT: Tensor | None) -> Tensor:
        """E · Σ share of tokens · mean probability (Fedus et al. 2021, equation 4), over real tokens."""
        p_BTE, requested_BTE = p_BTX[..., : self.n_experts], requested_BET.transpose(1, 2).float()
        if real_BT is None:
            requested_E, p_E = requested_BTE.mean((0, 1)), p_BTE.mean((0, 1))
        else:  # sums, not an index by mask, whose size the host would have to wait for; padding requests nothing
            n = real_BT.sum()
            requested_E, p_E = requested_BTE.sum((0, 1)) / n, p_BTE.where(real_BT[..., None], 0).sum((0, 1)) / n
        return self.config.aux_weight * self.n_experts * (requested_E * p_E).sum()

    def _top_k_of_each_expert(self, x_BTD: Tensor, p_BET: Tensor, ctx: ForwardContext) -> Tensor:
        """K tokens for every expert and sequence, as in training: a static shape."""
        b, t, d = x_BTD.shape
        k, k_B = kept(self.share, t), None
        if ctx.lengths_B is not None:  # k follows each row's real length
            k_B = (self.share * ctx.lengths_B.double() + 1e-9).long().clamp(min=1)
        if self.config.choice == "token":
            # First come, first served: requesting tokens in order, then others with weight 0.
            token_BET = torch.arange(t, device=x_BTD.device).masked_fill(p_BET == 0, t)
            indices_BEk = token_BET.sort(dim=-1).values[..., :k].clamp(max=t - 1)
            p_BEk = p_BET.gather(2, indices_BEk) * (
                (p_BET > 0).sum(-1, keepdim=True) > torch.arange(k, device=x_BTD.device)
            )
        elif ctx.real_BT is None:
            p_BEk, indices_BEk = p_BET.topk(k, dim=-1, sorted=False)
        else:  # padding comes last for every expert
            p_BEk, indices_BEk = p_BET.masked_fill(~ctx.real_BT[:, None], -1).topk(k, dim=-1)
        if not torch.compiler.is_compiling():  # a compiled graph records nothing
            self.executed_tokens = b * k
        if k_B is not None:
            p_BEk = p_BEk * (torch.arange(k, device=x_BTD.device) < k_B[:, None, None])
        if ctx.decisions is not None:
            taken_BET = torch.zeros_like(p_BET, dtype=torch.bool).scatter(2, indices_BEk, p_BEk > 0)
            self._record(p_BET, taken_BET, ctx)
        row_B = torch.arange(b, device=x_BTD.device) * t
        flat_EN = (indices_BEk + row_B[:, None, None]).transpose(0, 1).flatten(1)
        x_ND = x_BTD.reshape(b * t, d)
        with span("gather"):
            x_END = x_ND.index_select(0, flat_EN.flatten()).view(*flat_EN.shape, d)
        with span("experts"):
            y_END = self.experts(x_END) * p_BEk.transpose(0, 1).flatten(1)[..., None]
        with span("scatter"):
            y_ND = torch.zeros_like(x_ND).index_add_(0, flat_EN.flatten(), y_END.flatten(0, 1).to(x_ND.dtype))
        return y_ND.view(b, t, d)

    def _record(self, p_BET: Tensor, taken_BET: Tensor, ctx: ForwardContext) -> None:
        """Record which expert takes which token, if the forward pass is observed."""
        if ctx.decisions is not None:
            decision = Decision(self.layer, p_BET.amax(1), taken_BET.any(1), taken_BET=taken_BET)
            ctx.decisions.append(decision)

    def _grouped_by_expert(self, x_BTD: Tensor, p_BET: Tensor) -> Tensor:
        """However many tokens each expert has: pairs grouped by expert, one product for each."""
        x_ND, p_EN = x_BTD.flatten(0, 1), p_BET.transpose(0, 1).flatten(1)
        taken_EN = p_EN != 0
        counts = taken_EN.sum(1).tolist()  # the only wait: the total is known then
        expert_P, token_P = torch.nonzero_static(taken_EN, size=sum(counts)).unbind(1)
        y_ND = torch.zeros_like(x_ND)
        if not sum(counts):
            return y_ND.view_as(x_BTD)
        p_P1 = p_EN[expert_P, token_P, None]
        for expert, (token_N, p_N1) in enumerate(zip(token_P.split(counts), p_P1.split(counts), strict=True)):
            if counts[expert]:
                y = self.experts.one(expert, x_ND.index_select(0, token_N)) * p_N1
                y_ND.index_add_(
                    0, token_N, y.to(x_ND.dtype)
                )  # in place: a copy of all tokens for each expert would be dear
        return y_ND.view_as(x_BTD)

    def _all_experts(self, x_BTD: Tensor, p_BET: Tensor) -> Tensor:
        """Every expert over every token, weighted afterwards: for decoding with fixed shapes."""
        x_ND = x_BTD.flatten(0, 1)
        y_END = self.experts(x_ND.expand(self.n_experts, -1, -1)) * p_BET.transpose(0, 1).flatten(1)[..., None]
        y_ND: Tensor = y_END.sum(0)
        return y_ND.to(x_BTD.dtype).view_as(x_BTD)


def experts_cost(sheet: CostSheet, n: int, k: int, *, no_ops: int = 0, residual: bool = True) -> None:
    """Norm, router over n tokens, E experts of k tokens each, and the shared experts over n tokens."""
    config, choices, tokens = sheet.config, sheet.config.n_experts + no_ops, n * sheet.batch_size
    assigned = config.n_experts * k * sheet.batch_size
    count_experts(sheet, n, assigned, choices)
    sheet.keep(_experts_memory(config, tokens, assigned, choices=choices, residual=residual))


def count_experts(sheet: CostSheet, n: int, pairs: int, choices: int) -> None:
    """FLOPs and parameters of norm, router, experts over `pairs` of the whole batch, and shared experts over n tokens."""
    config, at = sheet.config, f"{sheet.here}mlp"
    each, shared = config.mlp_elements(config.expert_width), config.shared_experts
    sheet.matmul("router", n, config.d_model, choices, at=at)
    sheet.add("experts", 2 * pairs * each, at)
    sheet.add("shared experts", 2 * sheet.batch_size * n * shared * each, at)
    sheet.params += (config.n_experts + shared) * each + config.d_model * choices + config.norm_params


def experts_reads(sheet: DecodeSheet, taken: float, share: float = 1.0) -> None:
    """Experts' weights: each of E processes the share `taken` of all tokens; the layer, and shared experts, `share`."""
    config = sheet.config
    each = config.mlp_elements(config.expert_width)
    sheet.weights(config.n_experts * each, taken)
    sheet.weights(config.shared_experts * each, share)


def _experts_memory(
    config: ModelConfig, tokens: float, assigned: float, *, choices: int, residual: bool = True
) -> Layer:
    """Norm, router over all tokens, MLPs over the assigned ones, their weighted sum; shared experts over all tokens; residual.

    Args:
        config: shape.
        tokens: tokens of the input.
        assigned: tokens of all experts together.
        choices: experts that the router scores, no-ops included.
        residual: whether the new stream is kept.
    """
    d, f, e = config.d_model, config.expert_width, config.n_experts
    gated = config.activation == "swiglu"
    scores = Amount(0, FLOAT32 * choices)
    requested = Amount()
    if config.choice == "token":
        # Which token requests which expert, the probabilities, and the copies of the balance loss.
        requested = Amount(0, exact=FLOAT32 * 2 * e + choices + e)
    each = Amount((4 if gated else 2) * f + 3 * d, exact=2 * INT64 + 2 * FLOAT32)
    stream = norm_memory(config) + scores + requested + Amount(d * residual)
    weights = Amount(e * (3 if gated else 2) * d * f)
    return with_shared(
        config,
        tokens,
        stream * tokens + each * assigned,
        weights.elements + d * choices + config.norm_params,
        back=(
            Amount((2 if gated else 1) * f - d) * assigned + Amount(e * d * f),  # at the activation
            Amount((-3 if gated else -1) * f) * assigned + weights,  # when all weights have their gradients
        ),
        at_norm=norm_back(config) * tokens - each * assigned + weights,
        forward=Amount(2 * d) * tokens + Amount(d + max(3 * f if gated else 0, 2 * f + d)) * assigned,
    )


def with_shared(
    config: ModelConfig,
    tokens: float,
    saved: Amount,
    params: float,
    *,
    back: tuple[Amount, ...],
    at_norm: Amount,
    forward: Amount,
) -> Layer:
    """A layer of experts, and the shared ones over all tokens.

    They are one MLP, computed last: its backward pass comes first, and its gradient of the input waits for that of the others.

    Args:
        config: shape.
        tokens: tokens of the input.
        saved: what the layer saves without shared experts.
        params: its parameters without them.
        back: moments of its backward pass before the norm's, without them.
        at_norm: that of the norm.
        forward: peak of its forward pass without them.
    """
    d, s, gated = config.d_model, config.shared_experts * config.expert_width, config.activation == "swiglu"
    hidden, shared = Amount((4 if gated else 2) * s) * tokens, Amount((3 if gated else 2) * d * s)
    later = shared - hidden
    return Layer(
        saved + hidden,
        params + shared.elements,
        back=highest(
            Amount((2 if gated else 1) * s) * tokens + Amount(d * s),  # at the activation of shared experts
            *(moment + later + Amount(d * (s > 0)) * tokens for moment in back),
            at_norm + later,
        ),
        forward=highest(forward, Amount((3 * d + (3 if gated else 2) * s) * (s > 0)) * tokens),
        output=Amount(d) * tokens,
    )
