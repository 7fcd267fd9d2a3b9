"""What a plan stores beside each case, so that nothing asks the catalogue about its model and router once it is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core import catalogue
from modbench.harness.core.frozen import Frozen
from modbench.harness.core.ids import short_name
from modbench.harness.core.own_models import is_user_model
from modbench.harness.core.own_routers import has_closed_form

if TYPE_CHECKING:
    from modbench.harness.core.case import Case
    from modbench.harness.core.contracts import Model


class CaseFacts(Frozen):
    """What later code needs to know of a case's model and router; none of it changes a number.

    Attributes:
        short: short name of the model, as in ids.
        shipped: whether modbench ships the model.
        own_router: whether its router is the user's, whose cost no closed form knows.
        keys: routing keys that the model reads; None for a model that is not in the catalogue: nobody knows.
        dynamic: whether its cost depends on the input, as the model's file declares; None: as for `keys`.
        sees_future: whether a top-k depends on later tokens, as the model's file declares; None: as for `keys`.
    """

    short: str
    shipped: bool
    own_router: bool
    keys: tuple[str, ...] | None = None
    dynamic: bool | None = None
    sees_future: bool | None = None

    @property
    def runs_user_code(self) -> bool:
        """Whether building the case runs a user's code: a model or a router. It may do anything, such as end its process."""
        return not self.shipped or self.own_router

    @property
    def routes(self) -> bool:
        """Whether the model of the catalogue routes tokens, so that its loss is also measured without the future."""
        return self.keys is not None and bool({"router", "choice"} & {*self.keys})


def names_of(case: Case) -> CaseFacts:
    """Look up what is known without importing the model, which needs torch."""
    own = is_user_model(case.model)
    return CaseFacts(
        short=short_name(case.model),
        shipped=not own and catalogue.is_shipped("models", case.model),
        own_router=not has_closed_form(case.config.router),
        keys=None if own or case.model not in catalogue.entries("models") else (*catalogue.model_options(case.model),),
    )


def facts_of(case: Case) -> CaseFacts:
    """Look up everything."""
    found = names_of(case)
    if found.keys is None:
        return found
    model: Model = catalogue.load("models", case.model)
    return found.model_copy(update={"dynamic": model.dynamic, "sees_future": model.sees_future(case.config)})
