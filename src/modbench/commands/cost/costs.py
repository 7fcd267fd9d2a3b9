"""The costs of a model of any size, from closed forms, and their text. No weight is allocated, and nothing is run."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modbench.commands._output import elided
from modbench.harness.core import model_specs
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS, ModelConfig, check_sizes, with_shares
from modbench.harness.core.errors import UsageError, in_short, in_words, unknown
from modbench.harness.core.model_specs import Pairs, typed
from modbench.harness.core.plain_text import SCREEN, WIDTH, aligned
from modbench.harness.core.units import check_capacity, human
from modbench.harness.domain.case import ELEMENT_BYTES, Case, Dtype, GridPoint
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost
from modbench.harness.planning.variants import decided_by, reached_by_name, refused
from modbench.harness.registry import catalogue, user_models, user_routers
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.registry.model_loaders import from_loader
from modbench.reports.markup.number_format import plain, share

if TYPE_CHECKING:
    from modbench.harness.core.contracts import Cost
    from modbench.harness.planning.overrides import Overrides

COUNTED = "torch's counter on shapes alone (a user's model has no closed form)"
CONVENTIONS = {
    "forward": "full-square attention, with the head",
    "forward/causal": "attention over the lower triangle",
    "forward/headless": "full-square attention, without the head",
    "train_step": "model FLOPs: backward is twice forward",
    "train_step/causal": "the same over the lower triangle",
    "train_step/hardware": "as kernels run: scores are recomputed",
}

# Columns of the text where there are several rows.
HEAD = ("params", "forward", "train step", "to train", "KV cache")


@dataclass(frozen=True)
class Request:
    """A model and the grid of points to cost it at, a row for each combination; without capacities its own."""

    model: str
    options: Pairs = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    capacity: tuple[float, ...] = ()
    seq_len: tuple[int, ...] = (512,)
    batch_size: tuple[int, ...] = (1,)
    dtype: tuple[Dtype, ...] = ("fp32",)

    @classmethod
    def from_flags(cls, model: str, flags: Overrides) -> Request:
        """The request of a command line.

        Raises:
            UsageError: for an unknown number format.
        """
        dtypes: dict[str, Dtype] = {dtype: dtype for dtype in ELEMENT_BYTES}
        for name in flags.dtype:
            if name not in dtypes:
                raise unknown("dtype", name, dtypes)
        model, options = model_specs.parse_single(model, flags.option)
        return cls(
            model,
            options,
            flags.settings,
            flags.capacity,
            flags.seq_len or cls.seq_len,
            flags.batch_size or cls.batch_size,
            tuple(dtypes[name] for name in flags.dtype) or cls.dtype,
        )


def costs(request: Request) -> list[dict[str, Any]]:
    """One entry for each combination, in base units; what is unknown is None, with a reason.

    Raises:
        UsageError: if the model or a setting is unknown, or a shape is invalid.
    """
    _check(request)
    axes = (request.capacity or (None,), request.dtype, request.batch_size, request.seq_len)
    return [_costs_of(request, *point) for point in itertools.product(*axes)]


def _check(request: Request) -> None:
    if not model_specs.is_user_model(request.model):
        catalogue.find("models", request.model)
    check_sizes((*request.seq_len, *request.batch_size))
    for capacity in request.capacity:
        check_capacity(capacity)


def _config(request: Request, capacity: float | None, seq_len: int) -> tuple[ModelConfig, tuple[str, ...]]:
    """The configuration, and the keys of it that a user's build is given by name."""
    own = model_specs.is_user_model(request.model)
    options = {} if own else catalogue.model_options(request.model)
    values: dict[str, Any] = {}
    for key, value in request.settings.items():
        allowed = (*SHAPE_KEYS, *(ROUTING_KEYS if own else options))
        if key not in allowed:
            raise unknown(f"--set key of {request.model}", key, allowed)
        values[key] = value
    if capacity is not None:
        if not own and "capacity" not in options:
            raise UsageError(f"model {request.model!r} has no capacity. Leave out --capacity.")
        values["capacity"] = capacity
    values = with_shares(values)
    check_capacity(values.get("capacity"))
    routing = {key: value for key, value in values.items() if key in ROUTING_KEYS}
    by_name = reached_by_name(request.model, dict(request.options), routing) if own else ()
    values |= decided_by(request.model, dict(request.options), values)
    try:
        config = ModelConfig.model_validate({"max_seq_len": seq_len, **options, **values})
    except ValidationError as error:
        raise UsageError(f"model {request.model!r}: {in_words(error)}") from error
    if not own and not user_routers.has_closed_form(config.router):
        user_routers.check(config.router)
        raise UsageError(
            f"router {config.router!r}: closed forms know the routers that modbench ships. `modbench run` counts yours."
        )
    if config.max_seq_len < seq_len:
        raise UsageError(f"seq_len {seq_len} exceeds max_seq_len {config.max_seq_len}: raise max_seq_len.")
    return config, by_name


