"""Makes units of work, each with the suite's protocol and an estimate of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.case import ARMS_PER_BLOCK, Case, Comparison, Protocol, UnitOfWork
from modbench.harness.core.contracts import Text
from modbench.harness.core.ids import slug
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.planning.comparisons import open_task
from modbench.harness.planning.suite import Suite
from modbench.harness.text.corpus import corpus_entry

if TYPE_CHECKING:
    pass


class Maker:
    """Makes units that share a suite's protocol.

    Args:
        suite: the suite.
        text: the corpus, if the suite trains.
    """

    def __init__(self, suite: Suite, text: Text | None) -> None:
        self.suite, self.text = suite, text
        # By the identity of the comparison, which all launches share: its hash is that of all its arms.
        self._timed: dict[tuple[int, str], tuple[Comparison, float]] = {}

    def unit(
        self,
        name: str,
        comparison: Comparison,
        made_in: str,
        flops: float,
        *,
        workload: str = "",
        launch: int = 0,
        seed: int | None = None,
        run: TrainRun | None = None,
        rates: tuple[float, ...] = (),
    ) -> UnitOfWork:
        """Make one unit, with its protocol resolved."""
        suite, (_, rounds) = self.suite, self.suite.protocol_size
        on_gpu, task = comparison.place.device == "cuda", comparison.arms[0].task
        path, sha256 = task_path(suite, task) if task else (None, self.text.sha256 if self.text else "")
        corpus, corpus_path = ("", None) if task else corpus_entry(suite.corpus)
        protocol = Protocol(
            rounds=rounds,
            warm_up_calls=max(suite.warm_up_calls, 10 if on_gpu and suite.claims else 1),
            warm_up_s=1.0 if on_gpu and suite.claims else suite.warm_up_s,
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
        series = name.removesuffix(f"-launch{launch}")
        return UnitOfWork(
            name=slug(name),
            made_in=made_in,
            workload=workload,
            launch=launch,
            comparison=comparison,
            protocol=protocol,
            flops=flops,
            series="" if series == name else slug(series),
        )

    def forward(self, comparison: Comparison, case: Case) -> float:
        """FLOPs of a forward pass; a user's model is assumed to cost what the anchor does."""
        cost = case_cost(case) or case_cost(comparison.arms[0])
        return cost.forward if cost else 1e9

    def timed_flops(self, comparison: Comparison, group: str) -> float:
        """FLOPs of one launch of a group of metrics that are timed together."""
        key = (id(comparison), group)
        if key not in self._timed:
            self._timed[key] = comparison, self._launch_flops(comparison, group)
        return self._timed[key][1]

    def _launch_flops(self, comparison: Comparison, group: str) -> float:
        _, rounds = self.suite.protocol_size
        anchor, *others = (self.forward(comparison, case) for case in comparison.arms)
        per_round = 2 * (anchor * -(-len(others) // ARMS_PER_BLOCK) + sum(others))
        warm_up = self.suite.warm_up_calls * (anchor + sum(others))
        workload = group.partition("-")[0]
        # A decode step reads all weights for few tokens: on a CPU it takes about 20 times as long per FLOP.
        step = 20 * self.suite.decode.tokens / comparison.place.seq_len
        share = {"train_step": 3.0, "decode": step}.get(workload, 1.0)
        prefills = (anchor + sum(others)) if workload == "decode" else 0.0
        return share * (rounds * per_round + warm_up) + prefills


def task_path(suite: Suite, task: str) -> tuple[str | None, str]:
    """Path and hash of the files that a task reads."""
    return suite.tasks.paths.get(task), open_task(suite, task).sha256
