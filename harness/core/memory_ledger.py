"""Closed-form peak memory: a ledger of what each layer keeps and of what it needs temporarily.

Layers are listed in the order of the forward pass. In the forward pass each layer saves tensors; in the backward pass each frees
them and adds gradients of its parameters. What a layer needs temporarily is listed as a surplus. The peak is the maximum over
both passes: arithmetic over a list of layers, for any size, without a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INT64 = 8
FLOAT32 = 4


@dataclass(frozen=True)
class Amount:
    """Bytes that depend on the number format.

    Attributes:
        elements: numbers in the model's own format.
        exact: bytes whatever the format: indices, and what is always float32.
        upcast: bytes that exist only where the format is narrower than float32 and a copy in float32 is made.
    """

    elements: float = 0.0
    exact: float = 0.0
    upcast: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.elements + other.elements, self.exact + other.exact, self.upcast + other.upcast)

    def __sub__(self, other: Amount) -> Amount:
        return self + other * -1

    def __mul__(self, times: float) -> Amount:
        return Amount(self.elements * times, self.exact * times, self.upcast * times)

    def of(self, width: int) -> float:
        """Convert to bytes, with elements of `width` bytes."""
        return self.elements * width + self.exact + (self.upcast if width < FLOAT32 else 0.0)


@dataclass(frozen=True)
class Layer:
    """Memory of one layer.

    Attributes:
        saved: what it saves for the backward pass, its own output included.
        params: elements of its parameters; its backward pass adds as many of gradients.
        back: peak of its backward pass, beyond what was saved up to it and the gradients of later layers.
        forward: peak of its forward pass without gradients, beyond the stream that comes in.
        output: the stream that goes out, without gradients.
        outer: streams that are kept outside meanwhile, without gradients, as around a routed block.
    """

    saved: Amount = Amount()
    params: float = 0.0
    back: Amount = Amount()
    forward: Amount = Amount()
    output: Amount = Amount()
    outer: Amount = Amount()


@dataclass(frozen=True)
class Ledger:
    """Memory of a model on one input.

    Attributes:
        layers: in the order of the forward pass.
        params: elements of all parameters.
        buffers: what else the model always holds.
        inputs: the tokens, and what is computed from them once.
    """

    layers: Sequence[Layer]
    params: float
    buffers: Amount
    inputs: Amount

    def resident(self, width: int, copies: int) -> float:
        """Bytes that are always allocated: `copies` of the parameters, and buffers."""
        return copies * self.params * width + self.buffers.of(width)

    def saved(self, width: int) -> float:
        """Activations in B: what a training step's forward pass saves for its backward pass."""
        return sum(layer.saved.of(width) for layer in self.layers)

    def train_peak(self, width: int) -> float:
        """`memory/peak_allocated` in B: a training step with both AdamW moments, gradients allocated anew."""
        base = self.resident(width, 3) + self.inputs.of(width)
        live, grads = base + self.saved(width), 0.0
        peak = max(live, base + self.params * width)
        for layer in reversed(self.layers):
            peak = max(peak, live + grads + layer.back.of(width))
            live -= layer.saved.of(width)
            grads += layer.params * width
        return peak

    def forward_peak(self, width: int) -> float:
        """Peak in B of a forward pass without gradients."""
        base = self.resident(width, 1) + self.inputs.of(width)
        stream, peak = 0.0, base
        for layer in self.layers:
            peak = max(peak, base + stream + (layer.forward + layer.outer).of(width))
            stream = layer.output.of(width)
        return max(peak, base + stream)
