"""Mixture of MLPs: experts that choose tokens (Zhou et al. 2022), or tokens that choose experts (Fedus et al. 2021).

Shapes: B batch, T tokens, D width, F hidden width, E experts, N tokens of one expert or of the batch, k tokens of one
expert in one sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig, kept
from modbench.models.layers.decisions import Decision
from modbench.models.layers.router import Threshold
from modbench.models.layers.span import span
from modbench.models.layers.trip import Trip


class Experts(nn.Module):
    """E MLPs as stacked weights, computed in one batched product each: no loop over experts or tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, f = config.n_experts, config.d_model, config.d_ff
        self.gate_EDF = nn.Parameter(torch.empty(e, d, f)) if config.activation == "swiglu" else None
        self.up_EDF = nn.Parameter(torch.empty(e, d, f))
        self.down_EFD = nn.Parameter(torch.empty(e, f, d))

    def forward(self, x_END: Tensor) -> Tensor:
        """[E, N, D] to [E, N, D], each slice by its own expert."""
        up_ENF = torch.matmul(x_END, self.up_EDF)
        hidden_ENF = F.gelu(up_ENF) if self.gate_EDF is None else F.silu(torch.matmul(x_END, self.gate_EDF)) * up_ENF
        return torch.matmul(hidden_ENF, self.down_EFD)

    def one(self, expert: int, x_ND: Tensor) -> Tensor:
        """One expert on its tokens."""
        up_NF = x_ND @ self.up_EDF[expert]
        hidden_NF = F.gelu(up_NF) if self.gate_EDF is None else F.silu(x_ND @ self.gate_EDF[expert]) * up_NF
        return hidden_NF @ self.down_EFD[expert]


