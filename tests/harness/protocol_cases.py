"""Cases of users' models: the examples of `docs/protocols.md`, and modules that are built already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.measure_plans import DecodePlan
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case, Place, Protocol
from modbench.harness.registry.lookup import with_facts
from modbench.harness.subject.subject import Subject
from modbench.harness.text.corpus import from_file

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "protocols"


def case(model: str, **place: Any) -> Case:
    at = {"seq_len": 16, "batch_size": 2, "dtype": "fp32", "device": "cpu", "threads": 1, "compile": False} | place
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, "vocab_size": 256}
    return with_facts(
        Case(model=model, arm_parts=(), config=ModelConfig.model_validate(shape), place=Place.model_validate(at))
    )


def example(name: str, **place: Any) -> Case:
    return case(f"{EXAMPLES / name}.py:build", **place)


def subject(module: nn.Module, **place: Any) -> Subject:
    """A user's model that is built already."""
    return Subject(case("mine.py:build", **place), 0, decode=DecodePlan(tokens=3), module=module.eval())


def protocol(path: Path, steps: int = 4, **settings: Any) -> Protocol:
    path.write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(300)))
    plan = TrainRun(seq_len=16, batch_size=4, steps=steps, lr=5e-3, val_tokens=256, **settings)
    sha256 = from_file(path).sha256
    return Protocol(
        rounds=1,
        warm_up_calls=1,
        seed=0,
        train=plan,
        corpus="path",
        corpus_path=str(path),
        corpus_sha256=sha256,
        decode=DecodePlan(tokens=3),
    )


def decodes(**changes: Any) -> Any:
    """The example's model, with methods replaced."""
    module = Subject(example("decoding"), 0).module
    for name, method in changes.items():
        setattr(module, name, method.__get__(module))
    return module.eval()
