"""Open a dense Hugging Face model to convert: a local folder in its format, or a GGUF file. Nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modbench.harness.core.errors import UsageError, shown
from modbench.models.hf.loading import load
from modbench.models.hf.shape import CONVERTED, raw_config
from modbench.models.sources.hf import HuggingFace

PREFIX = "hf:"


def located(source: str) -> Path:
    """The folder or GGUF file of `hf:FOLDER` or `hf:FOLDER/FILE.gguf`, absolute.

    Raises:
        UsageError: if there is none.
    """
    path = Path(source.removeprefix(PREFIX)).expanduser().absolute()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    raise UsageError(
        f"{shown(source)}: no such folder, and nothing is downloaded. Give a folder with config.json, or FOLDER/FILE.gguf."
    )


def dense_source(source: str) -> HuggingFace:
    """The model that a user names to be converted, its files checked as `run` checks them.

    Raises:
        UsageError: if there is no such model, or none that can be converted.
    """
    path = located(source)
    if (path / "config.json").is_file() and not any(path.glob("model*.safetensors*")) and not any(path.glob("*.bin")):
        raise UsageError(f"{shown(source)}: the folder has no weights (*.safetensors), only a configuration.")
    made = HuggingFace(str(path), {})
    made.check()
    if made.found.kind == "folder" and made.found.config_file is not None:
        config = raw_config(made.spec, made.found.config_file)
        if config["model_type"].startswith(CONVERTED):
            raise UsageError(f"{shown(source)} is converted already: name the dense model that it was made from.")
        if config.get("quantization_config"):
            raise UsageError(
                f"{shown(source)} is quantised; convert needs plain weights, or a GGUF file, which it dequantises."
            )
    return made


def load_dense(source: HuggingFace) -> Any:  # noqa: ANN401  # a model of transformers
    """The model as it is stored; of a GGUF file, dequantised to float32.

    Raises:
        UsageError: if it cannot be loaded.
    """
    more = {"dtype": torch.float32} if source.found.kind == "gguf" else {}
    return load(f"model '{source.spec}'", "AutoModelForCausalLM", source.found.path, **more)


def load_tokenizer(source: HuggingFace) -> Any:  # noqa: ANN401  # a tokenizer of transformers
    """The model's own tokenizer.

    Raises:
        UsageError: if there is none.
    """
    return load(f"tokenizer '{source.spec}'", "AutoTokenizer", source.found.path)
