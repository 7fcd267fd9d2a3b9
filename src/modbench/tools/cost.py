"""What `modbench cost` tells: what a model of any size costs, from closed forms. No weight is allocated, nothing is run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modbench.harness.core import catalogue
from modbench.harness.core.case import ELEMENT_BYTES, Case, Dtype, Place
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS, ModelConfig
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.units import human
from modbench.harness.flops.closed_form import closed_form
from modbench.harness.planning.arms import check_capacity
from modbench.harness.planning.overrides import toml_value
from modbench.harness.planning.suite import in_words

if TYPE_CHECKING:
    from modbench.harness.core.contracts import Cost

CONVENTIONS = {
    "forward": "2 per multiply-add, full-square attention, head included",
    "forward/causal": "attention over the lower triangle",
    "forward/headless": "full-square attention, head left out",
    "train_step": "model FLOPs: backward is twice forward",
    "train_step/causal": "the same with attention over the lower triangle",
    "train_step/hardware": "what kernels do: fused attention computes its scores again",
}


@dataclass(frozen=True)
class Asked:
    """What is to be costed.

    Attributes:
        model: catalogue name, or a user's `FILE.py:build`.
        settings: `KEY=VALUE` of its shape and routing.
        capacity: one row for each; empty: the model's own.
        seq_len: one row for each.
        batch_size: one row for each.
        dtype: one row for each.
    """

    model: str
    settings: tuple[str, ...] = ()
    capacity: tuple[float, ...] = ()
    seq_len: tuple[int, ...] = (512,)
    batch_size: tuple[int, ...] = (1,)
    dtype: tuple[Dtype, ...] = ("fp32",)


def costs(asked: Asked) -> list[dict[str, Any]]:
    """One entry for each combination: base units, null beside a reason for what is not known.

    Raises:
        UsageError: for a model, key or shape that cannot be.
    """
    _check(asked)
    axes = (asked.capacity or (None,), asked.dtype, asked.batch_size, asked.seq_len)
    return [_row(asked, *point) for point in itertools.product(*axes)]


def _check(asked: Asked) -> None:
    if not catalogue.is_user_model(asked.model):
        catalogue.find("models", asked.model)
    for size in (*asked.seq_len, *asked.batch_size):
        if size < 1:
            raise UsageError(f"{size} is not a number of at least 1: lengths and batch sizes count from 1.")
    for dtype in asked.dtype:
        if dtype not in ELEMENT_BYTES:
            raise unknown("dtype", dtype, ELEMENT_BYTES)
    for capacity in asked.capacity:
        check_capacity(capacity)


def _config(asked: Asked, capacity: float | None, seq_len: int) -> ModelConfig:
    own = catalogue.is_user_model(asked.model)
    options = {} if own else catalogue.model_options(asked.model)
    given: dict[str, Any] = {}
    for setting in asked.settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r} lacks a value. Write --set KEY=VALUE, for example --set d_model=8192.")
        allowed = (*SHAPE_KEYS, *(ROUTING_KEYS if own else options))
        if key not in allowed:
            raise unknown(f"--set key of {asked.model}", key, allowed)
        given[key] = toml_value(text)
    if capacity is not None:
        if not own and "capacity" not in options:
            raise UsageError(f"model {asked.model!r} does not read 'capacity'.")
        given["capacity"] = capacity
    check_capacity(given.get("capacity"))
    try:
        config = ModelConfig.model_validate({"max_seq_len": seq_len, **options, **given})
    except ValidationError as error:
        raise UsageError(f"model {asked.model!r}: {in_words(error)}") from error
    if config.max_seq_len < seq_len:
        raise UsageError(f"seq_len {seq_len} is more than max_seq_len {config.max_seq_len}: raise max_seq_len.")
    return config


def _row(asked: Asked, capacity: float | None, dtype: Dtype, batch_size: int, seq_len: int) -> dict[str, Any]:
    config = _config(asked, capacity, seq_len)
    place = Place(seq_len=seq_len, batch_size=batch_size, dtype=dtype, device="cpu", threads=1, compile=False)
    case = Case(model=asked.model, arm_parts=(), config=config, place=place)
    row: dict[str, Any] = {
        "model": asked.model,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "dtype": dtype,
        "config": config.model_dump(),
        "dynamic": not case.own and catalogue.load("models", asked.model).dynamic,
    }
    if case.own:
        return row | _counted(case)
    model = catalogue.load("models", asked.model)
    cost = closed_form(asked.model, config, seq_len, batch_size)
    width = ELEMENT_BYTES[dtype]
    decode = model.decode_cost(config, seq_len, batch_size) if model.decode_cost else None
    reason = None if decode else "how much of this model a call reads depends on the input"
    return row | {
        "source": "closed form",
        "params": cost.params,
        "flops": _flops(cost),
        "parts": dict(cost.parts),
        "predictor": cost.predictor,
        "counter": _check_on_meta(case, cost),
        "bytes": {
            "forward": None if model.dynamic else cost.bytes_forward(width),
            "decode_step": decode.read * width if decode else None,
        },
        "memory": {
            "parameters": cost.params * width,
            "gradients": cost.params * width,
            "optimizer": 2 * cost.params * width,
            "activations": cost.memory.saved(width),
            "kv_cache": decode.held * width if decode else None,
            "peak_forward": cost.memory_forward(width),
            "peak_train_step": cost.memory_train(width),
        },
        "reason": reason,
    }


def _flops(cost: Cost) -> dict[str, float]:
    return {
        "forward": cost.forward,
        "forward/causal": cost.forward_causal,
        "forward/headless": cost.forward_headless,
        "train_step": cost.train_step,
        "train_step/causal": cost.train_step_causal,
        "train_step/hardware": cost.train_step_hardware,
    }


def _check_on_meta(case: Case, cost: Cost) -> dict[str, Any]:
    """Torch's counter on shapes alone, as a second opinion."""
    import torch

    from modbench.harness.flops import counter
    from modbench.harness.subject.subject import build_module

    if catalogue.load("models", case.model).dynamic:
        return {"forward": None, "reason": "its cost depends on the input: shapes alone do not say what it does"}
    with torch.device("meta"):
        module = build_module(case, 0)
        tokens_BT = torch.zeros(case.place.batch_size, case.place.seq_len, dtype=torch.int64)
        seen = counter.forward(module, tokens_BT).total
    return {"forward": seen, "difference": seen / cost.forward - 1, "reason": None}


