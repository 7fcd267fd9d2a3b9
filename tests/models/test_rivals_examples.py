"""The examples in `examples/rivals/`: each runs where its package is installed, and says what is missing where it is not."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, Place
from modbench.harness.domain.records import Missing
from modbench.harness.flops import counter
from modbench.harness.passes.count import count
from modbench.harness.registry.lookup import with_facts
from modbench.harness.results.outcomes import attempt
from modbench.harness.subject.subject import Subject

FOLDER = Path(__file__).parents[2] / "examples" / "rivals"
RIVALS = sorted(file.stem for file in FOLDER.glob("*.py"))
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def case(rival: str, **options: Any) -> Case:
    shape = {"d_model": 32, "n_layers": 4, "n_heads": 4, "d_ff": 64, "max_seq_len": 64}
    place = Place(seq_len=32, batch_size=2, dtype="fp32", device="cpu", threads=1, compile=False)
    model, config = f"{FOLDER / rival}.py:build", ModelConfig.model_validate(shape)
    return with_facts(Case(model=model, arm_parts=(), config=config, place=place, options=tuple(options.items())))


def test_every_rival_stands_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(RIVALS) == 3
    assert all(f"({rival}.py)" in readme for rival in RIVALS)


@pytest.mark.parametrize("rival", RIVALS)
def test_it_is_measured_as_a_users_model(rival: str) -> None:
    """Its contract, a training step, and the guards of the counting pass."""
    if rival == "mixture_of_depth":
        # Its transformers is too old for everything else here: tests/bench/rivals.py says how to make an environment for it.
        pytest.importorskip("MoD", exc_type=ImportError)
    else:
        pytest.importorskip("transformers", minversion="5.0")
    subject = Subject(case(rival), 0)
    tokens_BT = subject.inputs(0, 1)[0]
    subject.check(tokens_BT)
    before = [weight.clone() for weight in subject.module.parameters()]
    subject.module.train()
    subject.train_step(tokens_BT)
    assert any(not torch.equal(a, b) for a, b in zip(before, subject.module.parameters(), strict=True))
    found = count(case(rival), 0, inputs=4, parts=())
    assert found["forward"] > 0
    assert found.notes.causality is not None
    assert found.notes.causality.reads_future is (rival == "mixture_of_depth")  # top-k over the whole sequence


def test_zero_experts_save_work() -> None:
    """With as many of them as of others, about half of the choices compute nothing."""
    pytest.importorskip("transformers", minversion="5.0")
    experts = {}
    for zero in (0, 4):
        subject = Subject(case("longcat", zero_experts=zero), 0)
        seen = counter.forward(subject.module, subject.inputs(0, 1)[0])
        assert not seen.unknown
        experts[zero] = sum(flops for path, flops in seen.modules.items() if path.endswith("mlp.experts"))
    # Two layers' worth of the suite make one with experts: 4 layers, 2; of each token 2 experts of 3 products of 32 x 32.
    assert experts[0] == 2 * (2 * 32) * 2 * 3 * 2 * 32 * 32
    assert 0.3 * experts[0] < experts[4] < 0.7 * experts[0]


@pytest.mark.parametrize("rival", RIVALS)
def test_without_its_package_the_cell_is_skipped_with_the_reason(rival: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"mixture_of_depth": "mixture-of-depth"}.get(rival, "transformers")

    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(importlib.metadata, "version", gone)
    found = attempt(partial(Subject, case(rival), 0))
    assert isinstance(found, Missing)
    assert found.status == "skipped"
    assert f"'{package}' is not installed" in found.reason
    assert "(pip install " in found.reason


def test_a_package_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.2.0")
    monkeypatch.setitem(sys.modules, "MoD", None)
    found = attempt(partial(Subject, case("mixture_of_depth"), 0))
    assert isinstance(found, Missing)
    assert found.status == "skipped"
    assert "needs transformers 4.40.2" in found.reason


@pytest.mark.parametrize("rival", RIVALS)
def test_nothing_is_imported_before_it_is_built(rival: str) -> None:
    tree = ast.parse((FOLDER / f"{rival}.py").read_text(encoding="utf-8"))
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"torch", "importlib.metadata", "modbench.harness.core.errors"}
