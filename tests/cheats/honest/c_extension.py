"""Calls the C library for a part that has no gradient, through numpy: work outside torch is told, not accused."""

import ctypes

import numpy as np
import torch
from plain import Plain

TOLD = ("FLOPs are a lower bound",)
LIBRARY = ctypes.CDLL(None)
LIBRARY.abs.restype, LIBRARY.abs.argtypes = ctypes.c_int, [ctypes.c_int]


class External(Plain):
    def forward(self, tokens_BT):
        counted = np.vectorize(lambda token: LIBRARY.abs(int(token)) % 7)(tokens_BT.numpy())
        return super().forward(tokens_BT) + torch.from_numpy(counted)[..., None] * 0.01


build = External
