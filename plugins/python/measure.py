"""`modbench.measure`: the time of one callable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from modbench.extend import (
    NONE,
    WIDTH,
    Clock,
    Estimate,
    UsageError,
    about,
    counted,
    estimate,
    html_lines,
    html_table,
    human,
    noise,
    number_text,
    printable_text,
    public,
    reason_in_words,
    share,
    wrapped,
)
from modbench.extend import (
    interval_in_words as interval,
)
from modbench.extend import (
    percent_in_words as percent,
)
from modbench.extend import (
    plain_html_of as html,
)
from modbench.plugins.python.callable_contrasts import noise_causes, own_time, remedy
from modbench.plugins.python.inputs import Inputs
from modbench.plugins.python.job import Job
from modbench.plugins.python.threads import at_threads, working_threads

# Keywords of `measure` itself; all others are those of what is measured.
OWN = ("rounds", "seconds", "threads")
HEAD = ("", "median", "95 % CI", "mean", "standard deviation", "noisy", "calls")


@dataclass(frozen=True)
class Measurement:
    """The time of one callable in this process.

    Attributes:
        name: of the callable.
        median_s: median seconds of a call.
        low_s: lower end of the 95 % confidence interval of the median; None where there is none. It lacks what differs between
            processes.
        high_s: upper end.
        mean_s: mean of all calls.
        spread: robust standard deviation between rounds, as a share.
        noisy: share of the rounds that are noisy: something else ran on the machine. Above a half the text says so first, and
            claims no interval.
        n: samples, of at least 2 ms each.
        first_call_s: seconds of the first call.
        device: where the work was done.
        threads: threads that computed.
        samples_s: seconds of a call, sample by sample.
        reason: why there is no interval, or what it does not hold.
        noise_causes: what made rounds noisy, most frequent first.
        remedy: what would make it measurable here; None: nothing is known to.
    """

    name: str
    median_s: float
    low_s: float | None
    high_s: float | None
    mean_s: float
    spread: float
    noisy: float
    n: int
    first_call_s: float
    device: str
    threads: int
    samples_s: tuple[float, ...] = dataclasses.field(repr=False)
    reason: str | None = None
    noise_causes: tuple[str, ...] = ()
    remedy: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that go before the number: empty where most rounds were quiet."""
        if self.noisy <= noise.MOST:
            return ()
        why = f": {', '.join(self.noise_causes)}" if self.noise_causes else ""
        first = f"⚠ noisy in {about(self.noisy)} of the rounds{why}; these times say little."
        return (first, f"{self.remedy}.") if self.remedy else (first,)

    @property
    def _estimate(self) -> Estimate:
        """The median, with the interval where that describes the timed call."""
        ends = (None, None) if self.warnings else (self.low_s, self.high_s)
        return Estimate(self.median_s, *ends, unit="s")

    def __str__(self) -> str:
        where = counted(self.threads, "thread") if self.device == "cpu" else ""
        seen = f"standard deviation {percent(self.spread)}, {about(self.noisy)} of the rounds noisy"
        details = f"{seen}, {self.n} samples on {self.device}"
        more = "".join(f"; {each}" for each in (where, self.reason) if each)
        return printable_text(
            [
                *wrapped(self.warnings, WIDTH),
                f"{self.name}: {estimate(self._estimate)}",
                *wrapped([details + more], WIDTH),
            ]
        )

    def _repr_html_(self) -> str:
        cells = (self.name, number_text(self._estimate), interval(self._estimate) or NONE, human(self.mean_s, "s"))
        row = (*cells, share(self.spread, 1), share(self.noisy), str(self.n))
        return html(
            html_lines(self.warnings), html_table(HEAD, [row]), html_lines([self.reason] if self.reason else [])
        )


@public("mb.measure(f, x)")
def measure(
    f: Callable[..., object],
    *args: object,
    rounds: int | None = None,
    seconds: float | None = None,
    threads: int | None = None,
    **kwargs: object,
) -> Measurement:
    """Time a callable by itself: warmed up, watched, with an interval. To compare two, use `compare`: they meet one machine.

    A module runs in evaluation mode without gradients.

    Args:
        f: what is called.
        *args: its arguments.
        rounds: rounds of two samples; None: as many as fit into `seconds`.
        seconds: how long the rounds take together; None: one second. At least 9 are made; the others end after 1.5 times that.
        threads: torch's threads while it is timed; None: as many as it has.
        **kwargs: its keyword arguments.

    Raises:
        UsageError: if it cannot be called, not with these arguments, or if they lie on a device that is not measured.
    """
    if not callable(f):
        raise UsageError(f"measure times what can be called; got {type(f).__name__}.")
    inputs = Inputs.of_call(args, kwargs)
    name = type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
    if isinstance(f, nn.Module):
        inputs.check(name, f)
    with at_threads(threads), inputs.explaining_refusal(name, f, "mb.measure(f, x)", OWN):
        return measure_job(Job({name: f}, inputs, "forward", name, rounds=rounds, seconds=seconds))


def measure_job(job: Job, clock: Clock | None = None) -> Measurement:
    """Time the only callable of a job."""
    name, process = job.baseline, job.measure(clock)
    time, causes = own_time([process], name), noise_causes([process], [name])
    return Measurement(
        name,
        **(dataclasses.asdict(time) | {"reason": reason_in_words(time.reason)}),
        first_call_s=process.first_call_s[name],
        device=str(job.device),
        threads=working_threads(),
        samples_s=tuple(process.samples[name]["wall_s"]),
        noise_causes=causes,
        remedy=remedy(causes, str(job.device)),
    )
