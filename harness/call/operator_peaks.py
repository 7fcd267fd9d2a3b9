"""Measures the peaks that `roofline/table.py` holds, in some seconds.

All probes are visited in passes, and the fastest sample of each counts: noise only slows a call down, and one slow moment
does not spoil a point. Probes are products, attention, elementwise work and more, on a grid of sizes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject.build import DTYPES
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, Dtype, GridPoint
from modbench.harness.machine.roofline.table import Point, Table
from modbench.harness.machine.roofline.work import Kind, Listed

Call = Callable[[], object]
ROWS, EXTENTS = (1, 8, 32, 128, 512), (1, 16, 64, 256, 1024)
# Tokens, over which a weight's gradient is summed, and sequences that attend to themselves.
LENGTHS = (8, 32, 128, 512, 2048)
HEADS = (32, 64, 128)
QUERIES, KEYS = (1, 32, 128, 512), (8, 128, 512, 2048)
# Bytes of one operand of elementwise work: in the caches, and beyond them.
OPERANDS = tuple(2**i for i in (8, 12, 14, 16, 18, 19, 20, 21, 22, 23))
SORTED = tuple(2**i for i in (8, 11, 13, 15, 17))
# Weights lie this many bytes apart from each other's next use, as in a model: out of the nearest caches.
APART = 2**22
# Rows of what is looked up and added: an eighth of a table's, as wide as a small model.
WIDTH, SHARE = 64, 8
PARAMETERS = tuple(2**i for i in (8, 12, 15, 17, 19, 21))


class Probe(NamedTuple):
    """A call that is one operator of this kind and size."""

    kind: Kind
    size: tuple[int, ...]
    call: Call


class Numbers:
    """Random numbers in a number format: operands are parts of one buffer, so that making them takes no time."""

    def __init__(self, kind: torch.dtype) -> None:
        self.kind, self.width = kind, kind.itemsize
        self.buffer = torch.randn(2**23 // 4).to(kind).repeat(4)

    def draw(self, *shape: int, at: int = 0) -> Tensor:
        """A tensor of this shape; of equal `at`, the same memory."""
        count = 1
        for extent in shape:
            count *= extent
        return self.buffer[at : at + count].view(shape)


def nothing(numbers: Numbers) -> Call:
    """An operator on one number: its time is that of a launch."""
    one = numbers.draw(1)
    return lambda: one * one


def every(numbers: Numbers) -> Iterator[Probe]:
    """All probes that need no gradients."""
    yield from _products(numbers)
    yield from _attention(numbers)
    yield from _elementwise(numbers)
    yield from _rows(numbers)
    yield from _sorting(numbers)
    for count in PARAMETERS:
        yield Probe("optimizer", (7 * count * numbers.width,), adamw(numbers, [count]))


def _products(numbers: Numbers) -> Iterator[Probe]:
    for m, k, n in itertools.product(ROWS, EXTENTS, EXTENTS):
        x, weight = numbers.draw(m, k), k * n
        copies = max(1, min(32, APART // (weight * numbers.width)))
        first = m * k
        weights = itertools.cycle([numbers.draw(n, k, at=first + i * weight).mT for i in range(copies)])
        yield Probe("product", (m, k, n), lambda x=x, weights=weights: torch.mm(x, next(weights)))  # type: ignore[misc]
    for m, k, n in itertools.product(EXTENTS, LENGTHS, EXTENTS):
        x, y = numbers.draw(k, m).mT, numbers.draw(k, n, at=k * m)
        yield Probe("product_of_transposed", (m, k, n), lambda x=x, y=y: torch.mm(x, y))  # type: ignore[misc]


def _attention(numbers: Numbers) -> Iterator[Probe]:
    for d in HEADS:
        for t in LENGTHS:
            yield from _attend(numbers, t, t, d, causal=True)
        for q, k in itertools.product(QUERIES, KEYS):
            yield from _attend(numbers, q, k, d, causal=False)


def _attend(numbers: Numbers, q: int, k: int, d: int, *, causal: bool) -> Iterator[Probe]:
    aten: Any = torch.ops.aten
    run = aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001  # there is no public name of the kernel
    back = aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001  # as above
    query, key, value = (numbers.draw(1, 1, t, d, at=i * k * d) for i, t in enumerate((q, k, k)))
    y, lse = run(query, key, value, 0.0, causal)
    size = (q * k, d) if causal else (q, k, d)
    yield Probe("causal_attention" if causal else "attention", size, lambda: run(query, key, value, 0.0, causal))
    yield Probe(
        "causal_attention_backward" if causal else "attention_backward",
        size,
        lambda: back(query, query, key, value, y, lse, 0.0, causal),
    )


def _elementwise(numbers: Numbers) -> Iterator[Probe]:
    """Calls on one operand, with the number of times that its bytes are moved."""
    unary: dict[Kind, tuple[Callable[[Tensor], object], float]] = {
        "square": (lambda x: x.pow(2), 2),
        "power": (torch.rsqrt, 2),
        "sigmoid": (F.silu, 2),
        "gelu": (F.gelu, 2),
        "row_sum": (lambda x: x.sum(-1, keepdim=True), 1 + 1 / WIDTH),
        "column_sum": (lambda x: x.sum(0), 1),
        "softmax": (lambda x: torch.log_softmax(x, -1), 2),
        "pad": (lambda x: torch.ops.aten.slice_backward(x, [x.shape[0], 2 * WIDTH], 1, 0, WIDTH, 1), 3),
        "fill": (torch.zeros_like, 1),
    }
    ones = torch.ones(WIDTH, dtype=numbers.kind)
    unary["layer_norm"] = (lambda x: torch.native_layer_norm(x, [WIDTH], ones, ones, 1e-5), 2)
    for operand in OPERANDS:
        rows = max(1, operand // (WIDTH * numbers.width))
        x, y = numbers.draw(rows, WIDTH).abs(), numbers.draw(rows, WIDTH, at=rows * WIDTH)
        for kind, (call, times) in unary.items():
            if kind not in {"softmax", "gelu", "sigmoid"} or operand <= 2**21:  # bound by arithmetic at any size
                yield Probe(kind, (int(times * operand),), lambda call=call, x=x: call(x))  # type: ignore[misc]
        yield Probe("pointwise", (3 * operand,), lambda x=x, y=y: x * y)  # type: ignore[misc]
        half, angle = x[:, : WIDTH // 2], y[:, : WIDTH // 2]
        yield Probe("strided", (3 * operand // 2,), lambda half=half, angle=angle: half * angle)  # type: ignore[misc]


def _rows(numbers: Numbers) -> Iterator[Probe]:
    """Rows that are looked up in a table, and added to one."""
    for operand in OPERANDS[:-2]:
        rows = max(1, operand // (WIDTH * numbers.width))
        table, some = numbers.draw(SHARE * rows, WIDTH), numbers.draw(rows, WIDTH)
        chosen = torch.randperm(SHARE * rows)[:rows].sort().values
        look_up = lambda t=table, c=chosen: t.index_select(0, c)  # noqa: E731  # one of three alike
        yield Probe("look_up", (2 * operand,), look_up)
        yield Probe("index", (2 * operand,), lambda t=table, c=chosen: t[c])  # type: ignore[misc]
        moved = (2 * SHARE + 1) * operand
        yield Probe("scatter", (moved,), lambda t=table, c=chosen, s=some: t.index_add(0, c, s))  # type: ignore[misc]


def _sorting(numbers: Numbers) -> Iterator[Probe]:
    for operand in SORTED:
        scores = numbers.draw(1, operand // numbers.width)
        k = max(1, scores.shape[1] // SHARE)
        order = torch.randperm(operand // 8)[None]
        moved = operand + k * (numbers.width + 8)
        yield Probe("top_k", (moved,), lambda scores=scores, k=k: scores.topk(k, sorted=False))  # type: ignore[misc]
        yield Probe("sort", (3 * operand,), lambda order=order: order.sort(dim=-1))  # type: ignore[misc]


def adamw(numbers: Numbers, sizes: list[int]) -> Call:
    """A step of the harness's optimizer on parameters of these sizes."""
    weights = [nn.Parameter(numbers.draw(size).clone()) for size in sizes]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW(weights, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    optimizer.step()
    return optimizer.step


Clock = Callable[[], float]
# A sample lasts at least this long. Passes are made until the seconds are used up, at least two.
SAMPLE_S, BUDGET_S, LEAST_PASSES = 1e-4, 6.0, 2
# Models whose launches are timed: the Python code of a block is part of a launch, and a routed block has more of it.
TINY, TINY_SAMPLES = ("dense", "mod"), 40
# Rates are divided by seconds: an operator that takes no longer than a launch takes this.
LEAST_S = 1e-9


def best_s(call: Call, samples: int = 1, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call: of the fastest of some short samples, after one to warm up."""
    start = clock()
    call()
    number = max(1, int(SAMPLE_S / max(1e-7, clock() - start)))
    best = float("inf")
    for _ in range(samples):
        start = clock()
        for _ in range(number):
            call()
        best = min(best, (clock() - start) / number)
    return best


def clock_of(threads: int) -> Clock:
    """CPU time of a thread that works alone: waiting for a processor is no work; wall time of several."""
    return time.thread_time if threads == 1 else time.perf_counter


def measure(dtype: Dtype, threads: int, budget_s: float = BUDGET_S) -> Table:
    """Measure the table of a CPU, with the threads that torch is set to."""
    numbers = Numbers(DTYPES[dtype])
    launch, tiny = nothing(numbers), (adamw(numbers, [1]), adamw(numbers, [1] * 33))
    clock, start, passes = clock_of(threads), time.perf_counter(), 0
    with torch.no_grad():
        probes = list(every(numbers))
        best = dict.fromkeys((launch, *tiny, *(probe.call for probe in probes)), float("inf"))
        while passes < LEAST_PASSES or time.perf_counter() - start < budget_s:
            for call in best:
                best[call] = min(best[call], best_s(call, 5 if call is launch else 1, clock))
            passes += 1
    points = []
    for probe in probes:
        base = best[tiny[0]] if probe.kind == "optimizer" else best[launch]
        points.append(Point(kind=probe.kind, size=probe.size, seconds=max(LEAST_S, best[probe.call] - base)))
    table = Table(
        device="cpu",
        dtype=dtype,
        threads=threads,
        torch=torch.__version__,
        passes=passes,
        launch_s=0.0,
        view_s=0.0,
        training_launch_s=0.0,
        training_view_s=0.0,
        tensor_s=max(0.0, (best[tiny[1]] - best[tiny[0]]) / 32),
        points=tuple(points),
    )
    return table.model_copy(update=_processes(dtype, table))


def _processes(dtype: Dtype, table: Table) -> dict[str, float]:
    """Seconds of launching an operator and of making a view, from models that compute next to nothing."""
    x, clock = torch.ones(4, 4), clock_of(table.threads)
    x_grad = x.clone().requires_grad_()
    views: dict[Call, str] = {x.t: "view_s", x_grad.t: "training_view_s"}
    calls = {call: operators for model in TINY for call, operators in _tiny(model, dtype, table.threads)}
    best = dict.fromkeys((*views, *calls), float("inf"))
    for _ in range(TINY_SAMPLES):
        for call in best:
            best[call] = min(best[call], best_s(call, 1, clock))
    found = {name: best[call] for call, name in views.items()}
    for training, view, name in ((False, "view_s", "launch_s"), (True, "training_view_s", "training_launch_s")):
        mine = [(best[call], operators) for call, operators in calls.items() if operators.training == training]
        left = sum(seconds - table.seconds(operators) - operators.views * found[view] for seconds, operators in mine)
        found[name] = max(LEAST_S, left / sum(operators.launches for _, operators in mine))
    return found


def _tiny(model: str, dtype: Dtype, threads: int) -> Iterator[tuple[Call, Listed]]:
    """A forward pass and a training step of a tiny model, with their operators."""
    from modbench.harness.call.operators import record
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.registry import catalogue

    shape: dict[str, Any] = {
        "d_model": 16,
        "d_ff": 16,
        "n_heads": 1,
        "n_layers": 4,
        "vocab_size": 16,
        "max_seq_len": 16,
    }
    config = ModelConfig.model_validate({**catalogue.model_options(model), **shape})
    grid_point = GridPoint(seq_len=8, batch_size=1, dtype=dtype, device="cpu", threads=threads, compile=False)
    for training in (False, True):
        subject = Subject(Case(model=model, variant_parts=(), config=config, grid_point=grid_point), 0)
        tokens_BT = subject.inputs(0, 1)[0]
        subject.module.train(training)
        call = partial(subject.train_step if training else subject.forward, tokens_BT)
        call()
        yield call, record(call, training=training)
