"""`train.steps = 0` evaluates stored weights, trains nothing, and reads no text where no model has any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modbench.commands.plan.forecast import forecast as made_forecast
from modbench.extend import planted_plan, planted_run
from modbench.harness.core.contracts import Text
from modbench.harness.planning import plan as planning
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.reports.tables import load

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


@pytest.mark.usefixtures("unmeasured")
def test_where_no_model_has_weights_no_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "corpus_entry", lambda _: pytest.fail("the corpus was read"))
    suite = load_suite("decode")
    assert planning.read_corpus(suite) is None
    made = planning.make_plan(suite, device="cpu")
    assert {each[1:] for each in texts(made)} == {(0, False)}
    assert made_forecast(made)["training"] is None


def test_where_no_model_has_weights_the_report_asks_nothing_about_losses(tmp_path: Path) -> None:
    train, variants = {"seq_len": 256, "batch_size": 8, "steps": 0}, ({"model": "dense"}, {"model": "mod"})
    plan = planted_plan("draft", metrics=["latency/prefill", "loss/val_causal"], variants=variants, train=train)
    made = load.load(planted_run(tmp_path, plan, losses={"dense": 2.0, "mod[c0.125]": 2.1}))
    assert made.trained_metric == "loss/val_causal"
    cases = made.cases.copy()
    cases.loc[cases.metric == "loss/val_causal", ["value", "status"]] = [None, "skipped"]
    assert replace(made, cases=cases).trained_metric is None
