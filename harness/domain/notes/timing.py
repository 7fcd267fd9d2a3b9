"""Notes of timing, compiling and measuring energy."""

from __future__ import annotations

from modbench.harness.domain.notes import Notes


class TimeNotes(Notes):
    """How a time was measured.

    Attributes:
        clock: the clocks that were read.
        tokens: tokens of one call, of one decode step, or new ones of a request.
        inputs: input batches that the calls read in turn.
        first_call_s: seconds of the first call.
        steadiness_tested: whether there were enough rounds to test for drift.
        warmed_up_again: which arms drifted, so that all were warmed up a second time.
        unsteady: how this arm still drifted after that; None: it did not.
        unchecked: which guard could not run, and why.
        reused: evidence that a timed call returned an earlier answer.
        other_precision: evidence that a timed call computed products in a narrower number format than the case's.
        train_forward_share: FLOPs of the timed model's forward passes in training mode, as a share of those in evaluation mode.
        device_s: seconds of the device in a call.
        device_share: share of the end-to-end time in which the device was busy; None if it waited for the host.
        starved: share of the device timings in which the device waited for the host.
        escaped: share of calls after which work went on outside the timed stream.
        syncs: operators after which the host waited for the device.
        l2: the state of the L2 cache before a call.
        clock_changed: evidence that the model changed the clock that times calls, or replaced functions of `time`; None: none.
        unwatched: why the driver was not asked for clocks, power and other processes during a timing on a GPU; None: it was.
    """

    clock: str = ""
    tokens: int | None = None
    inputs: int | None = None
    first_call_s: float | None = None
    steadiness_tested: bool | None = None
    warmed_up_again: str | None = None
    unsteady: str | None = None
    unchecked: str | None = None
    reused: str | None = None
    other_precision: str | None = None
    train_forward_share: float | None = None
    device_s: float | None = None
    device_share: float | None = None
    starved: float | None = None
    escaped: float | None = None
    syncs: int | None = None
    l2: str | None = None
    clock_changed: str | None = None
    unwatched: str | None = None


class EnergyNotes(Notes):
    """How energy was measured.

    Attributes:
        idle_W: power of the idle device before the first window, in W; None if it could not be read.
        idle_reason: why not.
        power_W: mean power in the windows, in W.
        per: divisor of the joules of a call.
        how: how energy was read.
    """

    idle_W: float | None
    idle_reason: str | None = None
    power_W: float
    per: int
    how: str


class CompileNotes(Notes):
    """How a compilation was timed.

    Attributes:
        cache: the state of the compiler's cache.
    """

    cache: str
