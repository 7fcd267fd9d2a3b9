"""Pages of the reference: commands, suites, what the catalogue holds, and the sections of a report."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

import modbench
from modbench.cli import app
from modbench.harness.registry import catalogue

ABOUT_KINDS = {
    "models": 'What is compared: `--model NAME`, `model = "NAME"`.',
    "routers": "Who decides which tokens a routed block takes: `--set router=NAME`.",
    "metrics": 'What is measured: `metrics = ["KEY"]`, `--set metrics=KEY,KEY`.',
    "passes": "How it is measured: a metric names the pass that makes it.",
    "adaptive_rules": "What requests jobs while a run goes on, from what it has measured so far.",
    "launchers": "What starts the work: `--launcher NAME`.",
    "warnings": "Reasons to doubt a cell; each adds a label to its numbers.",
    "probes": "Properties of a model that `modbench audit` finds by calling it.",
    "corpora": "Text to train on: `--corpus NAME`, a file, a folder or `hf:NAME`.",
    "sections": "The sections of the report; `modbench figure RUN NAME` saves one figure.",
    "formats": "What `modbench report RUN --format NAME` writes.",
    "suites": "What `modbench run NAME` measures; [suites.md](suites.md) has the keys.",
    "suite_tables": "Tables of a suite that plug-ins add; [suites.md](suites.md) has their keys.",
    "tasks": "What a model is trained on and asked: the metric `task/NAME`.",
    "model_loaders": "Where models of other libraries come from: `--model NAME:WHAT`.",
    "recorders": "What is kept of routers while a model trains: `train.watch`.",
    "loggers": "Where numbers of training go besides the run folder: `--log-to NAME`.",
    "machine_checks": "What `modbench doctor` finds out about a machine besides its A/A comparisons.",
    "reports": "What `modbench report` renders besides runs: a folder that holds NAME.json.",
}


ABOUT_SUITES = (
    "A suite is one TOML file: which models, at which sizes, and what is measured. `modbench init` writes one with all of these "
    "keys ([first steps](../start.md)); `--set KEY=VALUE` and `--set TABLE.KEY=VALUE` change one for a run."
)
# Longer lists of values are those of the catalogue.
MOST_NAMED = 12


def cell(text: object) -> str:
    """A text in a table of Markdown, in one line."""
    return " ".join(str(text).replace("|", "\\|").split())


def rows(head: tuple[str, ...], body: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> list[str]:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *body]
    return [f"| {' | '.join(map(cell, line))} |" for line in lines] + [""]


# --- commands


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its name; one of a group after that of the group, as `ab commands`."""
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        kinds = getattr(group.commands[name], "commands", None)
        yield from (
            ((f"{name} {kind}", each) for kind, each in kinds.items()) if kinds else [(name, group.commands[name])]
        )


def cli_page() -> str:
    """Return the page of commands, with every argument and flag."""
    lines = ["# Commands", "", "`modbench COMMAND --help` prints the same.", ""]
    for name, command in commands():
        lines += [f"## `modbench {name}`", "", command.help or "", ""]
        given = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join(["modbench", name, "[OPTIONS]", *(_argument(param) for param in given)])
        lines += ["```text", usage, "```", ""]
        lines += rows(
            ("argument or flag", "what it does"), [(_names(param), help_of(param, command)) for param in command.params]
        )
    return "\n".join(lines)


def _argument(param: Any) -> str:  # noqa: ANN401  # click's, or the copy of click that newer versions of typer have
    return str(param.metavar or param.name.upper())


def _names(param: Any) -> str:  # noqa: ANN401  # as above
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    return names if param.is_flag else f"{names} `{param.metavar or _kind(param)}`"


def _kind(param: Any) -> str:  # noqa: ANN401  # as above
    """What a flag takes; older versions of typer have click's type of it, newer ones the annotation."""
    kind = param.type.name if hasattr(param, "type") else str(param.type_descriptor.annotation)
    return next((word for word in ("INTEGER", "FLOAT") if word[:3].lower() in kind.lower()), "TEXT")


def help_of(param: Any, command: Any) -> str:  # noqa: ANN401  # as above
    """What an argument or a flag of a command does."""
    many = " May be given several times." if param.multiple else ""
    told = param.help or _declared(command, param.name)
    if param.default not in (None, False, True, "", ...) and "default" not in told and not callable(param.default):
        told = f"{told.removesuffix('.')}; default `{param.default}`."
    return f"{told}{many}"


def _declared(command: Any, name: str) -> str:  # noqa: ANN401  # as above
    """The help of an argument as its function declares it: with some versions of click, typer's argument has lost it."""
    annotation = inspect.signature(command.callback).parameters[name].annotation
    return next((each.help for each in getattr(annotation, "__metadata__", ()) if getattr(each, "help", None)), "")


# --- suites


