"""Whether what a user's file exports is what its room takes, and what is said of a file that raises when it is imported."""

from __future__ import annotations

import traceback
from pathlib import Path

from modbench.harness.core.contracts import Corpus, Metric, Model, Task
from modbench.harness.core.errors import in_short, shown
from modbench.harness.core.sinks import Sink
from modbench.harness.domain.passes import Pass
from modbench.harness.registry.discovery import Entry

TYPES = {"models": Model, "passes": Pass, "corpora": Corpus, "tasks": Task, "sinks": Sink}
# Types that this room cannot import, known by what is asked of them.
PARTS = {
    "doubts": ("finds", "advice", "label"),
    "probes": ("title", "check", "order", "of"),
    "rules": ("groups", "is_conditional", "decide"),
    "panels": ("title", "order", "span", "render"),
    "formats": ("files",),
}


def not_a(room: str, made: object) -> str:
    """Why an object is not what a room takes, in words that follow its name; empty if it is."""
    kind = TYPES.get(room)
    if isinstance(made, Task) and room == "tasks" and not 0 < made.solved <= 1:
        return f"has solved={made.solved:g}: a share of the way, above 0 and at most 1, such as 0.75"
    if kind is not None:
        return "" if isinstance(made, kind) else f"is no {kind.__name__} but {shown(made)}"
    if room == "metrics":
        fits = isinstance(made, tuple | list) and all(isinstance(each, Metric) for each in made)
        return "" if fits else f"is no tuple of Metric but {shown(made)}"
    if room == "routers":
        fits = isinstance(made, type) and callable(getattr(made, "score", None))
        return "" if fits else f"is no class with a method `score`, such as a Router, but {shown(made)}"
    lacking = [part for part in PARTS.get(room, ()) if not hasattr(made, part)]
    if lacking:
        return f"is no {room.removesuffix('s').title()}: it has no {', '.join(lacking)}"
    return "" if room in PARTS or callable(made) else f"cannot be called: {shown(made)}"


def blame(error: BaseException, entry: Entry) -> str:
    """The message of an exception from importing a user's file, with the last line of that file that it passed."""
    if isinstance(error, AttributeError) and error.name == entry.attribute and getattr(error.obj, "__file__", None):
        return f"it defines no {entry.attribute}"
    said = in_short(error, 200).removesuffix(".")
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {error.msg}"
    passed = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(entry.path)]
    return f"line {passed[-1]}: {text}" if passed else text