def _counted(case: Case) -> dict[str, Any]:
    """A user's model: what the counter and fake tensors see of it on shapes alone."""
    import torch

    from modbench.harness.flops import counter
    from modbench.harness.passes.memory import forecasts
    from modbench.harness.subject.subject import build_module

    try:
        with torch.device("meta"):
            module = build_module(case, 0)
            tokens_BT = torch.zeros(case.place.batch_size, case.place.seq_len, dtype=torch.int64)
            seen = counter.forward(module, tokens_BT)
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        raise UsageError(
            f"model {case.model!r} cannot be costed on shapes alone: {type(error).__name__}: {said}"
        ) from error
    params, width = sum(p.numel() for p in module.parameters()), ELEMENT_BYTES[case.place.dtype]
    foretold = forecasts(case)
    bound = f"; a lower bound: no formula for {', '.join(seen.unknown)}" if seen.unknown else ""
    return {
        "source": f"torch's counter on shapes alone (a user's model has no closed form){bound}",
        "params": params,
        "flops": dict.fromkeys(CONVENTIONS) | {"forward": seen.total, "train_step": 3 * seen.total},
        "parts": {},
        "counter": {"forward": seen.total, "reason": None},
        "bytes": {"forward": None, "decode_step": None},
        "memory": {
            "parameters": params * width,
            "gradients": params * width,
            "optimizer": 2 * params * width,
            "activations": foretold.get("memory/activations"),
            "kv_cache": None,
            "peak_forward": None,
            "peak_train_step": foretold.get("memory/peak_allocated"),
        },
        "reason": foretold.get("reason")
        or "of a user's model there is no closed form, and shapes alone do not tell this",
    }


def as_text(rows: list[dict[str, Any]]) -> str:
    """One block for each."""
    return "\n\n".join(_block(row) for row in rows)


def _block(row: dict[str, Any]) -> str:
    config = row["config"]
    capacity = f", capacity {config['capacity']:g}" if config["capacity"] is not None else ""
    where = f"T = {row['seq_len']:,}, batch {row['batch_size']}, {row['dtype']}"
    lines = [
        f"{row['model']}: {_count(row['params'])} parameters{capacity}; {where}",
        "",
        "FLOPs",
    ]
    lines += [f"  {name:<22}{human(row['flops'][name], 'FLOP'):>14}   {about}" for name, about in CONVENTIONS.items()]
    total = row["flops"]["forward"]
    parts = sorted(((flops, part) for part, flops in row["parts"].items() if flops), reverse=True)
    if parts:
        lines += ["", "Where a forward pass goes"]
        lines += [f"  {part:<22}{human(flops, 'FLOP'):>14}   {flops / total:.1%}" for flops, part in parts]
    if row.get("predictor"):
        lines += [
            f"  {'predictor':<22}{human(row['predictor'], 'FLOP'):>14}   beside it: where it routes without the future"
        ]
    if row["dynamic"]:
        lines += [
            "",
            "A training step runs every depth, so that every one learns; a forward pass what it is expected to choose.",
        ]
    lines += ["", "Bytes"]
    told = {
        "moved, forward": row["bytes"]["forward"],
        "read, decode step": row["bytes"]["decode_step"],
        **{name.replace("_", " "): value for name, value in row["memory"].items()},
    }
    lines += [f"  {name:<22}{human(value, 'B'):>14}" for name, value in told.items()]
    counter = row["counter"]
    if counter.get("difference") is not None:
        lines += ["", f"torch's counter on shapes alone: {counter['difference']:+.4%} from the closed form"]
    if "lower bound" in row["source"]:
        lines += ["", f"FLOPs: {row['source']}"]
    if row["reason"]:
        lines += ["", f"– : {row['reason']}"]
    return "\n".join(lines)


def _count(params: int) -> str:
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if params >= size:
            return f"{params / size:.3g} {name}"
    return str(params)
