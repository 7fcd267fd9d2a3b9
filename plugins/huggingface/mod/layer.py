"""A decoder layer of transformers that processes some tokens: x + w·(layer(x) - x) for those, x for the others.

`RoutedLayer` stands before the layer's own class among the bases. Its parameters keep their names, and `super().forward` is the
layer as transformers wrote it, called with the chosen tokens alone: one residual connection, their own rotary positions, a mask
for exactly these tokens, and a cache that holds no others.

The router of a layer, `TokenRouter`, is one projection, a threshold, and a predictor for routing without later tokens. A
pretrained stream has tokens whose norm is a thousand times that of others. The router therefore reads it at unit RMS, so that one
initialisation and one learning rate serve every layer of every model. The multiplier is 2·sigmoid(score): 1 at a score of 0, so
a fresh router neither scales the layer up nor down, and always between 0 and 2.

The cache of a layer, `RoutedStore`, has keys and values of the tokens that it processed, and of no others; each row has its own
length. It takes the place of one layer in a `DynamicCache` of transformers, so `generate` needs no cache of ours. Rows are padded
to the longest of them, and what is padding is masked.

Shapes: B batch, T tokens, D width or a head's width, H heads, R rows with a chosen token, k the most chosen tokens of a row,
L keys or stored tokens.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicLayer

from modbench.extend import Decision, Selection, Threshold, from_mask, own_precision, top_k
from modbench.plugins.huggingface.model.mod_options import MoDOptions

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedConfig

RULES = ("auto", "top_k", "threshold", "predictor", "dense")


class TokenRouter(nn.Module):
    """Scores tokens; its parts stay in float32.

    Args:
        width: of the stream.
        options: capacity and initialisation.
    """

    def __init__(self, width: int, options: MoDOptions) -> None:
        super().__init__()
        self.options = options
        self.score_weight = nn.Linear(width, 1, bias=False)
        self.hidden = nn.Linear(width, options.predictor_width)
        self.logit = nn.Linear(options.predictor_width, 1)
        self.threshold = Threshold(None)
        self._was_set = False

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights: scores have standard deviation `router_init`, the predictor starts at the base rate."""
        width = self.score_weight.in_features
        self.score_weight.weight.normal_(std=self.options.router_init / math.sqrt(width), generator=generator)
        self.hidden.weight.normal_(std=1 / math.sqrt(width), generator=generator)
        self.hidden.bias.zero_()
        self.logit.weight.normal_(std=1 / math.sqrt(self.logit.in_features), generator=generator)
        base = min(max(self.options.capacity, 0.01), 0.99)
        self.logit.bias.fill_(math.log(base / (1 - base)))
        self.threshold.value.fill_(math.nan)
        self._was_set = False

    def score(self, x_BTD: Tensor) -> Tensor:
        """Scores [B, T], float32."""
        return own_precision(self.score_weight, unit(x_BTD)).squeeze(-1)

    @staticmethod
    def multiplier(r_BT: Tensor) -> Tensor:
        """What the layer's change is multiplied by, between 0 and 2."""
        return 2 * r_BT.sigmoid()

    def predict(self, x_BTD: Tensor) -> Tensor:
        """Logits [B, T] of being in the top-k. The input is detached: this loss reaches nothing but the predictor."""
        return own_precision(self.logit, F.silu(own_precision(self.hidden, unit(x_BTD.detach())))).squeeze(-1)

    def selects(self, x_BTD: Tensor, r_BT: Tensor, rule: str) -> Tensor:
        """True [B, T] where the layer processes the token, by a rule that reads no later one.

        Raises:
            ValueError: if the threshold was never calibrated.
        """
        if self.options.capacity >= 1:
            return torch.ones_like(r_BT, dtype=torch.bool)
        if rule == "predictor":
            return self.predict(x_BTD) > 0
        if not self._was_set:
            # Read once: a threshold of NaN would skip every token and say nothing.
            if bool(self.threshold.value.isnan()):
                raise ValueError(
                    "this router has no threshold yet: call model.calibrate(tokens) with some typical text, or route by "
                    "the predictor with model.route_by('predictor')"
                )
            self._was_set = True
        return r_BT > self.threshold.value

    def loss(self, x_BTD: Tensor, chosen_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Cross-entropy of the predictor with membership in the top-k (Raposo et al. 2024, section 3.5)."""
        loss_BT = F.binary_cross_entropy_with_logits(self.predict(x_BTD), chosen_BT.float(), reduction="none")
        return loss_BT.mean() if real_BT is None else loss_BT.where(real_BT, 0).sum() / real_BT.sum().clamp(min=1)

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold that a share `capacity` of these scores lies above."""
        self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.options.capacity)
        self._was_set = False


