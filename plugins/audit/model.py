"""The model under audit: how it is called, and how it is built again where a probe changes it.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from modbench.extend import (
    Operator,
    OperatorMode,
    Subject,
    Unmeasured,
    check_causality,
    evaluating,
    name_of,
    same_draws,
    set_missing,
    user_models,
)
from modbench.plugins.audit import products
from modbench.plugins.audit.decoding import Decoding

if TYPE_CHECKING:
    from modbench.extend import Case, Parts
    from modbench.plugins.audit.blocks import BlockCall
    from modbench.plugins.audit.products import Product
    from modbench.plugins.audit.report import Architecture

Found = TypeVar("Found")

# Nats by which log-probabilities may differ from rounding alone; in float64 nothing else is left.
TOLERANCE = check_causality.TOLERANCE[torch.float32]
EXACT = check_causality.TOLERANCE[torch.float64]
# The least rows of a decode step: of fewer, chance decides what share passes.
DECODED = 8

# What a module may hold beside weights and buffers and be set anew by a call, such as a capacity or the number of a step.
PLAIN = (bool, int, float, str, type(None))


def _argument(args: Sequence[Any], at: int, default: float) -> float:
    """A numeric argument of an operator that writes random numbers into its first."""
    return float(args[at]) if len(args) > at and isinstance(args[at], int | float) else default


# Operators that draw, each with a typical value of what it draws: its median.
MEDIANS: dict[str, Callable[[Sequence[Any]], float]] = {
    "rand": lambda _args: 0.5,
    "rand_like": lambda _args: 0.5,
    "uniform_": lambda args: (_argument(args, 1, 0.0) + _argument(args, 2, 1.0)) / 2,
    "randn": lambda _args: 0.0,
    "randn_like": lambda _args: 0.0,
    "normal_": lambda args: _argument(args, 1, 0.0),
    "exponential_": lambda args: math.log(2) / _argument(args, 1, 1.0),
    "bernoulli_": lambda args: float(_argument(args, 1, 0.5) >= 0.5),
}


class HeldDraws(OperatorMode):
    """While it is entered, what is drawn is always the same: the median of its distribution, whatever the shape."""

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Write over what was drawn."""
        median = MEDIANS.get(name_of(operator))
        if median is not None and isinstance(out, Tensor):
            out.fill_(median(args))


