"""`modbench.measure`: the time of one callable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human
from modbench.harness.timing.callables import working_threads
from modbench.harness.timing.interleave import Clock
from modbench.harness.timing.own_times import own_time
from modbench.python.inputs import Inputs
from modbench.python.job import Job
from modbench.python.shown import html, html_lines, html_table, text, wrapped

HEAD = ("", "median", "95 % interval", "mean", "spread", "disturbed", "calls")


@dataclass(frozen=True)
class Measurement:
    """The time of one callable in this process.

    Attributes:
        name: of the callable.
        median_s: seconds of a typical call.
        low_s: lower end of the 95 % interval of the median; None where there is none. It lacks what differs between processes.
        high_s: upper end.
        mean_s: mean of all calls.
        spread: robust standard deviation between rounds, as a share.
        disturbed: share of the rounds in which the machine was disturbed.
        n: samples, of at least 2 ms each.
        first_call_s: seconds of the first call.
        device: where the work was done.
        threads: threads that computed.
        samples_s: seconds of a call, sample by sample.
        reason: why there is no interval, or what it does not hold.
    """

    name: str
    median_s: float
    low_s: float | None
    high_s: float | None
    mean_s: float
    spread: float
    disturbed: float
    n: int
    first_call_s: float
    device: str
    threads: int
    samples_s: tuple[float, ...] = dataclasses.field(repr=False)
    reason: str | None = None

    def __str__(self) -> str:
        low = f" [{human(self.low_s, 's')} – {human(self.high_s, 's')}]" if self.low_s is not None else ""
        where = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.device == "cpu" else ""
        said = (
            f"spread {self.spread:.1%}, {self.disturbed:.0%} of the rounds disturbed, {self.n} samples on {self.device}"
        )
        more = "".join(f"; {each}" for each in (where, self.reason) if each)
        return text([f"{self.name}: {human(self.median_s, 's')}{low}", *wrapped([said + more])])

    def _repr_html_(self) -> str:
        interval = f"{human(self.low_s, 's')} – {human(self.high_s, 's')}" if self.low_s is not None else "–"
        cells = (self.name, human(self.median_s, "s"), interval, human(self.mean_s, "s"))
        row = (*cells, f"{self.spread:.1%}", f"{self.disturbed:.0%}", str(self.n))
        return html(html_table(HEAD, [row]), html_lines([self.reason] if self.reason else []))


def measure(
    f: Callable[..., object], *args: object, rounds: int | None = None, seconds: float | None = None, **kwargs: object
) -> Measurement:
    """Time a callable by itself: warmed up, watched, with an interval. To compare two, use `compare`: they meet one machine.

    A module runs in evaluation mode without gradients.

    Args:
        f: what is called.
        *args: its arguments.
        rounds: rounds of two samples; None: as many as fit into `seconds`.
        seconds: how long the rounds take together; None: one second.
        **kwargs: its keyword arguments.

    Raises:
        UsageError: if it cannot be called, or if its inputs lie on a device that is not measured.
    """
    if not callable(f):
        raise UsageError(f"measure times what can be called; got {type(f).__name__}.")
    given = Inputs.of_call(args, kwargs)
    name = type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
    if isinstance(f, nn.Module):
        given.check(name, f)
    return measured(Job({name: f}, given, "forward", name, rounds=rounds, seconds=seconds))


def measured(job: Job, clock: Clock | None = None) -> Measurement:
    """Time the only callable of a job.

    Args:
        job: what is timed.
        clock: what to read; None: this machine's clocks.
    """
    name, launch = job.baseline, job.measure(clock)
    time = own_time([launch], name)
    return Measurement(
        name,
        **dataclasses.asdict(time),
        first_call_s=launch.first_call_s[name],
        device=str(job.device),
        threads=working_threads(),
        samples_s=tuple(launch.samples[name]["wall_s"]),
    )
