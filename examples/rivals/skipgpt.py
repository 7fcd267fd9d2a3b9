"""SkipGPT, rebuilt small (Zhao et al. 2025, arXiv:2506.04179): each block has a gate for its attention and one for its MLP.

    modbench run quick --model examples/rivals/skipgpt.py:build --only

As in the released code both gates read the input of their block, every token is computed, and the gate then keeps or drops the
result. Unlike there, evaluation is without Gumbel noise.
"""

from torch import nn

F = nn.functional


class Gate(nn.Module):
    """Whether each token keeps the result: hard, with the gradient of its probability. [B, T, D] to [B, T, 1]."""

    def __init__(self, width):
        super().__init__()
        self.score = nn.Linear(width, 2)

    def forward(self, x_BTD):
        logits_BT2 = self.score(x_BTD)
        if self.training:
            return F.gumbel_softmax(logits_BT2, hard=True)[..., 1:]
        return (logits_BT2[..., 1:] >= logits_BT2[..., :1]).to(x_BTD.dtype)


class Block(nn.Module):
    """Causal attention and an MLP, each behind its gate. Skipped tokens keep their keys and values."""

    def __init__(self, config):
        super().__init__()
        d, self.heads = config.d_model, config.n_heads
        self.norms = nn.ModuleList(nn.RMSNorm(d) for _ in range(2))
        self.gates = nn.ModuleList(Gate(d) for _ in range(2))
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 2 * config.d_ff, bias=False), nn.Linear(config.d_ff, d, bias=False)

    def forward(self, x_BTD):
        keep_attention_BT1, keep_mlp_BT1 = (gate(x_BTD) for gate in self.gates)
        x_BTD = x_BTD + keep_attention_BT1 * self._attention(self.norms[0](x_BTD))
        gated, linear = self.up(self.norms[1](x_BTD)).chunk(2, dim=-1)
        return x_BTD + keep_mlp_BT1 * self.down(F.silu(gated) * linear)

    def _attention(self, x_BTD):
        b, t, d = x_BTD.shape
        q_BHTd, k_BHTd, v_BHTd = self.qkv(x_BTD).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed_BHTd = F.scaled_dot_product_attention(q_BHTd, k_BHTd, v_BHTd, is_causal=True)
        return self.out(mixed_BHTd.transpose(1, 2).reshape(b, t, d))


def build(config):
    return nn.Sequential(
        nn.Embedding(config.vocab_size, config.d_model),
        *(Block(config) for _ in range(config.n_layers)),
        nn.RMSNorm(config.d_model),
        nn.Linear(config.d_model, config.vocab_size, bias=False),
    )
