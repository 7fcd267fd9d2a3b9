"""What measuring memory leaves."""

from __future__ import annotations

from modbench.harness.results.notes import Notes


class MemoryNotes(Notes):
    """What was forecast for a peak.

    Attributes:
        forecast: in B; None where nothing forecasts it.
        forecast_reason: why there is no forecast.
        alloc_retries: how often the allocator had to empty its cache; None off CUDA.
    """

    forecast: float | None = None
    forecast_reason: str | None = None
    alloc_retries: int | None = None


class FitNotes(Notes):
    """What the largest input that fits was searched with.

    Attributes:
        budget_bytes: bytes that a training step may allocate.
        forecast: the largest value whose forecast fits.
        forecast_reason: why there is no forecast.
    """

    budget_bytes: int | None = None
    forecast: int | None = None
    forecast_reason: str | None = None
