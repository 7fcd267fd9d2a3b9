"""Whether logits depend on later tokens: left by counting, before training, and by training, after it."""

from __future__ import annotations

from modbench.harness.core.frozen import Frozen


class Causality(Frozen):
    """Whether logits depend on later tokens (`harness/subject/causality.py`).

    Attributes:
        reads_future: whether earlier log-probabilities moved when later tokens changed; None where it was not tested.
        change: largest move of an earlier log-probability, in nats.
        at: how many tokens the moved positions had before the change; None where none moved.
        reason: why it was not tested.
        tried: whether there was anything to test.
    """

    reads_future: bool | None
    change: float | None = None
    at: int | None = None
    reason: str | None = None
    tried: bool = True
