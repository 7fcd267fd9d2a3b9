"""Users' models that decode: what they get measured, alone and in a run, and the guards of steps, caches and their bytes."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Container
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import protocol_of
from protocol_cases import EXAMPLES, decodes, example, subject
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject import check_decoding, check_timed_calls
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.rewinding import held_bytes, rewinder
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import DecodePlan
from modbench.harness.execution import worker
from modbench.harness.measure.passes.memory import Weighed
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import catalogue
from modbench.harness.results import run_folder
from modbench.planted_runs import ENVIRONMENT
from modbench.reports.tables import load

METRICS = catalogue.metrics()
GENERATION = ("latency/prefill", "ttft", "latency/decode", "latency/decode/p95", "tpot", "latency/request")
CACHE_BYTES = 2 * 16 * 2 * 32 * 4  # of a layer: rows, tokens, keys and values, width, fp32


@pytest.mark.parametrize("metric", GENERATION)
def test_a_model_with_a_cache_generates_and_one_without_is_not_reported(metric: str) -> None:
    made = Subject(example("decoding"), 0, decode=DecodePlan(tokens=3))
    METRICS[metric].measure(made)(made.inputs(0, 1)[0])
    with pytest.raises(Unmeasured, match=r"^not reported: .*routing\.py:build .*prefill"):
        METRICS[metric].measure(Subject(example("routing"), 0))


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


def test_bytes_of_a_cache_are_its_own_word_if_that_is_not_too_small() -> None:
    weighed = Weighed(example("decoding"), protocol_of(decode=DecodePlan(tokens=3)))
    assert METRICS["memory/kv_cache"].measure(weighed) == 2 * CACHE_BYTES  # it has two layers
    made: Any = subject(decodes())
    with pytest.raises(Unmeasured, match=r"mine\.py:build .*no number nbytes"):
        check_decoding.kept_bytes(made, [torch.zeros(3000)])
    held: Any = SimpleNamespace(tensors={"k": torch.zeros(2, 1500)[:1]}, nbytes=6000)
    with pytest.raises(ValueError, match=r"6000 B, .* 12000 B.*contiguous\(\)"):
        check_decoding.kept_bytes(made, held)
    held.nbytes = 12_000
    assert check_decoding.kept_bytes(made, held) == 12_000
    module = nn.Linear(4, 4)  # what belongs to the model is no part of its cache
    assert held_bytes([module, module.weight, module.weight[:2], torch.zeros(5)], module) == 20


def negating(wrong: Container[int]) -> Callable[..., Tensor]:
    """A decode step of the example's with the logits of these steps negated."""
    steps = itertools.count(1)

    def decode(self: Any, tokens_B: Tensor, cache: Any) -> Tensor:
        logits: Tensor = self.run(tokens_B[:, None], cache)[:, -1]
        return -logits if next(steps) in wrong else logits

    return decode


def forgetting(after: int) -> Callable[..., Tensor]:
    """A decode step that forgets its oldest token, after so many."""
    steps = itertools.count()

    def decode(self: Any, tokens_B: Tensor, cache: Any) -> Tensor:
        if next(steps) >= after:
            cache[:] = [kv[:, 1:] for kv in cache]
        logits: Tensor = self.run(tokens_B[:, None], cache)[:, -1]
        return logits

    return decode


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"decode": forgetting(0)}, r"one forward pass .* nats"),
        ({"decode": forgetting(check_decoding.LEAST_STEPS + 2)}, r"one forward pass .* nats"),
        ({"prefill": lambda self, x_BT: (self(x_BT), [])}, r"must return logits \[2, 256\].*\[2, 8, 256\]"),
        ({"prefill": lambda self, x_BT: self(x_BT)[:, -1]}, r"\(logits, cache\).* returned Tensor"),
    ],
)
def test_a_step_that_computes_something_else_is_refused(methods: dict[str, Any], said: str) -> None:
    made = Generation(subject(decodes(**methods)))
    with pytest.raises(ValueError, match=said):
        made.prefill() if "prefill" in methods else made.decode()


def test_decode_steps_are_compared_with_causal_routing_if_there_is_any() -> None:
    """A model may route otherwise while it decodes, if its forward pass can do the same."""

    class Routed(nn.Embedding):
        def forward(self, tokens_BT: Tensor, *, causal: bool = False) -> Tensor:
            x_BTV = super().forward(tokens_BT)
            return x_BTV if causal else x_BTV + x_BTV.mean(1, keepdim=True)

        def prefill(self, tokens_BT: Tensor) -> tuple[Tensor, list[Tensor]]:
            return super().forward(tokens_BT[:, -1]), []

        def decode(self, tokens_B: Tensor, cache: Any) -> Tensor:
            assert cache == []
            return super().forward(tokens_B)

    Generation(subject(Routed(256, 256))).decode()


