"""Users' models that decode, through the passes of a run: numbers, reasons, labels as they stand in `cases.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from protocol_cases import EXAMPLES

from modbench.harness.core import atomic_files
from modbench.harness.core.labels import Label
from modbench.harness.execution import worker
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.results import run_folder
from modbench.planted_runs import ENVIRONMENT
from modbench.reports.tables import load

METRICS = ["latency/prefill", "latency/decode", "tokens_per_s/decode", "latency/request", "memory/kv_cache"]
MODELS = {
    # Steps on tokens that it has decoded before repeat what it answered then.
    "keeps_its_steps": """
from decoding import Attends

class Keeps(Attends):
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
    "skips_by_threshold": """
from decoding import Attends

class Skips(Attends):
    def run(self, tokens_BT, cache):
        logits = super().run(tokens_BT, cache)
        heavy = tokens_BT % 2 == 0
        logits[heavy] = logits[heavy] + self.head(self.embedding(tokens_BT[heavy]))
        return logits
""",
    "forward_alone": """
from decoding import Attends

class Alone(Attends):
    prefill = decode = None
""",
}


@pytest.mark.slow
def test_what_decodes_is_reported_and_what_does_not_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "decoding.py").write_text((EXAMPLES / "decoding.py").read_text(encoding="utf-8"))
    for name, text in MODELS.items():
        (tmp_path / f"{name}.py").write_text(f"import torch\n{text}\nbuild = {text.split('class ')[1].split('(')[0]}\n")
    data: dict[str, Any] = {
        "name": "own",
        "effort": "smoke",
        "metrics": METRICS,
        "shape": {"d_model": 32, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [16], "batch_size": [2]},
        "decode": {"tokens": 4},
        "variants": [{"model": "dense"}, *({"model": f"{name}.py:build"} for name in ("decoding", *MODELS))],
    }
    plan = make_plan(override(parse_suite(data, "own"), Overrides()), device="cpu", text=None)
    folder = run_folder.create(str(tmp_path / "run"), "own")
    folder.write_run(plan, ENVIRONMENT, [], atomic_files.now())
    for job in plan.jobs:
        torch.manual_seed(0)
        folder.write_record(worker.make_record(job))
    cases = load.load(str(folder.path)).cases
    cases = cases[cases.metric.isin(METRICS)]
    of = {variant: cases[cases.variant == variant] for variant in cases.variant.unique()}
    assert set(of["forward_alone:build"].status) == {"skipped"}
    assert of["forward_alone:build"].reason.str.match("not reported: forward_alone.py:build .*prefill").all()
    assert of["forward_alone:build"].value.isna().all()
    for variant in ("decoding:build", "skips_by_threshold:build"):
        mine = of[variant]
        assert set(mine.metric) == set(METRICS)
        assert set(mine.status) == {"ok"}
        # Of the model nothing; of the machine what it was.
        assert set(mine.labels.dropna()) <= {"noisy"}, (variant, mine.labels.dropna().tolist())
        assert (
            mine[mine.metric == "memory/kv_cache"].value.item() == 2 * 16 * 2 * 32 * 4
        )  # rows, tokens, keys and values, width, fp32
    kept = of["keeps_its_steps:build"].set_index("metric").labels
    assert Label.REUSES_OUTPUT in kept["latency/decode"]
    assert Label.REUSES_OUTPUT in kept["latency/request"]
