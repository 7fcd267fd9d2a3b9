"""The dense decoder that the rebuilds in this folder change: RMSNorm, rotary attention and SwiGLU, as in Llama.

    modbench cost examples/released/dense.py:build

It skips nothing: the control of the others. Source: Touvron et al. 2023, arXiv:2302.13971, section 2.2.
Shapes: B rows, T tokens, K chosen tokens, D width, H heads, d width of a head, V vocabulary.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Cache(dict):
    """Keys and values [B, H, T, d] of each attention that ran, by a key of its own; how many tokens were read."""

    position = 0

    @property
    def nbytes(self):
        return sum(tensor.nbytes for pair in self.values() for tensor in pair)

    def append(self, key, *new_BHTd):
        """Store keys and values, and return them with all that were stored before."""
        if key in self:
            new_BHTd = [torch.cat(pair, 2) for pair in zip(self[key], new_BHTd, strict=True)]
        self[key] = tuple(new_BHTd)
        return self[key]


def rotate(x_BHTd, position_BT):
    """Rotary positions: pairs of features turn by an angle that grows with the token's position."""
    left, right = x_BHTd.chunk(2, -1)
    speed_d = 10_000.0 ** (-torch.arange(left.shape[-1], device=x_BHTd.device) / left.shape[-1])
    angle_B1Td = position_BT[:, None, :, None] * speed_d
    cos, sin = angle_B1Td.cos().to(x_BHTd.dtype), angle_B1Td.sin().to(x_BHTd.dtype)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], -1)


def top(score_BT, k):
    """Indices [B, K] of the k highest scores of each row, in the order of the tokens."""
    return score_BT.topk(k, 1).indices.sort(1).values


class Attention(nn.Module):
    """Causal attention among the tokens that it is given, with the positions that it is given."""

    def __init__(self, config):
        super().__init__()
        d, self.head_dim = config.d_model, config.head_dim
        wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q, self.k, self.v = (nn.Linear(d, out, bias=False) for out in (wide, narrow, narrow))
        self.out = nn.Linear(wide, d, bias=False)

    def project(self, x_BTD, position_BT):  # to queries, keys and values, each [B, H, T, d]
        b, t, _ = x_BTD.shape
        q, k, v = (part(x_BTD).view(b, t, -1, self.head_dim).transpose(1, 2) for part in (self.q, self.k, self.v))
        return rotate(q, position_BT), rotate(k, position_BT), v

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        q_BHTd, k_BHTd, v_BHTd = self.project(x_BTD, position_BT)
        if cache is not None:
            k_BHTd, v_BHTd = cache.append(key, k_BHTd, v_BHTd)
        how = {"is_causal": x_BTD.shape[1] > 1, "enable_gqa": q_BHTd.shape[1] != k_BHTd.shape[1]}
        y_BHTd = F.scaled_dot_product_attention(q_BHTd, k_BHTd, v_BHTd, **how)
        return self.out(y_BHTd.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(d, width), nn.Linear(d, width), nn.Linear(width, d)

    def forward(self, x_BTD):
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))


class Block(nn.Module):
    """x + f(x), where f is the attention, then the MLP of the sum."""

    def __init__(self, config):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.RMSNorm(config.d_model), nn.RMSNorm(config.d_model)
        self.attention, self.mlp = Attention(config), Mlp(config.d_model, config.d_ff)

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        x_BTD = x_BTD + self.attention(self.norm_attention(x_BTD), position_BT, cache, key)
        return x_BTD + self.mlp(self.norm_mlp(x_BTD))


class Decoder(nn.Module):
    """An embedding, blocks, a head. Blocks get the stream, positions [B, T], a cache or None, and their number."""

    def __init__(self, config, blocks):
        super().__init__()
        self.embedding, self.blocks = nn.Embedding(config.vocab_size, config.d_model), nn.ModuleList(blocks)
        self.norm, self.head = nn.RMSNorm(config.d_model), nn.Linear(config.d_model, config.vocab_size, bias=False)

    def body(self, x_BTD, position_BT, cache):
        for number, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, position_BT, cache, number)
        return x_BTD

    def forward(self, tokens_BT, cache=None):
        position_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device).expand_as(tokens_BT)
        if cache is not None:
            position_BT, cache.position = position_BT + cache.position, cache.position + tokens_BT.shape[1]
        return self.head(self.norm(self.body(self.embedding(tokens_BT), position_BT, cache)))

    def prefill(self, tokens_BT):
        cache = Cache()
        return self(tokens_BT, cache)[:, -1], cache

    def decode(self, tokens_B, cache):
        return self(tokens_B[:, None], cache)[:, -1]


def build(config):
    return Decoder(config, [Block(config) for _ in range(config.n_layers)])
