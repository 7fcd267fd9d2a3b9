"""Users' models that decode: what they get measured, and the guards of steps, caches and their bytes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import protocol_of
from protocol_cases import decodes, example, subject
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject import check_decoding, check_timed_calls
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.rewinding import held_bytes, rewinder
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.model_methods import parts_of
from modbench.harness.domain.case import DecodePlan
from modbench.harness.measure.passes.memory import Weighed
from modbench.harness.registry import catalogue

METRICS = catalogue.metrics()
GENERATION = ("latency/prefill", "ttft", "latency/decode", "latency/decode/p95", "tpot", "latency/request")


@pytest.mark.parametrize("metric", GENERATION)
def test_a_model_with_a_cache_generates(metric: str) -> None:
    made = Subject(example("decoding"), 0, decode=DecodePlan(tokens=3))
    METRICS[metric].measure(made)(made.inputs(0, 1)[0])


@pytest.mark.parametrize("metric", ["latency/decode", "latency/request"])
def test_a_part_of_what_was_timed_is_counted(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting makes a step much slower."""
    made, steps = Subject(example("decoding"), 0, decode=DecodePlan(tokens=20)), list[Tensor]()
    call, own = METRICS[metric].measure(made), made.language_model.decode

    def decode(tokens_B: Tensor, cache: Any) -> Tensor:
        steps.append(tokens_B)
        return own(tokens_B, cache)

    monkeypatch.setattr(made.module, "decode", decode)
    watched = check_timed_calls.Watched(made, call, made.inputs(0, 1), 0, trains=False)
    assert watched.found() == {}
    assert len(steps) == 2 * check_timed_calls.COUNTED_STEPS
    assert made.steps == 20


@pytest.mark.parametrize("metric", GENERATION)
def test_a_model_without_a_cache_is_not_reported(metric: str) -> None:
    made = Subject(example("routing"), 0)
    with pytest.raises(Unmeasured, match=r"^not reported: .*routing\.py:build .*prefill"):
        METRICS[metric].measure(made)


def test_bytes_of_a_cache_are_its_own_word_if_that_is_not_too_small() -> None:
    weighed = Weighed(example("decoding"), protocol_of(decode=DecodePlan(tokens=3)))
    wanted = 2 * 2 * 16 * 2 * 32 * 4  # layers, rows, tokens, keys and values, width, fp32
    assert METRICS["memory/kv_cache"].measure(weighed) == wanted
    cache: Any = [torch.zeros(3000)]
    with pytest.raises(Unmeasured, match=r"mine\.py:build .*no number nbytes"):
        check_decoding.kept_bytes(subject(decodes()), cache)
    held = SimpleNamespace(tensors={"k": torch.zeros(2, 1500)[:1]}, nbytes=6000)
    with pytest.raises(ValueError, match=r"6000 B, .* 12000 B.*contiguous\(\)"):
        check_decoding.kept_bytes(subject(decodes()), held)
    held.nbytes = 12_000
    assert check_decoding.kept_bytes(subject(decodes()), held) == 12_000


def test_what_belongs_to_the_model_is_no_part_of_the_cache() -> None:
    module = nn.Linear(4, 4)
    cache = [module, module.weight, module.weight[:2], torch.zeros(5)]
    assert held_bytes(cache, module) == 20


def test_a_step_that_computes_something_else_is_refused() -> None:
    def forgets(self: Any, tokens_B: Tensor, cache: Any) -> Tensor:
        cache[:] = [kv[:, 1:] for kv in cache]
        logits: Tensor = self.run(tokens_B[:, None], cache)[:, -1]
        return logits

    with pytest.raises(ValueError, match=r"one forward pass .* nats"):
        Generation(subject(decodes(decode=forgets))).decode()
    with pytest.raises(ValueError, match=r"prefill must return logits \[2, 256\].*\[2, 8, 256\]"):
        Generation(subject(decodes(prefill=lambda self, x_BT: (self(x_BT), [])))).prefill()
    with pytest.raises(ValueError, match=r"\(logits, cache\).* returned Tensor"):
        Generation(subject(decodes(prefill=lambda self, x_BT: self(x_BT)[:, -1]))).prefill()
    with pytest.raises(ValueError, match=r"decode .*logits .*returned tuple"):
        Generation(subject(decodes(decode=lambda _, tokens_B, cache: (tokens_B, cache)))).decode()


def test_a_step_that_goes_wrong_later_is_refused() -> None:
    steps = []

    def forgets_late(self: Any, tokens_B: Tensor, cache: Any) -> Tensor:
        steps.append(tokens_B)
        if len(steps) > check_decoding.LEAST_STEPS + 2:
            cache[:] = [kv[:, 1:] for kv in cache]
        logits: Tensor = self.run(tokens_B[:, None], cache)[:, -1]
        return logits

    with pytest.raises(ValueError, match=r"one forward pass .* nats"):
        Generation(subject(decodes(decode=forgets_late))).decode()


