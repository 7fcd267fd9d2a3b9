"""Train the routers of a converted model, its other weights frozen, and measure its loss window by window.

Shapes: B batch, T tokens, W held-out sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from modbench.extend import Case, GridPoint, ModelConfig, Progress, Subject, Trainer, t_quantile
from modbench.plugins.huggingface.mod import Logits, MoDModel, start_where_layers_do_most

if TYPE_CHECKING:
    from modbench.extend import TrainRun, Windows

# Training windows whose scores set the thresholds and, before tuning, the start of the routers.
CALIBRATION_WINDOWS = 16


@dataclass(frozen=True)
class Losses:
    """Held-out loss of every window, in nats per token.

    Attributes:
        by_rule: routing rule to [W].
        share: routing rule to the share of tokens that routed layers processed.
        tokens_per_byte: of the tokens that were scored.
    """

    by_rule: dict[str, np.ndarray]
    share: dict[str, float]
    tokens_per_byte: float

    def mean(self, rule: str) -> float:
        """Nats per token."""
        return float(self.by_rule[rule].mean())

    def bits_per_byte(self, rule: str) -> float:
        """Bits per byte of text."""
        return self.mean(rule) / float(np.log(2)) * self.tokens_per_byte

    def gap(self, rule: str) -> tuple[float, float, float]:
        """Mean difference to the dense model over the same windows, and its 95 % t-interval."""
        apart_W = self.by_rule[rule] - self.by_rule["dense"]
        mean, number = float(apart_W.mean()), len(apart_W)
        half = t_quantile(0.975, number) * float(apart_W.std(ddof=1)) / number**0.5 if number > 1 else np.inf
        return mean, mean - half, mean + half


def set_up(model: MoDModel, windows: Windows, *, fit: bool) -> None:
    """Set the thresholds from training text; with `fit` first let the routers start where the dense layers do most."""
    steps = max(1, CALIBRATION_WINDOWS // windows.run.batch_size)
    # Behind the steps of training, which draw their windows by number.
    batches = [windows.train(windows.run.steps + i).tokens_BT for i in range(steps)]
    with _as(model, training=False):
        if fit:
            start_where_layers_do_most(model, batches)
        model.calibrate(torch.cat(batches))


def tune(
    model: MoDModel, windows: Windows, seed: int, on_progress: Callable[[Progress], None] | None = None
) -> list[float]:
    """Train routers and predictors by the loss of the language model, routed by top-k; then set the thresholds anew.

    Returns:
        The training loss of every step.
    """
    run = windows.run
    trained = {id(weight) for weight in model.router_parameters}
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    for weight, _ in wanted:
        weight.requires_grad_(id(weight) in trained)
    try:
        with _as(model, training=True), model.routed_by("top_k"):
            trainer = Trainer(_subject(model, run, seed), windows, run, on_progress=on_progress)
            trainer.train()
    finally:
        for weight, before in wanted:
            weight.requires_grad_(before)
            if not before or id(weight) in trained:
                weight.grad = None
    set_up(model, windows, fit=False)
    return trainer.curve["loss"]


def _subject(model: MoDModel, run: TrainRun, seed: int) -> Subject:
    """The model as the training loop takes one."""
    config: Any = model.config
    grid_point = GridPoint(
        seq_len=run.seq_len,
        batch_size=run.batch_size,
        dtype="fp32",
        device="cpu",
        threads=torch.get_num_threads(),
        compile=False,
    )
    shape = ModelConfig.model_validate({"vocab_size": config.vocab_size})
    case = Case(model="modbench.plugins.huggingface.mod:build", variant_parts=(), config=shape, grid_point=grid_point)
    module = Logits(model)
    module.train()
    return Subject(case, seed, module=module)


@torch.no_grad()
def measure(model: MoDModel, windows: Windows, rules: tuple[str, ...]) -> Losses:
    """Loss of every held-out sequence, the same ones for every rule."""
    by_rule: dict[str, np.ndarray] = {}
    share: dict[str, float] = {}
    with _as(model, training=False):
        for rule in rules:
            model.routing.decisions, losses = [], []
            with model.routed_by(rule):
                for batch in windows.val():
                    logits_BTV = model(input_ids=batch.tokens_BT, use_cache=False).logits
                    loss_N = F.cross_entropy(
                        logits_BTV.float().flatten(0, 1), batch.targets_BT.flatten(), reduction="none"
                    )
                    losses.append(loss_N.view(batch.tokens_BT.shape).mean(1).numpy())
            by_rule[rule] = np.concatenate(losses)
            chosen = [decision.chosen_BT.flatten() for decision in model.routing.decisions]
            share[rule] = float(torch.cat(chosen).float().mean())
            model.routing.decisions = None
    return Losses(by_rule, share, windows.tokens_per_byte())


@contextmanager
def _as(model: MoDModel, *, training: bool) -> Iterator[None]:
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)