@pytest.mark.parametrize(("wrong", "refused"), [(set(), False), ({2}, False), (range(100), True)])
def test_in_half_precision_single_positions_may_differ(wrong: Container[int], refused: bool) -> None:
    made = Generation(subject(decodes(decode=negating(wrong)).to(torch.bfloat16), dtype="bf16"))
    with pytest.raises(ValueError, match="typically") if refused else contextlib.nullcontext():
        made.ready()


def test_a_cache_without_marks_is_put_back() -> None:
    """Lists, dicts, attributes and integer tensors, nested in each other; tensors that are replaced."""
    old = torch.zeros(2)
    cache = SimpleNamespace(at=5, layers=[{"k": old}], position_B=torch.tensor([5, 5]), sealed=([1],))
    cache.itself = cache
    rewind = rewinder(cache)
    for _ in range(2):
        cache.at += 1
        cache.position_B += 1
        cache.layers[0]["k"] = torch.ones(3)
        cache.layers.append({})
        cache.more = 7
        cache.sealed[0].append(2)
        rewind()
        assert vars(cache).keys() == {"at", "layers", "position_B", "sealed", "itself"}
        assert len(cache.layers) == 1
        assert cache.layers[0]["k"] is old
        assert (cache.at, cache.sealed, cache.position_B.tolist()) == (5, ([1],), [5, 5])


def test_marks_of_its_own_are_preferred_and_a_cache_that_moves_on_is_not_reported() -> None:
    class Marked(list[Any]):
        mark = list.copy
        rewind = functools.partialmethod(list.__setitem__, slice(None))

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


# --- in a run

OWN = {
    # Steps on tokens that it has decoded before repeat what it answered then.
    "keeps": """
    def decode(self, tokens_B, cache):
        kept = self.__dict__.setdefault("kept", {})
        key = (cache[0].shape[1], *tokens_B.tolist())
        if key not in kept:
            kept[key] = super().decode(tokens_B, cache)
        else:
            cache[:] = [torch.cat([kv, kv[:, -1:]], 1) for kv in cache]
        return kept[key]
""",
    # What a step costs depends on its tokens, which is no fault.
    "skips": """
    def run(self, tokens_BT, cache):
        logits = super().run(tokens_BT, cache)
        heavy = tokens_BT % 2 == 0
        logits[heavy] = logits[heavy] + self.head(self.embedding(tokens_BT[heavy]))
        return logits
""",
    "alone": "    prefill = decode = None\n",
}
TIMED = ["latency/prefill", "latency/decode", "tokens_per_s/decode", "latency/request", "memory/kv_cache"]


@pytest.mark.slow
def test_what_decodes_is_reported_and_the_rest_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, reasons and labels as they stand in `cases.csv`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "decoding.py").write_bytes((EXAMPLES / "decoding.py").read_bytes())
    for name, methods in OWN.items():
        text = f"import torch\nfrom decoding import Attends\nclass build(Attends):\n{methods}"
        (tmp_path / f"{name}.py").write_text(text)
    data: dict[str, Any] = {
        "name": "own",
        "effort": "smoke",
        "metrics": TIMED,
        "shape": {"d_model": 32, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [16], "batch_size": [2]},
        "decode": {"tokens": 4},
        "variants": [{"model": "dense"}, *({"model": f"{name}.py:build"} for name in ("decoding", *OWN))],
    }
    plan = make_plan(override(parse_suite(data, "own"), Overrides()), device="cpu", text=None)
    folder = run_folder.create(str(tmp_path / "run"), "own")
    folder.write_run(plan, ENVIRONMENT, [], atomic_files.now())
    for job in plan.jobs:
        torch.manual_seed(0)
        folder.write_record(worker.make_record(job))
    cases = load.load(str(folder.path)).cases.query("metric in @TIMED").set_index(["variant", "metric"])
    alone = cases.loc["alone:build"]
    assert set(alone.status) == {"skipped"}
    assert alone.reason.str.match("not reported: alone.py:build .*prefill").all()
    assert alone.value.isna().all()
    for variant in ("decoding:build", "skips:build"):
        mine = cases.loc[variant]
        assert set(mine.index) == set(TIMED)
        assert set(mine.status) == {"ok"}
        # Of the model nothing; of the machine what it was.
        assert set(mine.labels.dropna()) <= {"noisy"}, (variant, mine.labels.dropna().tolist())
        assert mine.value["memory/kv_cache"] == CACHE_BYTES
    for metric in ("latency/decode", "latency/request"):
        assert Label.REUSES_OUTPUT in cases.labels["keeps:build", metric]
