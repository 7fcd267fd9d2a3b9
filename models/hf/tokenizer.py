"""The tokenizer of a folder or GGUF, in the JSON format of the package `tokenizers`."""

from __future__ import annotations

from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, in_short
from modbench.models.hf.loading import load
from modbench.models.hf.spec import Found, Spec

# What a tokenizer is made from, where there is no tokenizer.json.
OLDER = ("tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.model")


def files(found: Found) -> list[Path]:
    """Files of its own tokenizer; none of a GGUF, which holds it."""
    if found.kind != "folder" or found.path is None:
        return []
    names = ("tokenizer.json",) if (found.path / "tokenizer.json").is_file() else OLDER
    return [found.path / name for name in names if (found.path / name).is_file()]


def as_json(spec: Spec, found: Found) -> bytes:
    """Read tokenizer.json; else let transformers make it, from older files or a GGUF, which takes seconds.

    Raises:
        UsageError: if there is none, or it cannot be read.
    """
    kept = files(found)
    if found.path is None or (not kept and found.kind != "gguf"):
        raise UsageError(f"tokenizer '{spec}': there is no tokenizer.json. Save the tokenizer beside the model.")
    try:
        if kept and kept[0].name == "tokenizer.json":
            return kept[0].read_bytes()
        text: str = load(f"tokenizer '{spec}'", "AutoTokenizer", found.path).backend_tokenizer.to_str()
    except UsageError:
        raise
    except Exception as error:  # the library and its readers raise many types
        raise UnreadableError(
            f"tokenizer '{spec}' cannot be read: {type(error).__name__}: {in_short(error)}"
        ) from error
    return text.encode()
