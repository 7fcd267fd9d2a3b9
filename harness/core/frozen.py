"""Base class of everything in a plan."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable, hashable model that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
