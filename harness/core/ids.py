"""Short names for ids and files."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath


def short_name(model: str) -> str:
    """A catalogue name unchanged; of a user's model the file without its folder: `mine:build`, `hf:SmolLM2-135M`."""
    if ".py:" in model:
        where, _, attribute = model.rpartition(":")
        return f"{PurePath(where).name.removesuffix('.py')}:{attribute}"
    prefix, colon, what = model.partition(":")
    path = PurePath(what)
    return f"{prefix}{colon}{path.stem if path.suffix in {'.json', '.gguf'} else path.name}"


def slug(text: str) -> str:
    """`text` as a file name that needs no quoting, with a hash only if characters were lost or it was too long."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_")
    if re.fullmatch(r"[A-Za-z0-9._:\[\]-]*", text) and len(plain) <= 150:
        return plain
    return f"{plain[:150]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
