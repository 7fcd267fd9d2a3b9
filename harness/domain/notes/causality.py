"""Whether logits depend on later tokens: noted by counting, before training, and by training, after it."""

from __future__ import annotations

from modbench.harness.core.frozen import Frozen


class Causality(Frozen):
    """Whether logits depend on later tokens (`harness/subject/causality.py`).

    Attributes:
        reads_future: whether earlier log-probabilities changed when later tokens did; None where it was not tested.
        change: largest change of an earlier log-probability, in nats.
        at: how many tokens came before the first changed one; None where no log-probability changed.
        reason: why it was not tested.
        tried: whether there was anything to test.
    """

    reads_future: bool | None
    change: float | None = None
    at: int | None = None
    reason: str | None = None
    tried: bool = True
