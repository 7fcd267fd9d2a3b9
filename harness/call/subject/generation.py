"""Generation by a subject: prompts are read, and tokens decoded, by models of the catalogue and by users' in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn

from modbench.harness.call.subject import check_decoding
from modbench.harness.call.subject.rewinding import rewinder
from modbench.harness.call.timing.cuda_events import capture
from modbench.harness.call.timing.interleave import Laps, Stopwatch
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.language_model import DecodeCache, LanguageModel

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject


class Generation:
    """Makes the calls that are measured. Each takes a batch of tokens [B, T], without gradients.

    Args:
        subject: its model has `prefill` and `decode` (`harness/core/model_methods.py`); otherwise there is only a reason.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def ready(self) -> None:
        """Evaluation mode, and once the validity check of a user's model.

        Raises:
            Unmeasured: if the model cannot decode.
            ValueError: if it decodes something else than its forward pass.
        """
        subject, parts = self.subject, self.subject.parts
        if not parts.has("prefill", "decode"):
            raise Unmeasured(parts.lacks("prefill and decode"))
        why = subject.language_model.why_no_decode() if parts.has("why_no_decode") else None
        if why is None and subject.case.config.bidirectional:
            why = "a bidirectional model classifies: it cannot generate. Build it with bidirectional=false."
        if why:
            raise Unmeasured(why)
        if subject.case.grid_point.compile:
            raise Unmeasured("prefill and decode are never compiled: they run eagerly, or decode as a CUDA graph")
        subject.module.eval()
        if not subject.case.is_user_model:
            set_missing(subject.module, lambda: subject.inputs(0, 1)[0])
        if subject.case.is_user_model and not subject.decodes_as_forward:
            check_decoding.check(subject, self.read)
            subject.decodes_as_forward = True

    def read(self, tokens_BT: Tensor, max_len: int) -> tuple[Tensor, Any]:
        """Logits [B, V] after the prompts, and a cache with room for `max_len` tokens, if the model makes room."""
        subject = self.subject
        with torch.no_grad():
            made: Any = subject.language_model.prefill(tokens_BT, **subject.parts.given("prefill", max_len=max_len))
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError(
                f"{subject.case.model}: prefill must return (logits, cache); it returned {type(made).__name__}"
            )
        return made

    def prefilled(self, tokens_BT: Tensor) -> tuple[Tensor, Any]:
        """Logits after the prompts, and a cache with room for the steps to come.

        Raises:
            Unmeasured: if the model cannot decode.
        """
        self.ready()
        return self.read(tokens_BT, tokens_BT.shape[1] + self.subject.steps)

    def _room(self, prompts_BT: Tensor) -> int:
        """Room in the cache for the steps to come, as far as the model has positions: prompts alone need no more."""
        t = prompts_BT.shape[1]
        return max(t, min(t + self.subject.steps, self.subject.case.config.max_seq_len))

    def _require_eager(self, what: str) -> None:
        if self.subject.case.grid_point.graph:
            raise Unmeasured(f"{what} eagerly: only decode steps are replayed as a CUDA graph")

    def prefill(self) -> Callable[[Tensor], None]:
        """A call that reads a batch of prompts."""
        self.ready()
        self._require_eager("a prompt is read")

        def call(tokens_BT: Tensor) -> None:
            self.read(tokens_BT, self._room(tokens_BT))

        return call

    def first_token(self) -> Callable[[Tensor], None]:
        """A call that reads prompts until the host has the first token of each row: what a user waits for."""
        self.ready()
        self._require_eager("a first token is made")

        def call(tokens_BT: Tensor) -> None:
            logits_BV, _ = self.read(tokens_BT, self._room(tokens_BT))
            logits_BV.argmax(-1).tolist()

        return call

    def request(self) -> Callable[[Tensor], None]:
        """A call that serves a request as a server does: reads prompts, then makes `steps` decode steps.

        The host reads the likeliest token of each row after the prompt and after every step. What is fed are the prompt's tokens
        again, so that every variant computes the same tokens.
        """
        self.ready()
        self._require_eager("an end-to-end request is served")
        subject, model = self.subject, self.subject.language_model

        @torch.no_grad()
        def call(tokens_BT: Tensor) -> None:
            logits_BV, cache = self.read(tokens_BT, tokens_BT.shape[1] + subject.steps)
            logits_BV.argmax(-1).tolist()
            for i in range(subject.steps):
                model.decode(tokens_BT[:, i % tokens_BT.shape[1]], cache).argmax(-1).tolist()

        return call

    def _continued(self) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], Tensor]:
        """A decode step after the context, a call that rewinds the cache to it, and tokens to feed."""
        subject = self.subject
        prompts_BT, feed_BT = subject.inputs(0, 2)
        _, cache = self.prefilled(prompts_BT)
        model = subject.language_model

        def eager(tokens_B: Tensor) -> Tensor:
            return model.decode(tokens_B, cache)

        step = self._graph(cache) if subject.case.grid_point.graph else eager
        rewind = rewinder(cache)
        if subject.case.is_user_model:
            with torch.no_grad():
                check_decoding.check_rewind(subject.case.model, step, rewind, feed_BT, subject.steps)
        return step, rewind, feed_BT

    def decode(self) -> Callable[[Tensor], None]:
        """A call that makes `steps` decode steps after the context, from the same state each time, with random tokens."""
        step, rewind, feed_BT = self._continued()

        @torch.no_grad()
        def call(tokens_BT: Tensor) -> None:
            rewind()
            for i in range(self.subject.steps):
                step(tokens_BT[:, i % tokens_BT.shape[1]])

        call(feed_BT)
        return call

    def decode_steps(self) -> Callable[[Tensor], Laps]:
        """The same, each step timed by itself: laps `p50`, `p95` and `p99` over the positions after the context."""
        step, rewind, feed_BT = self._continued()

        @torch.no_grad()
        def call(tokens_BT: Tensor) -> Laps:
            rewind()
            watch = Stopwatch(self.subject.clock)
            for i in range(self.subject.steps):
                step(tokens_BT[:, i % tokens_BT.shape[1]])
                watch.lap(str(i))
            return watch.quantiles({"p50": 0.5, "p95": 0.95, "p99": 0.99})

        call(feed_BT)
        return call

    def generate(self) -> Callable[[Tensor], None]:
        """Greedy generation as in a server: the likeliest tokens of each step go to the host and into the next step."""
        step, rewind, feed_BT = self._continued()

        @torch.no_grad()
        def call(tokens_BT: Tensor) -> None:
            rewind()
            tokens_B = tokens_BT[:, 0]
            for _ in range(self.subject.steps):
                tokens_B = step(tokens_B).argmax(-1)
                tokens_B.tolist()

        call(feed_BT)
        return call

    def _graph(self, cache: object) -> Callable[[Tensor], Tensor]:
        case, parts = self.subject.case, self.subject.parts
        if case.grid_point.device != "cuda":
            raise Unmeasured("a CUDA graph needs a CUDA device")
        if not parts.has("decode_step"):
            raise Unmeasured(parts.lacks("decode_step, a step that a CUDA graph can capture"))
        if not case.is_user_model and case.config.decode_policy == "host":
            raise Unmeasured(
                "decode_policy 'host' waits for the host in every routed block: only 'budget' and 'masked' can be captured"
            )
        missing = [name for name in ("position_B", "mark", "rewind", "advance") if not hasattr(cache, name)]
        if missing:
            raise Unmeasured(parts.lacks(f"{' and '.join(missing)} in its cache, which a captured step needs"))
        return Replay(self.subject.language_model, cast("DecodeCache", cache))


