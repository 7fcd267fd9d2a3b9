"""The Python API as Markdown, from the sources: signatures and docstrings are read, nothing is imported."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "modbench"

# What is documented, besides the names that `import modbench` offers: module, and what to say of it.
MODULES = (
    ("modbench.api", "The same as the commands, without printing."),
    ("modbench.harness.core.config", "What `build(config)` is given: every key of a model, as an attribute."),
    ("modbench.harness.core.contracts", "What the files of an addition export: models, metrics, tasks, corpora."),
    ("modbench.harness.domain.evidence", "What a file in `warnings/` exports, and the evidence that it is given."),
    ("modbench.plugins.audit.probe", "What a file in `probes/` exports."),
    ("modbench.plugins.audit.model", "The model that a probe is given."),
    ("modbench.plugins.audit.report", "What a probe returns, and the audit report of a model."),
    ("modbench.harness.domain.passes", "What a file in `passes/` exports."),
    (
        "modbench.harness.planning.suite_tables",
        "What a file in `suite_tables/` exports, with the hooks that planning calls.",
    ),
    ("modbench.harness.core.loggers", "What a file in `loggers/` exports."),
    ("modbench.harness.execution.launcher", "What a file in `launchers/` exports."),
    ("modbench.reports.section", "What a file in `sections/` exports."),
    ("modbench.reports.blocks", "What a section returns: numbers, sentences, tables and figures."),
    ("modbench.reports.data_table", "The columns of a section's CSV file."),
    ("modbench.reports.output_format", "What a file in `formats/` exports."),
)
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Attributes")
Defined = ast.FunctionDef | ast.ClassDef


def api_page() -> str:
    """Return the page."""
    lines = [
        "# Python API",
        "",
        "Public names of modbench, with their docstrings. A name that is not here may change without notice.",
        "",
        "## `import modbench`",
        "",
    ]
    for name, module in sorted(exported(PACKAGE / "__init__.py").items()):
        if module != "modbench" and file_of(module).is_file():
            lines += _documented(name, _definition(module, name), of=f"modbench.{name}")
    for module, about in MODULES:
        if file_of(module).is_file():
            lines += [f"## `{module}`", "", about, ""]
            for name, node in public(module).items():
                lines += _documented(name, node, of=name)
    return "\n".join(lines)


def file_of(module: str) -> Path:
    """The file of a module below `modbench`."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def exported(file: Path) -> dict[str, str]:
    """The functions and classes in a file's `__all__`, with the module that defines each."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names: list[str] = next((ast.literal_eval(node.value) for node in tree.body if _assigns(node, "__all__")), [])  # type: ignore[attr-defined]
    grid_points = {
        alias.asname or alias.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {name: grid_points.get(name, "modbench") for name in names if name != "__version__"}


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == name for each in node.targets)


def public(module: str) -> dict[str, Defined]:
    """The public functions and classes of a module: those in `__all__`, else all that have a docstring and no underscore."""
    file = file_of(module)
    tree, named = ast.parse(file.read_text(encoding="utf-8")), exported(file)
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    wanted = named or {name for name, node in found.items() if not name.startswith("_") and ast.get_docstring(node)}
    return {name: node for name, node in found.items() if name in wanted}


def _definition(module: str, name: str) -> Defined:
    """The function or class, followed through files that only pass it on."""
    tree = ast.parse(file_of(module).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    passed_on = exported(file_of(module)).get(name)
    if passed_on is None or passed_on in {"modbench", module}:
        raise LookupError(f"{module} does not define {name}")
    return _definition(passed_on, name)


def _documented(name: str, node: Defined, *, of: str, level: int = 3) -> Iterator[str]:
    yield f"{'#' * level} `{of}`"
    yield ""
    yield f"```python\n{_signature(name, node)}\n```"
    yield ""
    yield from _docstring(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and not each.name.startswith("_") and ast.get_docstring(each):
                yield from _documented(each.name, each, of=f"{name}.{each.name}", level=level + 1)


def _signature(name: str, node: Defined) -> str:
    """The signature, an argument on each line if it is long; of a class, its fields."""
    if isinstance(node, ast.FunctionDef):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        if any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list):
            return f"{name}:{returned.removeprefix(' ->')}"
        short = f"{name}({ast.unparse(node.args)}){returned}"
        if len(short) <= 100:
            return short
        parts = re.split(r", (?=\*|\w+:|\w+=)", ast.unparse(node.args))
        return "\n".join((f"{name}(", *(f"    {part}," for part in parts), f"){returned}"))
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    fields = [
        f"    {ast.unparse(each)}"
        for each in node.body
        if isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_")
    ]
    return "\n".join((f"class {name}{bases}:", *fields)) if fields else f"class {name}{bases}"


def _docstring(text: str) -> Iterator[str]:
    """A docstring of Google's style: sections become lists."""
    section = ""
    for block in re.split(r"\n\n+", inspect.cleandoc(text)):
        first, *rest = block.splitlines()
        if first.removesuffix(":") in SECTIONS:
            section = first.removesuffix(":")
            yield f"**{section}**"
            yield ""
            yield from _items(inspect.cleandoc("\n" + "\n".join(rest)).splitlines())
        else:
            yield block
        yield ""


def _items(lines: list[str]) -> Iterator[str]:
    """`name: text` as a list; lines with more indentation go on with an item."""
    items: list[str] = []
    for line in lines:
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line)
    for item in items:
        name, colon, about = item.partition(": ")
        yield f"- `{name}`: {about}" if colon and re.fullmatch(r"[\w*, .]+", name) else f"- {item}"
