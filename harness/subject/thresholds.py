"""Sets the thresholds of routers that have none yet: without one they cannot decide token by token, as decoding asks.

An evaluation calibrates on text. Where only times are measured, the prompts of the measurement serve: the share that passes is
then the capacity, whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from weakref import WeakSet

from torch import Tensor, nn

if TYPE_CHECKING:
    from modbench.harness.core.language_model import LanguageModel

_LOOKED_AT: WeakSet[nn.Module] = WeakSet()


def set_missing(module: nn.Module, prompts: Callable[[], Tensor]) -> None:
    """Calibrate a shipped model on prompts, int64 [B, T], if a threshold of it was never set; a model is looked at once."""
    if module in _LOOKED_AT:
        return
    _LOOKED_AT.add(module)
    if any(not part.is_set for part in module.modules() if hasattr(part, "is_set")):
        cast("LanguageModel", module).calibrate(prompts())
