"""Raises in the calls of a guard: what it would have shown is unknown, and the report says so."""

from plain import Plain
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

CAUGHT = "could not be checked"


class Shy(Plain):
    def forward(self, tokens_BT):
        if self.calls > 12 and _get_current_dispatch_mode_stack():
            raise RuntimeError("not while somebody looks")
        return super().forward(tokens_BT)


build = Shy
