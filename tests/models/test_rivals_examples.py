"""The examples in `examples/rivals/`: each runs where its package is installed, and says what is missing where it is not."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cases import case_of
from present import of_type
from toolbox import trains_and_reads_future

from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.domain.records import Missing
from modbench.harness.planning.flops import counter
from modbench.harness.results.measured_or_missing import attempt

FOLDER = Path(__file__).parents[2] / "examples" / "rivals"
MATCHES = sorted(file.stem for file in FOLDER.glob("*.py"))
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def case(match: str, **options: Any) -> Case:
    shape = {"d_model": 32, "n_layers": 4, "n_heads": 4, "d_ff": 64, "max_seq_len": 64}
    return case_of(f"{FOLDER / match}.py:build", shape, options=options, seq_len=32)


def skipped(made: Case) -> str:
    found = of_type(Missing, attempt(partial(Subject, made, 0)))
    assert found.status == "skipped"
    return found.reason


@pytest.mark.parametrize("match", MATCHES)
def test_it_is_measured_as_a_users_model(match: str) -> None:
    if match == "mixture_of_depth":
        # Its transformers is too old for everything else here: the folder's README says how to make an
        # environment for it.
        pytest.importorskip("MoD", exc_type=ImportError)
    else:
        pytest.importorskip("transformers", minversion="5.0")
    top_k_over_the_sequence = match == "mixture_of_depth"
    assert trains_and_reads_future(case(match)) is top_k_over_the_sequence


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


@pytest.mark.parametrize("match", MATCHES)
def test_without_its_package_or_with_another_the_cell_is_skipped_with_the_reason(
    match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"mixture_of_depth": "mixture-of-depth"}.get(match, "transformers")

    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(importlib.metadata, "version", gone)
    reason = skipped(case(match))
    assert f"'{package}' is not installed" in reason
    assert "(pip install " in reason
    if match == "mixture_of_depth":
        monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.2.0")
        monkeypatch.setitem(sys.modules, "MoD", None)
        assert "needs transformers 4.40.2" in skipped(case(match))
