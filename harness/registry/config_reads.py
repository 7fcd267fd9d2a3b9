"""Finds the keys of the configuration that a user's build reads, from its source: nothing is imported or run.

The configuration is followed through assignments, and into functions, classes and methods of the same file. It may be followed
too far, never too little: where it goes somewhere else, the answer is that nobody can tell.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.registry.signatures import Module, signature_of

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
