"""Notes of measuring memory."""

from __future__ import annotations

from modbench.harness.domain.notes import Notes


class MemoryNotes(Notes):
    """Forecast of a number of bytes.

    Attributes:
        forecast: in B; None if there is none.
        forecast_reason: why there is no forecast.
        alloc_retries: how often the allocator had to empty its cache; None without CUDA.
    """

    forecast: float | None = None
    forecast_reason: str | None = None
    alloc_retries: int | None = None


class FitNotes(Notes):
    """Budget and forecast of the search for the largest input that fits.

    Attributes:
        budget_bytes: bytes that a training step may allocate.
        forecast: the largest value whose forecast fits.
        forecast_reason: why there is no forecast.
    """

    budget_bytes: int | None = None
    forecast: int | None = None
    forecast_reason: str | None = None
