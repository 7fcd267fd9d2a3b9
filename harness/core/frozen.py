"""The base of everything that a plan is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, hashable, refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
