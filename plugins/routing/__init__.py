"""What routers do on held-out text after training: which tokens pass, which profit, and whether the gate's scores predict it.

Works on any module with `observe(tokens_BT)` that returns the logits and the decisions of every router (`collect.py`), in more
ways if `observe` takes `causal` and `flip_LBT`; nothing here knows a model by name. All results are plain data for JSON.
"""

from __future__ import annotations

from modbench.plugins.routing.collect import undisturbed, why_not_watched
from modbench.plugins.routing.describe import describe
from modbench.plugins.routing.drift import Drift
from modbench.plugins.routing.interventions import flip_effects

__all__ = ["Drift", "describe", "flip_effects", "undisturbed", "why_not_watched"]
