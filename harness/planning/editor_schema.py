"""JSON Schema of a suite's file, as editors read it: what a user may write, where the model has what was made of it.

A key may be one value or a list where the suite takes both, an arm holds its model's keys, there is no null, and every key says
what it means in the words of the docstring of its class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from modbench.harness.core.config import SHAPE_KEYS, ModelConfig
from modbench.harness.domain.arm_tables import Arm, Match
from modbench.harness.domain.suite import Grid, Suite
from modbench.harness.registry import catalogue

Schema = dict[str, Any]

# A model of the user's own: FILE.py:build or package.module:build.
OWN = {"type": "string", "pattern": r":|\.py"}
# `    name: text` below "Attributes:"; a longer text goes on with more indentation.
_FIRST = re.compile(r"^    (\w+): (.*)$")


def suite_schema() -> Schema:
    """Return the JSON Schema (2020-12) of a suite's TOML file. Metrics and models are those of the catalogue."""
    made = Suite.model_json_schema()
    parts = {kind.__name__: kind for kind in _kinds(Suite)}
    for name, schema in ((Suite.__name__, made), *made["$defs"].items()):
        _describe(schema, parts[name])
    keys = model_keys()
    defs, top = made["$defs"], made["properties"]
    for axis in defs[Grid.__name__]["properties"].values():
        _one_or_list(axis)
    defs[Arm.__name__]["properties"] |= {name: _swept(key) for name, key in keys.items()}
    defs[Match.__name__]["properties"] |= {name: key for name, key in keys.items() if name not in SHAPE_KEYS}
    for kind in (Arm, Match):
        del defs[kind.__name__]["properties"]["settings"]
    top["shape"] |= {"properties": {name: keys[name] for name in SHAPE_KEYS}, "additionalProperties": False}
    top["metrics"]["items"] = {"enum": list(catalogue.metrics())}
    models = {"enum": list(catalogue.entries("models"))}
    defs[Arm.__name__]["properties"]["model"] |= {"anyOf": [models, OWN]}
    defs[Match.__name__]["properties"]["arm"] |= {"anyOf": [models, OWN]}
    made["required"] = [key for key in made["required"] if key != "name"]  # the file's name is the default
    made["title"] = "modbench suite"
    return made


def model_keys() -> dict[str, Schema]:
    """Return the schema of every key of a model's shape and routing."""
    made = ModelConfig.model_json_schema()
    _describe(made, ModelConfig)
    found: dict[str, Schema] = made["properties"]
    found["router"] |= {"examples": list(catalogue.entries("routers"))}
    return found


def _kinds(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and the models in its fields."""
    yield kind
    for field in kind.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            each = waiting.pop()
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from _kinds(each)
            waiting += get_args(each)


def _describe(schema: Schema, kind: type[BaseModel]) -> None:
    """Let an object and its properties say what they mean, and drop titles and nulls, which TOML has not."""
    said = _attributes(kind)
    schema["description"] = _summary(kind)
    for name, key in schema["properties"].items():
        key.pop("title", None)
        kinds = [each for each in key.get("anyOf", ()) if each != {"type": "null"}]
        if len(kinds) == 1:
            del key["anyOf"]
            key.update(kinds[0])
        if key.get("default", ...) is None:
            del key["default"]
        if name in said:
            key["description"] = _without_none(said[name])


def _without_none(text: str) -> str:
    """Say of a key that it may be left out, where Python says None."""
    for python, toml in (("None:", "left out:"), ("None where", "left out where"), ("None ", "left out, it ")):
        text = text.replace(python, toml)
    return text


def _one_or_list(key: Schema) -> None:
    """Let a list of values also be written as one value."""
    items = {name: key.pop(name) for name in ("type", "items", "minItems", "maxItems") if name in key}
    key["anyOf"] = [items["items"], items]


def _swept(key: Schema) -> Schema:
    """One value of a model's key, or a list, which makes an arm of each."""
    about = {name: key[name] for name in ("description", "default", "examples") if name in key}
    one = {name: value for name, value in key.items() if name not in about}
    return about | {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _attributes(kind: type) -> dict[str, str]:
    """Return what the section `Attributes:` of a class's docstring says, by name, each in one line.

    Args:
        kind: the class; what only its bases say is not looked for.
    """
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):  # another section
            break
        if first := _FIRST.match(line):
            name, found[first[1]] = first[1], first[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _summary(kind: type) -> str:
    """Return the first paragraph of a class's docstring, in one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())
