"""Writes a suite file in which every key is explained, and the JSON Schema that lets an editor check it.

All text of a key comes from the schema, so that it says what `modbench` reads. Lines that begin with `#` and a letter or bracket
are keys with their defaults, or with an example where there is none; all other comments begin with `# `.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import is_user_model
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.suite import TABLES
from modbench.harness.planning.load_suite import parse_suite, read_suite
from modbench.harness.planning.variants import unsolved_variants
from modbench.harness.registry import catalogue

SCHEMA_FILE = "suite.schema.json"
SHIPPED = Path(__file__).parents[2] / "schemas" / SCHEMA_FILE
# What a new suite measures: a first comparison that takes a minute or two.
STARTER: dict[str, Any] = {
    "about": "Dense against Mixture-of-Depths",
    "effort": "draft",
    "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated"],
    "shape": {"d_model": 256, "n_layers": 4},
    "grid": {"seq_len": [128, 512], "batch_size": [1]},
    "variants": [
        {"model": "dense"},
        {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
        {"model": "mod", "capacity": [0.125, 0.5]},
    ],
}
# Shown for keys that have no default.
EXAMPLES: dict[str, Any] = {
    "processes": 5,
    "rounds": 4,
    "pilot_processes": 10,
    "most_processes": 40,
    "detectable": 0.01,
    "device": "cpu",
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 64,
    "d_ff": 704,
    "expert_d_ff": 352,
    "n_no_ops": 4,
    "seeds": 20,
    "candidates": "mod and learned",
    "controls": "stochastic",
    "decode_rows": 0.25,
    "capacity": [0.125, 0.5],
    "participation": 0.125,
    "forced_depth": 2,
    "match": {"variant": "mod", "capacity": 0.125, "quantity": "flops/forward"},
    "seq_len": [128],
    "tokens": 200_000,
    "steps": 100,
    "flops": 1e15,
    "lr": 0.001,
    "batch_size": 8,
    "log_to": "tensorboard",
    "train_flops": [1e13, 1e14],
    "expected": {"flops": 4e12, "d_model": 48, "sizes": 4},
    "d_model": 48,
    "explored": 1e13,
    "forecast": 4e14,
    "minutes": 120,
    "sizes": [{"d_model": 64, "n_layers": 4}, {"d_model": 128, "n_layers": 4}],
    "metrics": ["latency/forward"],
    "paths": {"nli_pairs": "pairs.jsonl"},
    "memory_limit": 2**30,
    "options": {"threshold": [0.5, 0.7]},
}
HEAD = """\
#:schema ./{schema}
# A suite: which models are compared, at which sizes, and what is measured.
#
#   modbench plan {file}    checks it, and shows what would run and how long it takes
#   modbench run {file}     measures it
#
# Lines such as "#threads = 1" are keys that are not set, with their default or an example: remove the # to set one.
# An editor with Taplo (in VS Code: Even Better TOML) completes and checks keys by {schema}.
"""


def write_suite(file: str, source: str | None = None, models: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write a commented suite, and its schema beside it.

    Args:
        file: the suite's file, which must not exist.
        source: name or file of a suite whose values it takes; None: a small comparison of dense and MoD.
        models: models that are compared with the baseline, catalogue names or `FILE.py:build`. Without a source they stand in the
            place of its other variants, and each of the user's has a matched baseline of equal FLOPs.

    Returns:
        Both files.

    Raises:
        UsageError: if a file exists, if there is no such suite or model, or if the suite would not be valid.
    """
    path = Path(file)
    if path.exists():
        raise UsageError(f"{file!r} exists, and files are never overwritten. Name another file.")
    data = STARTER if source is None else read_suite(source)
    if source is None and any(map(is_user_model, models)):
        data = {**data, "match": "flops"}
    variants = data["variants"][:1] if source is None and models else data["variants"]
    data = {**data, "name": slug(path.stem), "variants": [*variants, *({"model": model} for model in models)]}
    schema = suite_schema()
    target = path.with_name(SCHEMA_FILE)
    _refuse_other_file(target, schema["title"])
    suite = parse_suite(data, f"{file} (not written)")
    unsolved_variants(suite)  # models and keys that do not exist are refused
    write_atomically(target, json.dumps(schema, indent=1) + "\n")
    write_atomically(path, suite_text(data, schema, path.name))
    return path, target


