"""What the files of a model say, before it is loaded: its shape as keys of `ModelConfig`, and whether they are whole.

The library `gguf` keeps an array for each word of a vocabulary (17 s and 0.6 GB for 128,256 words and their merges, where this
takes 0.3 s and nothing), and follows a damaged length without end.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from modbench.extend import UnreadableError, UsageError, in_short, optional_packages
from modbench.plugins.huggingface.model.spec import FAMILIES, Found

# Our key to the names that configs use for it.
NAMES = {
    "d_model": ("hidden_size", "n_embd"),
    "n_layers": ("num_hidden_layers", "n_layer"),
    "n_heads": ("num_attention_heads", "n_head"),
    "vocab_size": ("vocab_size",),
    "max_seq_len": ("max_position_embeddings", "n_positions"),
}
GGUF_NAMES = {
    "d_model": "embedding_length",
    "n_layers": "block_count",
    "n_heads": "attention.head_count",
    "n_kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",  # where it is not d_model / n_heads
    "d_ff": "feed_forward_length",
    "max_seq_len": "context_length",
}
GPT2 = {"activation": "gelu", "norm": "layer", "position": "learned"}
# Before the `model_type` of a model that `modbench convert` made stands this.
CONVERTED = "mod_"
# Types whose head shares the embedding's weights where their config does not say.
TIED = {"gpt2", "gemma", "gemma2", "gemma3_text", "smollm3"}
# Width of a head where the config does not say, if it is not d_model / n_heads.
HEAD_DIM = {"qwen3": 128}
# A family in the suite's shape: what it decides itself.
OF_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"activation": "swiglu", "norm": "rms", "position": "rotary"},
    "qwen2": {"activation": "swiglu", "norm": "rms", "position": "rotary"},
    "qwen3": {"activation": "swiglu", "norm": "rms", "position": "rotary"},
    "smollm": {"activation": "swiglu", "norm": "rms", "position": "rotary", "tied": True},
    "gpt2": {**GPT2, "tied": True},
}
assert OF_FAMILY.keys() == FAMILIES.keys()
# Far above what any text holds: a damaged length must not become a wait.
MOST_STRING = 1 << 24
# What reading a damaged header raises.
BROKEN = (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError, RecursionError)
# GGUF's types of single values, by number, as `struct` calls them.
SINGLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


def raw_config(found: Found) -> dict[str, Any]:
    """The JSON of a config.

    Raises:
        UsageError: if it cannot be read, or is not that of a language model.
    """
    assert found.config_file is not None
    said = f"{found.said}: {str(found.config_file)!r}"
    try:
        data = json.loads(found.config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{said} cannot be read: {in_short(error)}.") from error
    if not isinstance(data, dict) or not isinstance(data.get("model_type"), str):
        raise UsageError(f"{said} is no config of a model: it names no 'model_type'.")
    return data


def shape(found: Found) -> dict[str, Any]:
    """The keys of `ModelConfig` that the model decides; the suite's shape decides the others.

    Raises:
        UsageError: if its files cannot be read, or name no shape of a language model.
    """
    if found.kind == "family":
        return dict(OF_FAMILY[found.spec.name])
    if found.kind == "gguf":
        return _of_gguf(found)
    data = raw_config(found)
    made: dict[str, Any] = {}
    for key, names in NAMES.items():
        value = next((data[name] for name in names if data.get(name) is not None), None)
        if type(value) is not int:
            raise UsageError(
                f"{found.said}: its config (model_type {data['model_type']!r}) has no whole number {names[0]!r}: it is not "
                "that of a language model of text."
            )
        made[key] = value
    kind = data["model_type"].removeprefix(CONVERTED)
    gpt2 = kind == "gpt2"
    inner = data.get("intermediate_size") or data.get("n_inner") or 4 * made["d_model"]
    made |= {"d_ff": inner, "n_kv_heads": data.get("num_key_value_heads") or made["n_heads"]}
    made["head_dim"] = data.get("head_dim", HEAD_DIM.get(kind))  # None: d_model / n_heads
    made["tied"] = data.get("tie_word_embeddings", kind in TIED)
    return made | (GPT2 if gpt2 else OF_FAMILY["llama"])


def model_type(found: Found) -> str:
    """Transformers' name of the architecture."""
    if found.kind == "family":
        return FAMILIES[found.spec.name]
    if found.kind == "gguf":
        return str(read_gguf(found).values.get("general.architecture"))
    return str(raw_config(found)["model_type"])


