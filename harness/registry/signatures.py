"""Reads the parameters of a function or class from the source of its file: nothing is imported or run."""

from __future__ import annotations

import ast
import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, shown

# Characters of a signature in a message.
MOST_SHOWN = 200
# How many names are followed: `build = other`, `build = partial(other)`, a base class.
MOST_STEPS = 8


@dataclass(frozen=True)
class Signature:
    """Parameters of a callable as its source says.

    Attributes:
        name: the callable.
        positional: names that can be given by position, in order.
        only_positional: how many of them cannot be given by name.
        by_name: names that can only be given by name.
        defaults: by name, the default as written; of names that need not be given.
        more_positional: name of `*args`; empty if there is none.
        more_by_name: name of `**kwargs`; empty if there is none.
        arguments: where they stand in the source.
    """

    name: str
    positional: tuple[str, ...]
    only_positional: int
    by_name: tuple[str, ...]
    defaults: Mapping[str, str]
    more_positional: str
    more_by_name: str
    arguments: ast.arguments

    def __str__(self) -> str:
        """The signature without annotations: `build(config, threshold=0.5)`."""
        parts = [self._parameter(each) for each in self.positional]
        if self.only_positional:
            parts.insert(self.only_positional, "/")
        if self.more_positional or self.by_name:
            parts.append(f"*{self.more_positional}")
        parts += [self._parameter(each) for each in self.by_name]
        parts += [f"**{self.more_by_name}"] if self.more_by_name else []
        text = ", ".join(parts)
        return f"{self.name}({text if len(text) <= MOST_SHOWN else f'{text[: MOST_SHOWN - 1]}…'})"

    @property
    def config(self) -> str | None:
        """The parameter that gets the configuration; None where `*args` does."""
        return self.positional[0] if self.positional else None

    @property
    def options(self) -> tuple[str, ...]:
        """The parameters besides it that can be given by name."""
        return (*self.positional[max(1, self.only_positional) :], *self.by_name)

    def _parameter(self, name: str) -> str:
        return f"{name}={self.defaults[name]}" if name in self.defaults else name


