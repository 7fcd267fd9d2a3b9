"""A gate that reads the prompt: it is told how long each row and its prompt are, and chooses blocks for what follows."""

import torch
from torch import nn


class ReadsPrompt(nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config.d_model
        self.embedding, self.head = nn.Embedding(config.vocab_size, d), nn.Linear(d, config.vocab_size)
        self.blocks, self.gate = (
            nn.ModuleList(nn.Linear(d, d) for _ in range(config.n_layers)),
            nn.Linear(d, config.n_layers),
        )

    def forward(self, tokens_BT, lengths_B=None, prompt_B=None):
        b, t = tokens_BT.shape
        if prompt_B is None:  # no question marks the end of a prompt: the first eight tokens are one
            prompt_B = torch.full((b,), min(8, t), device=tokens_BT.device)
        x_BTD, position_T = self.embedding(tokens_BT), torch.arange(t, device=tokens_BT.device)
        in_prompt_BT1 = (position_T < prompt_B[:, None])[..., None]
        prompt_BD = (x_BTD * in_prompt_BT1).sum(1) / prompt_B[:, None]
        weight_BL = self.gate(prompt_BD).sigmoid()
        self.realised = (weight_BL > 0.5).sum(1).tolist()  # blocks that count for each row
        for weight_B, block in zip(weight_BL.mT, self.blocks, strict=True):
            y_BTD = weight_B[:, None, None] * block(x_BTD).relu()
            x_BTD = x_BTD + y_BTD.masked_fill(in_prompt_BT1, 0)  # earlier tokens must not see what the gate has read
        if lengths_B is not None:
            x_BTD = x_BTD * (position_T < lengths_B[:, None])[..., None]
        return self.head(x_BTD)


def build(config):
    return ReadsPrompt(config)
