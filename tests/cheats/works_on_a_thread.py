"""Computes on a thread of its own, where no counter sees it."""

import threading

import torch
from plain import Plain

CAUGHT = "FLOPs are a lower bound"


class Threads(Plain):
    def body(self, x_BTD):
        out = []
        grad = torch.is_grad_enabled()

        def work():
            with torch.set_grad_enabled(grad):
                for _ in range(12):
                    y_BTD = super(Threads, self).body(x_BTD)
                out.append(y_BTD)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return out[0]


def build(config):
    return Threads(config, width=128)
