"""What a model may have beside `forward(tokens)`: methods that are found by their presence.

Nothing is inherited, and a user's file imports nothing of modbench. Models of the catalogue have every method (`LanguageModel` in
`language_model.py`) and are called in the same way. What a model lacks is "not reported", with the sentence of `Parts.lacks`.
`docs/your-model.md` says what each method takes and returns, with examples. Importing this file does not load torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Methods that are looked for, each with the optional arguments that it is given by name if its signature names them. `auxiliary`:
# also return the auxiliary loss, where `has_auxiliary` is true; `aux_loss` is the simpler way.
METHODS: Mapping[str, tuple[str, ...]] = {
    "forward": ("lengths_B", "causal", "prompt_B", "auxiliary"),
    "observe": ("lengths_B", "causal", "prompt_B", "flip_LBT"),
    "prefill": ("lengths_B", "max_len"),
    "decode": (),
    "decode_step": (),
    "why_no_decode": (),
    "aux_loss": (),
    "training_loss": (),
    "calibrate": ("lengths_B",),
    "set_progress": (),
    "after_step": (),
}
PAGE = "docs/your-model.md"


@dataclass(frozen=True)
class Parts:
    """What one model has.

    Attributes:
        name: the model, as a user calls it.
        takes: the methods that it has, each with the optional arguments that it takes by name.
    """

    name: str
    takes: Mapping[str, frozenset[str]]

    def has(self, *methods: str) -> bool:
        """Whether it has all these methods."""
        return all(method in self.takes for method in methods)

    def accepts(self, method: str, argument: str) -> bool:
        """Whether it has the method, and the method takes the argument by name."""
        return argument in self.takes.get(method, ())

    def given(self, method: str, **arguments: object) -> dict[str, Any]:
        """Those of the arguments that the method takes."""
        return {name: value for name, value in arguments.items() if self.accepts(method, name)}

    def lacks(self, what: str) -> str:
        """The reason why something is not reported: `what` names the methods or arguments that would report it."""
        return f"not reported: {self.name} has no {what} ({PAGE})"


def parts_of(module: object, name: str) -> Parts:
    """Find the parts of a model, by the presence of methods and the names of their parameters. Nothing is called.

    Args:
        module: the model; a submodule or a number of such a name is no method.
        name: what to call it in reasons.
    """
    found = {}
    for method, optional in METHODS.items():
        function = getattr(module, method, None)
        if inspect.isroutine(function):
            found[method] = frozenset(optional) & keyword_names(function)
    return Parts(name, found)


def keyword_names(function: Callable[..., object]) -> set[str]:
    """Parameters that can be given by name; `**kwargs` names none, since nobody knows what it would do with them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return set()
    return {each.name for each in parameters if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}}
