"""What the pieces change: a small dense decoder, and what of it skips tokens, exits early, or has experts.

A piece is one part of a model (or a function that changes a built one) below `dense`, `skipper` or `mod`, which say what its
card must name. The file's `build` makes a model of it, or `unrouted`, which takes no capacity:

    deviates  the properties that deviate, all of them; `mod` adds `causal`, since top-k reads the future
    may       properties that the same fault breaks too, by what is drawn
    shows     of an unjudged property, that its number shows a violation
    like      of an honest model: the property that it seems to violate

Dimensions: B rows, T tokens, D width, H heads, d a head's width, S cached tokens, k chosen tokens, N tokens of the batch,
E experts, R tokens that one expert takes, or that go on.
"""

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x_BHTd, at_BT):
    half = x_BHTd.shape[-1] // 2
    angle_B1Th = at_BT[:, None, :, None] * 1000.0 ** -(torch.arange(half) / half)
    a, b = x_BHTd.chunk(2, -1)
    return torch.cat([a * angle_B1Th.cos() - b * angle_B1Th.sin(), a * angle_B1Th.sin() + b * angle_B1Th.cos()], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, d = config.n_heads, config.d_model
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def project(self, x_BTD, at_BT):
        q, k, v = (y_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y_BTD in self.qkv(x_BTD).chunk(3, -1))
        return rotate(q, at_BT), rotate(k, at_BT), v.clone()

    def attend(self, q, k, v, **how):
        return self.out(F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2))

    def forward(self, x_BTD, at_BT, past=None):
        q, k, v = self.project(x_BTD, at_BT)
        first = not past
        if past is not None:  # a list that keeps keys and values, and is changed
            past[:] = [k, v] if first else [torch.cat(pair, 2) for pair in zip(past, (k, v), strict=True)]
            k, v = past
        return self.attend(q, k, v, is_causal=first)


class Cache(list):  # of each block a list of [] or [k_BHSd, v_BHSd]: one for the batch, or one for each row
    length = 0  # tokens that were read

    @property
    def nbytes(self):
        return sum(kept.nbytes for block in self for past in block for kept in past)


class Block(nn.Module):
    attends = Attention

    def __init__(self, config):
        super().__init__()
        d = config.d_model
        self.norm_1, self.norm_2, self.attention = nn.RMSNorm(d), nn.RMSNorm(d), self.attends(config)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def mlp(self, x_BTD):
        return self.down(F.gelu(self.up(self.norm_2(x_BTD))))

    def f(self, x_BTD, at_BT, past=None):
        y_BTD = self.attention(self.norm_1(x_BTD), at_BT, past)
        return y_BTD + self.mlp(x_BTD + y_BTD)

    def new_cache(self, rows):
        return [[]]

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return x_BTD + self.f(x_BTD, at_BT, None if cache is None else cache[0])


class Plain(nn.Module):  # cannot generate
    def __init__(self, config, blocks):
        super().__init__()
        self.embedding, self.blocks = nn.Embedding(config.vocab_size, config.d_model), nn.ModuleList(blocks)
        self.norm, self.head = nn.RMSNorm(config.d_model), nn.Linear(config.d_model, config.vocab_size, bias=False)

    def run(self, tokens_BT, cache=None, causal=True):
        start = 0 if cache is None else cache.length
        at_BT = torch.arange(start, start + tokens_BT.shape[1]).expand_as(tokens_BT)
        x_BTD = self.body(self.embedding(tokens_BT), at_BT, cache, causal)
        if cache is not None:
            cache.length += tokens_BT.shape[1]
        return self.head(self.norm(x_BTD))

    def body(self, x_BTD, at_BT, cache, causal):
        for i, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, at_BT, None if cache is None else cache[i], causal)
        return x_BTD

    def forward(self, tokens_BT):
        return self.run(tokens_BT)


class Dense(Plain):
    def prefill(self, tokens_BT):
        cache = Cache(block.new_cache(len(tokens_BT)) for block in self.blocks)
        return self.run(tokens_BT, cache)[:, -1], cache

    def decode(self, tokens_B, cache):
        return self.run(tokens_B[:, None], cache)[:, -1]