def case_of(request: Request, capacity: float | None, dtype: Dtype, batch_size: int, seq_len: int) -> Case:
    """One point of a request as a case on the CPU.

    Raises:
        UsageError: if the model or a setting is unknown, or the shape is invalid.
    """
    _check(request)
    config, by_name = _config(request, capacity, seq_len)
    grid_point = GridPoint(seq_len=seq_len, batch_size=batch_size, dtype=dtype, device="cpu", threads=1, compile=False)
    return with_facts(
        Case(
            model=request.model,
            variant_parts=(),
            config=config,
            grid_point=grid_point,
            options=request.options,
            by_name=by_name,
        )
    )


def _costs_of(request: Request, capacity: float | None, dtype: Dtype, batch_size: int, seq_len: int) -> dict[str, Any]:
    case = case_of(request, capacity, dtype, batch_size, seq_len)
    row: dict[str, Any] = {
        "model": request.model,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "dtype": dtype,
        "options": dict(request.options),
        "config": case.config.model_dump(),
        "dynamic": not case.is_user_model and catalogue.load("models", request.model).dynamic,
    }
    return row | (
        _counted_costs(case, _to_read(request, case, capacity)) if case.is_user_model else _closed_costs(case)
    )


def _closed_costs(case: Case) -> dict[str, Any]:
    """The row of a shipped model: what its closed form says, and the counter's second opinion."""
    dynamic, cost, width = (
        catalogue.load("models", case.model).dynamic,
        case_cost(case),
        ELEMENT_BYTES[case.grid_point.dtype],
    )
    assert cost is not None
    decode = case_decode_cost(case, case.grid_point.seq_len)
    return {
        "source": "closed form",
        "params": cost.params,
        "flops": _flops(cost),
        "parts": dict(cost.parts),
        "predictor": cost.predictor,
        "counter": _check_on_meta(case, cost),
        "bytes": {
            "forward": None if dynamic else cost.bytes_forward(width),
            "decode_step": decode.read * width if decode else None,
        },
        "memory": {
            **_of_training(cost.params * width),
            "activations": cost.memory.saved(width),
            "kv_cache": decode.held * width if decode else None,
            "peak_forward": cost.memory_forward(width),
            "peak_train_step": cost.memory_train(width),
        },
        "reason": None if decode else "how many weights a call reads depends on the input",
    }


def _of_training(parameters: float) -> dict[str, float]:
    """Bytes that a training step holds for parameters of so many bytes: AdamW has two moments."""
    return {"parameters": parameters, "gradients": parameters, "optimizer": 2 * parameters}


def _flops(cost: Cost) -> dict[str, float]:
    return {name: getattr(cost, name.replace("/", "_")) for name in CONVENTIONS}


def _check_on_meta(case: Case, cost: Cost) -> dict[str, Any]:
    """Forward FLOPs by torch's counter on the meta device, to check the closed form."""
    import torch

    from modbench.harness.call.subject.build import build_module
    from modbench.harness.planning.flops import counter

    if catalogue.load("models", case.model).dynamic:
        return {"forward": None, "reason": "the cost depends on the input, so shapes alone do not determine it"}
    with torch.device("meta"):
        module = build_module(case, 0)
        try:
            tokens_BT = torch.zeros(case.grid_point.batch_size, case.grid_point.seq_len, dtype=torch.int64)
            counted = counter.forward(module, tokens_BT).total
        except RuntimeError as error:  # more elements than torch can number
            return {"forward": None, "reason": f"torch has no such shapes: {in_short(error)}"}
    return {"forward": counted, "difference": counted / cost.forward - 1, "reason": None}


def _to_read(request: Request, case: Case, capacity: float | None) -> dict[str, object]:
    """The keys that a user's build is not given by name, and must read itself."""
    if from_loader(case.model, case.options):
        return {}
    asked = {**request.settings, **({} if capacity is None else {"capacity": capacity})}
    return {key: value for key, value in asked.items() if key in ROUTING_KEYS and key not in case.by_name}


def _counted_costs(case: Case, to_read: Mapping[str, object]) -> dict[str, Any]:
    """The row of a user's model: what the counter and fake tensors find on shapes alone.

    Raises:
        UsageError: if it cannot be built, or does not read one of these keys.
    """
    from modbench.harness.execution.user_model_costs import counted_on
    from modbench.harness.measure.passes.memory import forecasts

    try:
        counted = counted_on(case, "meta")
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"model {case.model!r} cannot be costed on shapes alone: {type(error).__name__}: {in_short(error)}"
        ) from error
    for key, value in to_read.items():
        if counted.read is not None and key not in counted.read:
            raise refused(case.model, key, value, user_models.unread(case.model, key))
    forecast, width = forecasts(case), ELEMENT_BYTES[case.grid_point.dtype]
    cost, decode = case_cost(case), case_decode_cost(case, case.grid_point.seq_len)
    forward = round(counted.forward)  # of one batch: a whole number
    own = dict.fromkeys(CONVENTIONS) | {"forward": forward, "train_step": 3 * forward}
    bound = f"; a lower bound: no formula for {', '.join(counted.unknown)}" if counted.unknown else ""
    difference = {"difference": forward / cost.forward - 1} if cost else {}
    return {
        "source": "closed form" if cost else f"{COUNTED}{bound}",
        "params": counted.params,
        "flops": _flops(cost) if cost else own,
        "parts": dict(cost.parts) if cost else {},
        "counter": {"forward": forward, "reason": None, **difference},
        "bytes": {"forward": None, "decode_step": decode.read * width if decode else None},
        "memory": {
            **_of_training(counted.params * width),
            "activations": forecast.bytes.get("memory/activations"),
            "kv_cache": decode.held * width if decode else None,
            "peak_forward": None,
            "peak_train_step": forecast.bytes.get("memory/peak_allocated"),
        },
        "reason": forecast.reason or "a user's model has no closed form of this, and shapes alone do not determine it",
    }


