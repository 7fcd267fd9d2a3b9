"""The one place where transformers opens files: it runs its own code and no other, and reads this machine's files alone.

A folder may name code of its own for its config, model or tokenizer (`auto_map`). Left to itself the library asks on the terminal
whether to run it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from modbench.extend import UnreadableError, UsageError, in_short, optional_packages, shown
from modbench.plugins.huggingface.model.spec import Found

Part = Literal["config", "model", "tokenizer"]
AUTO: dict[Part, str] = {"config": "AutoConfig", "model": "AutoModelForCausalLM", "tokenizer": "AutoTokenizer"}
# Files that may name code of the folder.
NAMES_CODE = ("config.json", "tokenizer_config.json")
# What a tokenizer is made from, where there is no tokenizer.json.
OLDER = ("tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.model")


def load(said: str, part: Part, source: object, **options: object) -> Any:  # noqa: ANN401  # the library's objects have no types
    """What the library makes of files: a config, a model with its weights, or a tokenizer. A model must have all its tensors.

    Args:
        said: what was asked for, such as `model 'hf:FOLDER'`: the start of an error.
        part: what is loaded.
        source: the path of a folder, a config or a GGUF file; or a config of the library, for a model with random weights.
        **options: more for the library. Attention is its `sdpa` unless they say otherwise: a config may name a kernel on the hub.

    Raises:
        UsageError: if the library cannot load it, would need code of the folder, or weights are missing.
    """
    made = getattr(optional_packages.load("transformers", "hf", said), AUTO[part])
    if part == "model":
        options = {"attn_implementation": "sdpa"} | options
    if not isinstance(source, Path):
        with errors_in_one_line(said, part):
            return made.from_config(source, trust_remote_code=False, **options)
    check_type(said, source)
    folder = source
    if source.suffix == ".gguf":
        optional_packages.load("gguf", "hf", said)
        folder, options = source.parent, options | {"gguf_file": source.name}
    elif part == "model":
        options |= {"use_safetensors": True}
    if part == "model":
        options |= {"output_loading_info": True}
    with errors_in_one_line(said, part, source):
        found = made.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
        if part == "tokenizer":
            found("a", add_special_tokens=False)  # what is wrong with its settings shows when it is used
    if part != "model":
        return found
    model, info = found
    missing = sorted(info["missing_keys"])
    if missing:  # the library draws them at random without a word
        raise UsageError(
            f"{said}: its files lack {len(missing)} of the model's tensors, such as {missing[0]!r}. Fetch or save them again."
        )
    return model


def tokenizer_files(found: Found) -> list[Path]:
    """Files of its own tokenizer; none of a GGUF, which holds it."""
    if found.kind != "folder" or found.path is None:
        return []
    names = ("tokenizer.json",) if (found.path / "tokenizer.json").is_file() else OLDER
    return [found.path / name for name in names if (found.path / name).is_file()]


def tokenizer_json(found: Found) -> bytes:
    """The tokenizer of a folder or GGUF, in the JSON format of the package `tokenizers`.

    Read tokenizer.json; else let transformers make it, from older files or a GGUF, which takes seconds.

    Raises:
        UsageError: if there is none, or it cannot be read.
    """
    kept, said = tokenizer_files(found), f"tokenizer '{found.spec}'"
    if found.path is None or (not kept and found.kind != "gguf"):
        raise UsageError(
            f"{said}: there is no tokenizer.json. Save the tokenizer beside the model: tokenizer.save_pretrained(FOLDER)."
        )
    try:
        if kept and kept[0].name == "tokenizer.json":
            return kept[0].read_bytes()
        text: str = load(said, "tokenizer", found.path).backend_tokenizer.to_str()
    except UsageError:
        raise
    except Exception as error:  # the library and its readers raise many types
        raise UnreadableError(f"{said} cannot be read: {type(error).__name__}: {in_short(error)}") from error
    return text.encode()


@contextlib.contextmanager
def errors_in_one_line(said: str, part: Part, source: Path | None = None) -> Iterator[None]:
    """Use the library, off the network; what it raises becomes one line.

    Args:
        said: what was asked for: the start of the line.
        part: what the library makes.
        source: the files that it reads.

    Raises:
        UsageError: if the library raises.
    """
    try:
        with offline():
            yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # the library and the readers of its files raise many types
        why = f"transformers cannot make its {part}: {type(error).__name__}: {in_short(error)}"
        file = None if source is None else _names_code(source)
        raise (_code(said, file, why) if file else UsageError(f"{said}: {why}")) from error


def check_type(said: str, source: Path) -> None:
    """Check that the library itself knows the type of a config that names code; it is loaded only then.

    Args:
        said: what was asked for: the start of the error.
        source: a folder or a config.

    Raises:
        UsageError: if only the folder's code can make it.
    """
    config = {} if source.suffix == ".gguf" else _read(source / "config.json" if source.is_dir() else source)
    if not config.get("auto_map"):
        return
    kind = config.get("model_type")
    if kind not in optional_packages.load("transformers", "hf", said).CONFIG_MAPPING:
        raise _code(said, "config.json", f"transformers does not know the model_type {shown(kind)}")


def _names_code(source: Path) -> str | None:
    """The file beside these that names code; None if there is none."""
    folder = source if source.is_dir() else source.parent
    return next((name for name in NAMES_CODE if _read(folder / name).get("auto_map")), None)


def _read(file: Path) -> dict[str, Any]:
    """The JSON of a file; empty where it is none: whoever needs it says so."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _code(said: str, file: str, why: str) -> UsageError:
    return UsageError(
        f"{said} brings code of its own (auto_map in {file}), which modbench never runs, and without it {why.rstrip('.')}. "
        "If you trust the code, load the model in a file of yours: --model FILE.py:build."
    )


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the library off the network, whatever it is asked, and without bars and advice; its settings are put back."""
    hub = optional_packages.load("huggingface_hub.constants", "hf", "loading a model")
    from transformers.utils import logging

    before, before_env = hub.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"  # type: ignore[attr-defined]  # read at each request
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before  # type: ignore[attr-defined]  # as above
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if before_env is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before_env