class Routed(Block):
    """Processes some tokens, which the others bypass (Raposo et al. 2024).

    The top-k of each sequence; with `causal=True`, and in decoding, those whose score is above a threshold.
    """

    def __init__(self, config, share):
        super().__init__(config)
        self.share, self.router = share, nn.Linear(config.d_model, 1, bias=False)
        nn.init.normal_(self.router.weight, std=config.d_model**-0.5)  # scores are about normal, of deviation 1
        self.threshold = float(torch.special.ndtri(torch.tensor(1.0 - share)))

    def new_cache(self, rows):
        return [[] for _ in range(rows)]

    def score(self, x_BTD):
        return self.router(x_BTD)[..., 0]

    def passes(self, r_BT):
        return r_BT > self.threshold

    def k(self, t):
        return max(1, int(self.share * t + 1e-9))

    def top_k(self, r_BT):
        return r_BT.topk(self.k(r_BT.shape[1])).indices.sort().values

    def combine(self, x_BkD, f_BkD, r_Bk1):
        return x_BkD + r_Bk1 * f_BkD

    def bypass(self, x_BTD):
        return x_BTD

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if not index_Bk.numel():
            return self.bypass(x_BTD)
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        x_BkD = x_BTD.gather(1, wide_BkD)
        f_BkD = self.f(x_BkD, at_BT.gather(1, index_Bk), past)
        y_BkD = self.combine(x_BkD, f_BkD, r_BT.gather(1, index_Bk)[..., None])
        return self.bypass(x_BTD).scatter(1, wide_BkD, y_BkD)

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        if not causal:
            return self.process(x_BTD, at_BT, r_BT, self.top_k(r_BT))
        rows = []
        for b, mask_T in enumerate(self.passes(r_BT)):  # rows process different numbers of tokens
            this, past = slice(b, b + 1), None if cache is None else cache[b]
            rows.append(self.process(x_BTD[this], at_BT[this], r_BT[this], mask_T.nonzero().T, past))
        return torch.cat(rows)


class MoD(Dense):
    def forward(self, tokens_BT, causal=False):
        return self.run(tokens_BT, causal=causal)


class TopK(Plain):  # the same, without a rule that is causal, and without decoding
    def forward(self, tokens_BT):
        return self.run(tokens_BT, causal=False)


class Lengths(Plain):  # takes the lengths of padded rows, which its routed blocks read
    def forward(self, tokens_BT, lengths_B=None):
        for block in self.blocks[1::2]:
            block.lengths_B = lengths_B
        return self.run(tokens_BT, causal=False)


class Masked(Routed):
    """Computes every token, and then drops those that were not chosen: its logits, and what it caches, are those of `Routed`."""

    def drop(self, x_BTD, f_BTD, chosen_BT1):
        return x_BTD + chosen_BT1.to(f_BTD.dtype) * f_BTD

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        chosen_BT = self.passes(r_BT) if causal else torch.zeros_like(r_BT).scatter(1, self.top_k(r_BT), 1.0) > 0
        f_BTD = r_BT[..., None] * self.f_of_all(x_BTD, at_BT, chosen_BT, cache)
        return self.drop(x_BTD, f_BTD, chosen_BT[..., None])

    def f_of_all(self, x_BTD, at_BT, chosen_BT, cache):
        q, k, v = self.attention.project(self.norm_1(x_BTD), at_BT)
        t, y_BTD = x_BTD.shape[1], []
        for b, chosen_T in enumerate(chosen_BT):
            past = cache[b] if cache and cache[b] else [k[:1, :, :0], v[:1, :, :0]]
            keys, values = torch.cat([past[0], k[b : b + 1]], 2), torch.cat([past[1], v[b : b + 1]], 2)
            # Chosen tokens attend to chosen ones, and others also to themselves, since somebody must be attended to.
            seen_TT = torch.ones(t, t, dtype=torch.bool).tril() & chosen_T | torch.eye(t, dtype=torch.bool)
            seen_TS = torch.cat([torch.ones(t, past[0].shape[2], dtype=torch.bool), seen_TT], 1)
            y_BTD.append(self.attention.attend(q[b : b + 1], keys, values, attn_mask=seen_TS))
            if cache is not None:
                kept = (k[b : b + 1, :, chosen_T], v[b : b + 1, :, chosen_T])
                cache[b] = [torch.cat(pair, 2) for pair in zip(past, kept, strict=True)]
        y_BTD = torch.cat(y_BTD)
        return y_BTD + self.mlp(x_BTD + y_BTD)


