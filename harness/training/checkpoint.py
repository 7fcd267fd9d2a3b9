"""Checkpoints of a training run: all that the next step depends on, in one file that exists whole or not at all.

Data is drawn from the seed and the step, so it needs no state. Loading is `weights_only=True`: a file from elsewhere can hold
no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modbench.harness.core.files import replacing, unfinished

FORMAT = 1


def save(file: Path, body: dict[str, Any]) -> None:
    """Write tensors, numbers, text, lists and dicts of these."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, unfinished(file)) as stream:
        torch.save(body, stream)


def load(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """What was saved; None where there is no file, or one of another run, another format, or damaged.

    Starting anew is always right then: the run repeats to the bit.
    """
    try:
        body = torch.load(file, weights_only=True, map_location="cpu")
    except Exception:  # noqa: BLE001  # whatever a damaged or foreign file makes torch raise
        return None
    if not isinstance(body, dict) or body.get("format") != FORMAT or body.get("fingerprint") != fingerprint:
        return None
    return body


def generators(device: str) -> dict[str, Any]:
    """States of torch's generators."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state()} if device == "cuda" else states


def restore_generators(states: dict[str, Any]) -> None:
    """Put them back."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
