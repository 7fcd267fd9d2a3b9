import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.norm_1, self.norm_2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x_BTD):
        qkv_BHTD = self.qkv(self.norm_1(x_BTD)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        y_BHTD = F.scaled_dot_product_attention(*qkv_BHTD.chunk(3, 1), is_causal=True)
        x_BTD = x_BTD + self.out(y_BHTD.transpose(1, 2).flatten(2))
        return x_BTD + self.mlp(self.norm_2(x_BTD))


class Skipping(nn.Module):
    def __init__(self, config, keep):
        super().__init__()
        d, self.every = config.d_model, round(1 / keep)
        self.token, self.position = nn.Embedding(config.vocab_size, d), nn.Embedding(config.max_seq_len, d)
        self.blocks = nn.ModuleList(Block(d, config.n_heads) for _ in range(config.n_layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, config.vocab_size)

    def forward(self, tokens_BT):  # int64 tokens [B, T]
        x_BTD = self.token(tokens_BT) + self.position.weight[: tokens_BT.shape[1]]
        kept_K = torch.arange(0, tokens_BT.shape[1], self.every, device=tokens_BT.device)
        for number, block in enumerate(self.blocks):  # every second block computes a share of the tokens
            skipped = number % 2
            x_BTD = x_BTD.index_copy(1, kept_K, block(x_BTD[:, kept_K])) if skipped else block(x_BTD)
        return self.head(self.norm(x_BTD))  # logits [B, T, vocabulary]


def build(config, keep=0.25):
    return Skipping(config, keep)
