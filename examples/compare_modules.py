"""Compare two modules of your own in memory: an MLP over all tokens, and one over the quarter that a router ranks highest.

    python examples/compare_modules.py

Nothing else is needed: no suite, no folder, no `if __name__ == "__main__"`.
"""

import torch
from torch import Tensor, nn

import modbench as mb

D, CAPACITY = 256, 0.25


def mlp() -> nn.Sequential:
    """Four times as wide inside."""
    return nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))


class Dense(nn.Module):
    """Every token takes the MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = mlp()

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Add what the MLP makes of every token."""
        return x_BTD + self.mlp(x_BTD)


class Skipping(nn.Module):
    """The tokens with the highest scores take the MLP, the others pass by (Mixture-of-Depths)."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp, self.router = mlp(), nn.Linear(D, 1, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Add what the MLP makes of the chosen tokens, weighted by their scores."""
        scores_BT = self.router(x_BTD).squeeze(-1)
        best_BK, chosen_BK = scores_BT.topk(int(CAPACITY * x_BTD.shape[1]), dim=1)
        where_BKD = chosen_BK.unsqueeze(-1).expand(-1, -1, D)
        made_BKD = self.mlp(x_BTD.gather(1, where_BKD)) * best_BK.unsqueeze(-1).sigmoid()
        return x_BTD.scatter_add(1, where_BKD, made_BKD)


torch.manual_seed(0)
models = {"dense": Dense(), "skipping": Skipping()}
x_BTD = torch.randn(4, 256, D)

print(mb.compare(models, x_BTD, aa_control=True))
print(mb.compare(models, x_BTD, workload="train_step"))
