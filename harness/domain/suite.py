"""Suites: which cases, which metrics, how much effort. `load_suite.py` reads their files."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from modbench.harness.core.config import check_sizes
from modbench.harness.core.immutable import Frozen, Margin
from modbench.harness.core.train_plan import TrainPlan
from modbench.harness.core.units import MOST_THREADS, check_seed, plain_share
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import DecodePlan, Device, Dtype, Protocol
from modbench.harness.domain.variant_tables import Quantity, Variant

if TYPE_CHECKING:
    from typing import Self

Effort = Literal["smoke", "draft", "standard", "rigorous"]

# Processes and rounds of each effort. A process is the unit of evidence; a round visits every variant. Many short processes
# tell more than few long ones: processes of the same code differ, and rounds of one process cannot show by how much. From
# standard up the processes are a pilot. Of eight: from six, the interval of two variants alone covered less than 93 %
# (benchmarks/process_power.py).
EFFORTS: dict[Effort, tuple[int, int]] = {
    "smoke": (1, 3),
    "draft": (10, 6),
    "standard": (8, 8),
    "rigorous": (10, 16),
}


class TwoStage(NamedTuple):
    """How a pilot decides the number of processes: the most that it may ask for, and what they shall be able to detect."""

    most_processes: int
    detectable: float


# Efforts whose processes above are a pilot. At 1 %, a true +3 % is called worse in 80 % of runs at a margin of 2 %.
TWO_STAGE: dict[Effort, TwoStage] = {"standard": TwoStage(24, 0.01), "rigorous": TwoStage(40, 0.005)}
# Fewest processes of a pilot from which their spread is estimated.
FEWEST_PILOT = 4


class WarmUp(NamedTuple):
    """Calls of every variant, and the least seconds of all variants together on a CPU."""

    calls: int
    seconds: float


# After two calls variants are no further apart than later (2 to 5 %, four processes). Cold processes, whose libraries
# start too, get one call more. Whether it was enough is tested: the drift over all processes.
WARM_UPS: dict[Effort, WarmUp] = {
    "smoke": WarmUp(1, 0.0),
    "draft": WarmUp(2, 0.1),
    "standard": WarmUp(3, 0.25),
    "rigorous": WarmUp(3, 0.25),
}


Execution = Literal["eager", "compiled", "graph"]


class Grid(Frozen):
    """Axes of the grid: every variant runs at each point of their Cartesian product.

    Attributes:
        seq_len: sequence lengths in tokens; when decoding, lengths of the context.
        batch_size: sequences in a call.
        dtype: number formats of weights and computation.
        execution: as written (`eager`), by torch.compile (`compiled`), or decode steps as a CUDA graph (`graph`).
        input_len: tokens of the prompt of an end-to-end request (`latency/request`); none: those of `seq_len`.
        output_len: tokens that a request generates, each with each prompt; none: `decode.tokens`.
    """

    seq_len: tuple[int, ...] = Field((128, 256, 512), min_length=1)
    batch_size: tuple[int, ...] = Field((1,), min_length=1)
    dtype: tuple[Dtype, ...] = Field(("fp32",), min_length=1)
    execution: tuple[Execution, ...] = Field(("eager",), min_length=1)

    input_len: tuple[int, ...] = ()
    output_len: tuple[int, ...] = ()

    @field_validator("seq_len", "batch_size", "dtype", "execution", "input_len", "output_len", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Turn a single value into a list, and drop repeated values, which would measure a case twice."""
        if not isinstance(value, list | tuple):
            return (value,)
        return tuple(item for i, item in enumerate(value) if item not in value[:i])

    @property
    def serves(self) -> bool:
        """Whether it says which requests are timed."""
        return bool(self.input_len or self.output_len)

    def requests(self, new_tokens: int) -> list[tuple[int, int]]:
        """Input and output tokens of each request; `new_tokens` where the grid has no `output_len`."""
        return [*itertools.product(self.input_len or self.seq_len, self.output_len or (new_tokens,))]

    @field_validator("seq_len", "batch_size", "input_len", "output_len")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        check_sizes(value)
        return value


# Tables of a suite that set how something is measured, but those of plug-ins; `--set TABLE.KEY` changes a value in them.
TABLES: dict[str, type[Frozen]] = {
    "grid": Grid,
    "decode_grid": Grid,
    "train": TrainPlan,
    "decode": DecodePlan,
}
# What a suite's `match` may be, and the quantity that it names.
Rival = Literal["flops", "params", "time", "none"]
MATCHES: dict[Rival, Quantity | None] = {
    "flops": "flops/forward",
    "params": "params",
    "time": "latency/forward",
    "none": None,
}


class TablePlan(Frozen):
    """The values of a table that a plug-in adds to a suite (`planning/suite_tables.py`).

    Attributes:
        table: its name.
    """

    table: ClassVar[str]

    @classmethod
    def of(cls, suite: Suite) -> Self | None:
        """The table of a suite; None if it has none."""
        given = suite.tables.get(cls.table)
        return None if given is None else cls.model_validate(given)

    @classmethod
    def settled(cls, suite: Suite) -> Self:
        """The table of a suite, or its defaults."""
        return cls.of(suite) or cls()

    @classmethod
    def given(cls, protocol: Protocol) -> Self:
        """The table as the protocol of a job has it, whose pass reads it (`Pass.table`)."""
        return cls.model_validate(dict(protocol.settings))


