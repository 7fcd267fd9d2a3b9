"""What an addition exports: a `Model`, a `Metric`, a `Task`, a `Corpus`. Plain data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from modbench.harness.core.labels import Label
from modbench.harness.core.memory_ledger import Ledger
from modbench.harness.core.units import Unit

if TYPE_CHECKING:
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.core.language_model import LanguageModel
    from modbench.harness.results.evidence import Evidence

Workload = Literal["forward", "train_step", "prefill", "decode", "train"]
# How a workload is timed: whole calls end to end, the parts of a step, single decode steps, as a server answers, device events
# behind a spin kernel, or the replay of a CUDA graph.
Timer = Literal["", "parts", "steps", "first-token", "serving", "device", "graph"]


@dataclass(frozen=True)
class Cost:
    """Closed-form cost of one case. 1 multiply-add = 2 FLOPs; embedding look-ups, norms, softmax and top-k count 0.

    Attributes:
        parts: forward FLOPs per component, the whole batch; attention scores and values over the full square.
        attention_causal: FLOPs of scores and values over the lower triangle alone, diagonal included.
        params: number of parameters.
        memory: what every layer keeps and needs while training.
        inference: the same without gradients, where other layers run; None: the same layers.
        train_only: FLOPs, forward and backward, of what runs while training alone, such as an auxiliary predictor.
        predictor: forward FLOPs of predictors, where routers decide without the future; no part of a top-k forward pass.
        training: cost of the forward pass while training, where it is another; None: the same.
        modules: forward FLOPs by module path, as a counter attributes them; what runs in none of these is the rest.
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
        """`flops/forward`: what a counter sees (full-square attention, head included)."""
        return sum(self.parts.values())

    @property
    def forward_causal(self) -> float:
        """`flops/forward/causal`: what a causal kernel must do."""
        square = self.parts.get("scores", 0.0) + self.parts.get("values", 0.0)
        return self.forward - square + self.attention_causal

    @property
    def forward_headless(self) -> float:
        """`flops/forward/headless`: the head left out, as papers count that speak of non-embedding FLOPs."""
        return self.forward - self.parts.get("head", 0.0)

    @property
    def train_step(self) -> float:
        """`flops/train_step`: backward is twice forward; the optimizer counts 0."""
        return 3 * (self.training or self).forward + self.train_only

    @property
    def train_step_causal(self) -> float:
        """The same with causal attention: what a training step is promised by."""
        return 3 * (self.training or self).forward_causal + self.train_only

    @property
    def train_step_hardware(self) -> float:
        """`flops/train_step/hardware`: with what fused attention computes again in its backward pass, the scores."""
        return self.train_step + (self.training or self).parts.get("scores", 0.0)

    def bytes_forward(self, bytes_per_element: int) -> float:
        """Bytes that a forward pass must move at least: every weight read once, every kept activation written and read once."""
        return self.params * bytes_per_element + 2 * self.memory.saved(bytes_per_element)

    def memory_train(self, bytes_per_element: int) -> float:
        """Forecast of `memory/peak_allocated` in B: a training step with both AdamW moments there."""
        return self.memory.train_peak(bytes_per_element)

    def memory_forward(self, bytes_per_element: int) -> float:
        """Forecast of the peak of a forward pass without gradients, in B."""
        return (self.inference or self.memory).forward_peak(bytes_per_element)


@dataclass(frozen=True)
class DecodeCost:
    """Closed-form cost of generating, for a whole batch, in elements of the model's number format.

    Attributes:
        read: what one decode step must read: weights that some row needs, keys and values of the rows that pass.
        held: keys and values that are kept after the context, where tokens pass as expected.
    """

    read: float
    held: float


