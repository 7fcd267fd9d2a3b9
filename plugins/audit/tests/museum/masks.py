"""What pieces that skip nothing share: a routed block that computes every token, and then drops those that were not chosen.

Its logits, and what it caches, are those of a block that skips. Dimensions: as in `routed.py`; S cached and new tokens.
"""

import torch
from routed import Routed


class Masked(Routed):
    def drop(self, x_BTD, f_BTD, chosen_BT):
        """What of `f_BTD` is added to the stream."""
        raise NotImplementedError

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        chosen_BT = self.passes(r_BT) if causal else torch.zeros_like(r_BT).scatter(1, self.top_k(r_BT), 1.0) > 0
        f_BTD = r_BT[..., None] * self.f_of_all(x_BTD, at_BT, chosen_BT, cache)
        return self.drop(x_BTD, f_BTD, chosen_BT)

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
