"""Short names for ids and files."""

from __future__ import annotations

import hashlib
import re

from modbench.harness.core.model_sources import sourced
from modbench.harness.core.own_models import is_user_model


def short_name(model: str) -> str:
    """A catalogue name unchanged; for a user's model, the file's name without its folder; else as its source says."""
    if not is_user_model(model):
        return model
    if found := sourced(model):
        return found.short
    where, _, attribute = model.rpartition(":")
    return f"{where.rpartition('/')[2].removesuffix('.py')}:{attribute}"


def slug(text: str) -> str:
    """`text` as a file name that needs no quoting, with a hash only if characters were lost or it was too long."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_")
    if re.fullmatch(r"[A-Za-z0-9._:\[\]-]*", text) and len(plain) <= 150:
        return plain
    return f"{plain[:150]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