class ExpertMLP(nn.Module):
    """An MLP sub-layer of experts. A token's output is the sum over its experts of probability times expert output.

    `choice = "expert"`: every expert takes its top-k tokens of each sequence; a token may get several, or none.
    `choice = "token"`: every token takes its most probable experts, and an expert keeps the first k that come; with
    `capacity_factor` under 1 tokens are dropped. Either way a token with no expert gets exactly 0.

    Without the future (`trip.causal`) a token takes the experts whose probability is above a threshold that `calibrate`
    finds (expert choice), or its most probable experts with nobody dropped (token choice).

    With no-op experts the router scores choices that do nothing. They take part in the softmax, so that a token can prefer
    to skip, and contribute exactly zero: they are never computed (MoDE integrated; Raposo et al. 2024, figure 7).

    Args:
        config: shape.
        layer: index of the block that it stands in.
        share: share of a sequence's tokens that each expert takes; at least one token.
        no_ops: choices after the real experts that do nothing.
    """

    def __init__(self, config: ModelConfig, layer: int, *, share: float, no_ops: int = 0) -> None:
        super().__init__()
        self.config, self.layer, self.share, self.n_experts = config, layer, share, config.n_experts
        self.capacity, self.executed_tokens, self.routed_parts = (
            share,
            0,
            ("experts",),
        )  # the claim of harness/subject/claims.py
        self.router = nn.Linear(config.d_model, config.n_experts + no_ops, bias=False)
        self.experts = Experts(config)
        self.threshold = None
        if config.choice == "expert":
            # Logits start as standard normals: what their softmax does is known before any text is seen.
            logits = torch.randn(
                4096, config.n_experts + no_ops, generator=torch.Generator().manual_seed(0), device="cpu"
            )
            self.threshold = Threshold(torch.zeros(config.n_experts))
            self.threshold.set(logits.softmax(-1)[:, : config.n_experts].mT, share)

    @property
    def has_loss(self) -> bool:
        """Token choice needs a loss that balances the load."""
        return self.config.choice == "token"

    def forward(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        # float32: early low-precision logits tie, and ties are broken by device.
        with span("router"):
            p_BTX = self.router(x_BTD).float().softmax(dim=-1)
        if trip.calibrate and self.threshold is not None:
            real_BT = trip.real_BT
            p_NX = p_BTX.flatten(0, 1) if real_BT is None else p_BTX[real_BT]
            self.threshold.set(p_NX[:, : self.n_experts].mT, self.share)
        p_BET = p_BTX[..., : self.n_experts].transpose(1, 2)
        if self.config.choice == "token":
            p_BET, asked_BET = self._ask(p_BTX, trip)
            if trip.auxiliary is not None:
                trip.auxiliary.append(self._balance(p_BTX, asked_BET, trip.real_BT))
        if not trip.causal:
            return self._gathered(x_BTD, p_BET, trip)
        if self.threshold is not None:
            p_BET = p_BET * (p_BET > self.threshold.value[:, None])
        self._watched(p_BET, p_BET > 0, trip)
        return self._sorted(x_BTD, p_BET) if trip.on_host else self._all(x_BTD, p_BET)

    def _ask(self, p_BTX: Tensor, trip: Trip) -> tuple[Tensor, Tensor]:
        """Probability where a token asks for an expert, 0 elsewhere; and whether it asks."""
        top_BTk = p_BTX.topk(self.config.experts_top_k, dim=-1).indices
        asked_BTX = torch.zeros_like(p_BTX, dtype=torch.bool).scatter_(2, top_BTk, True)
        if trip.real_BT is not None:
            asked_BTX = asked_BTX & trip.real_BT[..., None]
        asked_BET = asked_BTX[..., : self.n_experts].transpose(1, 2)
        return p_BTX[..., : self.n_experts].transpose(1, 2) * asked_BET, asked_BET

    def _balance(self, p_BTX: Tensor, asked_BET: Tensor, real_BT: Tensor | None) -> Tensor:
        """E · Σ share of tokens · mean probability (Fedus et al. 2021, equation 4), over real tokens."""
        p_BTE, asked_BTE = p_BTX[..., : self.n_experts], asked_BET.transpose(1, 2).float()
        if real_BT is not None:
            p_BTE, asked_BTE = p_BTE[real_BT][None], asked_BTE[real_BT][None]
        return self.config.aux_weight * self.n_experts * (asked_BTE.mean((0, 1)) * p_BTE.mean((0, 1))).sum()

    def _gathered(self, x_BTD: Tensor, p_BET: Tensor, trip: Trip) -> Tensor:
        """Training's way: k tokens for every expert and sequence, a static shape."""
        b, t, d = x_BTD.shape
        k, k_B = kept(self.share, t), None
        if trip.lengths_B is not None:  # k follows each row's real length
            k_B = (self.share * trip.lengths_B.double() + 1e-9).long().clamp(min=1)
        if self.config.choice == "token":
            # First come, first served; the places of those that asked stand in front, the others get weight 0.
            place_BET = torch.arange(t, device=x_BTD.device).masked_fill(p_BET == 0, t)
            i_BEk = place_BET.sort(dim=-1).values[..., :k].clamp(max=t - 1)
            p_BEk = p_BET.gather(2, i_BEk) * ((p_BET > 0).sum(-1, keepdim=True) > torch.arange(k, device=x_BTD.device))
        elif trip.real_BT is None:
            p_BEk, i_BEk = p_BET.topk(k, dim=-1, sorted=False)
        else:  # pads are last in every order
            p_BEk, i_BEk = p_BET.masked_fill(~trip.real_BT[:, None], -1).topk(k, dim=-1)
        if not torch.compiler.is_compiling():  # a graph keeps no books
            self.executed_tokens = b * k
        if k_B is not None:
            p_BEk = p_BEk * (torch.arange(k, device=x_BTD.device) < k_B[:, None, None])
        if trip.watch is not None:
            taken_BET = torch.zeros_like(p_BET, dtype=torch.bool).scatter(2, i_BEk, p_BEk > 0)
            self._watched(p_BET, taken_BET, trip)
        row_B = torch.arange(b, device=x_BTD.device) * t
        flat_EN = (i_BEk + row_B[:, None, None]).transpose(0, 1).flatten(1)
        x_ND = x_BTD.reshape(b * t, d)
        with span("gather"):
            x_END = x_ND[flat_EN]
        with span("experts"):
            y_END = self.experts(x_END) * p_BEk.transpose(0, 1).flatten(1)[..., None]
        with span("scatter"):
            y_ND = torch.zeros_like(x_ND).index_add(0, flat_EN.flatten(), y_END.flatten(0, 1).to(x_ND.dtype))
        return y_ND.view(b, t, d)

    def _watched(self, p_BET: Tensor, taken_BET: Tensor, trip: Trip) -> None:
        """Record who takes what, where somebody looks."""
        if trip.watch is not None:
            trip.watch.take(Decision(self.layer, p_BET.amax(1), taken_BET.any(1), taken_BET=taken_BET))

    def _sorted(self, x_BTD: Tensor, p_BET: Tensor) -> Tensor:
        """As many tokens for each expert as there are: pairs sorted by expert, one product for each expert."""
        x_ND, p_EN = x_BTD.flatten(0, 1), p_BET.transpose(0, 1).flatten(1)
        expert_P, token_P = p_EN.nonzero(as_tuple=True)
        counts = torch.bincount(expert_P, minlength=self.n_experts).tolist()
        y_ND = torch.zeros_like(x_ND)
        for expert, token_N in enumerate(token_P.split(counts)):
            if counts[expert]:
                y = self.experts.one(expert, x_ND[token_N]) * p_EN[expert, token_N, None]
                y_ND = y_ND.index_add(0, token_N, y.to(x_ND.dtype))
        return y_ND.view_as(x_BTD)

    def _all(self, x_BTD: Tensor, p_BET: Tensor) -> Tensor:
        """Every expert on every token, weighed afterwards: for decoding in fixed shapes."""
        x_ND = x_BTD.flatten(0, 1)
        y_END = self.experts(x_ND.expand(self.n_experts, -1, -1)) * p_BET.transpose(0, 1).flatten(1)[..., None]
        y_ND: Tensor = y_END.sum(0)
        return y_ND.to(x_BTD.dtype).view_as(x_BTD)
