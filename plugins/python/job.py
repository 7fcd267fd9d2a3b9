"""The work of one process: models, inputs and duration; it can be sent to a fresh process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from modbench.extend import Clock, Label, check_timed_calls, limits
from modbench.plugins.python import calls, checks
from modbench.plugins.python.callables import MOST_ROUNDS, LeftBehind, TimingProcess, build_order, time_callables
from modbench.plugins.python.calls import Flops, Loss, Model, Workload
from modbench.plugins.python.inputs import INPUT_CHANGED, InputCopies, Inputs
from modbench.plugins.python.threads import working_threads


@dataclass(frozen=True)
class Job:
    """One process's part of a comparison.

    Attributes:
        models: name to a module or callable.
        inputs: what they are called with; each call is made on copies.
        workload: what is timed.
        baseline: the name that is in every block.
        loss: function of an output that is trained on; None: the usual one.
        rounds: their number; None: as many as fit into `seconds`.
        seconds: time of the rounds.
        aa_control: whether the baseline is timed twice.
        seed: draws the orders: of the calls, and in which models are built or copied.
    """

    models: Mapping[str, Model]
    inputs: Inputs
    workload: Workload
    baseline: str
    loss: Loss | None = None
    rounds: int | None = None
    seconds: float | None = None
    aa_control: bool = False
    seed: int = 0

    @property
    def device(self) -> torch.device:
        """The device: that of the inputs, else of the models, else the CPU."""
        if self.inputs.device is not None:
            return self.inputs.device
        modules = (model for model in self.models.values() if isinstance(model, nn.Module))
        return next((each.device for model in modules for each in model.parameters()), torch.device("cpu"))

    @cached_property
    def copies(self) -> InputCopies:
        """The copies that this process times its calls on."""
        return self.inputs.copies()

    def call(self, name: str, inputs: Inputs) -> Callable[[], object]:
        """The timed call of a model; a training step runs on a copy."""
        if self.workload == "forward":
            return calls.forward(self.models[name], inputs)
        return calls.train_step(name, self.models[name], inputs, self.loss)

    def flops(self, name: str, inputs: Inputs) -> Flops:
        """The FLOPs of the call: of a compiled module those of the module that was compiled, of a step without its update."""
        model, one_thread = calls.uncompiled(self.models[name]), self.device.type == "cpu" and working_threads() == 1
        if self.workload == "forward":
            return calls.flops(calls.forward(model, inputs), one_thread=one_thread)
        return calls.flops(calls.train_step(name, model, inputs, self.loss, updates=False), one_thread=one_thread)

    def measure(self, clock: Clock | None = None) -> TimingProcess:
        """Time all models in this process.

        Raises:
            UsageError: if a call changed its inputs, or settings that hold for all calls.
        """
        with on_device(self.device), calls.evaluating(self.models if self.workload == "forward" else {}):
            check_settings = checks.settings()

            def tidy() -> None:
                check_settings()
                if self.copies.changed(closely=False):
                    raise LeftBehind(INPUT_CHANGED)

            built = {name: self.call(name, self.copies.inputs) for name in build_order(self.models, self.seed)}
            process = time_callables(
                {name: built[name] for name in self.models},
                baseline=self.baseline,
                rounds=self.rounds,
                seconds=self.seconds,
                aa_control=self.aa_control,
                clock=clock,
                seed=self.seed,
                tidy=tidy,
            )
        self.copies.check(" or ".join(self.models))
        return process

    def measure_and_check(self, clock: Clock | None = None) -> TimingProcess:
        """Time all models, then check the timed calls, as a run does in each of its processes.

        Raises:
            UsageError: as `measure`.
        """
        process = self.measure(clock)
        return replace(process, findings=self._findings())

    def _findings(self) -> dict[str, dict[str, str]]:
        inputs, found = self.copies.inputs, dict[str, dict[str, str]]()
        tensor = inputs.varied
        if tensor is None or tensor.numel() < 2 or self.workload != "forward":
            return found
        with on_device(self.device), calls.evaluating(self.models):
            for name, model in self.models.items():
                unseen = check_timed_calls.why_unseen(compiled=calls.uncompiled(model) is not model)
                if unseen:
                    found[name] = {str(Label.UNCHECKED): unseen}
                    continue
                module = model if isinstance(model, nn.Module) and inputs.tokens is not None else None
                call = partial(self._call_on, name)
                found[name] = checks.labels(call, tensor, module)
        return found

    def _call_on(self, name: str, tensor: Tensor) -> object:
        return self.call(name, self.copies.inputs.varied_to(tensor))()

    def limit_s(self, calls_s: float) -> float:
        """The time limit of a process in s, from the seconds that one check of each model took here."""
        played = 2 * (self.rounds or MOST_ROUNDS) * calls_s  # everything is called twice in a round
        expected_s = max(self.seconds or 0.0, played)
        return limits.TIMES * expected_s + limits.START_S + limits.OWN_S * len(self.models)

    def for_process(self, number: int) -> Job:
        """The same for another process, in other orders: it unpickles the models in that in which they lie here."""
        seed = self.seed + number
        return replace(self, seed=seed, models={name: self.models[name] for name in build_order(self.models, seed)})


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the one that is waited for in the `with` block; its context exists then."""
    if device.type != "cuda":
        return nullcontext()
    torch.cuda.init()
    return torch.cuda.device(device)
