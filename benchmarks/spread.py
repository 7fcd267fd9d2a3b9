"""What is the spread of final losses over seeds made of, and what would lower it? Trains small models of the suite isoflop-cpu.

    python benchmarks/spread.py --seeds 8
    python benchmarks/spread.py --seeds 8 --only "last tenth"   # the rows whose names have this in them

Prints a Markdown table for docs/method-confirm.md: the deviation over seeds of dense, of MoD and of their difference seed by
seed, where only the weights vary, only the text, only its last tenth, or everything; where the two models start from weights of
their own; where the text is drawn otherwise; where weights are averaged; where the rate falls otherwise. Losses do not depend on
what else runs; with eight seeds it takes about an hour of a core.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from modbench import api
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.train_plan import learning_rate
from modbench.harness.domain.case import Case, Job
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue
from modbench.harness.training import trainer as training
from modbench.harness.training.batches import Batch, Windows
from modbench.harness.training.held_out import calibrate, set_progress
from modbench.harness.training.trainer import Trainer

FLOPS, WIDTH, RATE = 1e12, 64, 2.0
# Shares of the run over which weights are averaged, exponentially.
AVERAGED = (0.05, 0.1, 0.2)
COOL_DOWN = 0.4
# From a seed to that of the weights of a model that shares them with no other.
OWN = 1000
# How far apart, in tokens, windows may lie that count as the same place of the text.
NEAR = 1000
GRID_POINTS = 8000


@dataclass(frozen=True)
class Setting:
    """How a run is trained.

    Attributes:
        name: of its row.
        weights: whether the seed draws the weights.
        text: whether the seed draws the text.
        text_from: the share of the run from which on it does; before, all seeds read the same.
        shared: whether dense and MoD of one seed start from equal weights where shapes agree.
        drawn: how: every window anywhere (`anywhere`), each from a stratum of its own (`strata`), or for all models from the same
            places of the text at the same share of the run (`share`).
        cool_down: whether the rate stays, and falls over the last 40 % of the run, instead of following a cosine.
        batch_size: sequences per step.
    """

    name: str
    weights: bool = True
    text: bool = True
    text_from: float = 0.0
    shared: bool = True
    drawn: str = "anywhere"
    cool_down: bool = False
    batch_size: int = 4


SETTINGS = (
    Setting("as the suite trains"),
    Setting("only the initial weights vary", text=False),
    Setting("only the text varies", weights=False),
    Setting("only the last tenth of the text varies", weights=False, text_from=0.9),
    Setting("initial weights of its own for each model", shared=False),
    Setting("each window from a stratum of its own", drawn="strata"),
    Setting("the same places of the text at the same share of the run", drawn="share"),
    Setting("the rate stays, and falls over the last 40 %", cool_down=True),
    Setting("twice the batch, half the steps", batch_size=8),
)


class Text(Windows):
    """Windows that are drawn as a setting says."""

    drawn = "anywhere"
    text_from = 0.0

    def train(self, step: int) -> Batch:
        """The batch of a step."""
        if step < self.text_from * self.run.steps:
            return Windows(self.tokens, self.run, 0).train(step)
        n, size = len(self.tokens.train) - self.run.seq_len, self.run.batch_size
        number = np.arange(step * size, (step + 1) * size)
        if self.drawn == "anywhere":
            return super().train(step)
        if self.drawn == "strata":
            order_N, within_N = self._strata((self.run.steps + 1) * size)
            starts = (order_N[number] + within_N[number]) / len(order_N) * n
        else:
            grid_points = np.random.default_rng((self.seed, 0)).integers(0, n, GRID_POINTS)
            here = (number / ((self.run.steps + 1) * size) * GRID_POINTS).astype(int)
            starts = grid_points[here] + np.random.default_rng((self.seed, step, 1)).integers(-NEAR, NEAR, size)
        return self._cut(self.tokens.train, np.clip(starts.astype(np.int64), 0, n - 1))

    @functools.lru_cache(maxsize=1)  # noqa: B019  # one per process
    def _strata(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, 0))
        return rng.permutation(number), rng.random(number)


def trained(planned: tuple[str, Setting, int]) -> dict[str, list[float]]:
    """Train one model; return its held-out losses by window, by what was done to its weights."""
    model, setting, seed = planned
    torch.set_num_threads(1)
    job = _job(model)
    (case,) = job.comparison.variants
    assert job.protocol.train is not None
    cost = case_cost(case)
    assert cost is not None
    steps = round(FLOPS / cost.train_step * 4 / setting.batch_size)
    run = job.protocol.train.model_copy(
        update={
            "steps": steps,
            "looks": steps,
            "batch_size": setting.batch_size,
            "lr": RATE * job.protocol.train.lr,
            "rate_from": None,
            "held_out": "all",
        }
    )
    text = catalogue.load("corpora", job.protocol.corpus).read(job.protocol.corpus_path)
    windows = Text(encode(text, run.tokenizer, 256), run, seed if setting.text else 0)
    windows.drawn, windows.text_from = setting.drawn, setting.text_from
    start = seed if setting.weights else 0
    subject = Subject(case, start + OWN * (model != "dense" and not setting.shared), dtype=torch.float32)
    weights = list(subject.module.parameters())
    averages = {share: [each.detach().clone() for each in weights] for share in AVERAGED}

    def look(step: int) -> None:
        for share, average in averages.items():
            torch._foreach_lerp_(average, [each.detach() for each in weights], 1 / min(step, share * steps))

    rule = _cooling if setting.cool_down else learning_rate
    with mock.patch.object(training, "learning_rate", rule):
        Trainer(subject, windows, run, look=look).train()
    set_progress(subject, 1.0)
    last = [each.detach().clone() for each in weights]
    found = {}
    for name, values in (("last", last), *((f"{share:.0%}", average) for share, average in averages.items())):
        with torch.no_grad():
            for weight, value in zip(weights, values, strict=True):
                weight.copy_(value)
        calibrate(subject, windows.train(steps).tokens_BT)
        found[name] = _losses(subject, windows)
    return found


def _cooling(step: int, steps: int, peak: float) -> float:
    warm = max(1, round(0.1 * steps))
    return peak * min(1.0, (step + 1) / warm, (steps - step) / steps / COOL_DOWN)


@functools.cache
def _job(model: str) -> Job:
    def fits(case: Case) -> bool:
        return case.model == model and case.config.d_model == WIDTH and case.config.router == "learned"

    jobs = api.make_plan("isoflop-cpu").jobs
    return next(job for job in jobs if job.made_in == "train" and fits(job.comparison.variants[0]))


def _losses(subject: Subject, windows: Windows) -> list[float]:
    """Held-out loss of each window, in nats per token."""
    found: list[Tensor] = []
    subject.module.eval()
    with torch.no_grad():
        for batch in windows.val():
            logits_BTV, _ = subject.logits(batch.tokens_BT, causal=subject.case.model != "dense")
            loss_N = F.cross_entropy(logits_BTV.flatten(0, 1), batch.targets_BT.flatten(), reduction="none")
            found.append(loss_N.view(batch.tokens_BT.shape).mean(1).double())
    return torch.cat(found).tolist()


def _rows(
    settings: Sequence[Setting], seeds: Sequence[int], run: Callable[..., Iterator[dict[str, list[float]]]]
) -> Iterator[tuple[Any, ...]]:
    jobs = list(itertools.product(("dense", "mod"), settings, seeds))
    losses = dict(zip(jobs, run(trained, jobs), strict=True))
    for setting in settings:
        kinds = losses["dense", setting, seeds[0]] if setting is SETTINGS[0] else {"last": []}
        for kind in kinds:
            dense_S, mod_S = (
                np.array([np.mean(losses[model, setting, seed][kind]) for seed in seeds]) for model in ("dense", "mod")
            )
            name = setting.name if kind == "last" else f"weights averaged over the last {kind} of the run"
            yield name, dense_S, mod_S
    if SETTINGS[0] not in settings:
        return
    dense, mod = (
        np.mean([losses[model, SETTINGS[0], seed]["last"] for seed in seeds], 0) for model in ("dense", "mod")
    )
    apart = float(np.std(mod - dense, ddof=1)) / len(dense) ** 0.5
    alone = float(np.hypot(np.std(mod, ddof=1), np.std(dense, ddof=1))) / len(dense) ** 0.5
    for model in ("dense", "mod"):
        windows_SN = np.array([losses[model, SETTINGS[0], seed]["last"] for seed in seeds])
        halves = np.corrcoef(windows_SN[:, ::2].mean(1), windows_SN[:, 1::2].mean(1))[0, 1]
        print(f"{model}: correlation over seeds between two halves of the held-out windows: {halves:.2f}.")
    print(f"Standard error from the {len(dense)} held-out windows: {apart:.4f} nats paired, {alone:.4f} unpaired.\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose names have this in them")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    settings = [each for each in SETTINGS if options.only in each.name]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = list(_rows(settings, seeds, pool.map))
    print("| | dense | its deviation | MoD 0.125 | its deviation | of the difference | correlation |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, dense_S, mod_S in rows:
        sds = [float(np.std(each, ddof=1)) for each in (dense_S, mod_S, mod_S - dense_S)]
        correlation = float(np.corrcoef(dense_S, mod_S)[0, 1])
        print(
            f"| {name} | {dense_S.mean():.3f} | {sds[0]:.4f} | {mod_S.mean():.3f} | {sds[1]:.4f} | {sds[2]:.4f} | "
            f"{correlation:+.2f} |"
        )


if __name__ == "__main__":
    main()
