"""What one process measures: models, inputs and how long; it can be sent to a fresh process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from modbench.harness.timing.callables import Launch, time_callables
from modbench.harness.timing.interleave import Clock
from modbench.python import calls
from modbench.python.calls import Flops, Loss, Model, Workload
from modbench.python.inputs import Inputs


@dataclass(frozen=True)
class Job:
    """One process's part of a comparison.

    Attributes:
        models: name to a module or callable.
        inputs: what they are called with.
        workload: what is timed.
        baseline: the name that is in every block.
        loss: function of an output that is trained on; None: the usual one.
        rounds: their number; None: as many as fit into `seconds`.
        seconds: time of the rounds.
        twin: whether the baseline is timed twice.
        seed: draws the orders.
    """

    models: Mapping[str, Model]
    inputs: Inputs
    workload: Workload
    baseline: str
    loss: Loss | None = None
    rounds: int | None = None
    seconds: float | None = None
    twin: bool = False
    seed: int = 0

    @property
    def device(self) -> torch.device:
        """Where the work is done: where the inputs lie, else the models; the CPU where neither has a tensor."""
        if self.inputs.device is not None:
            return self.inputs.device
        modules = (model for model in self.models.values() if isinstance(model, nn.Module))
        return next((each.device for model in modules for each in model.parameters()), torch.device("cpu"))

    def call(self, name: str) -> Callable[[], object]:
        """The call of a model that is timed; a training step is that of a copy."""
        if self.workload == "forward":
            return calls.forward(self.models[name], self.inputs)
        return calls.train_step(name, self.models[name], self.inputs, self.loss)

    def counted(self, name: str) -> Flops:
        """The FLOPs of the call: of a compiled module those of the module that was compiled, of a step without its update."""
        model = calls.plain(self.models[name])
        if self.workload == "forward":
            return calls.flops(calls.forward(model, self.inputs))
        return calls.flops(calls.train_step(name, model, self.inputs, self.loss, updates=False))

    def measure(self, clock: Clock | None = None) -> Launch:
        """Time all models in this process."""
        with on(self.device), calls.evaluating(self.models if self.workload == "forward" else {}):
            return time_callables(
                {name: self.call(name) for name in self.models},
                baseline=self.baseline,
                rounds=self.rounds,
                seconds=self.seconds,
                twin=self.twin,
                clock=clock,
                seed=self.seed,
            )

    def again(self, number: int) -> Job:
        """The same for another process, in other orders."""
        return replace(self, seed=self.seed + number)


def on(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the one that is waited for in the `with` block; its context exists then."""
    if device.type != "cuda":
        return nullcontext()
    torch.cuda.init()
    return torch.cuda.device(device)
