"""`modbench convert hf:… --to mod`: wraps, starts, tunes and measures a model, and writes it for transformers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modbench.extend import (
    Estimate,
    TrainRun,
    UsageError,
    aligned,
    catalogue,
    corpus_entry,
    estimate,
    naming,
    optional_packages,
    share,
    shown,
)
from modbench.plugins.huggingface.model.files import CONVERTED, raw_config
from modbench.plugins.huggingface.model.loading import load, offline
from modbench.plugins.huggingface.model.mod_options import MoDOptions
from modbench.plugins.huggingface.model.spec import FAMILIES, PREFIX, local
from modbench.plugins.huggingface.model_loader import HuggingFace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from modbench.plugins.huggingface.router_tuning import Losses

Start = Literal["change", "random"]
RULES = ("dense", "top_k", "threshold", "predictor")
RULE_NAMES = {
    "dense": "dense",
    "top_k": "top-k, sees later tokens",
    "threshold": "threshold, causal",
    "predictor": "predictor, causal",
}
DEFAULT_LR = 3e-3
# Beside the weights: the conversion, its text, and the losses.
NOTES = "modbench_convert.json"


@dataclass(frozen=True)
class Request:
    """The flags of `modbench convert hf:… --to mod`."""

    source: str
    out: str
    options: MoDOptions
    start: Start = "change"
    tune_steps: int = 0
    corpus: str = "stdlib"
    seq_len: int = 256
    batch_size: int = 4
    lr: float = DEFAULT_LR
    seed: int = 0
    val_tokens: int = 8192

    def run(self) -> TrainRun:
        """The training run; without steps its windows still calibrate and measure.

        Raises:
            UsageError: if a size or rate is out of range.
        """
        rules = (
            ("--tune-steps", self.tune_steps, self.tune_steps >= 0, "0 or more"),
            ("--seq-len", self.seq_len, self.seq_len >= 2, "2 or more"),
            ("--batch-size", self.batch_size, self.batch_size >= 1, "1 or more"),
            ("--lr", self.lr, 0 < self.lr <= 10, "above 0 and at most 10"),
            ("--val-tokens", self.val_tokens, self.val_tokens >= 2 * self.seq_len, "at least two windows of --seq-len"),
        )
        for name, value, holds, rule in rules:
            if not holds:
                raise UsageError(f"{name} {value}: must be {rule}.")
        return TrainRun(
            seq_len=self.seq_len,
            batch_size=self.batch_size,
            steps=max(1, self.tune_steps),
            lr=self.lr,
            val_tokens=self.val_tokens,
        )


@dataclass(frozen=True)
class Converted:
    """The result of a conversion, with the notes of the folder's `modbench_convert.json`."""

    source: Path
    out: Path
    routed: list[int]
    layers: int
    notes: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"out": str(self.out), "routed_layers": self.routed, "layers": self.layers, **self.notes}

    def as_text(self) -> str:
        """The loss against dense in one line; then what was routed, all losses, the folder, and what to do with it."""
        which = (
            ", ".join(map(str, self.routed))
            if len(self.routed) < 6
            else f"{self.routed[0]}, {self.routed[1]}, … {self.routed[-1]}"
        )
        causal = self.notes["options"]["causal"]
        row = [*self.notes["losses"].values()][-1][causal]
        lines = [
            f"{_gap(row)} nats/token against dense, by {RULE_NAMES[causal]}",
            f"routed: layers {which} of 0 to {self.layers - 1}, capacity {self.notes['options']['capacity']}",
        ]
        held_out = self.notes["held_out"]
        lines.append(
            f"held-out loss on {held_out['windows']} windows of {held_out['seq_len']} tokens of {self.notes['corpus']}:"
        )
        for when, rows in self.notes["losses"].items():
            table = [(f"  {when}", "nats/token", "bits/byte", "against dense [95 %]", "processed")]
            for rule, row in rows.items():
                gap = "" if rule == "dense" else _gap(row)
                cells = (f"{row['nats_per_token']:.3f}", f"{row['bits_per_byte']:.3f}", gap, share(row["processed"], 1))
                table.append((f"  {RULE_NAMES[rule]}", *cells))
            lines += aligned(table, right={1, 2, 3, 4})
        lines += ["", f"written: {self.out}", *self._next_commands()]
        return "\n".join(lines)

    def _next_commands(self) -> list[str]:
        """The commands that measure it beside the dense model, and load it."""
        models = " ".join(f"--model {shlex.quote(_spec(path))}" for path in (self.source, self.out))
        loading = "from modbench.plugins.huggingface.mod import MoDForCausalLM"
        return [
            f"measure: modbench run quick {models} --only --set train.steps=0",
            f"decode:  modbench run decode {models} --only",
            f"load:    {loading}  # before AutoModelForCausalLM, which then knows it too",
            f"         model = MoDForCausalLM.from_pretrained({str(self.out)!r})",
        ]


def _gap(row: dict[str, float]) -> str:
    """The difference of the loss from the dense model's, with its 95 % interval."""
    return estimate(Estimate(row["gap"], row["gap_low"], row["gap_high"], "difference", "nat"))


