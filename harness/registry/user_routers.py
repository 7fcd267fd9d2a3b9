"""A user's own routers: classes named as `FILE.py:ROUTER`, or in the `routers/` of an included folder or a package."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from modbench.harness.core import model_specs
from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue, discovery, user_models


def is_spec(router: str) -> bool:
    """Whether a router is named as `FILE.py:ROUTER` or `package.module:ROUTER` instead of by a catalogue name."""
    return model_specs.is_user_model(router)


def has_closed_form(router: str) -> bool:
    """Whether the closed form of a model knows what a router costs: it knows those that modbench ships."""
    return not is_spec(router) and catalogue.is_shipped("routers", router)


def check(router: str) -> None:
    """Check that a router can be found, before anything is measured and without running its code.

    Raises:
        UsageError: if there is none, or its file defines no such name.
    """
    if not is_spec(router):
        catalogue.find("routers", router)
        return
    where, attribute = user_models.found_in(router, "router", "class", "ROUTER")
    file = Path(where) if where.endswith(".py") else user_models.files_of_module(where)[where]
    _, problem = discovery.read(file, attribute)
    if problem:
        raise UsageError(f"router {router!r}: {file}: {problem}.")


def load(router: str) -> type[Any]:
    """Import a router's class. Exceptions of a user's import are passed on.

    Raises:
        UsageError: if there is no such router, or it is no class with a method `score`.
    """
    if not is_spec(router):
        shipped: type[Any] = catalogue.load("routers", router)
        return shipped
    made = _class(router, Path.cwd())
    if wrong := catalogue.type_error("routers", made):
        raise UsageError(f"router {router!r} {wrong}.")
    assert isinstance(made, type)
    return made


@functools.lru_cache(maxsize=16)
def _class(router: str, _from: Path) -> object:
    """The class; its folder is searched for once, not for every block."""
    return user_models.load_user_model(router)


def short(router: str) -> str:
    """A router's name in ids: a catalogue name, or the file's without its folder, and its class unless that is `ROUTER`."""
    if not is_spec(router):
        return router
    where, _, attribute = router.rpartition(":")
    file = where.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    return file if attribute == "ROUTER" else f"{file}:{attribute}"
