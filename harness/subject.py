"""A subject: module and optimizer, built from a case and a seed by one function. The only thing here that holds tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness import catalogue
from modbench.harness.case import Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_module(case: Case, seed: int) -> nn.Module:
    """The case's model with weights drawn from `seed`, on torch's default device.

    Raises:
        TypeError: if a user's build returns something else than a module.
    """
    torch.manual_seed(seed)
    build = catalogue.load_user_model(case.model) if case.own else catalogue.load("models", case.model).build
    module = build(case.config)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{case.model} returned {type(module).__name__}; build(config) must return a torch.nn.Module")
    return module


class Subject:
    """A model ready to run forward passes and training steps.

    Args:
        case: what to build.
        seed: seeds the weights.
        dtype: number format of the weights; default the case's.
    """

    def __init__(self, case: Case, seed: int, dtype: torch.dtype | None = None) -> None:
        self.case = case
        self.module = build_module(case, seed)
        # A user's file may have changed what all arms share; it must not slow or speed the others.
        torch.set_num_threads(case.place.threads)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        self.module.to(case.place.device, dtype or DTYPES[case.place.dtype])
        self.model: Any = torch.compile(self.module) if case.place.compile else self.module
        self._optimizer: torch.optim.Optimizer | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, made at the first training step."""
        if self._optimizer is None:
            # The fused kernel updates in place: one pass over memory, no temporaries in the peak.
            self._optimizer = torch.optim.AdamW(
                self.module.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
            )
        return self._optimizer

    def inputs(self, seed: int, number: int) -> list[Tensor]:
        """Random token batches [B, T]; equal for all arms of a place, never zeros (zeros route and draw power oddly)."""
        place = self.case.place
        generator = torch.Generator().manual_seed(seed)
        shape = (place.batch_size, place.seq_len)
        vocabulary = self.case.config.vocab_size
        return [torch.randint(vocabulary, shape, generator=generator).to(place.device) for _ in range(number)]

    def check(self, tokens_BT: Tensor) -> None:
        """Hold the model to its contract before anything is measured.

        Raises:
            ValueError: if the logits have another shape than [B, T, vocab_size].
        """
        with torch.no_grad():
            logits = self.module(tokens_BT)
        wanted = [*tokens_BT.shape, self.case.config.vocab_size]
        if not isinstance(logits, Tensor) or list(logits.shape) != wanted:
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"{self.case.model} must map tokens [B, T] to logits {wanted}; it returned {got}")

    def forward(self, tokens_BT: Tensor) -> None:
        """One forward pass without gradients."""
        with torch.no_grad():
            self.model(tokens_BT)

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        logits_BTV = self.model(tokens_BT)
        return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())

    def train_step(self, tokens_BT: Tensor) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(tokens_BT, tokens_BT.roll(-1, dims=1)).backward()  # type: ignore[no-untyped-call]  # torch's own
        self.optimizer.step()
