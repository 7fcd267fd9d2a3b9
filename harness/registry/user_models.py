"""A user's own models, named by file or module: where their code is, what it can be called with, and how it is imported."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from modbench.harness.core.config import ROUTING_KEYS
from modbench.harness.core.errors import UsageError, near_path
from modbench.harness.core.model_specs import Value
from modbench.harness.registry import signatures, user_code
from modbench.harness.registry.model_loaders import from_loader


def check_user_model(spec: str, given: Mapping[str, Any]) -> None:
    """Check that a user's model can be found and called as `build(config, **given)`, without running its code.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        given: its options, each with one value.

    Raises:
        UsageError: if the file or module does not exist, defines no such name, or that does not take the options.
    """
    if found := from_loader(spec, given):
        found.check()
        return
    where, attribute = found_in(spec, "model", "function", "build")
    if (source := _source(where)) is not None:
        signatures.check(source, attribute, given, f"model {spec!r}")


def found_in(spec: str, kind: str, what: str, example: str) -> tuple[str, str]:
    """Split `FILE.py:NAME` or `package.module:NAME` into the file or module and the name, and check that it exists.

    Raises:
        UsageError: if the spec has no name, or there is no such file or module.
    """
    where, _, attribute = spec.rpartition(":")
    of = f"{kind} {spec!r}"
    if not where or not attribute.isidentifier():
        raise UsageError(f"{of} names no {what}. Write FILE.py:{example} or package.module:{example}.")
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise UsageError(f"{of}: {no_python_file(where)}")
    elif where not in files_of_module(where):
        raise UsageError(f"{of}: there is no module {where!r} to import. Write a file as FILE.py:{example}.")
    return where, attribute


def _source(where: str) -> Path | None:
    """The Python source of a file or module; None where there is none to read."""
    if not where:
        return None
    source = Path(where) if where.endswith(".py") else files_of_module(where).get(where)
    return source if source is not None and source.suffix == ".py" and source.is_file() else None


def why_not(spec: str, given: Mapping[str, Any], key: str) -> str:
    """Why a key of a variant, such as `capacity`, cannot reach a user's model, before it is built; empty where it may.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        given: its options.
        key: a key of `ModelConfig`.
    """
    if key in given:
        return f"it is given {key} = {given[key]!r} as an option already. Leave one of them out"
    found = from_loader(spec, given)
    if found is None:
        return ""
    decided = found.settings()
    if key in decided:
        return f"it decides {key} = {decided[key]!r} itself"
    return f"it has no {key}" if key in ROUTING_KEYS else ""


def takes(spec: str, given: Mapping[str, Any], key: str) -> bool:
    """Whether a user's model is given a key of a variant by name: its build has an option of that name, or `**options`."""
    build = None if from_loader(spec, given) else _signature(spec)
    return build is not None and (key in signatures.options_of(build) or signatures.takes_any(build))


def unread(spec: str, key: str) -> str:
    """Why a key reaches nothing of a user's model, which was built and called, and did not read it; and what would work."""
    name, build = spec.rpartition(":")[2], _signature(spec)
    told = f"{name}{build} has" if build is not None else f"the source of {name!r} shows"
    return f"it reads no config.{key}, and {told} no option of that name. Write {name}(config, {key}=…), or read config.{key}"


def check_option(spec: str, name: str, value: Value) -> None:
    """Check that a user's model takes an option, whatever else it needs; what its source does not tell is taken to be right.

    Args:
        spec: `FILE.py:build`, `package.module:build`, or `PREFIX:WHAT` of a source.
        name: the option.
        value: one of its values.

    Raises:
        UsageError: if it does not take it.
    """
    if from_loader(spec, {name: value}) is None and (build := _signature(spec)) is not None:
        signatures.check_option(build, spec.rpartition(":")[2], name, f"model {spec!r}")


def option_names(spec: str) -> tuple[str, ...]:
    """The options of a user's model, as far as its source tells them."""
    build = _signature(spec)
    return signatures.options_of(build) if build is not None else ()


def _signature(spec: str) -> inspect.Signature | None:
    """The signature of a user's build; None where there is no source, or it does not tell."""
    where, _, attribute = spec.rpartition(":")
    source = _source(where)
    return signatures.signature_of(source, attribute, f"model {spec!r}") if source else None


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
    if found := from_loader(spec, given or {}):
        return found.build
    where, _, attribute = spec.rpartition(":")
    module = _module_of_file(Path(where)) if where.endswith(".py") else _module_of_name(where)
    if not hasattr(module, attribute):
        raise AttributeError(f"{where} defines no {attribute!r}")
    build: Callable[..., Any] = getattr(module, attribute)
    return functools.partial(build, **given) if given else build


def _module_of_name(name: str) -> ModuleType:
    user_code.search_first(Path.cwd())
    for module, file in files_of_module(name).items():
        # A package of the user's that is installed in place lies elsewhere; what it imports of its own is the user's too.
        if file.name == "__init__.py" and module.partition(".")[0] != "modbench":
            user_code.add_own_folder(file.parent)
    return importlib.import_module(name)


def _module_of_file(path: Path) -> ModuleType:
    file = path.resolve()
    user_code.search_first(file.parent, Path.cwd())
    return user_code.module_from_file(path, user_code.import_name(file))
