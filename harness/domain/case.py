"""The parts of a plan (Place, Case, Comparison, UnitOfWork, Protocol), and the ids that name files and rows.

A plan stores the facts of its cases and jobs, so that nothing looks them up in the catalogue afterwards.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

from pydantic import AfterValidator, Field, model_validator

from modbench.harness.core import variant_titles
from modbench.harness.core.config import Key, ModelConfig
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.model_specs import Options, is_user_model
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.core.variant_titles import short_name
from modbench.harness.domain.phases import WALL, Phase

# No title steers a terminal.
Title = Annotated[str, AfterValidator(lambda text: text and variant_titles.checked(text))]
Dtype = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda"]
Size: TypeAlias = Annotated[int, Field(ge=1)]
ELEMENT_BYTES: dict[Dtype, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
# What a count holds besides what every number needs to be believed: training steps, fvcore's opinion, the operators of a call.
Counts = Literal["training", "third_opinion", "forward_operators", "train_operators"]
COUNTS: tuple[Counts, ...] = get_args(Counts)
# Variants in a block besides the anchor. With more, the first and last variants of a block would lie far apart in time.
VARIANTS_PER_BLOCK = 3


class CaseFacts(Frozen):
    """Facts of a case's model and router; none of them changes a number.

    Attributes:
        short: short name of the model, as in ids.
        shipped: whether modbench ships the model.
        own_router: whether its router is the user's, whose cost no closed form knows.
        keys: routing keys that the model reads; None for a model that is not in the catalogue: nobody knows.
        dynamic: whether its cost depends on the input, as the model's file declares; None: as for `keys`.
        sees_future: whether a top-k depends on later tokens, as the model's file declares; None: as for `keys`.
        trained: whether it comes with trained weights, as a checkpoint does; of a user's own file nobody knows.
        title: what tables and figures call the variant, in the user's words; empty: its own name.
    """

    short: str
    shipped: bool
    own_router: bool
    keys: tuple[str, ...] | None = None
    dynamic: bool | None = None
    sees_future: bool | None = None
    trained: bool = False
    title: Title = ""

    @property
    def runs_user_code(self) -> bool:
        """Whether building the case runs a user's code: a model or a router. It may do anything, such as end its process."""
        return not self.shipped or self.own_router

    @property
    def routes(self) -> bool:
        """Whether the model of the catalogue routes tokens, so that its loss is also measured without the future."""
        return self.keys is not None and bool({"router", "choice"} & {*self.keys})


class Made(NamedTuple):
    """A metric that a job measures.

    Attributes:
        key: the metric's key.
        unit: base unit of its values.
    """

    key: str
    unit: str


class JobFacts(Frozen):
    """Facts of a job's pass, whose attributes `domain/passes.py` explains, and of its metrics.

    Attributes:
        phase: the phase in which it runs.
        makes: the metrics that it measures, each of every case.
        samples: what its samples are.
        column: the column of samples that holds the value.
        alone: whether it runs with nothing at the same time.
        timed: whether it measures time.
        cold: whether it needs a fresh interpreter at any effort.
        repeated: whether it is repeated in every process.
        trains: whether it trains a model.
        about_machine: whether it finds out something that belongs to no metric: about the machine, or of a whole model.
        predicts: whether its pass says itself how long it takes (`Pass.estimate_seconds`).
        environment: environment variables that its process needs before it starts.
        most: how many times the predicted work it may take at most.
        besides_s: seconds that it may take at most besides that work.
    """

    phase: Phase
    makes: tuple[Made, ...]
    samples: Literal["processes", "seeds", "one"]
    column: str
    alone: bool
    timed: bool
    cold: bool
    repeated: bool
    trains: bool
    about_machine: bool
    predicts: bool
    environment: tuple[tuple[str, str], ...]
    most: float = 1.0
    besides_s: float = 0.0

    @property
    def times(self) -> bool:
        """Whether its samples are wall times of calls."""
        return self.column == WALL