def suite_schema() -> dict[str, Any]:
    """The schema that ships, with the models and metrics of the user's folders beside those that ship."""
    schema: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    schema["properties"]["metrics"]["items"]["enum"] = list(catalogue.metrics())
    for name, key in [*schema["properties"].items()]:
        if "$ref" in key and name not in {*TABLES, *catalogue.entries("suite_tables")}:  # of a plug-in that is absent
            del schema["properties"][name]
    for table, key in (("Variant", "model"), ("Match", "variant")):
        named, *_ = schema["$defs"][table]["properties"][key]["anyOf"]
        named["enum"] = list(catalogue.entries("models"))
    return schema


def _refuse_other_file(target: Path, title: str) -> None:
    """Refuse to replace a file that is not a suite's schema of some version."""
    try:
        ours = not target.exists() or json.loads(target.read_text(encoding="utf-8"))["title"] == title
    except (ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise UsageError(f"{str(target)!r} exists and is not a schema of modbench. Move it, or choose another folder.")


def suite_text(data: Mapping[str, Any], schema: Mapping[str, Any], file: str) -> str:
    """Return a suite's TOML with a comment for each of its keys, and every other key commented out."""
    top, parts = schema["properties"], {name: _part(key, schema) for name, key in schema["properties"].items()}
    lines = [HEAD.format(schema=SCHEMA_FILE, file=file)]
    for name, key in top.items():
        if parts[name] is None:
            lines += _key(name, key, data)
    for name, part in parts.items():
        if part is None:
            continue
        if name == "variants":
            lines += _variants(data["variants"], part)
            continue
        lines += ["", *_comment(top[name].get("description") or part["description"])]
        off = "" if name in data else "#"
        lines.append(f"{off}[{name}]")
        for each, key in part["properties"].items():
            lines += _key(each, key, data.get(name, {}))
    return "\n".join(lines) + "\n"


def _part(key: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of the table that a key holds; None for a plain value."""
    of: Mapping[str, Any] = key.get("items", key) if key.get("type") == "array" else key
    if "$ref" in of:
        found: dict[str, Any] = schema["$defs"][of["$ref"].rpartition("/")[2]]
        return found
    return dict(of) if "properties" in of else None


def _variants(variants: Sequence[Mapping[str, Any]], part: Mapping[str, Any]) -> Iterator[str]:
    """The variants of a suite, each with what it sets, then one that shows every key."""
    yield from ("", *_comment(part["description"]))
    for variant in variants:
        yield "[[variants]]"
        for name, value in variant.items():
            yield f"{name} = {toml(value)}"
        yield ""
    yield "# Every key that a variant may have. A model reads some of those from capacity on, and refuses the others."
    yield "#[[variants]]"
    for name, key in part["properties"].items():
        yield from _key(name, key, {})


def _key(name: str, key: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(key.get("description", ""), choices(key))
    if name in data:
        yield f"{name} = {toml(data[name])}"
    else:
        yield f"#{name} = {toml(example(name, key))}"


def _comment(text: str, allowed: Sequence[Any] = ()) -> list[str]:
    named = [each for each in allowed if f"`{each}`" not in text]
    more = f" One of {', '.join(map(str, named))}." if named and len(named) < 8 else ""
    return [f"# {text[:1].upper()}{text[1:]}{more}"]


def choices(key: Mapping[str, Any]) -> list[Any]:
    """The values that a key, or each item of its list, may have; empty if they are not a fixed few."""
    kinds: list[Mapping[str, Any]] = [key, key.get("items", {}), *key.get("anyOf", ())]
    return next((list(kind["enum"]) for kind in kinds if "enum" in kind), [])


def example(name: str, key: Mapping[str, Any]) -> object:
    """A value to show for a key: its default, or an example of the kind of value it takes."""
    if key.get("default") not in (None, {}):
        return key["default"]
    allowed = choices(key)
    value = EXAMPLES.get(name, allowed[0] if allowed else key.get("minimum", ""))
    lists = key.get("type") == "array" or any(each.get("type") == "array" for each in key.get("anyOf", ()))
    return value[0] if isinstance(value, list) and not lists else value


def toml(value: object) -> str:
    """A value as TOML writes it; a table in one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {toml(each)}' for name, each in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
