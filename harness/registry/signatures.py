"""The signature of a function or class that a user's file defines, read from its source: nothing is imported or run.

Only a plain `def` or `class` is read, at the top of the file. Of what is decorated, assigned or inherited nothing is known, and
it is called as asked: the error is then that of the call.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, shown

# What a file may get names from, beside those that its text shows.
OPEN_ENDED = ("import *", "__getattr__")


class _AsWritten(str):
    """A default, shown as its source has it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def check(file: Path, name: str, options: Mapping[str, object], of: str) -> None:
    """Check that `name` of a file can be called as `name(config, **options)`, as far as its source tells.

    Args:
        file: the Python file.
        name: the function or class.
        options: what it is called with by name.
        of: begins the message, such as `model 'mine.py:build'`.

    Raises:
        UsageError: if the file is not Python, does not name it, or it cannot be called so.
    """
    tree, text = _parsed(file, of)
    if not any(word in text for word in (name, *OPEN_ENDED)):
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        raise UsageError(f"{of}: {file.name} defines no {name!r}.{_near(name, defined)}")
    found = signature_of(file, name, of)
    if found is None:
        return
    for option in options:
        check_option(found, name, option, of)
    try:
        found.bind("config", **options)
    except TypeError as error:
        raise UsageError(
            f"{of}: {error}. Its signature is {name}{found}, and it is called as {name}(config, …)."
        ) from None


def check_option(signature: inspect.Signature, name: str, option: str, of: str) -> None:
    """Check that a function takes an option of this name; `of` begins the message.

    Raises:
        UsageError: if it does not.
    """
    if option in options_of(signature) or takes_any(signature):
        return
    hint = _near(option, options_of(signature))
    raise UsageError(f"{of}: no option {option!r}. Its signature is {name}{signature}.{hint}")


def options_of(signature: inspect.Signature) -> tuple[str, ...]:
    """The parameters that can be given by name; the first one gets the configuration."""
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    first, *others = signature.parameters.values() or [None]
    keyword_only = [first] if first is not None and first.kind is inspect.Parameter.KEYWORD_ONLY else []
    return tuple(each.name for each in (*keyword_only, *others) if each is not None and each.kind in by_name)


def takes_any(signature: inspect.Signature) -> bool:
    """Whether it has `**options`."""
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())


def signature_of(file: Path, name: str, of: str) -> inspect.Signature | None:
    """The signature of a function or class of a file; None where no plain definition tells it.

    Raises:
        UsageError: if the file is not Python, or it is an async function; `of` begins the message.
    """
    tree, _ = _parsed(file, of)
    match [node for node in ast.walk(tree) if name in _bound(node)]:
        case [node] if node not in tree.body:
            return None
        case [ast.AsyncFunctionDef()]:
            raise UsageError(f"{of}: {name!r} is an async function: build(config) must return a module at once.")
        case [ast.FunctionDef(decorator_list=[], args=arguments)]:
            return _of_arguments(arguments)
        case [ast.ClassDef(decorator_list=[], keywords=[], body=body)]:
            methods = {each.name: each for each in body if isinstance(each, ast.FunctionDef)}
            made = methods.get("__init__")
            if made is not None and not made.decorator_list and "__new__" not in methods:
                return _of_arguments(made.args, skip=1)
    return None


def _bound(node: ast.AST) -> tuple[str, ...]:
    """The names that a node binds, wherever it stands."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.alias):
        return (node.asname or node.name,)
    return (node.id,) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ()


def _parsed(file: Path, of: str) -> tuple[ast.Module, str]:
    try:
        return _tree(file.read_bytes())
    except OSError as error:
        raise UnreadableError(f"{of}: {file} cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise UnreadableError(f"{of}: {file.name}{line} is not Python: {shown(said, 100)[1:-1]}.") from error


@functools.lru_cache(maxsize=64)
def _tree(source: bytes) -> tuple[ast.Module, str]:
    return ast.parse(source), source.decode("utf-8", "replace")


def _of_arguments(args: ast.arguments, skip: int = 0) -> inspect.Signature:
    """The signature of a function; of a method without its first parameter."""
    return inspect.Signature(list(_parameters(args))[skip:])


def _parameters(args: ast.arguments) -> Iterator[inspect.Parameter]:
    kinds = inspect.Parameter
    positional = [*args.posonlyargs, *args.args]
    required = len(positional) - len(args.defaults)
    for i, each in enumerate(positional):
        kind = kinds.POSITIONAL_ONLY if i < len(args.posonlyargs) else kinds.POSITIONAL_OR_KEYWORD
        yield kinds(each.arg, kind, default=_default(args.defaults[i - required] if i >= required else None))
    if args.vararg:
        yield kinds(args.vararg.arg, kinds.VAR_POSITIONAL)
    for each, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield kinds(each.arg, kinds.KEYWORD_ONLY, default=_default(default))
    if args.kwarg:
        yield kinds(args.kwarg.arg, kinds.VAR_KEYWORD)


def _default(written: ast.expr | None) -> object:
    return inspect.Parameter.empty if written is None else _AsWritten(ast.unparse(written))


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