class GridPoint(Frozen):
    """Where and on what input a case runs: shape, number format, device. All variants of a comparison share it.

    Attributes:
        seq_len: tokens per sequence, T.
        batch_size: sequences per call, B.
        dtype: number format of weights and activations.
        device: `cpu` or `cuda`.
        threads: intra-op CPU threads.
        compile: whether `torch.compile` wraps the model.
        graph: whether decode steps are replayed as a CUDA graph.
        new_tokens: decode steps that follow the prompt of `seq_len` tokens in an end-to-end request; 0: no request.
    """

    seq_len: Size
    batch_size: Size
    dtype: Dtype
    device: Device
    threads: Size
    compile: bool
    graph: bool = False
    new_tokens: Annotated[int, Field(ge=0)] = 0

    @property
    def one_thread(self) -> bool:
        """Whether the CPU time of the timed thread is comparable with wall time."""
        return self.device == "cpu" and self.threads == 1

    @property
    def working_threads(self) -> int:
        """Threads that do the timed work: on a GPU autograd starts the backward pass from one of its own."""
        return self.threads if self.device == "cpu" else max(2, self.threads)

    @property
    def execution(self) -> str:
        """How calls run, in words: `eager`, `compiled` or `CUDA graph`."""
        return "CUDA graph" if self.graph else "compiled" if self.compile else "eager"

    def tokens(self, workload: str) -> int:
        """Tokens that a rate of a workload counts: of a decode step one for each row, of a request the new ones."""
        return self.batch_size * {"decode": 1, "request": self.new_tokens}.get(workload, self.seq_len)

    @property
    def label(self) -> str:
        """Label in ids and file names: `T512-B1-fp32-cpu1`, of a request `T512-N128-B1-fp32-cpu1`."""
        device = f"cpu{self.threads}" if self.device == "cpu" else self.device
        return (
            f"T{self.seq_len}{f'-N{self.new_tokens}' * bool(self.new_tokens)}-B{self.batch_size}-{self.dtype}-{device}"
            + "-compile" * self.compile
            + "-graph" * self.graph
        )


class Condition(Frozen):
    """What a plug-in adds to a case: under which condition it is measured.

    Attributes:
        key: its name, such as `task`: the column of tables that holds it, where they have such a column.
        value: its value.
        label: what it is called in ids.
        title: what a page calls it.
        unit: unit of a value that is a number.
    """

    key: str
    value: str | float
    label: str
    title: str
    unit: str = ""


class Case(Frozen):
    """One point of the grid: exactly the fields that can change a number.

    Attributes:
        model: catalogue name, or a user's `FILE.py:build`.
        variant_parts: what distinguishes this variant from others of its model in the suite, such as `c0.125`.
        sized: whether the last of these is its size, where every variant is measured in several.
        config: shape of the model.
        grid_point: where and on what input it runs.
        matched: whether this is a matched baseline: a shape solved to cost what another variant costs, or a multiple.
        conditions: what plug-ins add, such as the task that it is trained on.
        aa_control: whether it is a second instance of the baseline, timed to see whether the machine calls equals equal.
        options: what a user's build is given by name besides the configuration.
        by_name: keys of the configuration that it is given by name as well, since it has options of these names.
        tokenizer: the tokenizer of a pretrained model whose tokens it reads; empty: it reads the suite's.
    """

    model: str
    variant_parts: tuple[str, ...]
    config: ModelConfig
    grid_point: GridPoint
    sized: bool = False
    matched: bool = False
    conditions: tuple[Condition, ...] = ()
    aa_control: bool = False
    options: Options = ()
    by_name: tuple[Key, ...] = ()
    tokenizer: str = ""

    def condition(self, key: str) -> str | float | None:
        """The value of a condition; None if the case does not have it."""
        return next((each.value for each in self.conditions if each.key == key), None)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that a user's build gets by name."""
        return dict(self.options) | {key: getattr(self.config, key) for key in self.by_name}

    @property
    def original(self) -> Case:
        """The baseline that an A/A control is equal to; another case itself."""
        return self.model_copy(update={"aa_control": False}) if self.aa_control else self

    @property
    def is_user_model(self) -> bool:
        """Whether the model is the user's: its closed form and routing are not known."""
        return is_user_model(self.model)

    @functools.cached_property
    def short_model(self) -> str:
        """Short name of the model: `mod`, or `mine:build` for a user's `some/folder/mine.py:build`."""
        return short_name(self.model)

    @functools.cached_property
    def facts(self) -> CaseFacts:
        """Facts of its model and router, which whoever plans the case looks up (`case_facts.py`); `Comparison` stores them."""
        raise AssertionError(f"no facts of {self.model} are known")

    def with_facts(self, facts: CaseFacts) -> Case:
        """The same case with the facts of its model and router."""
        made = self.model_copy()
        made.__dict__["facts"] = facts
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Case:
        """Copy the case, without what was made from its fields."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("id", "variant", "short_model"):
            made.__dict__.pop(name, None)
        if update and {"model", "config", "options"} & update.keys():
            made.__dict__.pop("facts", None)
        return made

    @property
    def title(self) -> str:
        """What tables and figures call the variant, in the user's words; empty: its own name."""
        facts: CaseFacts | None = self.__dict__.get("facts")
        return facts.title if facts is not None else ""

    def with_title(self, title: str) -> Case:
        """The same case with a title; the empty one takes its title away."""
        return self.with_facts(self.facts.model_copy(update={"title": title}))

    @functools.cached_property
    def id(self) -> str:
        """Case id, like pytest's: `mod[c0.125-T512-B1-fp32-cpu1]`; `dense-f0.56[…]`: matched baseline; `dense-aa[…]`: control."""
        where = "-".join((*(each.label for each in self.conditions), self.grid_point.label))
        if self.matched:
            return f"{self.variant}[{where}]"
        return f"{self._model_name}[{'-'.join((*self.variant_parts, where))}]"

    @functools.cached_property
    def variant(self) -> str:
        """The id without its grid part: `mod[c0.125]`, `dense`, `dense-f0.56`, `dense-aa`."""
        return self._named(self.variant_parts)

    @property
    def size(self) -> str:
        """Its size among several; empty where there is one."""
        return self.variant_parts[-1] if self.sized else ""

    @property
    def family(self) -> str:
        """The variant without its size: `mod[c0.125]`, `dense`."""
        return self._named(self.variant_parts[:-1] if self.sized else self.variant_parts)

    def _named(self, parts: tuple[str, ...]) -> str:
        if self.matched:
            return "-".join((self.short_model, *parts, *(("aa_control",) if self.aa_control else ())))
        return f"{self._model_name}[{'-'.join(parts)}]" if parts else self._model_name

    @property
    def _model_name(self) -> str:
        return f"{self.short_model}-aa" if self.aa_control else self.short_model

    def config_diff(self) -> str:
        """JSON of the fields that are not default, with a user's `options`; derived values such as `d_ff` count as default."""
        if not self.options:
            return _config_diff(self.config)
        return json.dumps(json.loads(_config_diff(self.config)) | {"options": dict(self.options)}, sort_keys=True)