def suites_page() -> str:
    """Return the page of suites: every key of every table, then the shipped files."""
    schema = json.loads((Path(modbench.__file__).parent / "schemas" / "suite.schema.json").read_text(encoding="utf-8"))
    top = schema["properties"]
    tables = {name: _table(key, schema) for name, key in top.items()}
    lines = [
        "# Suites",
        "",
        ABOUT_SUITES,
        "",
        "## Keys of a suite",
        "",
        *_keys({name: key for name, key in top.items() if tables[name] is None}, ()),
    ]
    for name, part in tables.items():
        if part is not None:
            head = f"[[{name}]]" if name == "variants" else f"[{name}]"
            lines += [f"## `{head}`", "", _sentence(top[name].get("description") or part["description"]), ""]
            lines += _keys(part["properties"], part.get("required", ()))
    lines += ["## `match`", "", _sentence(schema["$defs"]["Match"]["description"]), ""]
    own = {
        name: key
        for name, key in schema["$defs"]["Match"]["properties"].items()
        if name in {"variant", "quantity", "factor"}
    }
    lines += [
        *_keys(own, ("variant",)),
        "Any key of `[[variants]]` that sets how the matched model routes may stand beside them.",
        "",
    ]
    lines += ["## Shipped suites", ""]
    for name, entry in catalogue.entries("suites").items():
        lines += [
            f"### {name}",
            "",
            f"{entry.about}.",
            "",
            "```toml",
            entry.path.read_text(encoding="utf-8").strip(),
            "```",
            "",
        ]
    return "\n".join(lines)


def _table(key: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any] | None:
    of = key.get("items", key) if key.get("type") == "array" else key
    if "$ref" in of:
        return dict(schema["$defs"][of["$ref"].rpartition("/")[2]])
    return dict(of) if "properties" in of else None


def _keys(keys: Mapping[str, Mapping[str, Any]], required: tuple[str, ...] | list[str]) -> list[str]:
    return rows(
        ("key", "values", "default", "meaning"),
        [
            (f"`{name}`", values(key), "required" if name in required else default(key), _sentence(key["description"]))
            for name, key in keys.items()
        ],
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def default(key: Mapping[str, Any]) -> str:
    """The default of a key, as TOML writes it; a dash if there is none."""
    return f"`{json.dumps(key['default'])}`" if key.get("default") not in (None, {}) else "–"


def values(key: Mapping[str, Any]) -> str:
    """Which values a key takes, in words."""
    if "$ref" in key:
        return "a table"
    if "enum" in key:
        if len(key["enum"]) > MOST_NAMED:
            return "a name ([catalogue](catalogue.md))"
        return "one of " + ", ".join(f"`{each}`" for each in key["enum"])
    if "anyOf" in key:
        kinds = [values(each) for each in key["anyOf"]]
        return " or ".join(dict.fromkeys("a list" if kind.startswith("list of") else kind for kind in kinds))
    if key.get("type") == "array":
        items = values(key["items"])
        return "list of names ([catalogue](catalogue.md))" if items.startswith("a name") else f"list of: {items}"
    text = "text such as `5%`" if "%" in key.get("pattern", "") else "text"
    kind = {"integer": "whole number", "number": "number", "string": text, "boolean": "`true` or `false`"}
    said = kind.get(str(key.get("type")), "a table")
    bounds = [(">", "exclusiveMinimum"), ("≥", "minimum"), ("<", "exclusiveMaximum"), ("≤", "maximum")]
    limits = [f"{sign} {key[name]:,}" for sign, name in bounds if name in key and abs(key[name]) < 2**20]
    return f"{said} {', '.join(limits)}".strip()


# --- the catalogue


def catalogue_page() -> str:
    """Return the page of everything that can be chosen by name."""
    lines = [
        "# Catalogue",
        "",
        "Everything that can be chosen by name; `modbench list -v` prints the same.",
        "",
    ]
    for kind in catalogue.KINDS:
        lines += [f"## {kind.capitalize()}", "", ABOUT_KINDS.get(kind, ""), ""]
        if kind == "metrics":
            lines += rows(
                ("key", "unit", "better", "what it is"),
                [(f"`{key}`", each.unit, each.better or "–", each.about) for key, each in catalogue.metrics().items()],
            )
        elif kind == "models":
            lines += rows(
                ("name", "what it is", "keys that it reads, with their defaults"),
                [(f"`{name}`", each.about, _options(name)) for name, each in catalogue.entries(kind).items()],
            )
        else:
            lines += rows(
                ("name", "what it is"), [(f"`{name}`", each.about) for name, each in catalogue.entries(kind).items()]
            )
    return "\n".join(lines)


def _options(model: str) -> str:
    found = catalogue.model_options(model)
    return ", ".join(f"`{name} = {json.dumps(value)}`" for name, value in found.items()) or "those of the shape"


# --- the report


def parts_page() -> str:
    """Return the page of a report's sections, in their order, each with the sentence that says how it is read."""
    lines = [
        "# Sections of the report",
        "",
        "Each section of a report says how it is read; here are all of them. A report has those that it measured.",
        "",
    ]
    for name, about in sorted(_sections(), key=lambda section: section[1]["order"]):
        lines += [f"## {about['title']}", "", about["reading"], "", f"`{name}`", ""]
    return "\n".join(lines)


def _sections() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name, title, order and reading of every section, without importing what draws it."""
    for name, entry in catalogue.entries("sections").items():
        constants = {
            node.targets[0].id: node.value
            for node in ast.parse(entry.path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        made = constants[entry.attribute]
        assert isinstance(made, ast.Call), name
        fixed = {each.arg: each.value for each in made.keywords}
        if "reading" in fixed:  # else it has no part of the page
            said = fixed["reading"]
            fixed["reading"] = constants[said.id] if isinstance(said, ast.Name) else said
            yield name, {key: ast.literal_eval(fixed[key]) for key in ("title", "order", "reading")}
