"""The paper's; routers lie beside the blocks in the model, not inside of them, and a plain block computes what they chose."""

import torch
from routed import TopK, mod
from small import Block
from torch import nn

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_routers"}


class Apart(TopK):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.routers = nn.ModuleList(nn.Linear(config.d_model, 1, bias=False) for _ in self.blocks[1::2])

    def body(self, x_BTD, at_BT, cache, causal):
        for i, block in enumerate(self.blocks):
            if i % 2 == 0:
                x_BTD = block(x_BTD, at_BT)
                continue
            r_BT = self.routers[i // 2](x_BTD)[..., 0]
            index_Bk = r_BT.topk(max(1, int(self.share * r_BT.shape[1] + 1e-9))).indices.sort().values
            wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
            x_BkD = x_BTD.gather(1, wide_BkD)
            f_BkD = block(x_BkD, at_BT.gather(1, index_Bk)) - x_BkD
            x_BTD = torch.scatter_add(x_BTD, 1, wide_BkD, r_BT.gather(1, index_Bk)[..., None] * f_BkD)
        return x_BTD


def build(config, capacity=0.25):
    model = mod(config, capacity, lambda config, _: Block(config), Apart)
    model.share = capacity
    return model
