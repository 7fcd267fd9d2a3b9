"""What is skipped is not stored: bytes of keys and values, and of activations, against the same model with everything on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modbench.extend import Generation, held_bytes, same_draws, tensors_of
from modbench.plugins.audit.decoding import why_not
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes.skips import all_on, rows_computed
from modbench.plugins.audit.report import Finding, Given, Number, deviates, holds, reported, unseen
from modbench.plugins.audit.routed import routed_blocks

if TYPE_CHECKING:
    from modbench.plugins.audit.blocks import BlockCall

# Part of what is skipped in FLOPs that must be saved in bytes.
LEAST = 0.5
SAVING = frozenset({"mod"})


def check(audited: Audited) -> Finding:
    """Weigh what a forward pass keeps for backward, and a cache after a prompt.

    Without a build with capacity 1, routed blocks are compared with the model's others, and a cache by its places for each token.
    """
    dense = all_on(audited)
    stored = {"activations": _activations(audited, dense), "cache": _cached(audited, dense)}
    shares = {name: share for name, share in stored.items() if share is not None}
    facts: dict[str, object] = dict(stored)
    if not shares:
        kept = Number(value=_kept(audited.another(), audited.tokens()), unit="B")
        words = "{kept} for backward; a build with capacity=… would compare"
        facts["bytes"] = kept.value
        return (
            unseen(words, kept=kept, facts=facts)
            if audited.of in SAVING
            else reported(words, "kept", kept=kept, facts=facts)
        )
    given: dict[str, Given] = {f"s{at}": Number(value=share, kind="share") for at, share in enumerate(shares.values())}
    if dense is not None:
        whole = {
            "activations": "dense's activations",
            "cache": "its cache" if "activations" in shares else "dense's cache",
        }
    else:
        whole = {"activations": "the activations without routing", "cache": "a cache for every token"}
    words = ", ".join(f"{{s{at}}} of {whole[name]}" for at, name in enumerate(shares))
    if audited.of not in SAVING:
        return reported(words, f"s{len(shares) - 1}", facts=facts, **given)
    # What should be saved is what is skipped, or would be, were it not masked.
    blocks = max(1, len(audited.block_calls))
    around = sum(1 - float(each.chosen_BT.double().mean()) for each in routed_blocks(audited)) / blocks
    skipped = max(1 - rows_computed(audited), around)
    full = [at for at, share in enumerate(shares.values()) if 1 - share < LEAST * skipped]
    if full:
        return deviates(words, f"s{full[-1]}", facts=facts, **given)
    return holds(words, f"s{len(shares) - 1}", facts=facts, **given)


def _activations(audited: Audited, dense: nn.Module | None) -> float | None:
    """What is kept for backward, as a share of that of the dense model, or of blocks that are not routed; the smaller one.

    A routed block that is computed again in the backward pass keeps little at any capacity.
    """
    by_blocks = _activations_of_blocks(audited)
    if dense is None:
        return by_blocks
    share = _kept(audited.another(), audited.tokens()) / max(1.0, _kept(dense, audited.tokens()))
    return share if by_blocks is None else min(share, by_blocks)


def _activations_of_blocks(audited: Audited) -> float | None:
    """What all blocks keep for backward, as a share of as many that are not routed; None where all are routed, or none."""
    numbers = {each.number for each in routed_blocks(audited)}
    held = [_kept_by(call) for call in audited.block_calls]
    others = [each for at, each in enumerate(held) if at not in numbers]
    if not numbers or not others:
        return None
    whole = sum(others) / len(others) * len(held)
    return sum(held) / whole if whole else None


def _cached(audited: Audited, dense: nn.Module | None) -> float | None:
    """What a cache keeps, as a share of that of the dense model, or of places for every token."""
    cache = _cache(audited, audited.another(), audited.tokens())
    if cache is None:
        return None
    own = held_bytes(cache, audited.module)
    if dense is not None:
        whole = _cache(audited, dense, audited.tokens())
        return None if whole is None else own / max(1, held_bytes(whole, dense))
    return places(audited)


def places(audited: Audited) -> float | None:
    """Places in a cache after a prompt, as a share of one for every token in each of its tensors; None: there is no cache."""
    t = audited.case.grid_point.seq_len
    cache = _cache(audited, audited.another(), audited.tokens())
    if cache is None:
        return None
    short = _cache(audited, audited.another(), audited.tokens(length=max(2, t // 2)))
    kept = whole = 0.0
    for longer, shorter in zip(tensors_of(cache), tensors_of(short), strict=False):
        if longer.ndim != shorter.ndim or not longer.is_floating_point():
            continue
        grown = [size for size, before in zip(longer.shape, shorter.shape, strict=True) if size != before]
        if len(grown) == 1 and grown[0]:
            size = longer.numel() * longer.element_size()
            kept, whole = kept + size, whole + size * t / grown[0]
    return kept / whole if whole else None


def _kept_by(call: BlockCall) -> float:
    """Bytes that a call of a block keeps for backward."""
    with torch.enable_grad():
        return _kept_in(call.module, lambda: call.again(call.x_BTD.clone().requires_grad_()))


def _kept(module: nn.Module, tokens_BT: Tensor) -> float:
    """Bytes that a forward pass in training keeps for backward."""
    module.train()
    with same_draws(tokens_BT), torch.enable_grad():
        return _kept_in(module, lambda: module(tokens_BT))


def _kept_in(module: nn.Module, call: Callable[[], object]) -> float:
    """Bytes of tensors that a call keeps for backward, without weights; a storage counts once."""
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # else its address could be another tensor's
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        call()
    return float(sum(seen.values()))


def _cache(audited: Audited, module: nn.Module, tokens_BT: Tensor) -> object | None:
    """The cache after a prompt; None where the model cannot generate."""
    subject = audited.subject_of(module.eval())
    if why_not(subject):
        return None
    made: object = Generation(subject).read(tokens_BT, tokens_BT.shape[1])[1]
    return made


PROBE = Probe("keeps", check, order=70)
