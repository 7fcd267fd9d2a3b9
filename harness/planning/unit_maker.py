"""Makes units of work that share a suite's protocol."""

from __future__ import annotations

from modbench.harness.core.case import Comparison, Protocol, UnitOfWork, slug
from modbench.harness.core.contracts import Pass, Text
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.planning.expand import open_task
from modbench.harness.planning.suite import Suite
from modbench.harness.text.corpus import corpus_entry


class Maker:
    """Makes units that share a suite's protocol."""

    def __init__(self, suite: Suite, text: Text | None) -> None:
        self.suite, self.text = suite, text

    def unit(
        self,
        name: str,
        comparison: Comparison,
        made_in: Pass,
        flops: float,
        *,
        workload: str = "",
        launch: int = 0,
        seed: int | None = None,
        run: TrainRun | None = None,
        rates: tuple[float, ...] = (),
    ) -> UnitOfWork:
        """One unit, its protocol resolved."""
        suite, (_, rounds) = self.suite, self.suite.protocol_size
        on_gpu, task = comparison.place.device == "cuda", comparison.arms[0].task
        path, sha256 = task_path(suite, task) if task else (None, self.text.sha256 if self.text else "")
        corpus, corpus_path = ("", None) if task else corpus_entry(suite.corpus)
        protocol = Protocol(
            rounds=rounds,
            most_rounds=suite.rounds_limit,
            pilot=suite.pilot,
            half_width=suite.half_width,
            warm_up_calls=max(suite.warm_up_calls, 10 if on_gpu and suite.claims else 1),
            warm_up_s=suite.warm_up_s * (2 if on_gpu else 1),
            seed=suite.seeds[0] if seed is None else seed,
            train=run,
            rates=rates,
            task_path=path,
            decode=suite.decode,
            energy=suite.energy,
            fit=suite.fit,
            corpus=corpus,
            corpus_path=corpus_path,
            corpus_sha256=sha256,
        )
        return UnitOfWork(
            name=slug(name),
            made_in=made_in,
            workload=workload,
            launch=launch,
            comparison=comparison,
            protocol=protocol,
            flops=flops,
        )


def task_path(suite: Suite, task: str) -> tuple[str | None, str]:
    """Path and hash of what a task reads."""
    return suite.tasks.paths.get(task), open_task(suite, task).sha256