class Experts(Block):
    """Each token has one of a few experts."""

    n_experts = 3

    def __init__(self, config):
        super().__init__(config)
        d, self.up, self.down = config.d_model, None, None
        self.choice = nn.Linear(d, self.n_experts, bias=False)
        self.ups = nn.ModuleList(nn.Linear(d, 2 * d) for _ in range(self.n_experts))
        self.downs = nn.ModuleList(nn.Linear(2 * d, d) for _ in range(self.n_experts))

    def expert(self, i, x_RD):
        return self.downs[i](F.gelu(self.ups[i](x_RD)))

    def mlp(self, x_BTD):
        x_ND = self.norm_2(x_BTD).flatten(0, 1)
        weight_N, expert_N = self.choice(x_ND).softmax(-1).max(-1)
        return self.of_experts(x_ND, weight_N, expert_N).view_as(x_BTD)

    def of_experts(self, x_ND, weight_N, expert_N):
        y_ND = torch.zeros_like(x_ND)
        for i in range(self.n_experts):
            rows_R = (expert_N == i).nonzero()[:, 0]
            if len(rows_R):
                y_ND = y_ND.index_copy(0, rows_R, weight_N[rows_R, None] * self.expert(i, x_ND[rows_R]))
        return y_ND


class Exiting(Block):
    """Computes tokens that go on, which attend to one another, and nothing of those that left."""

    def forward(self, x_BTD, at_BT, cache, goes_on_BT):
        rows = []
        for x_1TD, at_1T, goes_on_T in zip(x_BTD.split(1), at_BT.split(1), goes_on_BT, strict=True):
            taken_R = goes_on_T.nonzero()[:, 0]
            y_1RD = super().forward(x_1TD[:, taken_R], at_1T[:, taken_R]) if len(taken_R) else x_1TD[:, taken_R]
            rows.append(x_1TD.index_copy(1, taken_R, y_1RD))
        return torch.cat(rows)


class Gated(Plain):
    """A token leaves after the block at which a gate says so, and stays as it is; cannot generate."""

    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        self.gates = nn.ModuleList(nn.Linear(config.d_model, 1) for _ in self.blocks[1:])

    def body(self, x_BTD, at_BT, cache, causal):
        goes_on_BT = torch.ones_like(at_BT, dtype=torch.bool)
        for i, block in enumerate(self.blocks):
            if i:
                goes_on_BT = goes_on_BT & (self.gates[i - 1](x_BTD)[..., 0] < 0)
            x_BTD = block(x_BTD, at_BT, None if cache is None else cache[i], goes_on_BT)
        return x_BTD


# In which place a class stands, by what it derives from: the first that fits.
PLACES = {"attention": Attention, "routed": Routed, "block": Block, "model": Plain}


def built(config, share=None, *, routed=Routed, block=Block, model=Dense, attention=None, every=2, change=None):
    """A model of these parts; without a share no block is routed."""
    layers = range(1, config.n_layers + 1)
    made = model(config, [block(config) if share is None or i % every else routed(config, share) for i in layers])
    for each in made.blocks if attention else ():
        each.attention = attention(config)
    if change is not None:
        change(made)
    return made


def piece(deviates, *, routes, of=None, may="", shows="", like="", **parts):
    """A decorator: of a part of a model, what builds the whole, with what its card must say."""
    words = {"deviates": deviates, "may": may, "shows": shows}

    def made(part):
        place = next((at for at, kind in PLACES.items() if isinstance(part, type) and issubclass(part, kind)), "change")

        def build(config, share=None):
            return built(config, share, **{**parts, place: part})

        build.said = {
            "routes": routes,
            "of": of,
            "like": like,
            **{key: set(names.split()) for key, names in words.items()},
        }
        return build

    return made


def dense(deviates="", **more):
    """A piece in which no block is routed."""
    return piece(deviates, routes=False, **more)


def skipper(deviates="", **more):
    """A piece whose second blocks process tokens whose score is above a threshold, which is causal."""
    return piece(deviates, routes=True, **more)


def mod(deviates="", **more):
    """A piece whose second blocks process the top-k of each sequence, as the paper has it."""
    return skipper(f"causal {deviates}", of="mod", **{"model": MoD, **more})


def part(base, **methods):
    """A class with other methods: a piece of one line."""
    return type(base.__name__, (base,), methods)