def as_text(rows: list[dict[str, Any]], *, verbose: bool = False) -> str:
    """The answer in one line, then a table."""
    if len(rows) == 1 or verbose:
        return "\n\n".join(_block(row) for row in rows)
    points = [_point(row) for row in rows]
    shared = {key: text for key, text in points[0].items() if all(point[key] == text for point in points)}
    varied = [key for key in points[0] if key not in shared]
    forward = sorted(row["flops"]["forward"] for row in rows)
    answer = (
        f"{_name(rows[0])}: {human(forward[0], 'FLOP')} to {human(forward[-1], 'FLOP')} forward, {len(rows)} settings"
    )
    head = (*varied, *HEAD)
    table = [
        head,
        *((*(point[key] for key in varied), *_numbers(row)) for point, row in zip(points, rows, strict=True)),
    ]
    first, *lines = aligned(table, right=range(len(head)))
    notes = _notes(rows)
    fixed = ", ".join(f"{key} {text}" for key, text in shared.items() if text)
    room = SCREEN - 5 - len(notes)
    return "\n".join([answer, fixed, "", first, *elided(lines, room, "rows"), *([""] if notes else []), *notes])


def _name(row: dict[str, Any]) -> str:
    return f"{row['model']}({typed(row['options'])})" if row["options"] else str(row["model"])


def _point(row: dict[str, Any]) -> dict[str, str]:
    """The values that the grid may vary, as text by name."""
    capacity = row["config"]["capacity"]
    return {
        "capacity": "" if capacity is None else f"{capacity:g}",
        "dtype": row["dtype"],
        "batch": plain(row["batch_size"]),
        "T": plain(row["seq_len"]),
    }


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    flops, memory = row["flops"], row["memory"]
    sizes = (memory["peak_train_step"], memory["kv_cache"])
    return (
        _count(row["params"]),
        *(human(flops[name], "FLOP") for name in ("forward", "train_step")),
        *(human(size, "B") for size in sizes),
    )


def _block(row: dict[str, Any]) -> str:
    peak = row["memory"]["peak_train_step"]
    to_train = "" if peak is None else f", {human(peak, 'B')} to train"
    answer = (
        f"{_name(row)}: {_count(row['params'])} parameters, {human(row['flops']['forward'], 'FLOP')} forward{to_train}"
    )
    point = ", ".join(f"{key} {text}" for key, text in _point(row).items() if text)
    return "\n".join([answer, point, "", *aligned(_table(row), right={1}), "", *_notes([row])])


def _table(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """FLOPs, parts of a forward pass and bytes as one table, so that all numbers share a column."""
    table = [("FLOPs (2 per multiply-add)", "", "")]
    table += [(f"  {name}", human(row["flops"][name], "FLOP"), about) for name, about in CONVENTIONS.items()]
    parts = sorted(((flops, part) for part, flops in row["parts"].items() if flops), reverse=True)
    if parts:
        total = row["flops"]["forward"]
        table += [("", "", ""), ("Parts of a forward pass", "", "")]
        table += [(f"  {part}", human(flops, "FLOP"), share(flops / total, 1)) for flops, part in parts]
    if row.get("predictor"):
        table += [("  predictor", human(row["predictor"], "FLOP"), "in addition, for causal routing")]
    moved = {"moved, forward": row["bytes"]["forward"], "read, decode step": row["bytes"]["decode_step"]}
    stored = {name.replace("_", " "): value for name, value in row["memory"].items()}
    table += [("", "", ""), ("Bytes", "", "")]
    return table + [(f"  {name}", human(value, "B"), "") for name, value in (moved | stored).items()]


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Notes on the rows, each once."""
    notes = []
    if any(row["dynamic"] for row in rows):
        notes.append(
            "A training step runs every depth, so that each is trained; a forward pass runs the depth it is expected to choose."
        )
    off = [each for row in rows if (each := row["counter"].get("difference")) is not None]
    if off:
        most = "at most " * (len(off) > 1)
        notes.append(
            f"torch's counter on shapes alone: {most}{share(max(off, key=abs), 4, signed=True)} from the closed form"
        )
    notes += dict.fromkeys(f"FLOPs: {row['source']}" for row in rows if "lower bound" in row["source"])
    notes += dict.fromkeys(f"– : {row['reason']}" for row in rows if row["reason"])
    return [line for note in notes for line in textwrap.wrap(note, WIDTH)]


def _count(params: int) -> str:
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if params >= size:
            return f"{params / size:.3g} {name}"
    return str(params)
