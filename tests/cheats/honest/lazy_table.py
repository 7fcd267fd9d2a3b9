"""Makes a table at the first call of a length, and keeps it."""

import torch
from plain import Plain


class Lazy(Plain):
    def body(self, x_BTD):
        tables, t = self.__dict__.setdefault("tables", {}), x_BTD.shape[1]
        if t not in tables:
            basis_TT = torch.eye(t) + torch.ones(t, t).tril() / t
            tables[t] = torch.linalg.matrix_power(basis_TT, 3)
        return super().body(x_BTD + tables[t][:, :1])


build = Lazy
