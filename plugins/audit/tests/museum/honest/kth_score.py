"""The paper's; the k-th highest score is found first, and the first k tokens that reach it are taken."""

from routed import Routed, mod

EXPECTED = {"of": "mod", "deviates": ["causal"], "like": "mod_k"}


class Reaches(Routed):
    def top_k(self, r_BT):
        k = self.k(r_BT.shape[1])
        kth_B1 = r_BT.kthvalue(r_BT.shape[1] - k + 1, dim=1, keepdim=True).values
        higher_BT, equal_BT = r_BT > kth_B1, r_BT == kth_B1
        room_B1 = k - higher_BT.sum(1, keepdim=True)
        taken_BT = higher_BT | (equal_BT & (equal_BT.cumsum(1) <= room_B1))
        return taken_BT.nonzero()[:, 1].view(len(r_BT), k)


def build(config, capacity=0.25):
    return mod(config, capacity, Reaches)
