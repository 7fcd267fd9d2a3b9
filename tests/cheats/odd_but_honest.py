"""Honest models of odd kinds, which nothing must accuse."""

import torch
from plain import Block, Plain, honest
from torch import nn
from torch.utils.checkpoint import checkpoint

# What they multiply, and how precisely


@honest(dtype="bf16")
class Bf16WithFp32Inside(Plain):
    """More digits than its case asks for are no gain."""

    def body(self, x_BTD):
        dtype = x_BTD.dtype
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD)
        return self.blocks[-1].float()(x_BTD.float()).to(dtype)


@honest()
class NarrowRouter(Plain):
    """A router of two outputs runs in bf16 in a case of fp32: a detail, not the products."""

    def __init__(self, config):
        super().__init__(config)
        self.router = nn.Linear(32, 2)

    def body(self, x_BTD):
        with torch.autocast("cpu", torch.bfloat16):
            score_BT2 = self.router(x_BTD)
        return super().body(x_BTD) * score_BT2.float().softmax(-1)[..., :1]


# One fused operator on a CPU: its FLOPs are unknown, and the count says that it is a lower bound.
@honest("FLOPs are a lower bound")
class Recurrence(Plain):
    def __init__(self, config):
        super().__init__(config)
        self.recurrence = nn.LSTM(32, 32, batch_first=True)

    def body(self, x_BTD):
        return super().body(x_BTD + self.recurrence(x_BTD)[0])


# What they keep and draw


@honest()
class LazyBuffer(Plain):
    """Registers a buffer in its first call, so that its state before and after differs."""

    def body(self, x_BTD):
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.ones(x_BTD.shape[-1]), persistent=True)
        return super().body(x_BTD * self.scale)


@honest()
class LazyTable(Plain):
    """Makes a table at the first call of a length, and keeps it."""

    def body(self, x_BTD):
        tables, t = self.__dict__.setdefault("tables", {}), x_BTD.shape[1]
        if t not in tables:
            basis_TT = torch.eye(t) + torch.ones(t, t).tril() / t
            tables[t] = torch.linalg.matrix_power(basis_TT, 3)
        return super().body(x_BTD + tables[t][:, :1])


@honest()
class NoiseInEveryCall(Plain):
    """A little, in evaluation mode too."""

    def body(self, x_BTD):
        return super().body(x_BTD + 1e-4 * torch.randn_like(x_BTD))


@honest(trains=True)
class RunningStatistics(Plain):
    """Keeps them in training mode and uses them in evaluation mode."""

    def __init__(self, config):
        super().__init__(config)
        self.norm = nn.BatchNorm1d(32)

    def body(self, x_BTD):
        return super().body(self.norm(x_BTD.mT).mT)


# What they compute in training


@honest(trains=True)
class GradientCheckpointing(Plain):
    def body(self, x_BTD):
        for block in self.blocks:
            x_BTD = checkpoint(block, x_BTD, use_reentrant=False) if self.training else block(x_BTD)
        return x_BTD


class Adapter(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x_BTD):
        return self.base(x_BTD) + self.b(self.a(x_BTD))


@honest(trains=True)
class LowRankAdapters(Plain):
    """Frozen weights, and a small product beside each that is trained."""

    def __init__(self, config):
        super().__init__(config)
        self.requires_grad_(False)
        for block in self.blocks:
            block.up, block.down = Adapter(block.up), Adapter(block.down)


# How much of an input they compute


@honest()
class EarlyExit(Plain):
    """Runs as many blocks as the tokens of the batch ask for."""

    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks[: 1 + int(tokens_BT[:, 0].sum()) % 4]:
            x_BTD = block(x_BTD)
        return self.head(x_BTD)


@honest("not usable for generation", trains=True)  # the gate reads the whole sequence
class GateAtItsThreshold(Plain):
    """A gate whose own loss holds it at its threshold: inputs that one training step computes, the next one skips."""

    def __init__(self, config):
        super().__init__(config)
        self.gate, self.loss = nn.Linear(32, 1, bias=False), None
        with torch.no_grad():
            self.gate.weight *= 0.1

    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        score = self.gate(x_BTD).mean()
        self.loss = 100 * score.square()
        return self.head(x_BTD + score * self.body(x_BTD) if float(score.detach()) > 0 else x_BTD)

    def aux_loss(self):
        return self.loss


