"""`train.steps = 0` evaluates stored weights and trains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from modbench.commands.plan.forecast import forecast as made_forecast
from modbench.harness.core.contracts import Text
from modbench.harness.planning import plan as planning
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override

TEXT = Text("t", b"a" * 5000, b"b" * 5000, "c0ffee")
OWN = "from torch import nn\n\n\ndef build(config):\n    return nn.Embedding(config.vocab_size, config.vocab_size)\n"


def texts(made: planning.Plan) -> list[tuple[str, int, bool]]:
    """By training job its model, its steps, and whether it has anything to do."""
    jobs = [job for job in made.jobs if job.facts.trains]
    return [(u.comparison.variants[0].model, u.protocol.train.steps, u.flops > 0) for u in jobs if u.protocol.train]


@pytest.mark.usefixtures("unmeasured")
def test_decode_evaluates_what_may_have_weights_and_trains_nothing(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(OWN, encoding="utf-8")
    suite = override(load_suite("decode"), Overrides(model=("dense", "mod", f"{own}:build")))
    assert "loss/val_causal" in suite.metrics
    made = planning.make_plan(suite, device="cpu", text=TEXT)
    assert texts(made) == [
        ("dense", 0, False),
        ("dense", 0, False),
        *[("mod", 0, False)] * 3,
        (f"{own}:build", 0, True),
    ]
    forecast = made_forecast(made)["training"]
    assert (forecast["runs"], forecast["evaluates_only"]) == (1, True)
