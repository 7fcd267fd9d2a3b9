"""The fixture `modbench_compare`: times two callables of a test by the protocol of a run, and fails on a shown regression."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from modbench.extend import INCONCLUSIVE, WORSE, Reason, UsageError, both, public
from modbench.plugins.pytest.result import NOT_JUDGED, UNDECIDED, Compared, written
from modbench.plugins.pytest.settings import Settings, resolve

if TYPE_CHECKING:
    from modbench.extend import Clock
    from modbench.plugins.python.callable_contrasts import Beside
    from modbench.plugins.python.callables import TimingProcess

BASELINE, CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True)
class SessionSettings:
    """The settings of the session and the test, before those of the call."""

    ini: Mapping[str, Any]
    command_line: Mapping[str, Any]
    marker: Mapping[str, Any]
    disabled: bool = False


class Comparer:
    """Compares two callables in a test.

    Args:
        test: the item, which gets a property for each comparison.
        session: settings of all comparisons of the test.
        clock: what to read; None: this machine's.
    """

    def __init__(self, test: pytest.Item, session: SessionSettings, clock: Clock | None = None) -> None:
        self.test, self.session, self.clock = test, session, clock
        self.names = set[str]()

    @public("modbench_compare(baseline, candidate, margin=0.05)")
    def __call__(
        self,
        baseline: Callable[[], object],
        candidate: Callable[[], object],
        *,
        margin: float | None = None,
        rounds: int | None = None,
        threads: int | None = None,
        name: str | None = None,
    ) -> Compared:
        """Time both, interleaved, and fail the test if the candidate is shown to be slower by more than the margin, twice.

        Args:
            baseline: a function without arguments.
            candidate: another, which should not be slower.
            margin: the largest slowdown that does not matter, as a share; None: the marker's, else `modbench_margin`, else
                0.02.
            rounds: each calls both at least twice; None: the marker's, else `modbench_rounds`, else as many as fit into a
                second for each and for the baseline's A/A control (10 to 100; where calls take longer than in the warm-up
                they end after 1.5 times that, with 9 at least). `--modbench-rounds` goes before all of these.
            threads: torch's threads while both are timed; None: the marker's, else `modbench_threads`, else as many as it
                has.
            name: tells several comparisons of one test apart; None: they are numbered.

        Returns:
            The ratio, its interval, the verdict and the raw samples.

        Raises:
            UsageError: if what was asked is impossible.
            pytest.fail.Exception: if a regression is shown.
        """
        __tracebackhide__ = True
        settings = {"margin": margin, "rounds": rounds, "threads": threads}
        compared = self.measure(baseline, candidate, settings, name)
        self.settle(compared)
        return compared

    def measure(
        self,
        baseline: Callable[[], object],
        candidate: Callable[[], object],
        call_settings: Mapping[str, Any],
        name: str | None = None,
        why_not: str | None = None,
    ) -> Compared:
        """Time and judge; fails nothing."""
        for what, call in ((BASELINE, baseline), (CANDIDATE, candidate)):
            if not callable(call):
                raise UsageError(
                    f"the {what} is {type(call).__name__}, not a function. Give functions without arguments: lambda: model(x)."
                )
        settings = resolve(call_settings, self.session.marker, self.session.ini, self.session.command_line)
        key = self._key(name)
        why = why_not or ("--modbench-disable" if self.session.disabled else reason_not_to_time())
        if why is not None:
            baseline()
            candidate()
            return Compared(key, NOT_JUDGED, settings.margin, reason=why)
        from modbench.plugins.python.threads import at_threads

        with at_threads(settings.threads):
            return self._measure_pair(key, baseline, candidate, settings)

    def settle(self, compared: Compared) -> None:
        """Report to the summary, and fail the test if a regression is shown."""
        __tracebackhide__ = True
        self.test.user_properties.append(("modbench", written(compared)))
        if compared.is_regression:
            pytest.fail(compared.message(), pytrace=False)

    def _key(self, name: str | None) -> str:
        tried = [name] if name is not None else [None, *(str(i) for i in range(2, 10_000))]
        for each in tried:
            key = self.test.nodeid if each is None else f"{self.test.nodeid} ({each})"
            if key not in self.names:
                self.names.add(key)
                return key
        raise UsageError(f"two comparisons of {self.test.nodeid} are named {name!r}. Give each a name of its own.")

    def _measure_pair(
        self, key: str, baseline: Callable[[], object], candidate: Callable[[], object], settings: Settings
    ) -> Compared:
        from modbench.extend import reason_in_words as in_words

        process, found = self._compare_once(baseline, candidate, settings)
        if found.verdict == WORSE:
            slower = Reason("slower at first ({ratio}), not when measured again", ratio=found.contrast.ratio[0])
            # Chance and passing noise show a slowdown once; two measurements in a row, hardly.
            process, found = self._compare_once(baseline, candidate, settings, seed=1)
            if found.verdict != WORSE:
                word = found.verdict if found.verdict in UNDECIDED else INCONCLUSIVE
                found = replace(found, verdict=word, reason=both(slower, found.reason))
        ratio, low, high = found.contrast.ratio
        interval = None if low is None or high is None else (low, high)
        values = (ratio, interval, in_words(found.reason), found.labels, process)
        return Compared(key, found.verdict or INCONCLUSIVE, settings.margin, *values)

    def _compare_once(
        self, baseline: Callable[[], object], candidate: Callable[[], object], settings: Settings, seed: int = 0
    ) -> tuple[TimingProcess, Beside]:
        """Time both once; a slowdown of something that drifts is not shown."""
        from modbench.plugins.python import checks
        from modbench.plugins.python.callable_contrasts import UNSTEADY, beside_baseline, noise_causes, remedy
        from modbench.plugins.python.callables import time_callables, working_device

        calls = {BASELINE: baseline, CANDIDATE: candidate}
        with _untraced((baseline, candidate)):
            # The A/A control shows whether this process calls equal code different; then nothing is decided.
            process = time_callables(
                calls, rounds=settings.rounds, aa_control=True, clock=self.clock, seed=seed, tidy=checks.settings()
            )
        found = beside_baseline([process], settings.margin)[CANDIDATE]
        if found.verdict == WORSE and UNSTEADY in found.labels:
            assert found.reason is not None, "it says how it drifted, if nothing else"
            found = replace(
                found, verdict=INCONCLUSIVE, reason=Reason("slower, but not steady: {why}", why=found.reason)
            )
        if found.doubtful:
            causes = noise_causes([process], (BASELINE, CANDIDATE))
            helps = remedy(causes, working_device(), "use threads=1, or start pytest")
            found = replace(found, reason=both(found.reason, Reason("said", said=helps) if helps else None))
        return process, found


def reason_not_to_time() -> str | None:
    """Why times of this process should not be trusted; None without a reason."""
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") if "PYTEST_XDIST_WORKER" in os.environ else "1"
    if workers != "1":
        return f"another worker runs beside it (pytest-xdist, {workers} workers): leave out -n, or take -n 0"
    monitoring: Any = getattr(sys, "monitoring", None)  # since Python 3.12
    numbers = range(6) if monitoring is not None else ()
    tools = [str(monitoring.get_tool(i)) for i in numbers if monitoring.get_tool(i) and monitoring.get_events(i)]
    return f"{', '.join(tools)} watches what runs (sys.monitoring): measure without it" if tools else None


@contextlib.contextmanager
def _untraced(calls: tuple[Callable[[], object], ...]) -> Iterator[None]:
    """Pause tracers and profilers, which slow down Python only; each call is traced once before."""
    tracer, profiler = sys.gettrace(), sys.getprofile()
    if tracer is None and profiler is None:
        yield
        return
    for call in calls:
        call()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)
