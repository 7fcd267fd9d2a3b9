"""Sets threads and the default number format for every model of the process."""

import torch
from plain import Plain

CAUGHT = "changed the number of threads to 2 and the default number format to torch.float64"


class Greedy(Plain):
    def forward(self, tokens_BT):
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        return super().forward(tokens_BT).float()


build = Greedy
