"""Cases of users' models: the examples of `docs/your-model.md`, and modules that are built already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cases import case_of, protocol_of
from torch import nn

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case, DecodePlan, Protocol

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "protocols"


def case(model: str, **grid_point: Any) -> Case:
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, "vocab_size": 256}
    return case_of(model, shape, **grid_point)


def example(name: str, **grid_point: Any) -> Case:
    return case(f"{EXAMPLES / name}.py:build", **grid_point)


def subject(module: nn.Module, **grid_point: Any) -> Subject:
    """A user's model that is built already."""
    return Subject(case("mine.py:build", **grid_point), 0, decode=DecodePlan(tokens=3), module=module.eval())


def protocol(path: Path, steps: int = 4, **settings: Any) -> Protocol:
    path.write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(300)))
    plan = TrainRun(seq_len=16, batch_size=4, steps=steps, lr=5e-3, val_tokens=256, **settings)
    return protocol_of(path, train=plan, decode=DecodePlan(tokens=3))


def decodes(**changes: Any) -> Any:
    """The example's model, with methods replaced."""
    module = Subject(example("decoding"), 0).module
    for name, method in changes.items():
        setattr(module, name, method.__get__(module))
    return module.eval()
