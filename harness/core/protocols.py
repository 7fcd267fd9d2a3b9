"""What a model may have beside `forward(tokens)`: small protocols, found by the presence of methods.

Nothing is inherited, and a user's file imports nothing of modbench. Models of the catalogue have every part (`LanguageModel` in
`language_model.py`) and are called in the same way. What a model lacks is "not reported", with the sentence of `Parts.lacks`.
`docs/protocols.md` shows each part with an example. Importing this file does not load torch.

Shapes: B batch, T tokens, V vocabulary, L layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from modbench.harness.core.language_model import Decision, Observation

# Methods that are looked for, each with the optional arguments that it is given by name if its signature names them.
METHODS: Mapping[str, tuple[str, ...]] = {
    "forward": ("lengths_B", "causal", "prompt_B", "auxiliary"),
    "observe": ("lengths_B", "causal", "prompt_B", "flip_LBT"),
    "prefill": ("lengths_B", "max_len"),
    "decode": (),
    "decode_step": (),
    "why_no_decode": (),
    "aux_loss": (),
    "training_loss": (),
    "calibrate": ("lengths_B",),
    "set_progress": (),
    "after_step": (),
}
PAGE = "docs/protocols.md"


class ReadsPrompts(Protocol):
    """Prompts: any of these arguments of `forward`, by name; a model takes those that it needs and no others.

    `lengths_B`: real tokens of each row, the rest is padding on the right. `prompt_B`: tokens of each row that a gate may read
    before it decides. `causal`: routers decide without later tokens, as while decoding. `auxiliary`: also return the auxiliary
    loss, where `has_auxiliary` is true (see `AddsLoss` for the simpler way).
    """

    def forward(self, tokens_BT: Tensor, *, lengths_B: Tensor | None = None, prompt_B: Tensor | None = None) -> Tensor:
        """Logits [B, T, V], of a classifier [B, C]."""


class StatesTokens(Protocol):
    """Routing, of any module inside a model: what it claims to skip, which a guard compares with what its weights met.

    Attributes:
        capacity: share of its tokens that it claims to process, as a float.
        executed_tokens: tokens that it processed in its last call, over the whole batch.
    """

    capacity: float
    executed_tokens: int


class Observes(Protocol):
    """Routing, of the whole model: the decisions of its routers.

    A decision is a mapping (or a `Decision`, which explains its fields): `layer` (int, from 0), `score_BT` (float), `chosen_BT`
    (bool: the block processes the token), and if there are such, `weight_BT`, `predicted_BT`, `taken_BET`.
    Optional arguments, by name: `lengths_B`, `causal`, `prompt_B`, `flip_LBT` (bool [L, B, T]: reverse these decisions).
    """

    def observe(self, tokens_BT: Tensor) -> Observation | tuple[Tensor, Sequence[Decision | Mapping[str, Any]]]:
        """The logits that `forward` returns, and all decisions of that pass; third, if wanted, blocks that each row ran."""


class Decodes(Protocol):
    """Decoding: the cache is any object that `decode` changes in place. Both are called in evaluation mode without gradients.

    `prefill` may also take, by name, `lengths_B` (real tokens of each prompt) and `max_len` (positions to make room for).
    A model that cannot always generate may have `why_no_decode() -> str | None`.
    """

    def prefill(self, tokens_BT: Tensor) -> tuple[Tensor, Any]:
        """Read prompts of equal length; logits [B, V] after the last token of each row, and the cache."""

    def decode(self, tokens_B: Tensor, cache: Any) -> Tensor:  # noqa: ANN401  # the user's own class
        """Logits [B, V] after one more token in each row; changes the cache in place."""


class CountsBytes(Protocol):
    """Decoding, optional, of the cache: its memory.

    Attributes:
        nbytes: bytes allocated for all that it keeps.
    """

    nbytes: int


class Rewinds(Protocol):
    """Decoding, optional, of the cache: return to an earlier state, so that timed calls start from the same one.

    Without these, what the cache refers to is put back: lists, dicts, attributes and integer tensors. That serves caches that
    grow by `torch.cat`, and those that write at a position into tensors of fixed size.
    """

    def mark(self) -> object:
        """The present state."""

    def rewind(self, mark: Any) -> None:  # noqa: ANN401  # what `mark` returned
        """Return to that state, in place."""


class Captures(Decodes, Protocol):
    """Decoding, optional: a step with fixed shapes and no wait for the host, which a CUDA graph can capture.

    Its cache has `mark`, `rewind`, `advance` and `position_B`, as `DecodeCache` in `language_model.py`.
    """

    def decode_step(self, tokens_B: Tensor, cache: Any) -> Tensor:  # noqa: ANN401  # the user's own class
        """`decode` without what the host does."""


class AddsLoss(Protocol):
    """Loss: a term that is added to the loss while the model trains."""

    def aux_loss(self) -> Tensor:
        """A scalar for the last forward pass in training mode, with its gradient."""


class TrainsWith(Protocol):
    """Loss: what the model is trained with instead of the mean cross-entropy. Held-out losses stay cross-entropies."""

    def training_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar: the mean over the targets.

        Args:
            logits: what `forward` returned, [B, T, V] (classifiers: [B, C]).
            targets: next tokens [B, T], -100 where there is no target (classifiers: classes [B]).
        """


class RoutesCausally(Protocol):
    """Loss: routing without the future, if `forward` takes `causal` by name. All methods are optional."""

    def calibrate(self, tokens_BT: Tensor) -> None:
        """Set thresholds of causal routing from typical text; called once, after training, before `forward(causal=True)`."""

    def set_progress(self, done: float) -> None:
        """The share of training that is done, 0 to 1; called before every step and with 1 before evaluation."""

    def after_step(self) -> None:
        """Called once after each step of the optimizer, for what moves without a gradient, such as a bias of a router."""


@dataclass(frozen=True)
class Parts:
    """What one model has.

    Attributes:
        name: the model, as a user calls it.
        takes: the methods that it has, each with the optional arguments that it takes by name.
    """

    name: str
    takes: Mapping[str, frozenset[str]]

    def has(self, *methods: str) -> bool:
        """Whether it has all these methods."""
        return all(method in self.takes for method in methods)

    def accepts(self, method: str, argument: str) -> bool:
        """Whether it has the method, and the method takes the argument by name."""
        return argument in self.takes.get(method, ())

    def given(self, method: str, **arguments: object) -> dict[str, Any]:
        """Those of the arguments that the method takes."""
        return {name: value for name, value in arguments.items() if self.accepts(method, name)}

    def lacks(self, what: str) -> str:
        """The reason why something is not reported: `what` names the methods or arguments that would report it."""
        return f"not reported: {self.name} has no {what} ({PAGE})"


def parts_of(module: object, name: str) -> Parts:
    """Find the parts of a model, by the presence of methods and the names of their parameters. Nothing is called.

    Args:
        module: the model; a submodule or a number of such a name is no method.
        name: what to call it in reasons.
    """
    found = {}
    for method, optional in METHODS.items():
        function = getattr(module, method, None)
        if inspect.isroutine(function):
            found[method] = frozenset(optional) & named(function)
    return Parts(name, found)


def named(function: Any) -> set[str]:  # noqa: ANN401  # any callable
    """Parameters that can be given by name; `**kwargs` names none, since nobody knows what it would do with them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return set()
    return {each.name for each in parameters if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}}
