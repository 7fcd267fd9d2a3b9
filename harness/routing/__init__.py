"""What a router does, found out on held-out text after training: who passes, who profits, and whether the gate knows.

Works on any module with `observe(tokens_BT, lengths_B=None, *, causal=..., flip_LBT=...)` that returns the logits and the
decisions of every router (`models/layers/decisions.py` says what those hold); nothing here knows a model by name. All that
comes back is plain data for JSON.
"""

from __future__ import annotations

from modbench.harness.routing.describe import describe
from modbench.harness.routing.drift import Drift
from modbench.harness.routing.flips import flip_effects

__all__ = ["Drift", "describe", "flip_effects"]
