"""Checkpoints of a training run: all that the next step depends on, in one file that is written whole or not at all.

Data is drawn from the seed and the step, so it needs no state. Loading is `weights_only=True`: a foreign file cannot run
code.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from modbench.harness.core.atomic_files import replacing, unfinished
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.machine.process import graceful_stop
from modbench.harness.registry import user_code

FORMAT = 2
DIGEST_BYTES, CHUNK = 32, 2**20
# How often a checkpoint is tried whose folder is removed at the same moment.
TRIES = 5


class _Hashed:
    """A stream that is hashed as it is written."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.sha256 = stream, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def save(file: Path, body: dict[str, Any], *, sealed: bool = False) -> None:
    """Write tensors, numbers, text, and lists and dicts of these, as torch does.

    Args:
        file: the file.
        body: what it shall hold.
        sealed: whether the digest of all before it stands at its end, as in a checkpoint that `load` reads.
    """
    with graceful_stop.writing():
        for left in reversed(range(TRIES)):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with replacing(file, unfinished(file)) as stream:
                    hashed = _Hashed(stream)
                    torch.save(body, hashed)  # type: ignore[arg-type]  # it only writes
                    if sealed:
                        stream.write(hashed.sha256.digest())
            except FileNotFoundError:  # another job ended meanwhile, and removed the folder because it was empty
                if not left:
                    raise
            else:
                return


def load(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a checkpoint; None if there is no file, or if it is damaged, of another run or format, or of other code of the user's.

    Starting again is then always right: on a CPU the run repeats to the bit, on a GPU up to the order of its atomic additions
    (backward passes of attention, experts).
    """
    if not _is_intact(file):  # a flipped bit of a tensor torch would not see
        return None
    try:
        body = torch.load(file, weights_only=True, map_location="cpu")  # it passes over what follows
    except Exception:  # noqa: BLE001  # a damaged or foreign file can make torch raise anything
        return None
    if not isinstance(body, dict) or body.get("format") != FORMAT or body.get("fingerprint") != fingerprint:
        return None
    now = user_code.ran()
    same = all(now.get(path, sha256) == sha256 for path, sha256 in body.get("code", {}).items())
    return body if same else None


def _is_intact(file: Path) -> bool:
    """Whether a file ends with the digest of all before it; it may be larger than what is left of the memory."""
    left, found = file.stat().st_size - DIGEST_BYTES, hashlib.sha256()
    with file.open("rb") as stream:
        while left > 0 and (data := stream.read(min(left, CHUNK))):
            found.update(data)
            left -= len(data)
        return stream.read() == found.digest()


def generators(device: str) -> dict[str, Any]:
    """States of torch's random generators."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state()} if device == "cuda" else states


def restore_generators(states: dict[str, Any]) -> None:
    """Restore the states of torch's random generators."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def resumable(
    body: Mapping[str, Any], weights: Mapping[str, torch.Tensor], run: TrainRun, carried: Iterable[str]
) -> bool:
    """Whether training can go on from a checkpoint.

    Args:
        body: the checkpoint.
        weights: the model's own, by name.
        run: the training run.
        carried: names of the lists that looks collect.
    """
    step, model, kept, seconds = (body.get(name) for name in ("step", "model", "carried", "seconds"))
    generators, shapes = body.get("generators"), {name: _shape(each) for name, each in weights.items()}
    return (
        type(step) is int
        and 0 < step < run.steps
        and _is_curve(body.get("curve"), step, run.tokens_per_step)
        and isinstance(model, dict)
        and {name: _shape(each) for name, each in model.items()} == shapes
        and isinstance(body.get("optimizer"), dict)
        and isinstance(generators, dict)
        and isinstance(generators.get("cpu"), torch.Tensor)
        and isinstance(kept, dict)
        and kept.keys() == {*carried}
        and all(isinstance(values, list) for values in kept.values())
        and isinstance(seconds, dict)
        and _are_times([*seconds.values(), body.get("whole")])
    )


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _are_times(values: Iterable[object]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values)


def _is_curve(curve: object, step: int, tokens_per_step: int) -> bool:
    """Whether it has one row for each step made: a step of another number would train too little, or too much."""
    if not isinstance(curve, dict) or curve.keys() != {"step", "tokens", "loss", "wall_s"}:
        return False
    if not all(isinstance(values, list) and len(values) == step for values in curve.values()):
        return False
    tokens = [(i + 1) * tokens_per_step for i in range(step)]
    return curve["tokens"] == tokens and all(map(math.isfinite, curve["loss"])) and _are_times(curve["wall_s"])
