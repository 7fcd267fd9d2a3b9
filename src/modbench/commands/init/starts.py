"""What `modbench init` begins with: what a user may have, the command that begins with it, and what that writes or prints."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.atomic_files import write_once
from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.model_specs import parse_single
from modbench.harness.core.plain_text import aligned
from modbench.harness.planning.load_suite import read_suite
from modbench.harness.registry.model_loaders import from_loader
from modbench.harness.registry.user_models import check_user_model

PREFIX = "hf:"


@dataclass(frozen=True)
class Start:
    """A way to begin: what a user has, the command for it, what that does, and the docs page that goes on from there."""

    what: str
    command: str
    does: str
    docs: str


MODEL = Start(
    "a model", "modbench init mine.py", "writes a small model that skips tokens, to change", "docs/your-model.md"
)
CHECKPOINT = Start(
    "a checkpoint",
    "modbench init hf:FOLDER",
    "prints how to measure it and to convert it to MoD",
    "plugins/huggingface/README.md",
)
REPOSITORY = Start(
    "a repository",
    "modbench init .github/workflows/modbench.yml --model mine.py:build",
    "writes a gate that fails a pull request that makes the model slower",
    "docs/ci.md",
)
SUITE = Start("none of these", "modbench init suite.toml", "writes a suite with every key explained", "docs/start.md")
STARTS = (MODEL, CHECKPOINT, REPOSITORY, SUITE)
ENDINGS = {".py": MODEL, ".yml": REPOSITORY, ".yaml": REPOSITORY, ".toml": SUITE}


@dataclass(frozen=True)
class Begun:
    """What was begun.

    Attributes:
        written: the file; None where nothing was written.
        commands: what to run next, with what it is for.
        docs: the docs page that goes on from there.
        note: what must be done before; empty: nothing.
    """

    written: Path | None
    commands: dict[str, str]
    docs: str
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        written = None if self.written is None else str(self.written)
        return {"written": written, "commands": self.commands, "note": self.note or None, "docs": self.docs}

    def as_text(self) -> str:
        """A few lines: the file, the commands, the docs page."""
        lines = [f"wrote {self.written}"] * (self.written is not None) + [self.note] * bool(self.note)
        lines += aligned([(f"{what}:", command) for what, command in self.commands.items()])
        return "\n".join([*lines, f"more: {self.docs}"])


def as_text() -> str:
    """All ways to begin, each in two lines."""
    rows = [row for start in STARTS for row in ((start.what, start.command), ("", f"{start.does}: {start.docs}"))]
    return "\n".join(["What do you have?", "", *aligned(rows)])


# As examples/skipping/mine.py is.
TEMPLATE = """\
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.norm_1, self.norm_2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x_BTD):
        qkv_BHTD = self.qkv(self.norm_1(x_BTD)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        y_BHTD = F.scaled_dot_product_attention(*qkv_BHTD.chunk(3, 1), is_causal=True)
        x_BTD = x_BTD + self.out(y_BHTD.transpose(1, 2).flatten(2))
        return x_BTD + self.mlp(self.norm_2(x_BTD))


class Skipping(nn.Module):
    def __init__(self, config, keep):
        super().__init__()
        d, self.every = config.d_model, round(1 / keep)
        self.token, self.position = nn.Embedding(config.vocab_size, d), nn.Embedding(config.max_seq_len, d)
        self.blocks = nn.ModuleList(Block(d, config.n_heads) for _ in range(config.n_layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, config.vocab_size)

    def forward(self, tokens_BT):  # int64 tokens [B, T]
        x_BTD = self.token(tokens_BT) + self.position.weight[: tokens_BT.shape[1]]
        kept_K = torch.arange(0, tokens_BT.shape[1], self.every, device=tokens_BT.device)
        for number, block in enumerate(self.blocks):  # every second block computes a share of the tokens
            skipped = number % 2
            x_BTD = x_BTD.index_copy(1, kept_K, block(x_BTD[:, kept_K])) if skipped else block(x_BTD)
        return self.head(self.norm(x_BTD))  # logits [B, T, vocabulary]


def build(config, keep=0.25):
    return Skipping(config, keep)
"""


def kind_of(named: str) -> Start:
    """The start that a name belongs to: a checkpoint by its prefix, files by their endings.

    Raises:
        UsageError: if it belongs to none.
    """
    if named.startswith(PREFIX):
        return CHECKPOINT
    ending = Path(named).suffix
    if ending not in ENDINGS:
        near = f" Did you mean {shown(f'{PREFIX}{named}')}?" if Path(named).is_dir() else ""
        raise UsageError(
            f"init {shown(named)}: a suite must end in .toml, a model in .py, a workflow in .yml; a checkpoint is named as "
            f"hf:FOLDER.{near} `modbench init` alone lists them."
        )
    return ENDINGS[ending]


def begin(start: Start, named: str, models: tuple[str, ...], suite: str | None) -> Begun:
    """Write or print what a start offers; a suite is written by `suite_file.py`."""
    if start is REPOSITORY:
        return write_workflow(named, models, suite)
    return write_model(named) if start is MODEL else commands_for(named)


def write_model(file: str) -> Begun:
    """Write a model to begin with.

    Raises:
        UsageError: if the file exists.
    """
    path = _new(file, TEMPLATE)
    spec = shlex.quote(f"{path}:build")
    commands = {
        "what would run": f"modbench plan quick --model {spec} --only",
        "against dense of equal FLOPs": f"modbench run quick --model {spec} --only",
    }
    return Begun(path, commands, MODEL.docs)


def commands_for(checkpoint: str) -> Begun:
    """The commands for a checkpoint, `hf:FOLDER` or whatever `--model` takes with this prefix; its files are checked first.

    Raises:
        UsageError: if there is no such model.
    """
    check_user_model(checkpoint, {})
    model, path, note = shlex.quote(checkpoint), Path(checkpoint.removeprefix(PREFIX)), ""
    if path.is_dir() and (found := from_loader(checkpoint)) and found.tokenizer():
        try:
            found.tokenizer_json()
        except UsageError as error:  # it has weights, whose losses are those of its own tokens
            note = str(error)
    commands = {"measure it": f"modbench run quick --model {model} --only --set train.steps=0"}
    if path.exists():
        out = path.with_name(f"{path.stem if path.is_file() else path.name}-mod")
        commands |= {
            "convert it": f"modbench convert {model} --to mod --capacity 0.125 --out {shlex.quote(str(out))}",
            "then compare": f"modbench run decode --model {model} --model {shlex.quote(f'{PREFIX}{out}')} --only",
        }
    return Begun(None, commands, CHECKPOINT.docs, note)


# As docs/ci.md shows it.
WORKFLOW = """\
on: pull_request
permissions: {{ contents: read }} # the gate runs a branch's code: give it nothing to write with
jobs:
  modbench:
    runs-on: ubuntu-latest
    steps:
      - uses: OWNER/modbench@main
        with: {{ model: {model}, suite: {suite}, fail-on: "slower:5%" }}
"""


def write_workflow(file: str, models: tuple[str, ...], suite: str | None) -> Begun:
    """Write a workflow of GitHub Actions that gates pull requests by one model; without a suite on `quick`.

    Raises:
        UsageError: if the file exists, or there is no such model or suite.
    """
    if len(models) != 1 or Path(models[0]).is_absolute() or models[0].startswith(PREFIX):
        raise UsageError(
            f"{shown(file)}: a workflow gates one model of the repository: name it with --model FILE.py:build."
        )
    (model,) = models
    spec, options = parse_single(model)
    check_user_model(spec, dict(options))
    if suite is not None:
        read_suite(suite)
    path = _new(file, WORKFLOW.format(model=json.dumps(model), suite=suite or "quick"))
    again = (
        f"modbench ab revisions main . {shlex.quote(suite or 'quick')} --model {shlex.quote(model)} --fail-on slower:5%"
    )
    note = "Replace OWNER in it by the account with your copy of modbench, and commit it."
    return Begun(path, {"the same here": again}, REPOSITORY.docs, note)


def _new(file: str, content: str) -> Path:
    """Write a file that does not exist, and its folders."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() or not write_once(path, content):
        raise UsageError(f"{shown(file)} exists, and files are never overwritten. Name another file.")
    return path
