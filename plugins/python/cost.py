"""`modbench.cost`: the costs of a model of any size. Nothing is allocated or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modbench.extend import (
    Request,
    UsageError,
    costs,
    costs_as_text,
    html_table,
    human,
    keywords,
    plain,
    printable_text,
    public,
)
from modbench.extend import (
    plain_html_of as html,
)

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("", "params", "forward", "train step", "peak memory, train step")


@dataclass(frozen=True, repr=False)
class Costs:
    """Costs of a model, one row for each combination of what was given.

    Attributes:
        rows: as `modbench cost --json` prints them, in base units; None where something is not known, with a reason.
    """

    rows: tuple[dict[str, Any], ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as a table with flat columns: `flops/forward`, `memory/activations` and so on."""
        import pandas as pd

        return pd.json_normalize(list(self.rows), sep="/")

    def __repr__(self) -> str:
        first = self.rows[0]
        more = f", {len(self.rows)} rows" if len(self.rows) > 1 else ""
        return f"<modbench cost of {first['model']}: {human(first['flops']['forward'], 'FLOP')} forward{more}>"

    def __str__(self) -> str:
        return printable_text([costs_as_text(list(self.rows))])

    def _repr_html_(self) -> str:
        rows = [
            (
                _place(row),
                f"{row['params']:,}",
                human(row["flops"]["forward"], "FLOP"),
                human(row["flops"]["train_step"], "FLOP"),
                human(row["memory"]["peak_train_step"], "B"),
            )
            for row in self.rows
        ]
        return html(html_table(HEAD, rows))


def _place(row: dict[str, Any]) -> str:
    capacity = row["config"]["capacity"]
    said = f" {capacity:g}" if capacity is not None else ""
    return f"{row['model']}{said}, T = {plain(row['seq_len'])}, batch {plain(row['batch_size'])}, {row['dtype']}"


@public("mb.cost('mod', capacity=0.25)")
def cost(
    model: str,
    *,
    capacity: float | Sequence[float] | None = None,
    seq_len: int | Sequence[int] | None = None,
    batch_size: int | Sequence[int] | None = None,
    dtype: str | Sequence[str] | None = None,
    option: Mapping[str, object] | str | Sequence[str] | None = None,
    **settings: object,
) -> Costs:
    """The costs of a model of any size, as `modbench cost` prints them: parameters, FLOPs, bytes, memory, from closed forms.

    Args:
        model: a catalogue model, or a user's `FILE.py:build`.
        capacity: one or several; None: the model's own.
        seq_len: sequence lengths; default 512.
        batch_size: default 1.
        dtype: number formats; default fp32.
        option: options of a user's build, one value each, such as `{"threshold": 0.5}`.
        **settings: shape and routing, such as `d_model=1024`.

    Raises:
        UsageError: if the model or a setting is unknown, or a shape is invalid.
    """
    _check_name(model)
    values = {"option": option, "capacity": capacity, "seq_len": seq_len, "batch_size": batch_size, "dtype": dtype}
    return Costs(tuple(costs(Request.from_flags(model, keywords.overrides(values, settings)))))


def _check_name(model: object) -> None:
    if not isinstance(model, str):
        got = type(model).__name__
        raise UsageError(f"model takes a name, such as 'mod' or 'mine.py:build'; got {got}. compare takes modules.")
