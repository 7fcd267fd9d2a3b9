"""The fixture `benchmark_interleaved`: samples of interleaved rounds, in the table and the files of pytest-benchmark.

pytest-benchmark times one function, and cannot be given times. It reads a timer before and after each round, and a test may bring
its own: this one returns the times that were measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modbench.extend import UsageError, public
from modbench.plugins.pytest.comparer import CANDIDATE, Comparer
from modbench.plugins.pytest.result import Compared

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


class Replay:
    """A timer that starts each round at 0 and ends it at the next of some measured seconds."""

    def __init__(self) -> None:
        self.seconds, self.reads = list[float](), 0

    def timer(self) -> Callable[[], float]:
        """The timer, under a name that pytest-benchmark writes into its files."""

        def modbench_interleaved() -> float:
            number, ends = divmod(self.reads, 2)
            self.reads += 1
            return self.seconds[number] if ends else 0.0

        return modbench_interleaved

    def nothing(self) -> None:
        """Do nothing: pytest-benchmark calls this between two reads, and everything was called before.

        Raises:
            UsageError: if it reads another timer.
        """
        if self.seconds and not self.reads:
            raise UsageError(
                "`benchmark` was made before `benchmark_interleaved`, with another timer. Take the latter alone, and no "
                "fixture that takes `benchmark`."
            )


class Interleaved:
    """Compares as `modbench_compare` does, and hands the candidate's samples to pytest-benchmark."""

    def __init__(self, benchmark: BenchmarkFixture, compare: Comparer, replay: Replay) -> None:
        self.benchmark, self.compare, self.replay = benchmark, compare, replay

    @public("benchmark_interleaved(baseline, candidate, margin=0.05)")
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
        """As `modbench_compare`; once in a test, as `benchmark`.

        Raises:
            UsageError: if what was asked is impossible, or `benchmark` was made before this fixture.
            pytest.fail.Exception: if a regression is shown.
        """
        __tracebackhide__ = True
        settings = {"margin": margin, "rounds": rounds, "threads": threads}
        why = None if self.benchmark.enabled else "pytest-benchmark is disabled"
        compared = self.compare.measure(baseline, candidate, settings, name, why)
        self._hand_over(compared)
        self.compare.settle(compared)
        return compared

    def _hand_over(self, compared: Compared) -> None:
        """Let pytest-benchmark take the samples: a round is a sample of as many calls as it had."""
        calls = 1
        if compared.process is None:
            self.benchmark.disabled = True  # there is nothing to show
        else:
            columns = compared.process.samples[CANDIDATE]
            calls = int(columns["calls"][0])
            self.replay.seconds = [seconds * calls for seconds in columns["wall_s"]]
        row = compared.row()
        self.benchmark.extra_info["modbench"] = {
            key: row[key] for key in ("ratio", "low", "high", "margin", "verdict", "reason")
        }
        pedantic: Callable[..., None] = self.benchmark.pedantic  # which has no types
        pedantic(self.replay.nothing, rounds=len(self.replay.seconds) or 1, iterations=calls)
