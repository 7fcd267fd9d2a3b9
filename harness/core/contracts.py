"""Types that additions export: `Model`, `Metric`, `Task` or `Corpus`. Plain data, no torch.

The memory of a model is a ledger of layers in the order of the forward pass. There each layer saves tensors; in the backward pass
each frees them and adds gradients of its parameters. What a layer needs temporarily is listed as a surplus. The peak is the
maximum over both passes: arithmetic over a list of layers, for any size, without a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from modbench.harness.core.units import RANGES, Range, Unit

if TYPE_CHECKING:
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.core.language_model import LanguageModel


INT64 = 8
FLOAT32 = 4
Workload = Literal["forward", "train_step", "prefill", "decode", "request", "train"]
# Workloads that need a cache of keys and values; a time of one is of one batch size, which decides what pays.
GENERATION: frozenset[Workload] = frozenset({"prefill", "decode", "request"})
# How a workload is timed: whole calls end to end, the parts of a step, single decode steps, up to the first token, token by
# token as a server does, device events behind a spin kernel, or the replay of a CUDA graph.
# What an effect is of: a typical call, or many calls together.
Estimand = Literal["median", "mean"]
Timer = Literal["", "parts", "steps", "first-token", "serving", "device", "graph"]


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


@dataclass(frozen=True)
class Cost:
    """Closed-form cost of one case. 1 multiply-add = 2 FLOPs; embedding look-ups, norms, softmax and top-k count 0.

    Attributes:
        parts: forward FLOPs per component for the whole batch; attention scores and values over the full square.
        attention_causal: FLOPs of scores and values over the lower triangle only, diagonal included.
        params: number of parameters.
        memory: memory that every layer keeps and needs in training.
        inference: the same without gradients, if other layers run then; None: the same layers.
        train_only: forward and backward FLOPs of parts that run only in training, such as an auxiliary predictor.
        predictor: forward FLOPs of predictors, used where routers decide without the future; not part of a top-k forward pass.
        training: cost of the forward pass in training, if it differs; None: the same.
        modules: forward FLOPs by module path, as a counter attributes them; the remainder runs in none of these.
    """

    parts: Mapping[str, float]
    attention_causal: float
    params: int
    memory: Ledger
    inference: Ledger | None = None
    train_only: float = 0.0
    predictor: float = 0.0
    training: Cost | None = None
    modules: Mapping[str, float] = field(default_factory=dict)

    @property
    def forward(self) -> float:
        """`flops/forward`: what a counter counts (full-square attention, head included)."""
        return sum(self.parts.values())

    @property
    def forward_causal(self) -> float:
        """`flops/forward/causal`: what a causal kernel must do."""
        square = self.parts.get("scores", 0.0) + self.parts.get("values", 0.0)
        return self.forward - square + self.attention_causal

    @property
    def forward_headless(self) -> float:
        """`flops/forward/headless`: without the head, the non-embedding FLOPs of some papers."""
        return self.forward - self.parts.get("head", 0.0)

    @property
    def train_step(self) -> float:
        """`flops/train_step`: backward is twice forward; the optimizer counts 0."""
        return 3 * (self.training or self).forward + self.train_only

    @property
    def train_step_causal(self) -> float:
        """`flops/train_step/causal`: with causal attention, the basis of a training step's theoretical speed-up."""
        return 3 * (self.training or self).forward_causal + self.train_only

    @property
    def train_step_hardware(self) -> float:
        """`flops/train_step/hardware`: includes the scores, which fused attention computes again in its backward pass."""
        return self.train_step + (self.training or self).parts.get("scores", 0.0)

    def bytes_forward(self, bytes_per_element: int) -> float:
        """Least bytes that a forward pass moves: every weight read once, every kept activation written and read once."""
        return self.params * bytes_per_element + 2 * self.memory.saved(bytes_per_element)

    def memory_train(self, bytes_per_element: int) -> float:
        """Forecast of `memory/peak_allocated` in B: a training step with both AdamW moments allocated."""
        return self.memory.train_peak(bytes_per_element)

    def memory_forward(self, bytes_per_element: int) -> float:
        """Forecast of the peak of a forward pass without gradients, in B."""
        return (self.inference or self.memory).forward_peak(bytes_per_element)


