"""A subject: module and optimizer of one case, and the calls that are measured: forward, training step, decode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core import clocks
from modbench.harness.core.case import Case, Place
from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.core.measure_plans import DecodePlan
from modbench.harness.subject import shared_state
from modbench.harness.subject.build import DTYPES, build_module
from modbench.harness.subject.modes import evaluating
from modbench.harness.timing import nvtx
from modbench.harness.timing.interleave import Clock, Laps
from modbench.harness.timing.stopwatch import Stopwatch

if TYPE_CHECKING:
    from modbench.harness.core.language_model import DecodeCache, LanguageModel

# Tokens on which a model's contract is checked, or one row if that is longer.
CHECKED_TOKENS = 16_384


def clock_of(place: Place) -> Clock:
    """Wall and CPU time where the case runs; on a GPU of all threads, and the clock can wait until the device is idle."""
    return Clock(torch.cuda.synchronize if place.device == "cuda" else None, place.working_threads)


class Subject:
    """A model ready to run forward passes and training steps.

    Args:
        case: what to build.
        seed: seeds the weights.
        dtype: number format of the weights; default the case's.
        decode: how many steps a decode call makes.
        clock: times laps; default the place's.
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
        self.steps, self.clock = (decode or DecodePlan()).tokens, clock or clock_of(case.place)
        # A user's file may change global state of torch, which must not change the speed of the other arms.
        shared_state.restore(case.place.threads)
        self.module = build_module(case, seed, case.place.device) if module is None else module
        # Ours are bound: what a user's file does to `time` moves no number, but is told.
        self.replaced_clocks = clocks.restored()
        shared_state.restore(case.place.threads)
        if module is None:
            self.module.to(case.place.device, dtype or DTYPES[case.place.dtype])
        self.model = cast("nn.Module", torch.compile(self.module)) if case.place.compile else self.module
        self._optimizer: torch.optim.Optimizer | None = None
        if nvtx.NVTX:
            nvtx.name_modules(self.module)

    @property
    def language_model(self) -> LanguageModel | None:
        """The module, if it is from the catalogue; None for a user's own, which has only `forward(tokens)`."""
        return None if self.case.own else cast("LanguageModel", self.module)

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
        """Random token batches [B, T], equal for all arms of a place. Zeros would route and draw power atypically."""
        place = self.case.place
        generator = torch.Generator().manual_seed(seed)
        shape = (place.batch_size, place.seq_len)
        vocabulary = self.case.config.vocab_size
        return [torch.randint(vocabulary, shape, generator=generator).to(place.device) for _ in range(number)]

    def check(self, tokens_BT: Tensor) -> None:
        """Check that the model fulfils its contract, before anything is measured.

        It is called in evaluation mode: a call in training mode may change what is measured afterwards.

        Reads the first rows only: the logits of 128 rows of 2,048 tokens and 32,768 words would take 17 GB.

        Raises:
            ValueError: if the logits are not of shape [B, T, vocab_size] ([B, n_classes] where bidirectional), not floating
                point or on another device, or if the model wrote into its input.
            NumericsError: if a logit is NaN.
        """
        tokens_BT = tokens_BT[: max(1, CHECKED_TOKENS // tokens_BT.shape[1])]
        given_BT = tokens_BT.clone()
        with evaluating(self.module), torch.no_grad():
            logits = self.module(given_BT)
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
        causal: bool = False,
        lengths_B: Tensor | None = None,
        prompt_B: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor | float]:
        """Mean cross-entropy in nats over the targets, and the model's auxiliary loss while it trains (else 0).

        Args:
            tokens_BT: input.
            targets: next tokens [B, T], -100 where there is no target; or classes [B].
            causal: route without later tokens.
            lengths_B: real tokens of each row, where there is padding.
            prompt_B: tokens that a whole-input gate may read.
            model: called instead of the timed model, such as a wrapper of the module.
        """
        logits, auxiliary = self.logits(
            tokens_BT,
            causal=causal,
            lengths_B=lengths_B,
            prompt_B=prompt_B,
            model=model,
        )
        logits = logits if self.case.config.bidirectional else logits.flatten(0, 1)
        return F.cross_entropy(logits.float(), targets.flatten()), auxiliary

    def logits(
        self,
        tokens_BT: Tensor,
        *,
        causal: bool = False,
        lengths_B: Tensor | None = None,
        prompt_B: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor | float]:
        """Logits, and the model's auxiliary loss while it trains. A user's model gets only the tokens.

        Routed without later tokens, a model runs eagerly: how many tokens pass depends on them, and compiled code would be
        compiled anew for every number.
        """
        if model is None:
            model = self.module if causal else self.model
        padding: dict[str, Tensor | None] = {}
        if lengths_B is not None and not self.case.own:
            padding = {"lengths_B": lengths_B, "prompt_B": prompt_B}
        if self.module.training and getattr(self.module, "has_auxiliary", False):
            both: tuple[Tensor, Tensor] = model(tokens_BT, auxiliary=True, **padding)
            return both
        return model(tokens_BT, causal=True, **padding) if causal else model(tokens_BT, **padding), 0.0

    def targets(self, tokens_BT: Tensor) -> Tensor:
        """Next tokens, or classes, to train on random input."""
        if self.case.config.bidirectional:
            return tokens_BT[:, 0] % self.case.config.n_classes
        return tokens_BT.roll(-1, dims=1)

    def backward(self, tokens_BT: Tensor) -> None:
        """Forward and backward."""
        loss, auxiliary = self.loss(tokens_BT, self.targets(tokens_BT))
        (loss + auxiliary).backward()

    def train_step(self, tokens_BT: Tensor) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(tokens_BT)
        self.optimizer.step()

    def train_parts(self, tokens_BT: Tensor) -> Laps:
        """A training step whose parts are timed separately, the device idle between them."""
        watch = Stopwatch(self.clock)
        loss, auxiliary = self.loss(tokens_BT, self.targets(tokens_BT))
        watch.lap("forward")
        (loss + auxiliary).backward()
        watch.lap("backward")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        watch.lap("optimizer")
        return watch.laps

    def prefilled(self, tokens_BT: Tensor) -> tuple[Tensor, DecodeCache]:
        """Logits after the prompts, and a cache with room for the steps to come.

        Raises:
            Unmeasured: if the model cannot decode.
        """
        model = self.language_model
        if model is None:
            raise Unmeasured("prefill and decode are known for catalogue models only: this is a user's model")
        why = model.why_no_decode()
        if why:
            raise Unmeasured(why)
        if self.case.place.compile:
            raise Unmeasured("prefill and decode are never compiled: they run eagerly, or decode as a CUDA graph")
        self.module.eval()
        return model.prefill(tokens_BT, max_len=tokens_BT.shape[1] + self.steps)

    def _require_eager(self, what: str) -> None:
        if self.case.place.graph:
            raise Unmeasured(f"{what} eagerly: only decode steps are replayed as a CUDA graph")

    def prefill(self) -> Callable[[Tensor], None]:
        """A call that reads a batch of prompts."""
        self._require_eager("a prompt is read")

        def call(tokens_BT: Tensor) -> None:
            self.prefilled(tokens_BT)

        return call

    def first_token(self) -> Callable[[Tensor], None]:
        """A call that reads prompts until the host has the first token of each row: what a user waits for."""
        self._require_eager("a first token is made")

        def call(tokens_BT: Tensor) -> None:
            logits_BV, _ = self.prefilled(tokens_BT)
            logits_BV.argmax(-1).tolist()

        return call

    def _continued(self) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], Tensor]:
        """A decode step after the context, a call that rewinds the cache to it, and tokens to feed."""
        prompts_BT, feed_BT = self.inputs(0, 2)
        _, cache = self.prefilled(prompts_BT)
        model = self.language_model
        assert model is not None  # `prefilled` has checked
        step = self._graph(model, cache) if self.case.place.graph else partial(model.decode, cache=cache)
        mark = cache.mark(windows=False)
        return step, lambda: cache.rewind(mark), feed_BT

    def decode(self) -> Callable[[Tensor], None]:
        """A call that makes `steps` decode steps after the context, from the same state each time, with random tokens."""
        step, rewind, feed_BT = self._continued()

        def call(tokens_BT: Tensor) -> None:
            rewind()
            for i in range(self.steps):
                step(tokens_BT[:, i % tokens_BT.shape[1]])

        call(feed_BT)
        return call

    def decode_steps(self) -> Callable[[Tensor], Laps]:
        """The same, each step timed by itself: laps `p50`, `p95` and `p99` over the positions after the context."""
        step, rewind, feed_BT = self._continued()

        def call(tokens_BT: Tensor) -> Laps:
            rewind()
            watch = Stopwatch(self.clock)
            for i in range(self.steps):
                step(tokens_BT[:, i % tokens_BT.shape[1]])
                watch.lap(str(i))
            return watch.quantiles({"p50": 0.5, "p95": 0.95, "p99": 0.99})

        call(feed_BT)
        return call

    def generate(self) -> Callable[[Tensor], None]:
        """Greedy generation as in a server: the likeliest tokens of each step go to the host and into the next step."""
        step, rewind, feed_BT = self._continued()

        def call(tokens_BT: Tensor) -> None:
            rewind()
            tokens_B = tokens_BT[:, 0]
            for _ in range(self.steps):
                tokens_B = step(tokens_B).argmax(-1)
                tokens_B.tolist()

        call(feed_BT)
        return call

    def _graph(self, model: LanguageModel, cache: DecodeCache) -> Callable[[Tensor], Tensor]:
        if self.case.place.device != "cuda":
            raise Unmeasured("a CUDA graph needs a CUDA device")
        if self.case.config.decode_policy == "host":
            raise Unmeasured(
                "decode_policy 'host' waits for the host in every routed block: only 'budget' and 'masked' can be captured"
            )
        from modbench.harness.subject.decode_graph import Replay

        return Replay(model, cache)