class Audited:
    """A model that probes call.

    Args:
        case: what it is, and the place: rows and tokens of a call.
        of: what it is held to; None: to nothing.
        module: a module that is built already; None: the case's is built.
        seed: of weights and tokens.

    Attributes:
        of: what it is held to; None: to nothing.
        case: what it is, and the place.
        seed: of weights and tokens.
        in_memory: whether it was given as a module, which cannot be built with other settings.
        subject: the built model. Probes call it in evaluation mode only: training may change a model for good.
    """

    def __init__(
        self, case: Case, of: Architecture | None = None, *, module: nn.Module | None = None, seed: int = 0
    ) -> None:
        self.case, self.of, self.seed = case, of, seed
        self.in_memory = module is not None
        self.subject = Subject(case, seed, module=module)
        self.subject.module.eval()
        self.subject.check(self.tokens())
        if not case.is_user_model:
            set_missing(self.subject.module, self.tokens)
        self._once = dict[Hashable, Any]()
        self._state: ModuleState | None = None
        self._state = self._carried()

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` finds of this model; it is looked for once for each key, and goes with the model."""
        if key not in self._once:
            self._once[key] = find()
        found: Found = self._once[key]
        return found

    def _carried(self) -> ModuleState | None:
        """The state to put back before each call, if equal calls with equal seeds differ; None: there is none that matters."""
        state = ModuleState(self.module)
        if torch.equal(*self._twice()):
            return None
        state.put_back()
        return state

    @cached_property
    def draws(self) -> bool:
        """Whether equal calls differ by random numbers that it draws."""
        tokens_BT = self.tokens()
        return not torch.equal(self.log_p(tokens_BT), self.log_p(tokens_BT))

    def held_draws(self) -> AbstractContextManager[object]:
        """While it is entered, random numbers are held at their medians, if the model draws some."""
        return HeldDraws() if self.draws else nullcontext()

    @cached_property
    def draws_unheld(self) -> bool:
        """Whether equal calls differ though random numbers are held: by some that `HeldDraws` does not reach, or by state."""
        if not self.draws:
            return False
        tokens_BT = self.tokens()
        with self.held_draws():
            return not torch.equal(self.log_p(tokens_BT), self.log_p(tokens_BT))

    @cached_property
    def unsteady(self) -> bool:
        """Whether equal calls with equal seeds differ beyond rounding: by chance that no seed of torch reaches."""
        one_BTV, other_BTV = self._twice()
        return float((one_BTV - other_BTV).abs().max()) > TOLERANCE

    def _twice(self) -> list[Tensor]:
        """Log-probabilities `[B, T, V]` of two equal calls with equal seeds."""
        return [self.seeded_log_p(self.tokens()) for _ in range(2)]

    @property
    def carries_state(self) -> bool:
        """Whether calls leave something behind in it that later ones read."""
        return self._state is not None

    def reset(self) -> None:
        """Put back what earlier calls left behind, so that what differs comes from the tokens alone."""
        if self._state is not None:
            self._state.put_back()

    @property
    def module(self) -> nn.Module:
        """The module, in evaluation mode."""
        return self.subject.module

    @property
    def parts(self) -> Parts:
        """The methods that it has beside `forward`."""
        return self.subject.parts

    @property
    def vocab_size(self) -> int:
        """Tokens are below it."""
        return self.case.config.vocab_size

    def tokens(self, number: int = 0, rows: int | None = None, length: int | None = None) -> Tensor:
        """Random tokens [B, T], the same for each number.

        Args:
            number: which batch.
            rows: B; None: the place's.
            length: T; None: the place's.
        """
        grid_point = self.case.grid_point
        generator = torch.Generator().manual_seed(1000 * self.seed + number + 1)
        shape = (rows or grid_point.batch_size, length or grid_point.seq_len)
        tokens_BT = torch.randint(self.vocab_size, shape, generator=generator)
        # Two equal tokens at the start get equal scores, to the last bit: which of them is chosen is chance.
        if shape[1] > 1:
            same_B = tokens_BT[:, 0] == tokens_BT[:, 1]
            tokens_BT[:, 1] = (tokens_BT[:, 1] + same_B) % self.vocab_size
        return tokens_BT.to(grid_point.device)

    def logits(self, tokens_BT: Tensor, module: nn.Module | None = None, **how: Any) -> Tensor:  # noqa: ANN401  # as its forward takes it
        """Logits [B, T, V] in evaluation mode as the model returns them, or a copy of it if that is given."""
        called = self.module if module is None else module
        if module is None:
            self.reset()
        with evaluating(called):
            logits_BTV: Tensor = called(tokens_BT, **how)
        return logits_BTV

    @torch.no_grad()
    def log_p(self, tokens_BT: Tensor, module: nn.Module | None = None, **how: Any) -> Tensor:  # noqa: ANN401  # as its forward takes it
        """Log-probabilities [B, T, V] of `logits`.

        Forbidden tokens count alike, however a model forbids them.
        """
        logits_BTV = self.logits(tokens_BT, module, **how)
        wide = logits_BTV if logits_BTV.dtype == torch.float64 else logits_BTV.float()
        return wide.log_softmax(-1).clamp(min=check_causality.LEAST)

    def seeded_log_p(self, tokens_BT: Tensor, module: nn.Module | None = None, **how: Any) -> Tensor:  # noqa: ANN401  # as above
        """`log_p` with fixed random numbers: any two such calls draw the same."""
        with same_draws(tokens_BT):
            return self.log_p(tokens_BT, module, **how)

    @cached_property
    def exact(self) -> nn.Module | None:
        """A copy in float64, where rounding decides nothing; None if it does not run so."""
        try:
            made = copy.deepcopy(self.module).double()
            found = self.log_p(self.tokens(), made)
        except Exception:  # noqa: BLE001  # a user's model may raise anything
            return None
        return made if found.dtype == torch.float64 else None

    def another(self, **changes: float | None) -> nn.Module:
        """The model built again, in evaluation mode, with other values of its configuration.

        Raises:
            Unmeasured: if it is a module in memory and something shall be changed, or a change does not reach it.
        """
        if self.in_memory:
            if changes:
                raise Unmeasured("a module in memory cannot be built with other settings; FILE.py:build can")
            return copy.deepcopy(self.module)
        case = self.case
        if changes:
            config = case.config.model_copy(update=changes)
            options = tuple((name, changes.get(name, value)) for name, value in case.options)
            own, given = case.is_user_model, dict(options)
            reached = {key for key in changes if own and key not in given and user_models.takes(case.model, given, key)}
            by_name = tuple(sorted({*case.by_name, *reached}))
            case = case.model_copy(update={"config": config, "options": options, "by_name": by_name})
            if "facts" in self.case.__dict__:
                case = case.with_facts(self.case.facts)
        made = Subject(case, self.seed)
        made.module.eval()
        if not case.is_user_model:
            set_missing(made.module, self.tokens)
        return made.module

    @cached_property
    def block_calls(self) -> list[BlockCall]:
        """Calls of its blocks on the first batch, in their order."""
        return self.blocks_on(self.tokens())

    def blocks_on(self, tokens_BT: Tensor, **how: bool) -> list[BlockCall]:
        """Calls of its blocks on some tokens."""
        from modbench.plugins.audit.blocks import calls_of_blocks

        return calls_of_blocks(self.module, tokens_BT, self.reset, **how)

    def copied(self, *, awake: bool = False) -> Subject:
        """The model built again, in evaluation mode; `awake`: with no weight of exactly 0, and a gradient for each."""
        module = self.another()
        return self.subject_of(products.awake(module) if awake else module)

    def subject_of(self, module: nn.Module) -> Subject:
        """Another build of the model, to be called as a subject is."""
        return Subject(self.case, self.seed, module=module)

    @cached_property
    def products(self) -> list[Product]:
        """Products of its weights in one forward pass on the first batch, with the rows of which nothing is left."""
        module, tokens_BT = self.copied(awake=True).module, self.tokens()
        reset = self._back(module)
        return products.zeroed(module, lambda: [module(tokens_BT)], tokens_BT, reset)

    @cached_property
    def products_in_training(self) -> list[Product]:
        """The same of the forward pass of a training step, whose losses count too."""
        subject, tokens_BT, logits = self.copied(awake=True), self.tokens(), list[Tensor]()
        subject.module.train()

        def keep(_module: nn.Module, _args: object, output: Any) -> None:  # noqa: ANN401  # as its forward returns it
            logits.append(output[0] if isinstance(output, tuple) else output)

        def call() -> list[Tensor]:
            loss, auxiliary = subject.loss(tokens_BT, subject.targets(tokens_BT))
            return [logits.pop(), loss, *([auxiliary] if isinstance(auxiliary, Tensor) else [])]

        with subject.module.register_forward_hook(keep):
            return products.zeroed(subject.module, call, tokens_BT, ModuleState(subject.module).put_back)

    @cached_property
    def decoding(self) -> Decoding:
        """A decode step of a copy, no weight of which is exactly 0.

        Raises:
            Unmeasured: if it cannot decode.
        """
        return self.decoding_of(self.copied(awake=True).module)

    def decoding_of(self, module: nn.Module) -> Decoding:
        """A decode step of another build of the model.

        Raises:
            Unmeasured: if it cannot decode.
        """
        grid_point = self.case.grid_point
        tokens_BT = self.tokens(8, rows=max(DECODED, grid_point.batch_size), length=max(2, grid_point.seq_len // 2))
        return Decoding(self.subject_of(module), tokens_BT, self._back(module))

    def _back(self, module: nn.Module) -> Callable[[], None]:
        """Puts back what calls leave behind in a copy, if any do."""
        return (lambda: None) if self._state is None else ModuleState(module).put_back


class ModuleState:
    """Weights, buffers, and the plain values and tensors among the attributes of all submodules.

    Gradients are no part of it: a step begins without them. Nor is the optimizer's state: what a step computes does not depend
    on it, and what it made of the weights is put back. Copies lie in the host's memory, as large as the module's tensors.

    Args:
        module: as its steps shall find it.
    """

    def __init__(self, module: nn.Module) -> None:
        copies: dict[int, Tensor] = {}
        self._places: list[tuple[dict[str, Any], str, Any, Tensor | None]] = []
        for holder, name, value in _held(module):
            copy = None
            if isinstance(value, Tensor):
                if id(value) not in copies:  # tied weights are one tensor
                    copies[id(value)] = value.detach().to("cpu", copy=True)
                copy = copies[id(value)]
            self._places.append((holder, name, value, copy))

    def put_back(self) -> None:
        """Make the module what it was, in its own tensors: whatever refers to them sees it."""
        done: set[int] = set()
        with torch.no_grad():
            for holder, name, value, copy in self._places:
                holder[name] = value
                if copy is not None and id(value) not in done:
                    done.add(id(value))
                    value.copy_(copy)


def _held(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    for part in module.modules():
        for holder in (part._parameters, part._buffers, part.__dict__):  # noqa: SLF001  # no public way to set them
            for name, value in holder.items():
                if isinstance(value, PLAIN) or (isinstance(value, Tensor) and _is_own(value)):
                    yield holder, name, value


def _is_own(value: Tensor) -> bool:
    """Whether a call may write into a tensor that a later call reads: not what the last call left, nor a number shown as many."""
    return value.grad_fn is None and not any(
        step == 0 < size - 1 for step, size in zip(value.stride(), value.shape, strict=True)
    )