def test_decode_steps_are_compared_with_causal_routing_if_there_is_any() -> None:
    """A model may route otherwise while it decodes, if its forward pass can do the same."""

    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(256, 256)

        def forward(self, tokens_BT: Tensor, *, causal: bool = False) -> Tensor:
            x_BTV: Tensor = self.embedding(tokens_BT)
            return x_BTV if causal else x_BTV + x_BTV.mean(1, keepdim=True)

        def prefill(self, tokens_BT: Tensor) -> tuple[Tensor, list[Tensor]]:
            return self.embedding(tokens_BT[:, -1]), []

        def decode(self, tokens_B: Tensor, cache: Any) -> Tensor:
            found: Tensor = self.embedding(tokens_B)
            return found if cache == [] else tokens_B

    Generation(subject(Routed())).decode()


def test_in_half_precision_single_positions_may_differ() -> None:
    made = subject(decodes().to(torch.bfloat16), dtype="bf16")
    Generation(made).decode()
    turns = 0

    def flips(self: Any, tokens_B: Tensor, cache: Any) -> Tensor:
        nonlocal turns
        turns += 1
        logits: Tensor = self.run(tokens_B[:, None], cache)[:, -1]
        return -logits if turns in wrong else logits

    wrong: Any = {2}
    Generation(subject(decodes(decode=flips).to(torch.bfloat16), dtype="bf16")).ready()
    wrong = range(100)
    with pytest.raises(ValueError, match="typically"):
        Generation(subject(decodes(decode=flips).to(torch.bfloat16), dtype="bf16")).ready()


class Slots:
    __slots__ = ("at", "keys")

    def __init__(self) -> None:
        self.at, self.keys = 3, torch.zeros(4)


def test_a_cache_without_marks_is_put_back() -> None:
    """Lists, dicts, attributes, slots and integer tensors, nested in each other; tensors that are replaced."""
    old = torch.zeros(2)
    cache = SimpleNamespace(at=5, layers=[{"k": old}], position_B=torch.tensor([5, 5]), slots=Slots(), sealed=([1],))
    cache.itself = cache
    rewind = rewinder(cache)
    for _ in range(2):
        cache.at += 1
        cache.position_B += 1
        cache.layers[0]["k"] = torch.ones(3)
        cache.layers.append({})
        cache.more = 7
        cache.slots.at = 9
        cache.sealed[0].append(2)
        rewind()
        assert vars(cache).keys() == {"at", "layers", "position_B", "slots", "sealed", "itself"}
        assert cache.layers == [{"k": old}]
        assert cache.layers[0]["k"] is old
        assert (cache.at, cache.slots.at, cache.sealed, cache.position_B.tolist()) == (5, 3, ([1],), [5, 5])


def test_marks_of_its_own_are_preferred_and_a_cache_that_moves_on_is_not_reported() -> None:
    class Marked(list[Any]):
        def mark(self) -> list[Any]:
            return list(self)

        def rewind(self, mark: list[Any]) -> None:
            self[:] = mark if works else [*mark, torch.zeros(1)]

    works = True
    cache = Marked([1])
    rewind = rewinder(cache)
    cache.append(2)
    rewind()
    assert cache == [1]
    state = torch.zeros(1)  # neither replaced nor an integer: it stays as it is

    def step(tokens_B: Tensor) -> Tensor:
        state.add_(1)
        return F.one_hot(tokens_B, 5).float() * state

    with pytest.raises(Unmeasured, match=r"mine .*mark\(\) and rewind\(mark\)"):
        check_decoding.check_rewind("mine", step, rewinder([state]), torch.zeros(2, 4, dtype=torch.int64), 3)


def test_only_a_model_that_says_so_is_captured_as_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Subject(example("decoding", graph=True), 0, decode=DecodePlan(tokens=3))
    with pytest.raises(Unmeasured, match="needs a CUDA device"):
        Generation(made).decode()
    grid_point = SimpleNamespace(**made.case.grid_point.model_dump() | {"device": "cuda"})
    monkeypatch.setattr(
        made, "case", SimpleNamespace(grid_point=grid_point, is_user_model=True, config=made.case.config)
    )
    cache: Any = []
    with pytest.raises(Unmeasured, match="no decode_step"):
        Generation(made)._graph(cache)
    made.parts = parts_of(decodes(decode_step=lambda *_: None), "mine.py:build")
    with pytest.raises(Unmeasured, match=r"position_B .*advance"):
        Generation(made)._graph(cache)
