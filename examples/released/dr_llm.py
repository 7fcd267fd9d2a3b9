"""Dr.LLM, rebuilt: a router per layer skips it, runs it once or twice; as released, row 0 decides for the whole batch.

    modbench cost examples/released/dr_llm.py:build

Source: Heakl et al. 2025, "Dr.LLM: Dynamic Layer Routing in LLMs", arXiv:2510.12773, its section on the method.
Facts of the released code: github.com/parameterlab/dr-llm at 626ace8 (`models/modeling_qwen3.py`). No code is
copied.

- The router of a layer reads its input: at most 8 segments of equal length, each averaged, each mapped to 128 (GELU)
  and to 3 logits; their mean decides. What does not fill a window is not read.
- The windows cover the prompt where one is named (`prompt_B`), else the whole sequence, later tokens included.
- `coupled=True`: the decision of row 0 is taken for all rows, as in the code. False: each row follows its own.
- Decoding keeps the path that the prompt chose, and a cache for each pass: the paper's rule. The released code
  decides anew for each token and stores both passes of a repeated layer under one index; this is not rebuilt.
Left out: training. There the model is frozen and routers learn labels of a tree search; here routers get no
gradient.
"""

import torch
from dense import Block, Cache, Decoder
from torch import nn
from torch.nn import functional as F

WINDOWS = 8


class Router(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.logits = nn.Linear(width, 128), nn.Linear(128, 3)
        for linear in (self.hidden, self.logits):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_TD):
        """How often one row runs the layer: 0, 1 or 2, from the part [T, D] of its input that the router may read."""
        n = min(WINDOWS, x_TD.shape[0])
        window_ND = x_TD[: x_TD.shape[0] // n * n].unflatten(0, (n, -1)).mean(1)
        return int(self.logits(F.gelu(self.hidden(window_ND), approximate="tanh")).mean(0).argmax())


class DrLLM(Decoder):
    def __init__(self, config, blocks, coupled):
        super().__init__(config, blocks)
        self.routers, self.coupled = nn.ModuleList(Router(config.d_model) for _ in blocks), coupled

    def forward(self, tokens_BT, prompt_B=None, cache=None):
        """Logits [B, T, V]; `realised` is then the number of passes that each row ran."""
        start = 0 if cache is None else cache.position
        rows = self.embedding(tokens_BT).split(1)
        position_1T = torch.arange(start, start + tokens_BT.shape[1], device=tokens_BT.device)[None]
        read = [tokens_BT.shape[1]] * len(rows) if prompt_B is None else [int(n) for n in prompt_B]
        paths = getattr(cache, "paths", None) or [[] for _ in self.blocks]
        for number, (block, router) in enumerate(zip(self.blocks, self.routers, strict=True)):
            if not start:
                deciding = rows[:1] if self.coupled else rows
                chosen = [router(x_1TD[0, :n]) for x_1TD, n in zip(deciding, read, strict=False)]
                paths[number] = chosen * len(rows) if self.coupled else chosen
            for turn in range(max(paths[number])):
                run = [row for row, times in enumerate(paths[number]) if turn < times]
                y_BTD = block(
                    torch.cat([rows[row] for row in run]), position_1T.expand(len(run), -1), cache, (number, turn)
                )
                rows = list(rows)
                for row, y_1TD in zip(run, y_BTD.split(1), strict=True):
                    rows[row] = y_1TD
        if cache is not None:
            cache.position, cache.paths = start + tokens_BT.shape[1], paths
        self.realised = torch.tensor(paths).sum(0).tolist()
        return self.head(self.norm(torch.cat(list(rows))))

    def prefill(self, tokens_BT):
        cache = Cache()
        return self(tokens_BT, cache=cache)[:, -1], cache

    def decode(self, tokens_B, cache):
        return self(tokens_B[:, None], cache=cache)[:, -1]


def build(config, coupled=True):
    """The model.

    Args:
        config: the suite's shape.
        coupled: whether row 0 decides for the whole batch, as in the released code.
    """
    return DrLLM(config, [Block(config) for _ in range(config.n_layers)], coupled)
