"""Writes the JSON Schemas that the wheel holds, src/modbench/schemas/*.schema.json: python docs/site/schemas.py."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

import modbench
from modbench.harness.core.config import SHAPE_KEYS, SHARE_KEYS, ModelConfig
from modbench.harness.domain.suite import TABLES, Suite
from modbench.harness.planning import suite_tables
from modbench.harness.registry import catalogue
from modbench.reports.formats.json import Report

Schema = dict[str, Any]

FOLDER = Path(modbench.__file__).parent / "schemas"
# `    name: text` below "Attributes:"; a longer text goes on with more indentation.
ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)$", re.MULTILINE)
# A model of the user's own: FILE.py:build or package.module:build.
OWN = {"type": "string", "pattern": r":|\.py"}


class _InToml(GenerateJsonSchema):
    """What a user may write, where pydantic says what is made of it: no nulls, and keys in the words of docstrings."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002  # as pydantic calls it
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        made = super().default_schema(schema)
        return {name: value for name, value in made.items() if (name, value) != ("default", None)}

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        about, _, attributes = inspect.cleandoc(schema["cls"].__doc__ or "").partition("Attributes:\n")
        made = super().model_schema(schema) | {"description": _line(about.partition("\n\n")[0])}
        for name, said in ATTRIBUTE.findall(attributes):
            if name in made["properties"]:
                made["properties"][name]["description"] = _without_none(_line(said))
        return made


def suite() -> Schema:
    """A suite's TOML file. Metrics and models are those of the catalogue; `modbench init` adds those of the user's folders."""
    made = Suite.model_json_schema(schema_generator=_InToml)
    made["additionalProperties"] = {"type": "object"}  # tables of the user's plug-ins
    for table_name, plan in suite_tables.plans().items():
        if table_name not in TABLES:
            one = plan.model_json_schema(schema_generator=_InToml)
            made["$defs"] |= one.pop("$defs", {}) | {plan.__name__: one}
            made["properties"][table_name] = {"$ref": f"#/$defs/{plan.__name__}", "description": one["description"]}
    top, parts = made["properties"], {name: part["properties"] for name, part in made["$defs"].items()}
    keys = ModelConfig.model_json_schema(schema_generator=_InToml)["properties"]
    keys |= {name: _or_percent(key) for name, key in keys.items() if name in SHARE_KEYS}
    for table, name in ((top, "margin"), (top, "detectable"), (parts["ConfirmPlan"], "margin")):
        table[name] = _or_percent(table[name])
    keys["router"]["examples"] = list(catalogue.entries("routers"))
    parts["Grid"] |= {name: _or_list(key) for name, key in parts["Grid"].items()}
    parts["Variant"] |= {name: _or_list(key) for name, key in keys.items()}
    parts["Match"] |= {name: key for name, key in keys.items() if name not in SHAPE_KEYS}
    models = {"anyOf": [{"enum": list(catalogue.entries("models"))}, OWN]}
    for part, key in (("Variant", "model"), ("Match", "variant")):
        parts[part][key] |= models
        del parts[part]["settings"]  # the keys of a model stand beside the others
    top["shape"] |= {"properties": {name: keys[name] for name in SHAPE_KEYS}, "additionalProperties": False}
    top["metrics"]["items"] = {"enum": list(catalogue.metrics())}
    made["required"].remove("name")  # the file's name is the default
    return made | {"title": "modbench suite"}


def _or_list(key: Schema) -> Schema:
    """A key that takes one value, or a list of them."""
    about = {name: key[name] for name in ("description", "default", "examples") if name in key}
    one = {name: value for name, value in key.items() if name not in about}
    several = one if one.get("type") == "array" else {"type": "array", "items": one, "minItems": 1}
    return about | {"anyOf": [several["items"], several]}


def _or_percent(key: Schema) -> Schema:
    """A share, which may be text in per cent."""
    about = {name: key[name] for name in ("description", "default") if name in key}
    number = {name: value for name, value in key.items() if name not in about}
    return about | {"anyOf": [number, {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$"}]}


def _line(text: str) -> str:
    return " ".join(text.split())


def _without_none(text: str) -> str:
    """Say of a key that it may be left out, where Python says None."""
    for python, toml in (("None:", "left out:"), ("None where", "left out where"), ("None ", "left out, it ")):
        text = text.replace(python, toml)
    return text


def files() -> dict[str, str]:
    """Name to content of every schema's file."""
    made = {"suite": suite(), "report": Report.model_json_schema(mode="serialization")}
    return {f"{name}.schema.json": text(each) for name, each in made.items()}


def text(made: Schema) -> str:
    """The content of a schema's file."""
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect} | made, indent=1) + "\n"


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
