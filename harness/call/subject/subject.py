"""A subject: module and optimizer of one case, and the calls that are measured: forward, training step, decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject import process_settings
from modbench.harness.call.subject.build import DTYPES, build_module, evaluating
from modbench.harness.call.timing import nvtx
from modbench.harness.call.timing.interleave import Clock, Laps, Stopwatch
from modbench.harness.core.errors import NumericsError
from modbench.harness.core.model_methods import PAGE, Parts, parts_of
from modbench.harness.domain.case import Case, DecodePlan, GridPoint

if TYPE_CHECKING:
    from modbench.harness.core.language_model import LanguageModel

# Tokens on which a model's contract is checked, or one row if that is longer.
CHECKED_TOKENS = 16_384


def clock_of(grid_point: GridPoint) -> Clock:
    """Wall and CPU time where the case runs; on a GPU of all threads, and the clock can wait until the device is idle."""
    return Clock(torch.cuda.synchronize if grid_point.device == "cuda" else None, grid_point.working_threads)


class Subject:
    """A model ready to run forward passes and training steps.

    Args:
        case: what to build.
        seed: seeds the weights.
        dtype: number format of the weights; default the case's.
        decode: how many steps a decode call makes, unless the grid point says how many tokens follow a prompt.
        clock: times laps; default the grid point's.
        module: a module that is already built, on its device and in its number format.
    """

    def __init__(
        self,
        case: Case,
        seed: int,
        dtype: torch.dtype | None = None,
        decode: DecodePlan | None = None,
        clock: Clock | None = None,
        module: nn.Module | None = None,
    ) -> None:
        self.case, self.seed = case, seed
        self.steps = case.grid_point.new_tokens or (decode or DecodePlan()).tokens
        self.clock = clock or clock_of(case.grid_point)
        if module is None:
            torch.set_num_threads(case.grid_point.threads)
            before = process_settings.read()
            module = build_module(case, seed, case.grid_point.device)
            # A user's file may change what the whole process shares, which must not change the speed of the other variants.
            process_settings.check(before, case.id)
            module.to(case.grid_point.device, dtype or DTYPES[case.grid_point.dtype])
        self.module = module
        self.parts = parts_of(self.module, case.model)
        # Whether the validity check of a user's model has compared its decode steps with its forward pass.
        self.decodes_as_forward = False
        self.model = cast("nn.Module", torch.compile(self.module)) if case.grid_point.compile else self.module
        self._optimizer: torch.optim.Optimizer | None = None
        if nvtx.NVTX:
            nvtx.name_modules(self.module)

    @property
    def language_model(self) -> LanguageModel:
        """The module. Of a user's, `parts` says what it has; nothing else may be called."""
        return cast("LanguageModel", self.module)

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
        """Random token batches [B, T], equal for all variants of a grid point. Zeros would route and draw power atypically."""
        grid_point = self.case.grid_point
        generator = torch.Generator().manual_seed(seed)
        shape = (grid_point.batch_size, grid_point.seq_len)
        vocabulary = self.case.config.vocab_size
        return [torch.randint(vocabulary, shape, generator=generator).to(grid_point.device) for _ in range(number)]

    def check(self, tokens_BT: Tensor) -> None:
        """Check that the model fulfils its contract, before anything is measured.

        It is called in evaluation mode: a call in training mode may change what is measured afterwards.

        Reads the first rows only: the logits of 128 rows of 2,048 tokens and 32,768 words would take 17 GB.

        Raises:
            ValueError: if the logits are not of shape [B, T, vocab_size] ([B, n_classes] where bidirectional), not floating
                point or on another device, or if the model wrote into its input.
            NumericsError: if a logit is NaN.
            ProcessChangedError: if the call changed settings of the process.
        """
        tokens_BT = tokens_BT[: max(1, CHECKED_TOKENS // tokens_BT.shape[1])]
        given_BT = tokens_BT.clone()
        with evaluating(self.module), torch.no_grad():
            before = process_settings.read()
            logits = self.module(given_BT)
            process_settings.check(before, self.case.id)
        config = self.case.config
        wanted = (
            [tokens_BT.shape[0], config.n_classes] if config.bidirectional else [*tokens_BT.shape, config.vocab_size]
        )
        if not isinstance(logits, Tensor) or list(logits.shape) != wanted:
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"{self.case.model} must map tokens [B, T] to logits {wanted}; it returned {got}")
        if not logits.is_floating_point() or logits.device.type != tokens_BT.device.type:
            raise ValueError(
                f"{self.case.model} must return floating-point logits on {tokens_BT.device.type}; these are {logits.dtype} on "
                f"{logits.device.type}"
            )
        if bool(logits.isnan().any()):
            raise NumericsError(f"{self.case.model} returned logits that are not numbers (NaN)")
        if not torch.equal(given_BT, tokens_BT):
            raise ValueError(
                f"{self.case.model} wrote into the tokens that it was given, which all measured models share: copy them first"
            )

    def forward(self, tokens_BT: Tensor) -> None:
        """One forward pass without gradients."""
        with torch.no_grad():
            self.model(tokens_BT)

    def loss(
        self,
        tokens_BT: Tensor,
        targets: Tensor,
        *,
        lengths_B: Tensor | None = None,
        prompt_B: Tensor | None = None,
        model: nn.Module | None = None,
        told: bool = False,
    ) -> tuple[Tensor, Tensor | float]:
        """Mean cross-entropy in nats over the targets, and the model's auxiliary loss while it trains (else 0).

        Where the model has a `training_loss`, the first has the gradient of that, and unless `told` its value.

        Args:
            tokens_BT: input.
            targets: next tokens [B, T], -100 where there is no target; or classes [B].
            lengths_B: real tokens of each row, where there is padding.
            prompt_B: tokens that a whole-input gate may read.
            model: called instead of the timed model, such as a wrapper of the module.
            told: whether the value is told to people, as a cross-entropy.
        """
        logits, auxiliary = self.logits(tokens_BT, lengths_B=lengths_B, prompt_B=prompt_B, model=model)
        own = _trained_with(self.module, self.parts, logits, targets) if self.module.training else None
        if own is not None and not told:
            return own, auxiliary
        logits = logits if self.case.config.bidirectional else logits.flatten(0, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and own is None):
            loss = F.cross_entropy(logits.float(), targets.flatten())
        return loss if own is None else own + (loss - own).detach(), auxiliary

    def logits(
        self,
        tokens_BT: Tensor,
        *,
        causal: bool = False,
        lengths_B: Tensor | None = None,
        prompt_B: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor | float]:
        """Logits, and the model's auxiliary loss while it trains. A model is given the arguments that its `forward` takes.

        Routed without later tokens, a model runs eagerly: how many tokens pass depends on them, and compiled code would be
        compiled anew for every number.
        """
        if model is None:
            model = self.module if causal else self.model
        how: dict[str, Any] = {"causal": True} if causal else {}
        if lengths_B is not None:
            how |= self.parts.given("forward", lengths_B=lengths_B, prompt_B=prompt_B)
        if not self.module.training:
            return model(tokens_BT, **how), 0.0
        if getattr(self.module, "has_auxiliary", False):
            both: tuple[Tensor, Tensor] = model(tokens_BT, auxiliary=True, **how)
            return both
        logits = model(tokens_BT, **how)
        return logits, _auxiliary_loss(self.module, self.parts)

    def targets(self, tokens_BT: Tensor) -> Tensor:
        """Next tokens, or classes, to train on random input."""
        if self.case.config.bidirectional:
            return tokens_BT[:, 0] % self.case.config.n_classes
        return tokens_BT.roll(-1, dims=1)

    def counted_loss(self) -> Callable[[Tensor], Tensor] | None:
        """The eager loss of tokens where the model has a part in it of its own, for a counter; None: any scalar will do."""
        if not (self.parts.has("aux_loss") or self.parts.has("training_loss")):
            return None

        def loss(tokens_BT: Tensor) -> Tensor:
            found, auxiliary = self.loss(tokens_BT, self.targets(tokens_BT), model=self.module)
            return found + auxiliary

        return loss

    def backward(self, tokens_BT: Tensor) -> None:
        """Forward and backward."""
        loss, auxiliary = self.loss(tokens_BT, self.targets(tokens_BT))
        (loss + auxiliary).backward()

    def after_step(self) -> None:
        """What a model does after each step of the optimizer, if it has such a part."""
        if self.parts.has("after_step"):
            self.language_model.after_step()

    def train_step(self, tokens_BT: Tensor) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(tokens_BT)
        self.optimizer.step()
        self.after_step()

    def train_parts(self, tokens_BT: Tensor) -> Laps:
        """A training step whose parts are timed separately, the device idle between them."""
        watch = Stopwatch(self.clock)
        loss, auxiliary = self.loss(tokens_BT, self.targets(tokens_BT))
        watch.lap("forward")
        (loss + auxiliary).backward()
        watch.lap("backward")
        self.optimizer.step()
        self.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        watch.lap("optimizer")
        return watch.laps


def _auxiliary_loss(module: nn.Module, parts: Parts) -> Tensor | float:
    """What the last forward pass adds to the loss; 0 without `aux_loss` (docs/your-model.md)."""
    if not parts.has("aux_loss"):
        return 0.0
    return _scalar(cast("Any", module).aux_loss(), f"{parts.name}: aux_loss()")


def _trained_with(module: nn.Module, parts: Parts, logits: Tensor, targets: Tensor) -> Tensor | None:
    """The model's own loss; None without `training_loss` (docs/your-model.md)."""
    if not parts.has("training_loss"):
        return None
    return _scalar(cast("Any", module).training_loss(logits, targets), f"{parts.name}: training_loss(logits, targets)")


def _scalar(value: object, what: str) -> Tensor:
    """Check what a user's method returned.

    Raises:
        TypeError: if it is no scalar tensor.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{what} must return a scalar tensor; it returned {got} ({PAGE})")
    return value.reshape(())
