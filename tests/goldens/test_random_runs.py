"""Tables, comparisons and gates of random planted runs are as they were.

The stored runs of `test_goldens.py` each show a situation that somebody thought of; these combine what may come together: other
variants, metrics and lengths, failures, missing jobs, noise, leaks, unknown machines. `MODBENCH_GOLDEN=write pytest
tests/goldens` writes them anew.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import goldens
import pytest
from in_process import command_line

from modbench.harness.core import atomic_files
from modbench.planted_runs import FIT, UNFIT, planted_plan, planted_run

HERE = goldens.HERE / "random"
SEEDS = range(8)
DATE = "2026-01-02T03:04:05+00:00"
MORE = ["flops/train_step", "latency/train_step", "memory/peak_allocated", "memory/parameters", "latency/decode"]
OF_CSV = {"cases", "tables"}
COMMANDS = {
    "report": "report new/run --format csv",
    "views": "report new/run --format json -o views --all-pairs",
    "compare": "compare old/run new/run --json",
    "gate": "gate old/run new/run --fail-on slower:5%,flops:0%,larger:1%,worse:1%,breaks,labels --json",
    "by_capacity": "compare new/run --by capacity --json",
    "by_length": "compare new/run --by seq_len --json",
}


def drawn_suite(draw: random.Random) -> dict[str, Any]:
    trains = draw.random() < 0.5
    metrics = ["flops/forward", "latency/forward", *draw.sample(MORE, draw.randint(0, 4))]
    variants: list[dict[str, Any]] = [{"model": "dense"}]
    if draw.random() < 0.6:
        variants += [{"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}]
    variants += [{"model": "mod", "capacity": sorted({0.125, *draw.sample([0.25, 0.5], draw.randint(0, 2))})}]
    variants += [{"model": "moe"}] if draw.random() < 0.5 else []
    suite: dict[str, Any] = {
        "effort": draw.choice(["draft", "standard"]),
        "variants": variants,
        "grid": {"seq_len": sorted(draw.sample([32, 64, 128], 2))},
    }
    suite |= {"aa_control": draw.random() < 0.5, "processes": draw.randint(2, 6), "rounds": 4}
    suite |= {"seeds": [*range(draw.randint(1, 4))]} if trains else {"train": None}
    return suite | {"metrics": metrics + ["loss/val", "loss/val_causal"] * trains}


def changed(suite: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The suite of a run that is made later: usually the same."""
    other = [{"rounds": 6}, {"processes": 4}, {"variants": suite["variants"][:-1]}, {"metrics": suite["metrics"][:2]}]
    other += [{"train": {"seq_len": 128, "tokens": 1500}}] if "seeds" in suite else []
    return suite | draw.choice([{}, {}, *other])


def plant(folder: Path, suite: dict[str, Any], draw: random.Random) -> None:
    """A run in which this and that goes wrong."""
    plan = planted_plan(**suite)
    names = sorted({case.variant for case in plan.cases})
    others = [each for each in names if each != "dense"]
    lengths, steps = {case.grid_point.seq_len for case in plan.cases}, ("forward", "train_step", "decode")
    trouble: dict[str, Any] = {"seed": draw.randint(0, 999), "run_noise": draw.choice([0, 0.003, 0.02])}
    trouble["grid"] = {(v, step, n): draw.uniform(0.5, 1.4) for v in others for step in steps for n in sorted(lengths)}
    trouble["losses"] = {each: draw.uniform(1.5, 2.5) for each in names}
    for what, share, among in (
        ("waits", 0.3, names),
        ("fails", 0.3, others),
        ("leaks", 0.2, names),
        ("drifts", 0.2, names),
    ):
        trouble |= {what: draw.choice(among)} if draw.random() < share else {}
    trouble |= {"own_work_seen": draw.random() < 0.3, "waits_every": draw.choice([1, 1, 2])}
    trouble |= {"other_text": draw.choice(others)} if draw.random() < 0.1 else {}
    trouble |= {"costs": {draw.choice(names): (1.0, 1.3)}} if draw.random() < 0.2 else {}
    trouble |= {"lurches": draw.uniform(0, 0.2)} if draw.random() < 0.3 else {}
    lost = draw.choice(plan.jobs).name if draw.random() < 0.3 else None
    planted_run(folder, plan, leave_out=lost, certificate=draw.choice([FIT, FIT, UNFIT, None]), **trouble)


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_pair_of_runs_gives_what_it_gave(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    suite = drawn_suite(draw)
    with mock.patch.object(atomic_files, "now", return_value=DATE):
        for name, made in (("old", suite), ("new", changed(suite, draw))):
            (tmp_path / name).mkdir()
            plant(tmp_path / name, made, draw)
    found: dict[str, str] = {}
    for name, command in COMMANDS.items():
        done = command_line(*command.split(), cwd=tmp_path)
        found[name] = f"{done.returncode}\n"
        if "--json" in command and done.stdout:
            found[name] += goldens.as_json(goldens.split_json(json.loads(done.stdout))[0])
    view = goldens.split_json(json.loads((tmp_path / "views" / "report.json").read_text(encoding="utf-8")))[0]
    found["report.json"] = goldens.as_json({key: part for key, part in view.items() if key not in OF_CSV})
    for path in sorted((tmp_path / "new" / "run").glob("*.csv")):
        found[path.name] = goldens.split_csv(path.read_text(encoding="utf-8"))[0]
    text = "".join(f"--- {name}\n{part}" for name, part in found.items())
    stored = HERE / f"{seed}.txt"
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        stored.write_text(text, encoding="utf-8")
    assert goldens.first_difference("data", stored.read_text(encoding="utf-8"), text) == ""
