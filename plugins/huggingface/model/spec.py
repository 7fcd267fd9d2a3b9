"""What `hf:WHAT` names: a family, a config, a folder, a GGUF file, or a name on the hub that is in the local cache.

Nothing is imported that could reach a network, and nothing is downloaded unless the spec says `download=true`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modbench.extend import UnreadableError, UsageError, in_short, near_path, shown, unknown

PREFIX = "hf:"
# Families with random weights in the suite's shape: name to transformers' `model_type`.
FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "smollm": "llama", "gpt2": "gpt2"}
OPTIONS = {
    "weights": ("stored", "random"),
    "attn": ("sdpa", "eager"),
    "download": ("false", "true"),
    "gguf_file": None,  # any file of the folder
    "rule": ("top_k", "threshold", "predictor", "dense"),  # of a converted model
}
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
LEAST = 5  # transformers' major version


@dataclass(frozen=True)
class Spec:
    """What a user wrote after `hf:`.

    Attributes:
        name: family, path or name on the hub.
        options: options in parentheses, as written.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, option: str) -> str:
        """The value of an option, or its default; empty where it has none."""
        values = OPTIONS[option]
        return dict(self.options).get(option, values[0] if values else "")

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Spec:
        """Check a name and its options.

        Raises:
            UsageError: for an option that there is not.
        """
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        said = f"model 'hf:{name}" + f"({given})'" * bool(given) + "'" * (not given)
        for key, value in options.items():
            if key not in OPTIONS:
                raise UsageError(f"{said}: {unknown('option', key, OPTIONS)}")
            allowed = OPTIONS[key]
            if allowed and _word(value) not in allowed:
                raise UsageError(f"{said}: write {key}={'|'.join(allowed)}.")
        if not name:
            raise UsageError(f"{said} names nothing. Write hf:{'|hf:'.join(FAMILIES)}, or hf:FOLDER.")
        return cls(name, tuple((key, _word(value)) for key, value in options.items()))

    def __str__(self) -> str:
        """As written."""
        said = ",".join(f"{key}={value}" for key, value in self.options)
        return f"hf:{self.name}" + (f"({said})" if said else "")


@dataclass(frozen=True)
class Found:
    """A model on this machine.

    Attributes:
        spec: what it was asked for as.
        kind: how it is made.
        path: of a config its file, of a folder the folder, of a GGUF the file; None for a family.
        weights: files of stored weights; empty: random weights.
    """

    spec: Spec
    kind: Literal["family", "config", "folder", "gguf"]
    path: Path | None = None
    weights: tuple[Path, ...] = ()

    @property
    def said(self) -> str:
        """How an error about it begins."""
        return f"model '{self.spec}'"

    @property
    def config_file(self) -> Path | None:
        """The file that holds the shape; None for a family."""
        return self.path / "config.json" if self.kind == "folder" and self.path else self.path

    @property
    def folder(self) -> Path | None:
        """The folder that may contain a tokenizer."""
        return self.path if self.kind == "folder" or self.path is None else self.path.parent