class Experts(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.router, self.experts = nn.Linear(width, 4), nn.ModuleList([Block(width) for _ in range(4)])

    def forward(self, x_BTD):
        x_ND = x_BTD.flatten(0, 1)
        gate_N, chosen_N = self.router(x_ND).softmax(-1).max(-1)
        y_ND = torch.zeros_like(x_ND)
        for number, expert in enumerate(self.experts):
            rows_K = (chosen_N == number).nonzero()[:, 0]
            if len(rows_K):
                y_ND = y_ND.index_copy(0, rows_K, expert(x_ND[rows_K]) * gate_N[rows_K, None])
        return y_ND.view_as(x_BTD)


@honest()
class ExpertsOnTheHost(Plain):
    """A mixture of experts in a Python loop: each token goes to one expert."""

    others = {1: Experts}


class First(Block):
    capacity = 0.25

    def forward(self, x_BTD):
        k = x_BTD.shape[1] // 4
        first_BkD = super().forward(x_BTD[:, :k])
        return first_BkD.new_zeros(x_BTD.shape).slice_scatter(first_BkD, 1, 0, k) + x_BTD


@honest()
class NamesACapacity(Plain):
    """Carries the capacity of its routed block as a setting: that is no claim about its embedding, blocks and head."""

    others, capacity = {1: First}, 0.25


class Router(nn.Linear):
    capacity = 0.25


class RoutedByAnother(Block):
    def __init__(self, width):
        super().__init__(width)
        self.router = Router(width, 1)

    def forward(self, x_BTD):
        k = int(self.router.capacity * x_BTD.shape[1])
        weight_BT1 = self.router(x_BTD).sigmoid()
        changed_BTD = x_BTD.clone()
        changed_BTD[:, :k] = super().forward(x_BTD[:, :k]) * weight_BT1[:, :k]
        return changed_BTD


@honest()
class RouterWithACapacity(Plain):
    """Its router, a module of its own, carries the capacity and scores all tokens; the block computes a quarter of them."""

    others = {1: RoutedByAnother}


class Skips(Block):
    capacity, executed_tokens = 0.5, 0

    def __init__(self, width):
        super().__init__(width)
        self.gate = nn.Linear(width, 1)

    def forward(self, x_BTD):
        x_ND = x_BTD.flatten(0, 1)
        score_N = self.gate(x_ND)[:, 0]
        rows_K = (score_N > 0).nonzero()[:, 0]
        self.executed_tokens = len(rows_K)
        y_KD = x_ND[rows_K] + score_N[rows_K, None] * super().forward(x_ND[rows_K])
        return x_ND.index_copy(0, rows_K, y_KD).view_as(x_BTD)


@honest()
class SkipsByThreshold(Plain):
    """Tokens above a threshold pass, which needs no later token; it states how many did."""

    others = {1: Skips, 2: Skips}


class Depth(Block):
    def __init__(self, width):
        super().__init__(width)
        self.router, self.capacity, self.steps = nn.Linear(width, 1), 0.125, 0

    def forward(self, x_BTD):
        if self.training:
            self.steps += 1
            self.capacity = 0.125 + (1 - 0.125) / self.steps
        k = max(1, int(self.capacity * x_BTD.shape[1]))
        score_Bk, place_Bk = self.router(x_BTD)[..., 0].topk(k, dim=1)
        place_BkD = place_Bk.sort(1).values[..., None].expand(-1, -1, x_BTD.shape[-1])
        y_BkD = super().forward(x_BTD.gather(1, place_BkD)) * score_Bk.sigmoid()[..., None]
        return torch.scatter_add(x_BTD, 1, place_BkD, y_BkD)


@honest("not usable for generation", trains=True)  # its top-k looks at the whole sequence
class CapacityThatTrainingMoves(Plain):
    """As the package `mixture-of-depth`: each call in training mode sets its capacity anew, from all tokens downwards."""

    others = {1: Depth, 2: Depth}