def unit(x_BTD: Tensor) -> Tensor:
    """The stream in float32, each token scaled to a root mean square of 1."""
    x_BTD = x_BTD.float()
    return x_BTD * torch.rsqrt(x_BTD.square().mean(-1, keepdim=True) + 1e-12)


class Keys(NamedTuple):
    """The keys that new tokens may see.

    Attributes:
        place_RL: their places in the sequence, padding included, ascending.
        valid_RL: False where a row is padded; None: nowhere.
    """

    place_RL: Tensor
    valid_RL: Tensor | None


class RoutedStore(DynamicLayer):  # type: ignore[misc]  # transformers is not seen by the type checker
    """Keys, values and places of processed tokens.

    Attributes:
        seen: tokens of the sequence so far, processed or not: what the model around takes for the length.
        lengths: stored tokens of each row.
    """

    is_croppable = True

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = False
        self.seen = 0
        self.lengths: list[int] = []
        self._place_BL: Tensor | None = None
        # Of the call that is under way: rows, slots [R, k] and valid [R, k], until the layer's attention brings its keys.
        self._next: tuple[Tensor | None, Tensor, Tensor | None] | None = None

    def see(self, tokens: int, batch: int) -> None:
        """Count tokens that the layer has been given, whether it processes them or not."""
        self.seen += tokens
        if not self.lengths:
            self.lengths = [0] * batch

    def admit(self, row_R: Tensor | None, place_Rk: Tensor, valid_Rk: Tensor | None, counts: list[int]) -> Keys:
        """Make room for new tokens, before the layer computes them.

        Args:
            row_R: their rows; None: all.
            place_Rk: their places in the sequence, ascending.
            valid_Rk: False for what only fills the shape, at the end of a row; None: all count.
            counts: valid tokens of each row of the whole batch.

        Returns:
            What these rows have stored, the new tokens included.
        """
        start_R = torch.tensor(self.lengths, device=place_Rk.device)
        start_R = start_R if row_R is None else start_R[row_R]
        self.lengths = [old + new for old, new in zip(self.lengths, counts, strict=True)]
        slot_Rk = start_R[:, None] + torch.arange(place_Rk.shape[1], device=place_Rk.device)
        self._next = (row_R, slot_Rk, valid_Rk)
        if self._place_BL is None:
            self._place_BL = place_Rk.new_zeros(len(self.lengths), 0)
        self._place_BL = self._written(self._place_BL, place_Rk)
        length_B = torch.tensor(self.lengths, device=place_Rk.device)
        (place_RL, length_R), longest = _rows(row_R, self._place_BL, length_B), self._longest(row_R)
        even = all(length == longest for length in self._lengths_of(row_R))
        valid_RL = None if even else torch.arange(longest, device=place_Rk.device) < length_R[:, None]
        return Keys(place_RL[:, :longest], valid_RL)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Store the keys and values [R, H, k, D] of the tokens that were admitted; return all of these rows."""
        assert self._next is not None, "admit comes first"
        row_R = self._next[0]
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            empty = (len(self.lengths), key_states.shape[1], 0)
            self.keys = key_states.new_zeros(*empty, key_states.shape[3])
            self.values = value_states.new_zeros(*empty, value_states.shape[3])
        self.keys = self._written(self.keys, key_states)
        self.values = self._written(self.values, value_states)
        self._next = None
        longest = self._longest(row_R)
        keys, values = _rows(row_R, self.keys, self.values)
        return keys[:, :, :longest], values[:, :, :longest]

    def _written(self, stored: Tensor, new: Tensor) -> Tensor:
        """Stored [B, L] or [B, H, L, D] with new [R, k] or [R, H, k, D] in the slots that are next, longer where needed."""
        assert self._next is not None
        row_R, slot_Rk, valid_Rk = self._next
        length = stored.shape[-1] if stored.ndim == 2 else stored.shape[-2]
        whole = row_R is None and valid_Rk is None
        if whole and length == 0:
            return new
        grow = max(self.lengths) - length
        if grow > 0:
            stored = F.pad(stored, (0, grow) if stored.ndim == 2 else (0, 0, 0, grow))
        elif whole or grow == 0:
            stored = stored.clone()  # what an earlier call returned may be a view of it
        rows_R = torch.arange(len(self.lengths), device=new.device) if row_R is None else row_R
        row_Rk = rows_R[:, None].expand_as(slot_Rk)
        valid_Rk = torch.ones_like(slot_Rk, dtype=torch.bool) if valid_Rk is None else valid_Rk
        row_N, slot_N = row_Rk[valid_Rk], slot_Rk[valid_Rk]
        if stored.ndim == 2:
            stored[row_N, slot_N] = new[valid_Rk]
        else:
            stored[row_N, :, slot_N] = new.transpose(1, 2)[valid_Rk]
        return stored

    def _lengths_of(self, row_R: Tensor | None) -> list[int]:
        return self.lengths if row_R is None else [self.lengths[row] for row in row_R.tolist()]

    def _longest(self, row_R: Tensor | None) -> int:
        return max(self._lengths_of(row_R))

    def get_seq_length(self, *_: object) -> int:  # older versions pass positions
        """Tokens seen: places of the next ones count from here."""
        return self.seen

    def get_mask_sizes(self, query_length: int | Tensor) -> tuple[int, int]:
        """Length and offset of the mask that the model around makes, over all tokens."""
        return self.seen + (query_length if isinstance(query_length, int) else query_length.shape[0]), 0

    def reset(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]  # transformers' own layers end up as new, too

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last `-tokens_to_remove` tokens of every row, as many of them as are stored."""
        if tokens_to_remove > 0:
            raise ValueError(f"crop({tokens_to_remove}): only a number of tokens to remove, below 0, is known")
        self.seen = max(0, self.seen + tokens_to_remove)
        if self._place_BL is None:
            return
        length_B = torch.tensor(self.lengths, device=self._place_BL.device)
        at_L = torch.arange(self._place_BL.shape[1], device=length_B.device)
        kept_BL = (self._place_BL < self.seen) & (at_L < length_B[:, None])
        self.lengths = kept_BL.sum(1).tolist()
        longest = max(self.lengths)
        self._place_BL = self._place_BL[:, :longest]
        if self.is_initialized:
            self.keys, self.values = self.keys[:, :, :longest], self.values[:, :, :longest]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order, for beams."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        chosen = torch.arange(len(self.lengths))[indices.cpu()].tolist()
        self.lengths = [self.lengths[row] for row in chosen]
        if self._place_BL is not None:
            self._place_BL = self._place_BL[chosen]
        if self.is_initialized:
            self.keys, self.values = self.keys[chosen], self.values[chosen]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times."""
        self.batch_select_indices(torch.arange(len(self.lengths)).repeat_interleave(repeats))


def store_of(cache: Cache, layer: int) -> RoutedStore:
    """The store of a layer in a cache, put there at first use.

    Raises:
        ValueError: if the cache has fixed shapes, or has been filled by another model.
    """
    while len(cache.layers) <= layer:
        cache.layers.append(DynamicLayer())
    found = cache.layers[layer]
    if isinstance(found, RoutedStore):
        return found
    if type(found) is not DynamicLayer or found.is_initialized or getattr(cache, "offloading", False):
        raise ValueError(
            f"layer {layer} is routed, which needs an empty DynamicCache: it stores a different number of tokens for each row. "
            "Leave cache_implementation unset."
        )
    cache.layers[layer] = made = RoutedStore()
    return made


def _rows(row_R: Tensor | None, *parts: Tensor) -> tuple[Tensor, ...]:
    return parts if row_R is None else tuple(part[row_R] for part in parts)


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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.signature = inspect.signature(cls.__bases__[1].forward)  # type: ignore[attr-defined]  # a decoder layer
        # Both changed in the course of transformers 5.
        cls.returns_tuple = "tuple" in str(cls.signature.return_annotation)
        cls.cache_name = "cache" if "cache" in cls.signature.parameters else "past_key_values"

    def __init__(self, config: PreTrainedConfig, layer_idx: int) -> None:
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