@dataclass(frozen=True)
class DecodeCost:
    """Closed-form cost of generation for a whole batch, in elements of the model's number format.

    Attributes:
        read: elements that one decode step must read: weights that some row needs, keys and values of the rows that pass.
        held: keys and values that are kept after the context, if tokens pass as expected.
    """

    read: float
    held: float


@dataclass(frozen=True)
class Model:
    """An architecture. Its file's first docstring line is its description.

    Attributes:
        build: makes the module, which maps int64 tokens [B, T] to logits [B, T, vocab_size].
        cost: `cost(config, seq_len, batch_size)`, the closed form that the counter is compared with.
        options: routing keys that this model reads, with their defaults; any other routing key is an error.
        sees_future: whether a model of this shape routes by a top-k that depends on later tokens.
        dynamic: whether its cost depends on the input. Then it is counted on real tensors, and `cost` takes a fourth argument,
            `module.realised`: what the module did with them.
        pairs: how many pairs of a token and an expert each routed block of a module computed in its last call, where that
            depends on the input; else None. `cost` then takes them as its fourth argument, and without them gives what is
            expected; so do calls on shapes alone, on which a training step is counted.
        explained: `COUNTER MODULE` (such as `fvcore gate`) to the reason why that count of its FLOPs differs there by design.
        decode_cost: `decode_cost(config, context, batch_size)`; None: unknown.
    """

    build: Callable[[ModelConfig], LanguageModel]
    cost: Callable[[ModelConfig, int, int], Cost]
    options: Mapping[str, object] = field(default_factory=dict)
    sees_future: Callable[[ModelConfig], bool] = lambda _: False
    dynamic: bool = False
    pairs: Callable[[Any], Sequence[int] | None] = lambda _: None
    explained: Mapping[str, str] = field(default_factory=dict)
    decode_cost: Callable[[ModelConfig, int, int], DecodeCost] | None = None


Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Metric(Generic[Given, Made]):
    """A quantity that is measured, typed by what its pass gives to `measure` and what `measure` returns.

    Attributes:
        key: name, grouped by slashes.
        unit: base unit of stored values.
        better: the direction that is better; `neither` where there is none, as for a learning rate.
        workload: the workload that is measured.
        about: one sentence for `modbench list metrics`.
        measure: the function that the pass calls; for a derived metric, its result is divided by the seconds of `source`.
        measured_by: the pass that measures it; empty for a derived metric.
        source: the timed metric that it is derived from.
        needs: a pass whose finding about the machine it needs.
        per: what one sample is divided by: nothing (`call`), the decode steps of a call, or its tokens.
        timer: how it is timed; metrics of one workload and timer are timed together.
        lap: the part of a call that it measures; empty: the whole call.
        estimand: what its effect and its verdict are of, medians or means; a rate's are always of means.
        quantile: whether a sample is a quantile over many calls or steps, so that samples have no meaningful mean.
        scored_as: `ratio` where baseline over case is meaningful, `difference` where only case minus baseline is.
        theoretical: field of `CountNotes` whose ratio between both sides is the theoretical speed-up; empty: no theoretical
            speed-up.
        no_theoretical: why there is no theoretical speed-up.
        statistic: kind of number that a value is; empty: as its pass says.
        no_interval: why a value has no interval; empty: as its pass says.
        on_request: whether it is measured only when a suite asks for it, although its pass always measures the others.
        planned_by: the table of a suite that plans its comparisons (`planning/suite_tables.py`); empty: the grid, or training on
            a corpus.
        entry: kind and name of the catalogue's entry that it is about, such as a task; None: it is about none.
        range: what its value can be; None: as its unit says (`core/units.py`).
    """

    key: str
    unit: Unit
    better: Literal["lower", "higher", "neither"]
    workload: Workload
    about: str
    measure: Callable[[Given], Made]
    measured_by: str = ""
    source: str = ""
    needs: str = ""
    per: Literal["call", "step", "token"] = "call"
    timer: Timer = ""
    lap: str = ""
    estimand: Estimand = "median"
    quantile: bool = False
    scored_as: Literal["ratio", "difference"] = "ratio"
    theoretical: str = ""
    no_theoretical: str = ""
    statistic: str = ""
    no_interval: str = ""
    on_request: bool = False
    planned_by: str = ""
    entry: tuple[str, str] | None = None
    range: Range | None = None

    def __post_init__(self) -> None:
        """Check that the metric is either measured by a pass or derived from another metric."""
        assert bool(self.measured_by) != bool(self.source), f"{self.key}: must name either a pass or a source"
        if self.source:
            object.__setattr__(self, "estimand", "mean")

    @property
    def group(self) -> str:
        """Group of metrics that are timed together: `forward`, `forward-device`, `train_step-parts`."""
        return f"{self.workload}-{self.timer}" if self.timer else self.workload

    @property
    def allowed(self) -> Range:
        """The range of its values."""
        return self.range or RANGES.get(self.unit, Range())


