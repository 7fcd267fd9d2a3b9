"""A user's own models, named by file or module: where their code is, what it can be called with, and how it is imported."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.harness.core.config import ROUTING_KEYS
from modbench.harness.core.errors import UsageError, near_path
from modbench.harness.core.options import Value
from modbench.harness.registry import config_reads, own_code, own_imports, signatures
from modbench.harness.registry.model_sources import SourcedModel, sourced


def check_user_model(spec: str, given: Mapping[str, Any]) -> None:
    """Check that a user's model can be found and called as `build(config, **given)`, without running its code.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        given: its options, each with one value.

    Raises:
        UsageError: if the file or module does not exist, defines no such name, or that does not take the options.
    """
    if found := sourced(spec, given):
        found.check()
        return
    where, _, attribute = spec.rpartition(":")
    if not where or not attribute.isidentifier():
        raise UsageError(f"model {spec!r} names no function. Write FILE.py:build or package.module:build.")
    if not where.endswith(".py"):
        if not all(_specs(where)):
            raise UsageError(f"model {spec!r}: there is no module {where!r} to import. Write a file as FILE.py:build.")
    elif not Path(where).is_file():
        raise UsageError(f"model {spec!r}: {no_python_file(where)}")
    if (source := _source(where)) is not None:
        signatures.check(source, attribute, given, f"model {spec!r}")


def _source(where: str) -> Path | None:
    """The Python source of a file or module; None where there is none to read."""
    if not where:
        return None
    source = Path(where) if where.endswith(".py") else files_of_module(where).get(where)
    return source if source is not None and source.suffix == ".py" and source.is_file() else None


@dataclass(frozen=True)
class Way:
    """How a key of an arm, such as `capacity`, reaches a user's model.

    Attributes:
        by_name: whether its build is given the key by name, as an option.
        why_not: where the key reaches nothing, why, and what would work; empty where it reaches something, or nobody can tell.
    """

    by_name: bool = False
    why_not: str = ""


def way(spec: str, given: Mapping[str, Any], key: str) -> Way:
    """Find how a key of an arm reaches a user's model, without running its code.

    The key is an option of the build that has a parameter of that name; else the build, or what it calls in its file, reads it as
    an attribute of the configuration; else `**options` take it.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        given: its options.
        key: a key of `ModelConfig`.

    Raises:
        UsageError: if the file is not Python, or `build` an async function.
    """
    if key in given:
        return Way(why_not=f"it is given {key} = {given[key]!r} as an option already. Leave one of them out")
    found = sourced(spec, given)
    return _way_by_source(spec, key) if found is None else _way_into(found, key)


def _way_into(found: SourcedModel, key: str) -> Way:
    decided = found.settings()
    if key in decided:
        return Way(why_not=f"it decides {key} = {decided[key]!r} itself")
    return Way(why_not=f"it has no {key}") if key in ROUTING_KEYS else Way()


def check_option(spec: str, name: str, value: Value) -> None:
    """Check that a user's model takes an option, whatever else it needs; what its source does not tell is taken to be right.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        name: the option.
        value: one of its values.

    Raises:
        UsageError: if it does not take it.
    """
    if sourced(spec, {name: value}) is None:
        _, build = _by_source(spec)
        if build is not None:
            signatures.check_option(build, name, f"model {spec!r}")


def option_names(spec: str) -> tuple[str, ...]:
    """The options of a user's model, as far as its source tells them."""
    _, build = _by_source(spec)
    return build.options if build is not None else ()


def _by_source(spec: str) -> tuple[signatures.Module | None, signatures.Signature | None]:
    """The file of a user's model and the signature of its build; None where there is no source, or it does not tell."""
    where, _, attribute = spec.rpartition(":")
    source = _source(where)
    module = signatures.module_of(source, f"model {spec!r}") if source else None
    return module, signatures.signature_of(module, attribute, f"model {spec!r}") if module else None


def _way_by_source(spec: str, key: str) -> Way:
    attribute = spec.rpartition(":")[2]
    module, build = _by_source(spec)
    if module is None or build is None:
        return Way()
    read = config_reads.reads(module, attribute)
    if key in build.options or (build.more_by_name and read is not None and key not in read):
        return Way(by_name=True)
    if read is None or key in read:
        return Way()
    return Way(
        why_not=f"it reads no {build.config}.{key}, and {build} has no option of that name. Write "
        f"{attribute}({build.config}, {key}=…), or read {build.config}.{key}"
    )


def no_python_file(where: str) -> str:
    """The end of the error for a file of Python that does not exist."""
    here = "" if Path(where).is_absolute() else f" in {Path.cwd()}"
    return f"there is no file {where!r}{here}.{near_path(where, lambda each: each.suffix == '.py')}"


def files_of_module(name: str) -> dict[str, Path]:
    """Files that importing a module by name runs, by module: its own and those of its packages; none if it has none."""
    return {spec.name: Path(spec.origin) for spec in _specs(name) if spec and spec.has_location and spec.origin}


def _specs(name: str) -> Iterator[importlib.machinery.ModuleSpec | None]:
    """Where a module and its packages are found from the current folder, without importing them; None for the first not found."""
    path = [str(Path.cwd()), *sys.path]
    for i, _ in enumerate(parts := name.split(".")):
        try:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: i + 1]), path)
        except (ImportError, ValueError):
            spec = None
        yield spec
        if spec is None:
            return
        path = list(spec.submodule_search_locations or ())


def load_user_model(spec: str, given: Mapping[str, Any] | None = None) -> Callable[[Any], Any]:
    """Import a user's `build` function and return it with its options. Exceptions of the import are passed on to the user.

    Raises:
        AttributeError: if the module has no such function.
    """
    if found := sourced(spec, given or {}):
        return found.build
    where, _, attribute = spec.rpartition(":")
    module = _module_of_file(Path(where)) if where.endswith(".py") else _module_of_name(where)
    if not hasattr(module, attribute):
        raise AttributeError(f"{where} defines no {attribute!r}")
    build: Callable[..., Any] = getattr(module, attribute)
    return functools.partial(build, **given) if given else build


def _module_of_name(name: str) -> ModuleType:
    own_imports.use(Path.cwd())
    for module, file in files_of_module(name).items():
        # A package of the user's that is installed in place lies elsewhere; what it imports of its own is the user's too.
        if file.name == "__init__.py" and module.partition(".")[0] != "modbench":
            own_code.import_from_source(file.parent)
    return importlib.import_module(name)


def _module_of_file(path: Path) -> ModuleType:
    file = path.resolve()
    own_imports.use(file.parent, Path.cwd())
    return own_code.module_from_file(path, own_imports.name_of(file))