def _spec(path: Path) -> str:
    """The name of a model for `--model`; a folder that is called like a family needs its path."""
    return f"hf:./{path}" if str(path) in FAMILIES else f"hf:{path}"


def to_mod(request: Request) -> Converted:
    """Convert a model and write it.

    Raises:
        UsageError: if the source, a flag or the output folder cannot be used.
    """
    run = request.run()
    out = Path(request.out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {shown(request.out)} exists already: name a new folder.")
    source = dense_source(request.source)  # importing transformers takes seconds: what is wrong is found before
    name, path = corpus_entry(request.corpus)
    text = catalogue.load("corpora", name).read(path)
    optional_packages.load("transformers", "hf", "convert")
    encoder = source.tokenizer_json()
    from modbench.extend import StepProgress, Windows, encode
    from modbench.plugins.huggingface import mod as hf_mod
    from modbench.plugins.huggingface import router_tuning

    dense, tokenizer = load_dense(source)
    longest = getattr(dense.config, "max_position_embeddings", None)
    if longest is not None and request.seq_len > longest:
        raise UsageError(f"--seq-len {request.seq_len}: the model reads at most {longest} tokens.")
    model = hf_mod.convert(dense.eval(), request.options, request.seed)
    tokens = encode(text, str(source.spec), dense.config.vocab_size)
    tokens.check_length(request.corpus, request.seq_len)
    windows = Windows(tokens, run, request.seed)
    router_tuning.set_up(model, windows, fit=request.start == "change")
    losses = {"before tuning" if request.tune_steps else "not tuned": router_tuning.measure(model, windows, RULES)}
    if request.tune_steps:
        router_tuning.tune(model, windows, request.seed, StepProgress(sys.stderr))
        losses["after tuning"] = router_tuning.measure(model, windows, RULES)
    notes = {
        "source": request.source.rpartition("/")[2],
        "options": request.options.as_dict(),
        "start": request.start,
        "tuning": {"steps": request.tune_steps, "batch_size": run.batch_size, "lr": run.lr, "seed": request.seed},
        "corpus": text.name,
        "corpus_sha256": text.sha256,
        "held_out": {"windows": len(windows.starts(run.val_tokens)), "seq_len": run.seq_len},
        "losses": {when: rows_of(found) for when, found in losses.items()},
    }
    _write(model, tokenizer, encoder, notes, out)
    layers: Any = model.config
    dense_path = Path(request.source.removeprefix(PREFIX)).expanduser()
    return Converted(dense_path, out, request.options.layers(layers.num_hidden_layers), layers.num_hidden_layers, notes)


def dense_source(source: str) -> HuggingFace:
    """The model that a user names to be converted, its files checked as `run` checks them.

    Raises:
        UsageError: if there is no such model, or none that can be converted.
    """
    path = local(source)
    if (path / "config.json").is_file() and not any(path.glob("model*.safetensors*")) and not any(path.glob("*.bin")):
        raise UsageError(f"{shown(source)}: the folder has no weights (*.safetensors), only a configuration.")
    made = HuggingFace(str(path), {})
    made.check()
    if made.found.kind == "folder":
        config = raw_config(made.found)
        if config["model_type"].startswith(CONVERTED):
            raise UsageError(f"{shown(source)} is converted already: name the dense model that it was made from.")
        if config.get("quantization_config"):
            raise UsageError(
                f"{shown(source)} is quantised; convert needs plain weights, or a GGUF file, which it dequantises."
            )
    return made


def load_dense(source: HuggingFace) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model as it is stored, of a GGUF file dequantised to float32, and its own tokenizer.

    Raises:
        UsageError: if one of them cannot be loaded.
    """
    import torch

    path = source.found.path
    more = {"dtype": torch.float32} if source.found.kind == "gguf" else {}
    return load(source.found.said, "model", path, **more), load(f"tokenizer '{source.spec}'", "tokenizer", path)


def rows_of(found: Losses) -> dict[str, dict[str, float]]:
    """The losses of every rule, and how far from the dense model."""
    rows: dict[str, dict[str, float]] = {}
    for rule in found.by_rule:
        rows[rule] = {
            "nats_per_token": found.mean(rule),
            "bits_per_byte": found.bits_per_byte(rule),
            "processed": found.share[rule],
        }
        if rule != "dense":
            rows[rule] |= dict(zip(("gap", "gap_low", "gap_high"), found.gap(rule), strict=True))
    return rows


def _write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoder: bytes, notes: dict[str, Any], out: Path
) -> None:
    """Write everything beside the folder, then rename it: there is never half a model.

    The tokenizer's own file is that of the dense model, to the byte: the losses of both are then of the same tokens.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with naming(out), offline():
            model.save_pretrained(str(staging))
            tokenizer.save_pretrained(str(staging))
            (staging / "tokenizer.json").write_bytes(encoder)
            (staging / NOTES).write_text(json.dumps(notes, indent=1) + "\n")
            staging.chmod(0o777 & ~_umask())
            if out.exists():
                out.rmdir()
            staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def routing_options(flags: Mapping[str, Any]) -> MoDOptions:
    """The options; a flag that is None keeps its default."""
    return replace(MoDOptions(), **{name: value for name, value in flags.items() if value is not None})