def check(file: Path, name: str, options: Mapping[str, object], of: str) -> None:
    """Check that `name` of a file can be called as `name(config, **options)`.

    What cannot be told from the source, such as a decorated function or a name that is imported, is taken to be right.

    Args:
        file: the Python file.
        name: the function or class.
        options: what it is called with by name.
        of: begins the message, such as `model 'mine.py:build'`.

    Raises:
        UsageError: if the file is not Python, defines no such name, or it cannot be called so.
    """
    module = module_of(file, of)
    if name not in module.bound:
        if module.open_ended:
            return
        callables = sorted(each for each in module.bound if not each.startswith("_"))
        near = difflib.get_close_matches(name, callables, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{of}: {file.name} defines no {name!r}.{hint}")
    found = signature_of(module, name, of)
    if found is not None:
        _check_call(found, options, of)


def _check_call(signature: Signature, options: Mapping[str, object], of: str) -> None:
    said = f"Its signature is {signature}"
    takes_config = signature.positional or signature.more_positional
    if not takes_config:
        raise UsageError(f"{of}: {said}, but it is called with the configuration: build(config).")
    known = signature.options
    for option in options:
        check_option(signature, option, of)
    for each in (*signature.positional[1:], *signature.by_name):
        if each not in signature.defaults and each not in options:
            if each not in known:
                raise UsageError(f"{of}: {said}, in which {each!r} cannot be given by name. Let it have a default.")
            raise UsageError(f"{of}: the option {each!r} is missing. {said}: write …({each}=VALUE).")


def check_option(signature: Signature, option: str, of: str) -> None:
    """Check that a function takes an option of this name; `of` begins the message.

    Raises:
        UsageError: if it does not.
    """
    said = f"Its signature is {signature}"
    if option == signature.config and signature.only_positional == 0:
        raise UsageError(f"{of}: {option!r} is the configuration, which modbench passes: it is no option. {said}.")
    if option not in signature.options and not signature.more_by_name:
        near = difflib.get_close_matches(option, signature.options, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{of}: no option {option!r}. {said}.{hint}")


@dataclass(frozen=True, eq=False)
class Module:
    """The names that a file binds, with what they are bound to.

    Attributes:
        tree: the file.
        bound: by name, the statements that bind it; None for one that cannot be followed.
        open_ended: whether it may have names that its source does not show.
    """

    tree: ast.Module
    bound: Mapping[str, Sequence[ast.stmt | None]]
    open_ended: bool


def module_of(file: Path, of: str) -> Module:
    """Read what a file binds; `of` begins the message.

    Raises:
        UsageError: if it cannot be read or is not Python.
    """
    try:
        source = file.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{of}: {file} cannot be read: {error.strerror}.") from error
    try:
        return _parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise UnreadableError(f"{of}: {file.name}{line} is not Python: {shown(said, 100)[1:-1]}.") from error


@functools.lru_cache(maxsize=64)
def _parsed(source: bytes) -> Module:
    tree = ast.parse(source)
    bound: dict[str, list[ast.stmt | None]] = {}
    open_ended = False
    for statement, certain in _statements(tree.body, certain=True):
        for name in _binds(statement):
            bound.setdefault(name, []).append(statement if certain else None)
        open_ended |= isinstance(statement, ast.ImportFrom) and any(each.name == "*" for each in statement.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):  # a function may bind it again
            for name in node.names:
                bound.setdefault(name, []).append(None)
        open_ended |= isinstance(node, ast.Name) and node.id in {"globals", "exec", "setattr", "vars", "locals"}
    return Module(tree, bound, open_ended or "__getattr__" in bound)


def _statements(body: Sequence[ast.stmt], *, certain: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements that a module runs, and whether it always does; what a function or class holds is not entered."""
    for statement in body:
        yield statement, certain
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                break
            inside = getattr(statement, field, ())
            for each in inside:
                if isinstance(each, ast.stmt):
                    yield from _statements([each], certain=False)
                else:  # a handler of an exception, or a case of a match
                    yield from _statements(each.body, certain=False)


def _binds(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
        return
    nested = (ast.stmt, ast.ExceptHandler, ast.match_case)
    around: list[ast.AST] = [statement]
    while around:
        node = around.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, ast.Lambda):
            around += [each for each in ast.iter_child_nodes(node) if not isinstance(each, nested)]


def signature_of(module: Module, name: str, of: str, steps: int = MOST_STEPS) -> Signature | None:
    """The signature of a name; None where the source does not tell it.

    Raises:
        UsageError: if it is an async function; `of` begins the message.
    """
    statements = module.bound.get(name, ())
    statement = statements[-1] if statements and None not in statements and steps else None
    if isinstance(statement, ast.AsyncFunctionDef):
        raise UsageError(f"{of}: {name!r} is an async function: build(config) must return a module at once.")
    if isinstance(statement, ast.FunctionDef):
        return None if statement.decorator_list else _of_arguments(name, statement.args)
    if isinstance(statement, ast.ClassDef):
        return _of_class(module, name, statement, steps)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if all(isinstance(target, ast.Name) for target in targets):
            return _of_value(module, name, statement.value, of, steps - 1)
    return None


def _of_class(module: Module, name: str, found: ast.ClassDef, steps: int) -> Signature | None:
    if found.decorator_list or found.keywords or steps == 0:
        return None
    own = {each.name: each for each in found.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    if "__new__" in own:
        return None
    made = own.get("__init__")
    if made is not None:
        return None if made.decorator_list else _of_arguments(name, made.args, skip=1)
    base = found.bases[0] if len(found.bases) == 1 else None
    statements = module.bound.get(base.id, ()) if isinstance(base, ast.Name) else ()
    if len(statements) == 1 and isinstance(statements[0], ast.ClassDef):
        return _of_class(module, name, statements[0], steps - 1)
    return None


def _of_value(module: Module, name: str, value: ast.expr, of: str, steps: int) -> Signature | None:
    if isinstance(value, ast.Lambda):
        return _of_arguments(name, value.args)
    if isinstance(value, ast.Name):
        found = signature_of(module, value.id, of, steps)
        return None if found is None else replace(found, name=name)
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) in {"functools.partial", "partial"}):
        return None
    known = all(keyword.arg for keyword in value.keywords) and not any(isinstance(a, ast.Starred) for a in value.args)
    if not (known and value.args and isinstance(value.args[0], ast.Name)):
        return None
    inner = signature_of(module, value.args[0].id, of, steps)
    return None if inner is None else _of_partial(inner, name, value)


def _of_partial(inner: Signature, name: str, call: ast.Call) -> Signature | None:
    taken, given = len(call.args) - 1, {str(each.arg): ast.unparse(each.value) for each in call.keywords}
    if any(each in given for each in inner.positional[: inner.only_positional]):
        return None
    left = inner.positional[taken:]
    # A parameter that got a value by name can only be given by name from there on, as can those after it.
    first = next((i for i, each in enumerate(left) if each in given), len(left))
    return Signature(
        name,
        left[:first],
        max(0, min(first, inner.only_positional - taken)),
        (*left[first:], *inner.by_name),
        {**inner.defaults, **given},
        inner.more_positional if first == len(left) else "",
        inner.more_by_name,
        inner.arguments,
    )


def _of_arguments(name: str, args: ast.arguments, skip: int = 0) -> Signature:
    """The signature of a function; of a method without its first parameter."""
    every = [*args.posonlyargs, *args.args]
    defaults = dict(zip([each.arg for each in every[len(every) - len(args.defaults) :]], args.defaults, strict=True))
    named = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    defaults |= {each.arg: default for each, default in named if default is not None}
    return Signature(
        name,
        tuple(each.arg for each in every[skip:]),
        max(0, len(args.posonlyargs) - skip),
        tuple(each.arg for each in args.kwonlyargs),
        {each: ast.unparse(default) for each, default in defaults.items()},
        args.vararg.arg if args.vararg else "",
        args.kwarg.arg if args.kwarg else "",
        args,
    )