@dataclass(frozen=True)
class Model:
    """An architecture. Its file's first docstring line is its description.

    Attributes:
        build: makes the module, which maps int64 tokens [B, T] to logits [B, T, vocab_size].
        cost: `cost(config, seq_len, batch_size)`, the closed form that the counter is compared with.
        options: routing keys that this model reads, with their defaults; any other key is an error.
        sees_future: whether a model of this shape routes by a top-k that depends on later tokens.
        dynamic: whether its cost depends on the input. It is then counted on real tensors, and `cost` takes a fourth argument:
            `module.realised`, what the module did with them.
        explained: `OPINION MODULE` to why that opinion on its FLOPs differs there by design, such as `fvcore gate`.
        decode_cost: `decode_cost(config, context, batch_size)`; None: not known.
    """

    build: Callable[[ModelConfig], LanguageModel]
    cost: Callable[[ModelConfig, int, int], Cost]
    options: Mapping[str, object] = field(default_factory=dict)
    sees_future: Callable[[ModelConfig], bool] = lambda _: False
    dynamic: bool = False
    explained: Mapping[str, str] = field(default_factory=dict)
    decode_cost: Callable[[ModelConfig, int, int], DecodeCost] | None = None


Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Metric(Generic[Given, Made]):
    """A quantity as data, typed by what its pass gives to `measure` and what `measure` returns.

    Attributes:
        key: slash-grouped name.
        unit: base unit of stored values.
        better: which direction the reader wants; `neither` where no direction is better, as for a learning rate.
        workload: what runs while it is measured.
        about: one sentence for `modbench list metrics`.
        measure: the function that the pass calls; for a derived metric, what is divided by the seconds of `source`.
        made_in: the pass that makes it; empty for a derived metric.
        source: the timed metric that it is derived from.
        needs: a pass whose finding about the machine it needs.
        per: what one sample is divided by: nothing, the decode steps of a call, or its tokens.
        timer: how it is timed; metrics of one workload and timer are timed together.
        lap: which of a call's laps it is; empty: the whole call.
        scored_as: `ratio` where baseline over case has a meaning, `difference` where only case minus baseline has.
        noun: what a value is called where it has no ratio, such as `a loss`.
        ideal: the count of both sides whose ratio is the ideal, by its name in `CountNotes`; empty: there is none.
        no_ideal: why there is no ideal.
        statistic: what kind of number a value is, where that is not its pass's word for it.
        no_interval: why a value has no interval, where that is not its pass's reason.
        on_request: whether it is made only when a suite asks for it, although its pass makes the others anyway.
        task: the task whose accuracy it is.
    """

    key: str
    unit: Unit
    better: Literal["lower", "higher", "neither"]
    workload: Workload
    about: str
    measure: Callable[[Given], Made]
    made_in: str = ""
    source: str = ""
    needs: str = ""
    per: Literal["call", "step", "token"] = "call"
    timer: Timer = ""
    lap: str = ""
    scored_as: Literal["ratio", "difference"] = "ratio"
    noun: str = ""
    ideal: str = ""
    no_ideal: str = ""
    statistic: str = ""
    no_interval: str = ""
    on_request: bool = False
    task: str = ""

    def __post_init__(self) -> None:
        """A metric is measured by a pass or derived from another metric."""
        assert bool(self.made_in) != bool(self.source), f"{self.key}: names a pass or a source, not both"

    @property
    def group(self) -> str:
        """What is timed together: `forward`, `forward-device`, `train_step-parts`."""
        return f"{self.workload}-{self.timer}" if self.timer else self.workload


AnyMetric = Metric[Any, Any]


@dataclass(frozen=True)
class Doubt:
    """When a number is not to be trusted. Its file's first docstring line says what about.

    Attributes:
        finds: what is wrong with a cell (`harness/results/evidence.py`), in one sentence; None: nothing.
        advice: what to do about it.
        label: the warning that then stands beside the case in every output; None where the finding is about this one cell.
    """

    finds: Callable[[Evidence], str | None]
    advice: str
    label: Label | None = None


@dataclass(frozen=True)
class Text:
    """A corpus as it was read: bytes to train on, bytes held out, and the hash that names them."""

    name: str
    train: bytes
    val: bytes
    sha256: str


# Where no question is asked: the same number by which torch's cross-entropy leaves a position out.
UNASKED = -100


@dataclass(frozen=True)
class Examples:
    """Sequences of a task, as numpy arrays.

    Attributes:
        tokens_NT: int64, padded on the right with 0.
        answers_NT: int64; the token that must follow position t where a question ends there, `UNASKED` elsewhere.
        kinds_NT: int64; of each question its kind, an index into `Source.kinds`; 0 elsewhere.
        lengths_N: int64; real tokens of each row, the answers to earlier questions included.
    """

    tokens_NT: Any
    answers_NT: Any
    kinds_NT: Any
    lengths_N: Any


@dataclass(frozen=True)
class Source:
    """A task made ready: where its examples come from.

    Attributes:
        words: what each token is written as; their number is the vocabulary's size. Token 0 pads.
        seq_len: the longest sequence.
        candidates: tokens that an answer can be: a model's answer is the likeliest of these.
        kinds: names of the kinds of question, such as templates, numbers of facts, distances.
        draw: `draw(rng, n)` gives n training examples, from nothing but the numpy generator.
        held_out: examples that training never shows.
        sha256: of the files that it was read from; empty for a generator.
    """

    words: tuple[str, ...]
    seq_len: int
    candidates: tuple[int, ...]
    kinds: tuple[str, ...]
    draw: Callable[[Any, int], Examples]
    held_out: Examples
    sha256: str = ""


@dataclass(frozen=True)
class Task:
    """A skill that is trained and tested apart. Its file's first docstring line is its description.

    Attributes:
        open: `open(path)` gives the source; path is None for a generator.
        shortcuts: `shortcuts(train, held_out)` gives, by name, the accuracy on the held-out questions of rules that do not
            solve the task: cue words, positions, guesses among what stands there.
        needs_path: whether it reads files of the user's.
        steps: training steps in which a dense model of width 64 and 4 layers should learn it.
        batch_size: sequences of such a step.
    """

    open: Callable[[str | None], Source]
    shortcuts: Callable[[Examples, Examples], Mapping[str, float]]
    needs_path: bool = False
    steps: int = 1000
    batch_size: int = 32


@dataclass(frozen=True)
class Corpus:
    """A source of text. `read(path)` gets None where the corpus needs no path."""

    read: Callable[[str | None], Text]