class Replay:
    """`model.decode_step` on one cache, captured.

    The graph writes the cache's device state (lengths, positions, keys, values) in place; the host's copy of the positions
    is advanced here. The cache is rewound after the warm-up.

    Args:
        model: a catalogue model whose decode policy has fixed shapes.
        cache: its cache, after prefill.
    """

    def __init__(self, model: LanguageModel, cache: DecodeCache) -> None:
        self.cache = cache
        self.tokens_B = torch.zeros_like(cache.position_B)
        mark = cache.mark(windows=False)
        self.logits_BV: Tensor
        with torch.no_grad():
            self.graph, self.logits_BV = capture(
                lambda: model.decode_step(self.tokens_B, cache), lambda: cache.rewind(mark)
            )
        cache.rewind(mark)

    def __call__(self, tokens_B: Tensor) -> Tensor:
        """Logits [B, V] of one step, in the same memory at every call."""
        self.tokens_B.copy_(tokens_B)
        self.graph.replay()
        self.cache.advance()
        return self.logits_BV


# Models whose thresholds were looked at.
_LOOKED_AT: WeakSet[nn.Module] = WeakSet()


def set_missing(module: nn.Module, prompts: Callable[[], Tensor]) -> None:
    """Calibrate a shipped model on prompts, int64 [B, T], if a threshold of it was never set; a model is looked at once.

    Without thresholds its routers cannot decide token by token. An evaluation calibrates on text. Where only times are measured,
    the prompts of the measurement serve: the share that passes is then the capacity, whatever the weights are.
    """
    if module in _LOOKED_AT:
        return
    _LOOKED_AT.add(module)
    if any(not part.is_set for part in module.modules() if hasattr(part, "is_set")):
        cast("LanguageModel", module).calibrate(prompts())
