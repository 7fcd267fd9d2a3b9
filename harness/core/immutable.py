"""Base class of everything in a plan, and a kind of field that several plans have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from modbench.harness.core.units import margin

# The limits stand in the JSON Schema; whatever breaks them is refused by `margin`, which says what would work.
Margin: TypeAlias = Annotated[float, BeforeValidator(margin), Field(gt=0, lt=1)]


class Frozen(BaseModel):
    """An immutable, hashable model that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
