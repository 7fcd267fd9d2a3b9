"""A decoder layer of transformers that processes some tokens: x + w·(layer(x) - x) for those, x for the others.

`RoutedLayer` stands before the layer's own class among the bases. Its parameters keep their names, and `super().forward` is the
layer as transformers wrote it, called with the chosen tokens alone: one residual connection, their own rotary positions, a mask
for exactly these tokens, and a cache that holds no others.

Shapes: B batch, T tokens, D width, R rows with a chosen token, k the most chosen tokens of a row, L keys.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from modbench.harness.core.language_model import Decision
from modbench.models.hf_mod.options import MoDOptions
from modbench.models.hf_mod.router import TokenRouter
from modbench.models.hf_mod.store import Keys, store_of
from modbench.models.layers.context import Selection, from_mask
from modbench.models.mod import top_k

RULES = ("auto", "top_k", "threshold", "predictor", "dense")


@dataclass
class Routing:
    """How the routed layers of one model choose now; they share it.

    Attributes:
        rule: `top_k` sees later tokens; `threshold` and `predictor` do not; `dense` takes every token with the multiplier 1;
            `auto` is `top_k` in training and the configured causal rule otherwise.
        real_BT: False at padding, during a call; None: there is none.
        calibrating: thresholds are set from the scores of this call.
        auxiliary: losses of the predictors, collected while training; None: they are not wanted.
        decisions: what each layer decided, first layer first; None: they are not wanted.
        flip_LBT: decisions of layer l that are reversed; None: none.
    """

    rule: str = "auto"
    real_BT: Tensor | None = None
    calibrating: bool = False
    auxiliary: list[Tensor] | None = None
    decisions: list[Decision] | None = None
    flip_LBT: Tensor | None = None


class Chosen(NamedTuple):
    """The tokens that a layer processes.

    Attributes:
        row_R: rows with at least one; None: all.
        index_Rk: their places in this call, ascending.
        valid_Rk: False for what only fills the shape; None: all count.
        counts: chosen tokens of every row of the batch.
    """

    row_R: Tensor | None
    index_Rk: Tensor
    valid_Rk: Tensor | None
    counts: list[int]


class RoutedLayer(nn.Module):
    """A mixin: `class RoutedLlamaLayer(RoutedLayer, LlamaDecoderLayer)`.

    Attributes:
        capacity: share of the tokens that it processes by top-k.
        executed_tokens: tokens of the whole batch that the last call computed; rows are padded to the longest of them.
    """

    signature: ClassVar[inspect.Signature]
    cache_name: ClassVar[str]
    returns_tuple: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401  # whatever other bases take
        super().__init_subclass__(**kwargs)
        cls.signature = inspect.signature(cls.__bases__[1].forward)  # type: ignore[attr-defined]  # a decoder layer
        # Both changed in the course of transformers 5.
        cls.returns_tuple = "tuple" in str(cls.signature.return_annotation)
        cls.cache_name = "cache" if "cache" in cls.signature.parameters else "past_key_values"

    def __init__(self, config: Any, layer_idx: int) -> None:  # noqa: ANN401  # a config of transformers
        super().__init__(config, layer_idx)
        self.shape, self.index = config, layer_idx
        self.options = MoDOptions(**config.mod)
        self.capacity = self.options.capacity
        self.executed_tokens = 0
        self.router = TokenRouter(config.hidden_size, self.options)
        self.routing = Routing()

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as the layer itself
        """As the layer itself; tokens that are not chosen pass unchanged."""
        call = self.signature.bind(self, hidden_states, *args, **kwargs)
        b, t, d = hidden_states.shape
        store = None
        if call.arguments.get(self.cache_name) is not None:
            store = store_of(call.arguments[self.cache_name], self.index)
            if store.lengths and len(store.lengths) != b:
                raise ValueError(f"the cache is of {len(store.lengths)} rows, the input of {b}")
        seen = 0 if store is None else store.seen
        rule = self._rule()
        r_BT = self.router.score(hidden_states)
        selection = self._select(hidden_states, r_BT, rule)
        w_BT = torch.ones_like(r_BT) if rule == "dense" else self.router.multiplier(r_BT)
        if self.routing.decisions is not None:
            selection = self._observed(selection, hidden_states, r_BT, w_BT, rule)
        if store is not None:
            store.see(t, b)
        chosen = compact(selection, b)
        self.executed_tokens = 0 if chosen is None else chosen.index_Rk.numel()
        if self.routing.auxiliary is not None and rule == "top_k":
            self.routing.auxiliary.append(self.router.loss(hidden_states, selection.mask(t), self.routing.real_BT))
        if chosen is None:
            return (hidden_states,) if self.returns_tuple else hidden_states
        place_Rk = chosen.index_Rk + seen
        keys = Keys(place_Rk, chosen.valid_Rk) if store is None else store.admit(chosen.row_R, place_Rk, *chosen[2:])
        x_RkD = _taken(hidden_states, chosen)
        call.arguments["hidden_states"] = x_RkD
        self._narrow(call, chosen, place_Rk, keys)
        given = super().forward(*call.args[1:], **call.kwargs)
        y_RkD = given[0] if isinstance(given, tuple) else given
        change_RkD = (y_RkD.float() - x_RkD.float()) * _taken(w_BT[..., None], chosen)
        if chosen.valid_Rk is not None:
            change_RkD = change_RkD.masked_fill(~chosen.valid_Rk[..., None], 0)
        flat_N = (chosen.index_Rk + t * _row_numbers(chosen)).flatten()
        out_ND = hidden_states.reshape(b * t, d).index_add(0, flat_N, change_RkD.to(hidden_states.dtype).flatten(0, 1))
        out_BTD = out_ND.view(b, t, d)
        return (out_BTD, *given[1:]) if isinstance(given, tuple) else out_BTD

    def _rule(self) -> str:
        rule = self.routing.rule
        return rule if rule != "auto" else "top_k" if self.training else self.options.causal

    def _select(self, x_BTD: Tensor, r_BT: Tensor, rule: str) -> Selection:
        """The tokens that this call processes; padding never is."""
        t = x_BTD.shape[1]
        real_BT = self.routing.real_BT
        if self.routing.calibrating:
            self.router.calibrate(r_BT, real_BT)
        if rule == "dense":
            every_BT = torch.ones_like(r_BT, dtype=torch.bool) if real_BT is None else real_BT
            return from_mask(every_BT)
        if rule == "top_k":
            if real_BT is None:
                return top_k(r_BT, self.options.kept(t))
            real_B = real_BT.sum(1)
            k_B = (self.capacity * real_B.double() + 1e-9).long().clamp(min=1).minimum(real_B)
            return top_k(r_BT, self.options.kept(t), k_B, real_BT)
        mask_BT = self.router.selects(x_BTD, r_BT, rule)
        return from_mask(mask_BT if real_BT is None else mask_BT & real_BT)

    def _observed(self, selection: Selection, x_BTD: Tensor, r_BT: Tensor, w_BT: Tensor, rule: str) -> Selection:
        """Record the decision, after reversing what is to be reversed."""
        routing, chosen_BT = self.routing, selection.mask(r_BT.shape[1])
        if routing.flip_LBT is not None:
            chosen_BT = chosen_BT ^ routing.flip_LBT[self.index]
            selection = from_mask(chosen_BT)
        predicted_BT = None
        if rule == "top_k" and (self.options.causal == "predictor" or not bool(self.router.threshold.value.isnan())):
            predicted_BT = self.router.selects(x_BTD, r_BT, self.options.causal)
        assert routing.decisions is not None
        routing.decisions.append(Decision(self.index, r_BT, chosen_BT, w_BT, predicted_BT))
        return selection

    def _narrow(self, call: inspect.BoundArguments, chosen: Chosen, place_Rk: Tensor, keys: Keys) -> None:
        """Replace what the layer is told about the tokens by what holds for the chosen ones."""
        for name in ("position_ids", "position_embeddings", "attention_mask"):
            named = call.arguments if name in self.signature.parameters else call.arguments.setdefault("kwargs", {})
            value = named.get(name)
            if name == "attention_mask":
                named[name] = self._mask(value, chosen, place_Rk, keys, call.arguments["hidden_states"].dtype)
            elif isinstance(value, tuple):  # cosines and sines
                named[name] = tuple(_taken(part, chosen) for part in value)
            elif value is not None:
                named[name] = _taken(value, chosen)

    def _mask(
        self, given: Tensor | None, chosen: Chosen, place_Rk: Tensor, keys: Keys, dtype: torch.dtype
    ) -> Tensor | None:
        """Which keys each chosen token sees: those at its place and before, as far as the model's own mask allows.

        Returns:
            [R, 1, k, L]: for fused attention true where it may see, for eager attention 0 there and very negative elsewhere; None
            where fused attention needs none: it is causal among tokens in ascending order, and one new token sees all keys.
        """
        how = self.shape._attn_implementation  # noqa: SLF001  # transformers has no public name for it
        if how not in {"sdpa", "eager"}:
            raise ValueError(f"attn_implementation {how!r}: a routed layer knows 'sdpa' and 'eager'")
        k, longest = place_Rk.shape[1], keys.place_RL.shape[1]
        even = chosen.valid_Rk is None and keys.valid_RL is None
        if how == "sdpa" and given is None and even and (k in {1, longest}):
            return None
        # What only fills the shape stands at the last place, so that it sees a key too: a softmax over nothing is NaN.
        visible_RkL = keys.place_RL[:, None] <= place_Rk[..., None]
        if keys.valid_RL is not None:
            visible_RkL = visible_RkL & keys.valid_RL[:, None]
        if given is not None:
            allowed_RkS = _taken(given[:, 0].expand(len(chosen.counts), -1, -1), chosen)
            place_RkL = keys.place_RL[:, None].expand(-1, k, -1).clamp(max=allowed_RkS.shape[2] - 1)
            allowed_RkL = allowed_RkS.gather(2, place_RkL)
            visible_RkL = visible_RkL & (allowed_RkL if allowed_RkL.dtype == torch.bool else allowed_RkL == 0)
        if how == "sdpa":
            return visible_RkL[:, None]
        hidden_RkL = ~visible_RkL[:, None]
        return torch.zeros(hidden_RkL.shape, dtype=dtype, device=place_Rk.device).masked_fill(
            hidden_RkL, torch.finfo(dtype).min
        )


def compact(selection: Selection, b: int) -> Chosen | None:
    """The selection without rows in which nothing is selected; None if nothing is."""
    indices_Bk = selection.indices_Bk
    if selection.count_B is None:
        return Chosen(None, indices_Bk, None, [indices_Bk.shape[1]] * b)
    counts: list[int] = selection.count_B.tolist() if selection.counts is None else selection.counts
    most, rows = max(counts), [row for row, count in enumerate(counts) if count]
    if not rows:
        return None
    row_R = None if len(rows) == b else torch.tensor(rows, device=indices_Bk.device)
    index_Rk = (indices_Bk if row_R is None else indices_Bk[row_R])[:, :most]
    valid_Rk = None
    if any(counts[row] != most for row in rows):
        count_R = torch.tensor([counts[row] for row in rows], device=indices_Bk.device)
        valid_Rk = torch.arange(most, device=indices_Bk.device) < count_R[:, None]
    return Chosen(row_R, index_Rk, valid_Rk, counts)


def _row_numbers(chosen: Chosen) -> Tensor:
    """The row [R, 1] in the batch of each row that is processed."""
    if chosen.row_R is not None:
        return chosen.row_R[:, None]
    return torch.arange(len(chosen.counts), device=chosen.index_Rk.device)[:, None]


def _taken(part: Tensor, chosen: Chosen) -> Tensor:
    """The chosen tokens' values [R, k, …] of something [B, T, …] or [1, T, …]."""
    if part.shape[0] == 1:
        part = part.expand(len(chosen.counts), *part.shape[1:])
    return part[_row_numbers(chosen), chosen.index_Rk]