class Comparison(Frozen):
    """Cases that are interleaved in one process so that drift cancels; the first is the baseline.

    Attributes:
        variants: the cases.
        metrics: keys of what is measured.
        name: distinguishes comparisons at the same place: a task, or a size and a budget.
        aa_control: whether an A/A control of the baseline is timed beside the variants. It is no variant: it is neither counted
            nor trained, and no claim is about it.
        partial: whether it holds only some of the variants at its place, as where a search requests each variant apart.
        facts: what is known of each variant's model and router (`Case.facts`), in the order of the variants. It is no part of
            the cases: nothing in it changes a number.
    """

    variants: Annotated[tuple[Case, ...], Field(min_length=1)]
    metrics: tuple[str, ...]
    name: str = ""
    aa_control: bool = False
    partial: bool = False
    facts: tuple[CaseFacts, ...] = ()

    @model_validator(mode="after")
    def _with_facts(self) -> Comparison:
        if "facts" not in self.model_fields_set:
            self.__dict__["facts"] = tuple(case.facts for case in self.variants)
        if len(self.facts) != len(self.variants):
            raise ValueError(f"of {len(self.variants)} variants {len(self.facts)} have facts")
        for case, facts in zip(self.variants, self.facts, strict=True):
            case.__dict__.setdefault("facts", facts)
        return self

    @property
    def grid_point(self) -> GridPoint:
        """The place that all variants share."""
        return self.variants[0].grid_point

    @property
    def label(self) -> str:
        """Name and place, as used in file names."""
        return "-".join(part for part in (self.name, self.grid_point.label) if part)

    @property
    def aa_control_case(self) -> Case | None:
        """The baseline's A/A control; None where none is timed, or where there is no variant that it could speak for."""
        return (
            self.variants[0].model_copy(update={"aa_control": True})
            if self.aa_control and len(self.variants) > 1
            else None
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Comparison:
        """Copy the comparison, without what was made from its fields; other variants bring their facts."""
        made = super().model_copy(update=update, deep=deep)
        made.__dict__.pop("timed", None)
        if update and "variants" in update:
            made.__dict__["facts"] = tuple(case.facts for case in made.variants)
        return made

    @property
    def shipped(self) -> tuple[Case, ...]:
        """The variants that run no code of a user's."""
        return tuple(case for case in self.variants if not case.facts.runs_user_code)

    @functools.cached_property
    def timed(self) -> Comparison:
        """The comparison as timed: with the A/A control as its last variant."""
        aa_control = self.aa_control_case
        return (
            self
            if aa_control is None
            else self.model_copy(update={"variants": (*self.variants, aa_control), "aa_control": False})
        )


class MatchedBaseline(Frozen):
    """A matched baseline: the variant it matches, and how closely.

    Attributes:
        variant: the matched baseline.
        target: the variant that it matches.
        solved_at: the sequence length at which the match was solved, of several the longest.
        everywhere: whether it was solved at every length, with a shape for each.
        gaps: sequence length to relative gap of the quantity, matched baseline over target minus 1.
        quantity: what is matched: forward or training FLOPs, parameters, or the time that peaks predict.
    """

    variant: str
    target: str
    solved_at: int
    everywhere: bool = False
    gaps: dict[int, float]
    quantity: str = "flops/forward"


class DecodePlan(Frozen):
    """How decoding is timed after a context of the grid's `seq_len` tokens.

    Attributes:
        tokens: decode steps of one timed call, whose value is their mean. A median would reflect only the tokens that skip.
    """

    tokens: Annotated[int, Field(ge=1, le=2**24)] = 64


class Protocol(Frozen):
    """How a job measures, with all defaults resolved.

    Attributes:
        rounds: rounds per process, each visiting every variant twice.
        warm_up_calls: calls of every variant before the first round.
        warm_up_s: minimum duration of the warm-up, in s.
        seed: seed of weights, inputs and orders.
        train: the training run, for jobs that train: resolved for their model.
        rates: multiples of its learning rate to try, for jobs that search for the best.
        decode: the decode measurement, for jobs that decode.
        settings: what their pass gets of a plug-in's table of the suite (`Pass.table`).
        corpus: catalogue name of the corpus; empty for jobs that train on data of a plug-in's.
        corpus_path: its path, or that of these data, if it takes one.
        corpus_sha256: expected hash of the corpus, or of these data.
        trace: path to which a profile writes its trace.
        counts: for jobs that count, what is counted besides what every number needs to be believed; None: everything.
    """

    rounds: int
    warm_up_calls: int
    warm_up_s: float = 0.0
    seed: int
    train: TrainRun | None = None
    rates: tuple[float, ...] = ()
    decode: DecodePlan = DecodePlan()
    settings: Options = ()
    corpus: str
    corpus_path: str | None
    corpus_sha256: str
    trace: str | None = None
    counts: tuple[Counts, ...] | None = None


class Job(Frozen):
    """Work for one fresh process: a process of a comparison, a count, a memory pass or a training run.

    Attributes:
        name: name of its files.
        made_in: the pass that runs it.
        workload: for the timing pass, what is timed: a metric's group.
        process: number of the process, from 0.
        comparison: the variants and metrics.
        protocol: how they are measured.
        flops: predicted FLOPs, from which the time left is estimated.
        series: what its processes share: the name without the process; empty for a job that is not repeated.
        group: the jobs that a rule looks at together, of which it is one; empty for a job that no rule looks at.
        rule: the rule that may ask for it; empty for a job that runs in any case.
        facts: what later code needs to know of its pass and metrics. They are looked up where a job is made, and stored with it.
    """

    name: str
    made_in: str
    workload: str
    process: int
    comparison: Comparison
    protocol: Protocol
    flops: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    series: str = ""
    group: str = ""
    rule: str = ""
    facts: JobFacts

    @property
    def shipped(self) -> Job:
        """The job without users' models, as it is tried again when one of them may have killed the process."""
        return self.model_copy(
            update={"comparison": self.comparison.model_copy(update={"variants": self.comparison.shipped})}
        )

    @property
    def of_corpus(self) -> bool:
        """Whether it trains on the suite's corpus, with one seed, or evaluates on it."""
        return self.facts.samples == "seeds" and bool(self.protocol.corpus)

    @property
    def ranks(self) -> int:
        """Processes that share the job on a machine."""
        return self.protocol.train.ranks if self.protocol.train else 1


@functools.lru_cache(maxsize=4096)
def _config_diff(config: ModelConfig) -> str:
    given = config.model_dump()
    chosen = {key: given[key] for key in ("d_model", "activation", "n_heads", "head_dim")}
    derived = ModelConfig.model_validate(chosen).model_dump() | ModelConfig.model_validate({}).model_dump(
        include={"d_model", "activation"}
    )
    derived["n_heads"] = max(1, given["d_model"] // 64)
    derived["head_dim"] = given["d_model"] / given["n_heads"]  # a fraction equals no head_dim
    return json.dumps({key: value for key, value in given.items() if value != derived[key]}, sort_keys=True)
