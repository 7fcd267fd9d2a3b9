"""Waits for a device: torch's own debug mode sees those of operators and copies, not those that a model asks for by name."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch


def set_sync_debug(mode: int | str) -> None:
    """Set torch's sync-debug mode; its first use warns that it is a prototype, which must not become an error of an arm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode(mode)


@contextlib.contextmanager
def sync_debug(mode: str) -> Iterator[None]:
    """Let torch report waits (`warn` or `error`) inside the `with` block."""
    was = torch.cuda.get_sync_debug_mode()
    try:
        set_sync_debug(mode)
        yield
    finally:
        set_sync_debug(was)


@contextlib.contextmanager
def explicit(on_wait: Callable[[str], None], *, queries: bool = False) -> Iterator[None]:
    """Call `on_wait` with the name of each explicit wait inside the `with` block, before it happens.

    Args:
        on_wait: may raise, which prevents the wait.
        queries: also for questions whether work is done, which wait for nothing but may not be asked during a capture.
    """
    cuda: Any = torch.cuda
    owners = (cuda, cuda.Event, cuda.Stream, torch.accelerator)
    places = [(owner, "synchronize") for owner in owners]
    places += [(cuda.Event, "query"), (cuda.Stream, "query")] if queries else []
    were = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, was in were:
        setattr(owner, name, _noting(was, f"{owner.__name__}.{name}", on_wait))
    try:
        yield
    finally:
        for owner, name, was in were:
            setattr(owner, name, was)


def _noting(was: Callable[..., object], name: str, on_wait: Callable[[str], None]) -> Callable[..., object]:
    @functools.wraps(was)
    def wait(*args: object, **kwargs: object) -> object:
        on_wait(name)
        return was(*args, **kwargs)

    return wait