def _word(value: object) -> str:
    """An option as a word: `true` for True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def needs(spec: Spec, *, gguf: bool = False) -> None:
    """Check that the packages are installed, without importing them.

    Raises:
        UsageError: if one is missing or too old.
    """
    for package in ("transformers", *(("gguf",) if gguf else ())):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"model '{spec}' needs the package {package!r}, which is not installed: inside the clone, pip install '.[hf]'"
            )
    version = importlib.metadata.version("transformers")
    if int(version.partition(".")[0]) < LEAST:
        raise UsageError(
            f"model '{spec}' needs transformers {LEAST}, this is {version}: inside the clone, pip install '.[hf]'"
        )


def locate(spec: Spec) -> Found:
    """Find what a spec names on this machine.

    Raises:
        UsageError: if it is not there.
    """
    path = Path(spec.name)
    if spec.name in FAMILIES:
        return Found(spec, "family")
    if path.is_file():
        return _file(spec, path)
    if not path.is_dir():
        path = _cached(spec)
    if spec["gguf_file"] or not (path / "config.json").is_file():
        return Found(spec, "gguf", file := _gguf(spec, path), _stored(spec, (file,)))
    return Found(spec, "folder", path, _stored(spec, _safetensors(spec, path)))


def local(source: str) -> Path:
    """The folder or GGUF file of `hf:FOLDER` or `hf:FOLDER/FILE.gguf`, absolute.

    Raises:
        UsageError: if there is none.
    """
    path = Path(source.removeprefix(PREFIX)).expanduser().absolute()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    raise UsageError(
        f"{shown(source)}: no such folder, and nothing is downloaded.{_near(source.removeprefix(PREFIX))} Give a folder with "
        "config.json, or FOLDER/FILE.gguf."
    )


def _near(name: str) -> str:
    """The model that was probably meant; empty if no file or folder is like it."""
    return near_path(name, _is_model, PREFIX)


def _is_model(path: Path) -> bool:
    """Whether a file or folder may contain a model."""
    return path.suffix == ".gguf" or (path / "config.json").is_file() or (path.is_dir() and any(path.glob("*.gguf")))


def _stored(spec: Spec, files: tuple[Path, ...]) -> tuple[Path, ...]:
    return () if spec["weights"] == "random" else files


def _file(spec: Spec, path: Path) -> Found:
    if path.suffix == ".json":
        return Found(spec, "config", path)
    if path.suffix == ".gguf":
        return Found(spec, "gguf", path, _stored(spec, (path,)))
    raise UsageError(f"model '{spec}': {str(path)!r} is no config.json and no GGUF. Name the folder that holds both.")


def _gguf(spec: Spec, folder: Path) -> Path:
    if spec["gguf_file"]:
        if not (folder / spec["gguf_file"]).is_file():
            raise UsageError(f"model '{spec}': there is no file {spec['gguf_file']!r} in {str(folder)!r}.")
        return folder / spec["gguf_file"]
    found = sorted(folder.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"model '{spec}' has {len(found)} GGUF files: write 'hf:{spec.name}(gguf_file={found[0].name})'."
        )
    raise UsageError(f"model '{spec}': folder {str(folder)!r} holds no config.json and no GGUF file.")


def _safetensors(spec: Spec, folder: Path) -> tuple[Path, ...]:
    """Files of weights of a folder; none if the spec asks for random ones.

    Raises:
        UsageError: if it has none, only some that are not safetensors, or lacks a part of them.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file():
        return (single,)
    if index.is_file():
        return _shards(spec, index)
    others = [file.name for pattern in ("*.safetensors", "*.bin", "*.pt", "*.gguf") for file in folder.glob(pattern)]
    if spec["weights"] == "random":
        return ()
    if others:
        raise UsageError(
            f"model '{spec}': its weights {others[0]!r} are not read: only model.safetensors (and 'gguf_file=NAME'). "
            "Save them as safetensors, or write '(weights=random)'."
        )
    raise UsageError(
        f"model '{spec}': folder {str(folder)!r} holds no weights. Write 'hf:{spec.name}(weights=random)' for random ones."
    )


def _shards(spec: Spec, index: Path) -> tuple[Path, ...]:
    """The files that an index of weights names.

    Raises:
        UsageError: if it cannot be read, or one is missing.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"model '{spec}': {index.name} is damaged: {in_short(error)}.") from error
    for name in names:
        if not isinstance(name, str) or "/" in name or not (index.parent / name).is_file():
            raise UsageError(f"model '{spec}': {index.name} names {name!r}, which is not in {str(index.parent)!r}.")
    return tuple(index.parent / name for name in names)


def hub_cache() -> Path:
    """Where `huggingface_hub` keeps what it downloaded."""
    at = os.environ
    home = at.get("HF_HOME") or Path(at.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(at.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _cached(spec: Spec) -> Path:
    """The newest snapshot of a hub name in the local cache; downloaded only if the spec says so."""
    if not HUB_NAME.fullmatch(spec.name):
        if near := _near(spec.name):
            raise UsageError(f"model '{spec}': there is no such folder, and no family of that name.{near}")
        known = unknown("Hugging Face model", spec.name, FAMILIES)
        raise UsageError(f"{known} There is no file or folder of that name in {str(Path.cwd())!r} either.")
    kept = hub_cache() / f"models--{spec.name.replace('/', '--')}"
    if spec["download"] == "true":
        return _downloaded(spec)
    try:
        return _snapshot(kept)
    except OSError:
        raise UsageError(
            f"model '{spec}' is no folder here and not in the cache {str(hub_cache())!r}, and nothing is downloaded unless "
            f"told.{_near(spec.name)} Write 'hf:{spec.name}(download=true)', or name a local folder."
        ) from None


def _snapshot(kept: Path) -> Path:
    """The snapshot that the branch `main` points to.

    Raises:
        OSError: if there is none.
    """
    folder = kept / "snapshots" / (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    return folder


def _downloaded(spec: Spec) -> Path:
    """Fetch config, weights and tokenizer, or find them fetched.

    Raises:
        UsageError: if that fails.
    """
    needs(spec)
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(spec.name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
        )
    except Exception as error:  # the hub, the network and the file system raise many types
        raise UsageError(f"model '{spec}' cannot be downloaded: {in_short(error)}") from error
