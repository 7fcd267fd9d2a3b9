"""The paper's; the k-th highest score is found first, and tokens that reach it are taken."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"]}


class Reaches(Routed):
    def top_k(self, r_BT):
        t, k = r_BT.shape[1], self.k(r_BT.shape[1])
        kth_B1 = r_BT.kthvalue(t - k + 1, dim=1, keepdim=True).values
        return (r_BT >= kth_B1).nonzero()[:, 1].view(len(r_BT), k)


def build(config, capacity=0.25):
    return mod(config, capacity, Reaches)