class Suite(Frozen):
    """A suite as in its file, with defaults filled in. It holds the tables of plug-ins too, as JSON: `TablePlan.of` reads them.

    Attributes:
        name: name of the suite, used for the default run folder.
        about: one line for `modbench list suites`.
        plugins: folders of plug-ins that it needs, relative to its file.
        needs: names of plug-ins without which it cannot run.
        effort: preset of processes and rounds.
        processes: fresh processes per comparison, without a pilot; None is the preset's.
        rounds: visits of every variant per process; None is the preset's.
        pilot_processes: processes from which their number is computed, from standard effort up; None is the preset's.
        most_processes: the most that a pilot may ask for; None is the preset's.
        detectable: minimum detectable effect that the number of processes shall reach, as a share; None is the preset's.
        margin: differences below this are of no practical interest.
        metrics: keys of the metrics.
        shape: model shape that all variants share.
        grid: axes of the grid.
        decode_grid: axes of the grid of decode metrics; axes that it lacks are those of `grid`; None: all are.
        variants: the models.
        match: what a dense model of ours has in common with each model of yours, beside which it is measured: forward
            `flops`, `params`, the predicted `time` of a forward pass; `none`: there is no such model.
        train: training run; None: no training on a corpus.
        decode: how decode steps are timed.
        corpus: text to train on: a catalogue name or a path.
        seeds: seeds of weights and data; timing uses the first.
        device: where everything runs; None: CUDA if available, else the CPU.
        threads: CPU threads of a worker.
        compile: whether torch.compile wraps every model, whatever the grid says.
        aa_control: whether an A/A control of the baseline is timed beside the variants, so that the run shows whether equals
            come out equal; never at smoke effort, which claims nothing.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    name: str
    about: str = ""
    plugins: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    effort: Effort = "draft"
    processes: int | None = Field(None, ge=1, le=1000)
    rounds: int | None = Field(None, ge=1, le=100_000)
    pilot_processes: int | None = Field(None, ge=FEWEST_PILOT, le=1000)
    most_processes: int | None = Field(None, ge=FEWEST_PILOT, le=1000)
    detectable: Annotated[float, BeforeValidator(plain_share), Field(gt=0, le=1)] | None = None
    margin: Margin = 0.02
    metrics: tuple[str, ...] = Field(min_length=1)
    shape: dict[str, Any] = Field(default_factory=dict)
    grid: Grid = Field(default_factory=lambda: Grid.model_validate({}))
    decode_grid: Grid | None = None
    variants: tuple[Variant, ...] = Field(min_length=1)
    match: Rival = "none"
    train: TrainPlan | None = None
    decode: DecodePlan = DecodePlan()
    corpus: str = "stdlib"
    seeds: tuple[int, ...] = Field((0,), min_length=1, max_length=1000)
    device: Device | None = None
    threads: int = Field(1, ge=1, le=MOST_THREADS)
    compile: bool = False
    aa_control: bool = True

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value or slug(value) != value:
            raise ValueError(f"{value!r} must be usable as a folder name: letters, digits, dots and dashes only")
        return value

    @field_validator("metrics", "seeds", mode="after")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("seeds")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for seed in value:
            check_seed(seed)
        return value

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of plug-ins, by name."""
        return self.__pydantic_extra__

    @property
    def protocol_size(self) -> tuple[int, int]:
        """Processes and rounds, from the preset unless set; where a pilot decides, its processes, which are the fewest."""
        processes, rounds = EFFORTS[self.effort]
        pilot = self.pilot_processes if self.two_stage else None
        return self.processes or pilot or processes, self.rounds or rounds

    @property
    def two_stage(self) -> bool:
        """Whether a pilot decides the number of processes: from standard effort up, unless the suite sets it."""
        return self.effort in TWO_STAGE and self.processes is None

    @property
    def processes_limit(self) -> int:
        """Most processes of a comparison; equal to the processes of `protocol_size` if there is no pilot."""
        processes, _ = self.protocol_size
        most = self.most_processes or TWO_STAGE[self.effort].most_processes if self.two_stage else processes
        return max(processes, most)

    @property
    def wanted_detectable(self) -> float | None:
        """Minimum detectable effect that the pilot's number of processes shall reach; None without a pilot."""
        return self.detectable or TWO_STAGE[self.effort].detectable if self.two_stage else None

    @property
    def processes_in_words(self) -> str:
        """Processes and rounds as the reports print them."""
        processes, rounds = self.protocol_size
        if not self.two_stage:
            return f"{processes} process{'es' * (processes != 1)} × {rounds} rounds"
        return f"{processes} to {self.processes_limit} processes × {rounds} rounds"

    @model_validator(mode="before")
    @classmethod
    def _share_axes(cls, data: object) -> object:
        """Give the grid of decode metrics the axes that it does not name."""
        if not isinstance(data, dict) or not isinstance(data.get("decode_grid"), dict):
            return data
        grid = data.get("grid")
        return data | {"decode_grid": {**(grid if isinstance(grid, dict) else {}), **data["decode_grid"]}}

    def executions(self, grid: Grid) -> tuple[Execution, ...]:
        """Ways to run the models of a grid: eager, compiled, or decode steps as a CUDA graph."""
        return ("compiled",) if self.compile else grid.execution

    @property
    def warm_up_calls(self) -> int:
        """Calls of every variant before timing starts."""
        return WARM_UPS[self.effort].calls

    @property
    def warm_up_s(self) -> float:
        """Least duration of a warm-up of all variants together on a CPU, in s."""
        return WARM_UPS[self.effort].seconds

    @property
    def claims(self) -> bool:
        """Whether verdicts may be printed; False for a smoke run."""
        return self.effort != "smoke"