AnyMetric = Metric[Any, Any]


# modbench's own tokenizers; a model's own is named by its source, as in `hf:FOLDER`.
TOKENIZERS = ("bytes", "bpe")


@dataclass(frozen=True)
class Text:
    """A corpus as read: bytes to train on, bytes held out, and their hash."""

    name: str
    train: bytes
    val: bytes
    sha256: str


# Marks positions where no question is asked: the value that torch's cross-entropy ignores.
UNASKED = -100


@dataclass(frozen=True)
class Examples:
    """Sequences of a task, as numpy arrays.

    Attributes:
        tokens_NT: int64, padded on the right with 0.
        answers_NT: int64; the token that must follow position t if a question ends there, `UNASKED` elsewhere.
        kinds_NT: int64; kind of each question, an index into `Source.kinds`; 0 elsewhere.
        lengths_N: int64; number of tokens of each row without padding, answers to earlier questions included.
    """

    tokens_NT: Any
    answers_NT: Any
    kinds_NT: Any
    lengths_N: Any


@dataclass(frozen=True)
class Source:
    """An opened task: the source of its examples.

    Attributes:
        words: text of each token; their number is the size of the vocabulary. Token 0 pads.
        seq_len: the longest sequence.
        candidates: tokens that can be an answer: a model's answer is the likeliest of these.
        kinds: names of the kinds of question, such as templates, numbers of facts, distances.
        draw: `draw(rng, n)` returns n training examples that depend only on the numpy generator.
        held_out: examples that never occur in training.
        sha256: hash of the files that it was read from; empty for a generator.
    """

    words: tuple[str, ...]
    seq_len: int
    candidates: tuple[int, ...]
    kinds: tuple[str, ...]
    draw: Callable[[Any, int], Examples]
    held_out: Examples
    sha256: str = ""


# Three quarters of the way from the best shortcut to every answer right: `plugins/tasks/solved.py` says what it is for.
SOLVED = 0.75


@dataclass(frozen=True)
class Task:
    """A skill that is trained and tested separately. Its file's first docstring line is its description.

    Attributes:
        open: `open(path)` returns the source; path is None for a generator.
        shortcuts: `shortcuts(train, held_out)` returns by name the accuracy, on the held-out questions, of rules that do not
            solve the task: cue words, positions, guesses among the tokens of the sequence.
        needs_path: whether it reads the user's files.
        steps: training steps in which a dense model of width 64 and 4 layers should learn it.
        batch_size: sequences per step.
        solved: share of the way from the best shortcut to every answer right from which a run has solved it; above 0, at most 1.
    """

    open: Callable[[str | None], Source]
    shortcuts: Callable[[Examples, Examples], Mapping[str, float]]
    needs_path: bool = False
    steps: int = 1000
    batch_size: int = 32
    solved: float = SOLVED


@dataclass(frozen=True)
class Corpus:
    """A source of text. `read(path)` is called with None if the corpus needs no path."""

    read: Callable[[str | None], Text]
