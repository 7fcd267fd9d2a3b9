"""Open a local Hugging Face model: a folder in its format, or a GGUF file. Nothing is ever downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from modbench.harness.core import extras
from modbench.harness.core.errors import UsageError, in_short, shown

PREFIX = "hf:"
WEIGHTS = ("*.safetensors", "*.bin")


def located(source: str) -> tuple[Path, str | None]:
    """The folder of `hf:FOLDER` or `hf:FOLDER/FILE.gguf`, and the name of the GGUF file.

    Raises:
        UsageError: if there is no such folder or file, or no model in it.
    """
    path = Path(source.removeprefix(PREFIX)).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path.parent, path.name
    if not path.is_dir():
        raise UsageError(
            f"{shown(source)}: no such folder, and nothing is downloaded. Give a folder with config.json, or FOLDER/FILE.gguf."
        )
    if not (path / "config.json").is_file():
        found = sorted(file.name for file in path.glob("*.gguf"))
        hint = f" It has a GGUF file: {PREFIX}{path}/{found[0]}" if found else ""
        raise UsageError(f"{shown(source)}: the folder has no config.json, so it is no model of transformers.{hint}")
    if not any(next(path.glob(kind), None) for kind in WEIGHTS):
        raise UsageError(f"{shown(source)}: the folder has no weights (*.safetensors), only a configuration.")
    return path, None


def load_dense(source: str) -> Any:  # noqa: ANN401  # a model of transformers
    """The model as it is stored; of a GGUF file, dequantised to float32.

    Raises:
        UsageError: if it cannot be loaded.
    """
    folder, gguf = located(source)
    if gguf is None:
        config = _config(folder, source)
        if str(config.get("model_type", "")).startswith("mod_"):
            raise UsageError(f"{shown(source)} is converted already: name the dense model that it was made from.")
        if config.get("quantization_config"):
            raise UsageError(
                f"{shown(source)} is quantised; convert needs plain weights, or a GGUF file, which it dequantises."
            )
    else:
        extras.load("gguf", "hf", "a GGUF file")
    return _opened("AutoModelForCausalLM", source, folder, gguf)


def load_tokenizer(source: str) -> Any:  # noqa: ANN401  # a tokenizer of transformers
    """The model's own tokenizer.

    Raises:
        UsageError: if there is none.
    """
    return _opened("AutoTokenizer", source, *located(source))


def _opened(auto: str, source: str, folder: Path, gguf: str | None) -> Any:  # noqa: ANN401  # as the two above
    transformers = extras.load("transformers", "hf", source)
    options: dict[str, Any] = {"local_files_only": True} | ({} if gguf is None else {"gguf_file": gguf})
    if auto == "AutoModelForCausalLM" and gguf is not None:
        options["dtype"] = torch.float32
    try:
        with offline():
            return getattr(transformers, auto).from_pretrained(str(folder), **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        what = "tokenizer" if auto == "AutoTokenizer" else "model"
        raise UsageError(f"{shown(source)}: transformers cannot load its {what}: {in_short(error)}") from error


def _config(folder: Path, source: str) -> dict[str, Any]:
    try:
        read = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown(source)}: config.json cannot be read: {in_short(error)}") from error
    return read if isinstance(read, dict) else {}


@contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's client off the network, whatever it is asked, and quiet about its progress."""
    hub = extras.load("huggingface_hub.constants", "hf", "loading a model")
    from transformers.utils import logging

    before, before_env = hub.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    bars = logging.is_progress_bar_enabled()
    hub.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"  # type: ignore[attr-defined]  # read at each request
    logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before  # type: ignore[attr-defined]  # as above
        if bars:
            logging.enable_progress_bar()
        if before_env is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before_env
