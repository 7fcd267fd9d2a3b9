"""A user's own models, named by file or module: where their code is, what it can be called with, and how it is imported.

The keys of the configuration that its build reads are found in its source: nothing is imported or run. The configuration is
followed through assignments, and into functions, classes and methods of the same file. It may be followed too far, never too
little: where it goes somewhere else, the answer is that nobody can tell.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from modbench.harness.core.config import ROUTING_KEYS, ModelConfig
from modbench.harness.core.errors import UsageError, near_path
from modbench.harness.core.model_specs import Value
from modbench.harness.registry import signatures, user_code
from modbench.harness.registry.model_sources import SourcedModel, sourced
from modbench.harness.registry.signatures import Module, signature_of


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
    read = reads(module, attribute)
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


# The parameters of the function in which a name stands; None outside of functions.
Scope: TypeAlias = ast.arguments | None
# Packages whose code looks for no configuration in the attributes of a module.
STRANGERS = {"torch", "numpy", *sys.stdlib_module_names}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BLOCKS = (*_FUNCTIONS, ast.ClassDef, ast.Module)


class _Lost(Exception):  # noqa: N818  # not an error: nobody can tell
    """The configuration goes where its source does not show what is read."""


@functools.lru_cache(maxsize=64)
def reads(module: Module, name: str) -> frozenset[str] | None:
    """Find the keys that a build reads as attributes of its configuration.

    Args:
        module: the file that defines it.
        name: the build.

    Returns:
        The keys; None where the source does not tell.

    Raises:
        UsageError: if it is an async function.
    """
    build = signature_of(module, name, name)
    if build is None or build.config is None:
        return None
    followed = _Followed(module, (build.arguments, build.config))
    try:
        while followed.step():
            pass
    except _Lost:
        return None
    return frozenset(followed.keys)


class _Followed:
    """The uses of the configuration in a file."""

    def __init__(self, module: Module, parameter: tuple[Scope, str]) -> None:
        self.module = module
        self.keys: set[str] = set()
        # Names that hold the configuration, each in its function; and attributes, of whatever.
        self.names, self.attributes = {parameter}, set[str]()
        nodes = list(ast.walk(module.tree))
        self.parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
        self.functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        self.shared = {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
        imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        imported += [f"{'.' * node.level}{node.module or ''}" for node in nodes if isinstance(node, ast.ImportFrom)]
        self.alone = {name.partition(".")[0] for name in imported} <= STRANGERS

    def step(self) -> bool:
        """Look at each use once; whether it led to further names.

        Raises:
            _Lost: if a use cannot be followed.
        """
        before = len(self.names) + len(self.attributes)
        for node in self.parents:
            if self._holds(node):
                self._use(node)
        return len(self.names) + len(self.attributes) > before

    def _around(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            yield node

    def _scopes(self, node: ast.AST) -> Iterator[Scope]:
        """The functions around a node, the innermost first."""
        yield from (each.args for each in self._around(node) if isinstance(each, _FUNCTIONS))
        yield None

    def _holds(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return isinstance(node.ctx, ast.Load) and any(
                (scope, node.id) in self.names for scope in self._scopes(node)
            )
        return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in self.attributes

    def _use(self, node: ast.AST) -> None:
        parent = self.parents[node]
        if isinstance(parent, ast.keyword):
            node, parent = parent, self.parents[parent]
        if isinstance(parent, ast.Attribute):
            if parent.attr not in ModelConfig.model_fields:  # a method, which may read anything
                raise _Lost
            self.keys.add(parent.attr)
        elif isinstance(parent, ast.Call):
            self._into_call(node, parent)
        else:
            for target in _targets(node, parent, self.parents):
                self._into(target)

    def _into(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name) and target.id not in self.shared:
            self.names.add((next(self._scopes(target)), target.id))
            inside = next(each for each in self._around(target) if isinstance(each, _BLOCKS))
            if isinstance(inside, ast.ClassDef):
                self.attributes.add(target.id)
        elif isinstance(target, ast.Attribute) and self.alone:
            self.attributes.add(target.attr)
        else:
            raise _Lost

    def _into_call(self, node: ast.AST, call: ast.Call) -> None:
        """Add the parameter that an argument becomes."""
        called = call.func
        if isinstance(called, ast.Name) and called.id in {"getattr", "hasattr"} and node is call.args[0]:
            key = call.args[1] if len(call.args) > 1 else None
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise _Lost
            self.keys.add(key.value)
            return
        scope, taken, by_name = self._parameters(called)
        found: str | None = None
        if isinstance(node, ast.keyword):
            found = node.arg if node.arg in {*taken, *by_name} else None
        elif not any(isinstance(each, ast.Starred) for each in call.args):
            at = next(i for i, each in enumerate(call.args) if each is node)
            found = taken[at] if at < len(taken) else None
        if found is None:
            raise _Lost
        self.names.add((scope, found))

    def _parameters(self, called: ast.expr) -> tuple[Scope, tuple[str, ...], tuple[str, ...]]:
        """Where the parameters of what is called stand, their names by position, and those that are only given by name."""
        match called:
            case ast.Name(id=name):
                pass
            case ast.Attribute(value=ast.Name(id="self"), attr=method):
                found = [each for each in self.functions if each.name == method and not each.decorator_list]
                if len(found) != 1:
                    raise _Lost
                made = found[0].args
                return made, tuple(each.arg for each in made.args[1:]), tuple(each.arg for each in made.kwonlyargs)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[]), attr="__init__"):
                around = (each for each in self._around(called) if isinstance(each, ast.ClassDef))
                match next(around, None):
                    case ast.ClassDef(bases=[ast.Name(id=name)]):
                        pass
                    case _:
                        raise _Lost
            case _:
                raise _Lost
        try:
            signature = signature_of(self.module, name, name)
        except UsageError:  # async
            signature = None
        if signature is None:
            raise _Lost
        return signature.arguments, signature.positional, signature.by_name


def _targets(node: ast.AST, parent: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> list[ast.expr]:
    """The targets that a value is assigned to, also as one of several: `self.width, self.config = width, config`."""
    match parent:
        case ast.Assign():
            return parent.targets
        case ast.AnnAssign() | ast.NamedExpr():
            return [parent.target]
        case ast.Tuple(elts=values):
            match parents.get(parent):
                case ast.Assign(targets=[ast.Tuple(elts=targets)]) if len(targets) == len(values):
                    return [target for target, value in zip(targets, values, strict=True) if value is node]
    raise _Lost
