"""Applies `--model` and `--only`: which arms of a suite stay, which are added, and which is the anchor."""

from __future__ import annotations

from typing import Any

from modbench.harness.core import catalogue, own_models
from modbench.harness.core.errors import UsageError


def choose_models(arms: list[dict[str, Any]], names: tuple[str, ...], *, only: bool) -> list[dict[str, Any]]:
    """Return the arms of a suite that run.

    Without `only`, catalogue names keep those arms and the anchor, and a user's models are added. With it, the named models are
    all: their arms as the suite has them, the first as the anchor; rungs of the dense ladder stay if their own model and the one
    that they match are named.

    Args:
        arms: the suite's arms as tables.
        names: values of `--model`.
        only: whether `--only` was given.

    Raises:
        UsageError: for a model that does not exist, or `only` without a name.
    """
    if only and not names:
        raise UsageError(
            "--only compares the models of --model alone: name at least one, such as --model mine.py:build."
        )
    parsed = {name: own_models.parse_spec(name) for name in names}
    for model, given in parsed.values():
        if not own_models.is_user_model(model):
            catalogue.find("models", model)
            if given:
                raise UsageError(
                    f"model {model!r} is one of modbench's own: it takes --capacity and --set, not options."
                )
    if only:
        return _only(arms, parsed)
    own = [name for name, (model, _) in parsed.items() if own_models.is_user_model(model)]
    named = [name for name in names if name not in own]
    if named:
        anchor = next((arm for arm in arms if arm["anchor"]), arms[0])
        arms = [arm for arm in arms if arm is anchor or arm["model"] in named]
        named = [name for name in named if name not in {arm["model"] for arm in arms}]
    return [*arms, *map(_plain, (*named, *own))]


def _only(arms: list[dict[str, Any]], parsed: dict[str, tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for name, (model, given) in parsed.items():
        suites = [arm for arm in arms if arm["model"] == model and arm["match"] is None and not given]
        made += suites or [_plain(name)]
    models = {model for model, _ in parsed.values()}
    made += [arm for arm in arms if arm["match"] and {arm["model"], arm["match"]["arm"]} <= models]
    return [arm | {"anchor": i == 0} for i, arm in enumerate(made)]


def _plain(name: str) -> dict[str, Any]:
    """A model that the suite does not have, with the options behind its name."""
    return {"model": name, "settings": {}, "anchor": False, "match": None}