def converted(found: Found) -> bool:
    """Whether `modbench convert` made it.

    Raises:
        UsageError: if the config says that it did, of a family that this version does not know; or if a rule of routing is
            asked of a model that has no routers.
    """
    kind = "" if found.kind in {"family", "gguf"} else model_type(found)
    made = kind.startswith(CONVERTED)
    if made and kind.removeprefix(CONVERTED) not in FAMILIES.values():
        known = ", ".join(CONVERTED + name for name in dict.fromkeys(FAMILIES.values()))
        raise UsageError(f"{found.said}: its model_type {kind!r} is no converted model known here ({known}).")
    if not made and "rule" in dict(found.spec.options):
        raise UsageError(f"{found.said} has no routers: only a folder that `modbench convert` wrote takes 'rule'.")
    return made


def _of_gguf(found: Found) -> dict[str, Any]:
    assert found.path is not None
    header = read_gguf(found)
    made = {key: header.of_model(name) for key, name in GGUF_NAMES.items()}
    made["n_kv_heads"] = made["n_kv_heads"] or made["n_heads"]
    made["vocab_size"] = header.lengths.get("tokenizer.ggml.tokens") or header.of_model("vocab_size")
    for key, value in made.items():
        if type(value) is not int and key != "head_dim":
            said = f"{found.said}: {found.path.name} does not say its {key}"
            raise UsageError(f"{said}: it is not that of a language model.")
    made["tied"] = "output.weight" not in header.tensors
    return made | OF_FAMILY["llama"]


def check_safetensors(found: Found) -> None:
    """Check that the header of each file of weights of a folder is sound and names each of its bytes; tensors are not read.

    Raises:
        UsageError: if one is damaged or cannot be read.
    """
    library = optional_packages.load("safetensors", "hf", found.said)
    for file in found.weights:
        try:
            library.safe_open(file, framework="np")
        except (OSError, library.SafetensorError) as error:
            raise _damaged(found, file, error) from error


def _damaged(found: Found, file: Path, error: Exception) -> UnreadableError:
    return UnreadableError(f"{found.said}: {file.name} is damaged: {in_short(error)}. Fetch or save it again.")


@dataclass(frozen=True)
class Gguf:
    """What a GGUF file says of itself.

    Attributes:
        values: single values by key.
        lengths: lengths of arrays by key.
        tensors: names of tensors.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: frozenset[str] = frozenset()

    def of_model(self, key: str) -> object:
        """A value about the architecture, such as `block_count`; None if there is none."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}")


def read_gguf(found: Found) -> Gguf:
    """Read the header of a GGUF file (github.com/ggml-org/ggml, docs/gguf.md; versions 2 and 3).

    Raises:
        UsageError: if it is damaged or cannot be read.
    """
    assert found.path is not None
    try:
        with found.path.open("rb") as stream:
            return _header(stream, found.path.stat().st_size)
    except BROKEN as error:
        raise _damaged(found, found.path, error) from error


def _header(stream: IO[bytes], size: int) -> Gguf:
    magic, version, tensors, keys = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF" or version not in {2, 3}:
        raise ValueError("it does not begin as GGUF 2 or 3 does")
    found = Gguf()
    for _ in range(keys):
        key = _string(stream)
        kind = _one(stream, "I")
        if kind == ARRAY:
            found.lengths[key] = _skip_array(stream)
        else:
            found.values[key] = _string(stream) if kind == STRING else _one(stream, SINGLE[kind])
    names, last = [], 0
    for _ in range(tensors):
        names.append(_string(stream))
        for _ in range(_one(stream, "I")):
            _one(stream, "Q")
        _one(stream, "I")
        last = max(last, _one(stream, "Q"))
    if stream.tell() + last >= size:
        raise ValueError("it ends before its last tensor")
    return Gguf(found.values, found.lengths, frozenset(names))


def _one(stream: IO[bytes], kind: str) -> int:
    """A number of this type, as `struct` calls it; whole, but for `f` and `d`."""
    number: int = struct.unpack(f"<{kind}", stream.read(struct.calcsize(f"<{kind}")))[0]
    return number


def _string(stream: IO[bytes]) -> str:
    length = _one(stream, "Q")
    if length > MOST_STRING:
        raise ValueError("a text has no end")
    return stream.read(length).decode(errors="replace")


def _skip_array(stream: IO[bytes]) -> int:
    """Skip an array; its length."""
    kind, length = _one(stream, "I"), _one(stream, "Q")
    if kind in SINGLE:
        stream.seek(length * struct.calcsize(f"<{SINGLE[kind]}"), 1)
        return int(length)
    if kind != STRING:
        raise ValueError(f"an array holds type {kind}")
    for _ in range(length):
        stream.seek(_one(stream, "Q"), 1)
    return int(length)
