"""Weights & Biases: offline files in wandb/ of the run folder, unless WANDB_MODE says otherwise; `wandb sync` sends them."""

from __future__ import annotations

import hashlib
import os

from modbench.extend import Logger, Opening, Writer
from modbench.plugins.training.tracker import Tracker


def _open(where: Opening) -> Writer:
    # One name for all attempts at a job, so that a resumed run continues its curve.
    name = hashlib.sha256(f"{where.folder.resolve()} {where.job}".encode()).hexdigest()[:16]
    settings = {"dir": str(where.folder), "mode": os.environ.get("WANDB_MODE", "offline"), "id": name}
    return Tracker("wandb", where, settings)


LOGGER = Logger(package="wandb", extra="wandb", open=_open)
