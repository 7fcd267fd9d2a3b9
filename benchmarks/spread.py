"""What is the spread of final losses over seeds made of, and what would lower it? Trains small models of the suite isoflop-cpu.

    python benchmarks/spread.py --seeds 8
    python benchmarks/spread.py --seeds 8 --only "last tenth"   # the rows whose names have this in them

Prints a Markdown table for docs/method-confirm.md: the deviation over seeds of dense, of MoD and of their difference seed by
seed, where only the weights vary, only the text, only its last tenth, or everything; where the two models start from weights of
their own; where the text is drawn otherwise; where weights are averaged. Losses do not depend on what else runs; with eight
seeds it takes about an hour of a core.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from printing import head, row
from torch import Tensor
from torch.nn import functional as F

from modbench import api
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case, Job
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue
from modbench.harness.stats.power import Floats
from modbench.harness.training.batches import Batch, Windows
from modbench.harness.training.held_out import calibrate, set_progress
from modbench.harness.training.trainer import Trainer

FLOPS, WIDTH, RATE = 1e12, 64, 2.0
# Shares of the run over which weights are averaged, exponentially.
AVERAGED = (0.05, 0.2)
# From a seed to that of the weights of a model that shares them with no other.
OWN = 1000


@dataclass(frozen=True)
class Setting:
    """How a run is trained.

    Attributes:
        name: of its row.
        weights: whether the seed draws the weights.
        text: whether the seed draws the text.
        text_from: the share of the run from which on it does; before, all seeds read the same.
        shared: whether dense and MoD of one seed start from equal weights where shapes agree.
        strata: whether each window is drawn from a stratum of its own, instead of anywhere.
    """

    name: str
    weights: bool = True
    text: bool = True
    text_from: float = 0.0
    shared: bool = True
    strata: bool = False


SETTINGS = (
    Setting("as the suite trains"),
    Setting("only the initial weights vary", text=False),
    Setting("only the text varies", weights=False),
    Setting("only the last tenth of the text varies", weights=False, text_from=0.9),
    Setting("initial weights of its own for each model", shared=False),
    Setting("each window from a stratum of its own", strata=True),
)


class Text(Windows):
    """Windows that are drawn as a setting says."""

    strata = False
    text_from = 0.0

    def train(self, step: int) -> Batch:
        """The batch of a step."""
        if step < self.text_from * self.run.steps:
            return Windows(self.tokens, self.run, 0).train(step)
        if not self.strata:
            return super().train(step)
        n, size = len(self.tokens.train) - self.run.seq_len, self.run.batch_size
        number = np.arange(step * size, (step + 1) * size)
        order_N, within_N = self._strata((self.run.steps + 1) * size)
        starts = (order_N[number] + within_N[number]) / len(order_N) * n
        return self._cut(self.tokens.train, np.clip(starts.astype(np.int64), 0, n - 1))

    @functools.lru_cache(maxsize=1)  # noqa: B019  # one per process
    def _strata(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, 0))
        return rng.permutation(number), rng.random(number)


def trained(planned: tuple[str, Setting, int]) -> dict[str, float]:
    """Train one model; return its held-out loss in nats per token, by what was done to its weights."""
    model, setting, seed = planned
    torch.set_num_threads(1)
    job = _job(model)
    (case,) = job.comparison.variants
    assert job.protocol.train is not None
    cost = case_cost(case)
    assert cost is not None
    steps = round(FLOPS / cost.train_step)
    run = job.protocol.train.model_copy(
        update={
            "steps": steps,
            "looks": steps,
            "lr": RATE * job.protocol.train.lr,
            "rate_from": None,
            "held_out": "all",
        }
    )
    text = catalogue.load("corpora", job.protocol.corpus).read(job.protocol.corpus_path)
    windows = Text(encode(text, run.tokenizer, 256), run, seed if setting.text else 0)
    windows.strata, windows.text_from = setting.strata, setting.text_from
    start = seed if setting.weights else 0
    subject = Subject(case, start + OWN * (model != "dense" and not setting.shared), dtype=torch.float32)
    weights = list(subject.module.parameters())
    averages = {share: [each.detach().clone() for each in weights] for share in AVERAGED}

    def look(step: int) -> None:
        for share, average in averages.items():
            torch._foreach_lerp_(average, [each.detach() for each in weights], 1 / min(step, share * steps))

    Trainer(subject, windows, run, look=look).train()
    set_progress(subject, 1.0)
    last = [each.detach().clone() for each in weights]
    found = {}
    for name, values in (("last", last), *((f"{share:.0%}", average) for share, average in averages.items())):
        with torch.no_grad():
            for weight, value in zip(weights, values, strict=True):
                weight.copy_(value)
        calibrate(subject, windows.train(steps).tokens_BT)
        found[name] = _loss(subject, windows)
    return found


@functools.cache
def _job(model: str) -> Job:
    def fits(case: Case) -> bool:
        return case.model == model and case.config.d_model == WIDTH and case.config.router == "learned"

    jobs = api.make_plan("isoflop-cpu").jobs
    return next(job for job in jobs if job.made_in == "train" and fits(job.comparison.variants[0]))


def _loss(subject: Subject, windows: Windows) -> float:
    found: list[Tensor] = []
    subject.module.eval()
    with torch.no_grad():
        for batch in windows.val():
            logits_BTV, _ = subject.logits(batch.tokens_BT, causal=subject.case.model != "dense")
            found.append(
                F.cross_entropy(logits_BTV.flatten(0, 1), batch.targets_BT.flatten(), reduction="none").double()
            )
    return torch.cat(found).mean().item()


def rows_of(setting: Setting, seeds: Sequence[int], pool: Executor) -> Iterator[tuple[str, Floats, Floats]]:
    """Losses of dense and of MoD by seed; of the first setting with averaged weights too."""
    dense, mod = (list(pool.map(trained, [(model, setting, seed) for seed in seeds])) for model in ("dense", "mod"))
    for kind in dense[0] if setting is SETTINGS[0] else ("last",):
        name = setting.name if kind == "last" else f"weights averaged over the last {kind} of the run"
        yield name, np.array([each[kind] for each in dense]), np.array([each[kind] for each in mod])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose names have this in them")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    os.environ["OMP_NUM_THREADS"] = "1"
    head("", "dense", "its deviation", "MoD 0.125", "its deviation", "of the difference", "correlation")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for setting in (each for each in SETTINGS if options.only in each.name):
            for name, dense_S, mod_S in rows_of(setting, seeds, pool):
                sds = [f"{np.std(each, ddof=1):.4f}" for each in (dense_S, mod_S, mod_S - dense_S)]
                correlation = f"{np.corrcoef(dense_S, mod_S)[0, 1]:+.2f}"
                row(name, f"{dense_S.mean():.3f}", sds[0], f"{mod_S.mean():.3f}", sds[1], sds[2], correlation)


if __name__ == "__main__":
    main()
