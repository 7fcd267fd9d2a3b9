"""The decoder around the blocks: embedding, blocks, final norm, head; and the block itself.

Shapes: B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from modbench.harness.config import ModelConfig
from modbench.models.layers.attention import Attention, Rotary, RotaryTable
from modbench.models.layers.mlp import MLP


class Block(nn.Module):
    """Pre-norm attention and MLP. `delta` is what a router gates: the block without its outer residual."""

    def __init__(self, config: ModelConfig, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.norm_attention = nn.RMSNorm(config.d_model, eps=1e-6)
        self.attention = Attention(config)
        self.norm_mlp = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mlp = MLP(config) if mlp is None else mlp

    def delta(self, x_BTD: Tensor, rotary: Rotary) -> Tensor:
        """f(x): attention, then the MLP on what attention made of x."""
        attention_BTD = self.attention(self.norm_attention(x_BTD), rotary)
        return attention_BTD + self.mlp(self.norm_mlp(x_BTD + attention_BTD))  # type: ignore[no-any-return]  # torch types calls as Any

    def forward(self, x_BTD: Tensor, rotary: Rotary) -> Tensor:
        """X + f(x)."""
        return x_BTD + self.delta(x_BTD, rotary)


class Decoder(nn.Module):
    """Tokens [B, T] to logits [B, T, V] through the given blocks."""

    def __init__(self, config: ModelConfig, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.rotary = RotaryTable(config)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._init_weights(config)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next token at every position.

        Raises:
            ValueError: if the tokens are not int64 [B, T], or more than the rotary table serves.
        """
        if tokens_BT.ndim != 2 or tokens_BT.dtype != torch.int64:
            raise ValueError(f"tokens must be int64 [B, T]; got {tokens_BT.dtype} {list(tokens_BT.shape)}")
        rotary = self.rotary(tokens_BT.shape[1])
        x_BTD = self.embedding(tokens_BT)
        if self.head is None:
            x_BTD = x_BTD * self.embedding.embedding_dim**0.5  # tied rows are head-sized; the stream starts at 1
        for block in self.blocks:
            x_BTD = block(x_BTD, rotary)
        x_BTD = self.norm(x_BTD)
        logits_BTV: Tensor = x_BTD @ self.embedding.weight.mT if self.head is None else self.head(x_BTD)
        return logits_BTV

    @torch.no_grad()
    def _init_weights(self, config: ModelConfig) -> None:
        """Draw every parameter from its own name and torch's seed.

        Arms of one seed so start from equal weights wherever their shapes agree. The stream starts at standard
        deviation 1, so that the raw router output w·x does too and routed blocks speak from the first step.
        """
        for name, weight in self.named_parameters():
            if weight.ndim < 2:
                nn.init.ones_(weight)  # norms
                continue
            if weight.is_meta:
                continue
            # Linear weights are [out, in]; stacked experts end in [in, out].
            fan_in = weight.shape[1] if weight.ndim == 2 else weight.shape[-2]
            std = fan_in**-0.5
            if name == "embedding.weight":
                std = config.d_model**-0.5 if config.tied else 1.0
            elif name.endswith(("attention.out.weight", "mlp.down.weight", "down_EFD")):
                std /= (2 * config.n_layers) ** 0.5  # GPT-2's residual scaling
            digest = hashlib.sha256(f"{torch.initial_seed()} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            weight.copy_(torch.empty(weight.shape, dtype=weight.dtype).normal_(0.0, std, generator=generator))
