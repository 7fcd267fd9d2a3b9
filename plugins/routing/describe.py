"""The description of a routed model on held-out text, as plain data for an artifact.

It says which tokens pass, by layer and stratum and as text, and how deep whole-input gates go.

Shapes: N windows, T positions, L layers that route tokens, P prompts, B rows.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modbench.plugins.routing.collect import Watched, device_of, observe, undisturbed, watch
from modbench.plugins.routing.ngram import Array
from modbench.plugins.routing.overlap import between_layers
from modbench.plugins.routing.rank_correlation import within_windows
from modbench.plugins.routing.strata import KINDS, Stratum, Tokens, quarters, text_strata
from modbench.plugins.routing.tally import by_bin, confusion, histogram, plain, ratio

VERSION = 1
CORRELATED = ("loss", "entropy", "difficulty", "frequency")
NO_ROUTER = "no layer of this model routes tokens"
NO_GATE = "no gate chooses a depth for the whole input"
NO_EXPERTS = "this model has no experts"
NOT_ASKED = "causal routing was not requested"
SCORES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "base_rate")
NOT_PREDICTED = "this router has no rule that predicts the top-k from earlier tokens"
# Lengths of prompts that are cut from a window, and prompts of a batch.
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
ROWS = 32
# Positions that are shown as text.
MOST_POSITIONS = 256
# A rarer word says little about what a router does with it.
OFTEN, WORDS = 8, 12


def describe(
    module: nn.Module,
    inputs_NT: Tensor,
    targets_NT: Tensor,
    tokens: Tokens,
    *,
    seed: int,
    causal_too: bool = True,
) -> dict[str, Any]:
    """Describe a model's routing of held-out sequences, by layer, token and stratum. Losses and entropies are in nats.

    Args:
        module: with `observe`; evaluated in evaluation mode, and left as it was. Autocast is up to the caller.
        inputs_NT: int64 windows of held-out tokens, some 8,000 to 16,000 in all.
        targets_NT: the token after each.
        tokens: `train`, ids of the training tokens, and `pieces`, the bytes of every token.
        seed: chooses the window that is shown as text.
        causal_too: whether to describe routing without the future as well.

    Returns:
        Plain data; None where there is nothing, with the reason in `reasons` under the same key:

        - `version`, `windows`, `seq_len`, `tokens` (N·T), `layers` (blocks, from 0, that route tokens: by a router,
          or to experts);
        - `strata`: by variable (`kind`, `position`, `frequency`, `difficulty` of the text; `loss`, `entropy` of the model)
          `unit` and `bins`, each bin with `label`, `low`, `high` (not for kinds), `n` tokens, `windows` with such tokens,
          `passes` summed over layers, `passes_by_layer`, `share` = passes / (n·L), `loss_sum`, `loss_squares`, `loss`,
          `entropy`, `loss_causal_sum`, `loss_causal`; `X_se` is the standard error of X between windows (linearised
          ratio, window = cluster): tokens of a window are not independent, so n alone gives no interval;
        - `matrix`: one window: `rows`, a string of 0 and 1 for each layer; `used` blocks, `pieces` of text, `kinds`
          (index into the bins of `kind`), `loss` by position; `words`: the `deep` and the `shallow` ones;
        - `weights`: by layer a histogram (`edges`, `all`, `passed`), `mean`, `sd`, `positive` (share above 0), `what`:
          `weight` where it multiplies the block's output, `score` where it only decides;
        - `overlap`: `jaccard` [L, L], `expected` of independent choices of the same sizes;
        - `experts`: by layer `load` (share of the processed tokens by expert), `none` (share of tokens that no real
          expert took: they preferred a no-op, or were dropped), `tokens`;
        - `participation`: by layer `top_k` and `causal` shares with `_se`;
        - `predictor`: by layer and (`layer` None) in all: the causal rule compared with the top-k on the same input (`tp`, `fp`,
          `fn`, `tn`, `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`, `base_rate`);
        - `correlations`: Spearman's, within windows, of blocks used with `loss`, `entropy`, `difficulty`, `frequency`;
        - `depth`: of whole-input gates (see `depths`);
        - `summary`: flat numbers.

    Raises:
        ValueError: if there are no windows.
    """
    seen = watch(module, inputs_NT, targets_NT)
    causal, why_not_causal = _causally(module, inputs_NT, targets_NT, seen, asked=causal_too)
    inputs, targets = inputs_NT.numpy(force=True), targets_NT.numpy(force=True)
    strata = text_strata(inputs, targets, tokens)
    strata["loss"] = quarters("loss", "nat", seen.loss_NT)
    strata["entropy"] = quarters("entropy", "nat", seen.entropy_NT)
    n, t = inputs.shape
    found: dict[str, Any] = {
        "version": VERSION,
        "windows": n,
        "seq_len": t,
        "tokens": n * t,
        "layers": list(seen.layers),
        "strata": {name: {"unit": each.unit, "bins": by_bin(each, seen, causal)} for name, each in strata.items()},
        **dict.fromkeys(("matrix", "words", "weights", "overlap", "participation", "correlations")),
        **dict.fromkeys(("predictor", "experts", "depth")),
    }
    reasons = {"causal": why_not_causal} if causal is None else {}
    if seen.layers:
        shown = (inputs, strata["kind"].bin_NT, tokens.pieces)
        found["matrix"] = matrix(seen, *shown, window=int(np.random.default_rng(seed).integers(n)))
        found["words"] = words(seen, *shown)
        found |= _of_layers(seen, causal) | {"correlations": _correlations(seen, strata)}
    else:
        reasons |= dict.fromkeys(("matrix", "words", "weights", "overlap", "participation", "correlations"), NO_ROUTER)
    if seen.predicted_LNT is None:
        reasons["predictor"] = NOT_PREDICTED if seen.layers else NO_ROUTER
    if seen.experts:
        found["experts"] = [
            {
                "layer": layer,
                "tokens": load.tokens,
                "load": (load.taken_E / max(1, load.taken_E.sum())).tolist(),
                "none": load.none / max(1, load.tokens),
            }
            for layer, load in seen.experts.items()
        ]
    else:
        reasons["experts"] = NO_EXPERTS
    hard_NT = strata["difficulty"].values_NT
    if seen.depth_N is not None and hard_NT is not None:
        found["depth"] = depths(module, inputs_NT, hard_NT, seen.depth_N)
    else:
        reasons["depth"] = NO_GATE
    found["summary"] = summary(found, seen, causal)
    found["reasons"] = reasons
    return plain(found)


def _causally(
    module: nn.Module,
    inputs_NT: Tensor,
    targets_NT: Tensor,
    seen: Watched,
    *,
    asked: bool,
) -> tuple[Watched | None, str]:
    """Route the same windows without the future; None and the reason if that is not possible."""
    if not seen.layers or not asked:
        return None, NO_ROUTER if asked else NOT_ASKED
    try:
        return watch(module, inputs_NT, targets_NT, causal=True), ""
    except ValueError as error:  # raised by a model whose router cannot
        return None, str(error)


def _of_layers(seen: Watched, causal: Watched | None) -> dict[str, Any]:
    """Histograms, overlap, participation and the predictor's scores."""
    n, t = seen.loss_NT.shape
    weighs = seen.weight_LNT is not None
    values_LNT = seen.weight_LNT if seen.weight_LNT is not None else seen.score_LNT
    weights, participation, predictor = [], [], []
    for i, layer in enumerate(seen.layers):
        chosen_NT, values_NT = seen.chosen_LNT[i], values_LNT[i]
        weights.append(
            {
                "layer": layer,
                "what": "weight" if weighs else "score",
                "mean": float(values_NT.mean()),
                "sd": float(values_NT.std()),
                "positive": float((values_NT > 0).mean()),
                **histogram(values_NT, chosen_NT),
            }
        )
        row: dict[str, Any] = {"layer": layer, "causal": None, "causal_se": None}
        row["top_k"], row["top_k_se"] = ratio(chosen_NT.sum(1), np.full(n, t))
        if causal is not None and layer in causal.layers:
            passed_NT = causal.chosen_LNT[causal.layers.index(layer)]
            row["causal"], row["causal_se"] = ratio(passed_NT.sum(1), np.full(n, t))
        participation.append(row)
        if seen.predicted_LNT is not None:
            predictor.append({"layer": layer, **confusion(chosen_NT, seen.predicted_LNT[i])})
    if seen.predicted_LNT is not None:
        predictor.append({"layer": None, **confusion(seen.chosen_LNT, seen.predicted_LNT)})
    found, chance = between_layers(seen.chosen_LNT)
    return {
        "weights": weights,
        "participation": participation,
        "overlap": {"layers": list(seen.layers), "jaccard": found, "expected": chance},
        "predictor": predictor or None,
    }


def _correlations(seen: Watched, strata: dict[str, Stratum]) -> dict[str, Any]:
    """Correlations of the blocks that a token used with loss, entropy, difficulty and frequency."""
    used_NT = seen.chosen_LNT.sum(0)
    values = {name: strata[name].values_NT for name in CORRELATED}
    return {name: within_windows(used_NT, each).as_dict() for name, each in values.items() if each is not None}


def summary(found: dict[str, Any], seen: Watched, causal: Watched | None) -> dict[str, float | None]:
    """Collect the flat numbers of a description; None where there is none."""
    n, t = seen.loss_NT.shape
    each_N = np.full(n, t)
    flat: dict[str, float | None] = dict.fromkeys(
        [
            *("participation", "participation_causal", "loss_causal", "loss_causal_se", "gap", "gap_se"),
            *("overlap", "overlap_expected", "no_expert", "expert_load_max", "depth", "real_share"),
            *(f"predictor_{name}" for name in SCORES),
            *(f"{name}_correlation" for name in CORRELATED),
        ]
    )
    flat["loss"], flat["loss_se"] = ratio(seen.loss_NT.sum(1), each_N)
    if seen.layers:
        flat["participation"] = float(seen.chosen_LNT.mean())
        flat |= {f"{name}_correlation": each["rho"] for name, each in found["correlations"].items()}
        flat["overlap"] = _off_diagonal(found["overlap"]["jaccard"])
        flat["overlap_expected"] = _off_diagonal(found["overlap"]["expected"])
    if causal is not None:
        flat["participation_causal"] = float(causal.chosen_LNT.mean())
        flat["loss_causal"], flat["loss_causal_se"] = ratio(causal.loss_NT.sum(1), each_N)
        flat["gap"], flat["gap_se"] = ratio((causal.loss_NT - seen.loss_NT).sum(1), each_N)
    if found["predictor"]:
        flat |= {f"predictor_{name}": found["predictor"][-1][name] for name in SCORES}
    if seen.experts:
        loads = seen.experts.values()
        flat["no_expert"] = sum(load.none for load in loads) / sum(load.tokens for load in loads)
        # 1 where all experts take the same number of tokens.
        flat["expert_load_max"] = max(max(each["load"]) * len(each["load"]) for each in found["experts"])
        choices = sum(load.choices for load in loads)
        if choices:
            flat["real_share"] = sum(int(load.taken_E.sum()) for load in loads) / choices
    if found["depth"]:
        flat["depth"] = found["depth"]["depth"]
    return flat


def _off_diagonal(matrix: list[list[float | None]]) -> float | None:
    values = [value for i, row in enumerate(matrix) for value in row[:i] if value is not None]
    return float(np.mean(values)) if values else None


def depths(module: nn.Module, inputs_NT: Tensor, hard_NT: Array, depth_N: Array) -> dict[str, Any]:
    """Measure mean depth in blocks: of the windows as they are scored, and of prompts of several lengths cut from them.

    The gate reads each prompt whole. Its difficulty is the mean n-gram surprisal of the tokens to predict, in
    nats, in quarters of the prompts of that length.
    """
    n, t = inputs_NT.shape
    by_length = []
    for length in [each for each in LENGTHS if each <= t]:
        fits = t // length * length
        prompts_PT = inputs_NT[:, :fits].reshape(-1, length)
        hard_P = hard_NT[:, :fits].reshape(-1, length).mean(1)
        depth_NP = _depth_of(module, prompts_PT).reshape(n, -1)
        mean, se = ratio(depth_NP.sum(1), np.full(n, depth_NP.shape[1]))
        row: dict[str, Any] = {"length": length, "n": len(prompts_PT), "depth": mean, "depth_se": se}
        stratum = quarters("difficulty", "nat", hard_P.reshape(n, -1))
        row["by_difficulty"] = [
            _of_bin(label, ends, depth_NP, stratum.bin_NT == i)
            for i, (label, ends) in enumerate(zip(stratum.labels, stratum.ranges or (), strict=True))
        ]
        by_length.append(row)
    values, counts = np.unique(depth_N, return_counts=True)
    config = getattr(module, "config", None)
    return {
        "blocks": getattr(config, "n_layers", None),
        "depth": float(depth_N.mean()),
        "depth_sd": float(depth_N.std(ddof=1)) if n > 1 else None,
        "windows": [{"depth": int(depth), "n": int(count)} for depth, count in zip(values, counts, strict=True)],
        "by_length": by_length,
    }


def _depth_of(module: nn.Module, prompts_PT: Tensor) -> Array:
    device, found = device_of(module), list[int]()
    with undisturbed(module):
        for prompts_BT in prompts_PT.split(ROWS):
            whole_B = torch.full((len(prompts_BT),), prompts_BT.shape[1], device=device)
            depth_B = observe(module, prompts_BT.to(device), prompt_B=whole_B).depth_B
            assert depth_B is not None, "only modules whose gate chose a depth come here"
            found += depth_B
    return np.array(found, dtype=float)


def _of_bin(label: str, ends: tuple[float, float], depth_NP: Array, inside_NP: Array) -> dict[str, Any]:
    mean, se = ratio((depth_NP * inside_NP).sum(1), inside_NP.sum(1))
    return {
        "label": label,
        "low": ends[0],
        "high": ends[1],
        "n": int(inside_NP.sum()),
        "depth": mean,
        "depth_se": se,
    }


def texts_of(pieces: Iterable[bytes]) -> list[str]:
    """Decode pieces; a character split over several goes to its last one, an invalid byte becomes a backslash and its code."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    return [decoder.decode(piece) for piece in pieces]


def matrix(seen: Watched, inputs_NT: Array, kind_NT: Array, pieces: Sequence[bytes], window: int) -> dict[str, Any]:
    """Tokens that passed, by layer, in at most 256 positions of one window, and its text."""
    part = slice(0, MOST_POSITIONS)
    chosen_LT = seen.chosen_LNT[:, window, part]
    return {
        "window": window,
        "of": inputs_NT.shape[1],
        "layers": list(seen.layers),
        "rows": ["".join("1" if passed else "0" for passed in row) for row in chosen_LT],
        "used": chosen_LT.sum(0).tolist(),
        "pieces": texts_of(pieces[token] for token in inputs_NT[window, part]),
        "kinds": kind_NT[window, part].tolist(),
        "loss": seen.loss_NT[window, part].tolist(),
    }


def words(seen: Watched, inputs_NT: Array, kind_NT: Array, pieces: Sequence[bytes]) -> dict[str, Any]:
    """Words (a start and its continuations) with the largest and smallest share of routed blocks that their tokens used.

    The extremes of many noisy means are partly chance; each has its `n`.
    """
    share_NT = seen.chosen_LNT.mean(0)
    start, inside = KINDS.index("word start"), KINDS.index("continuation")
    found: dict[bytes, list[float]] = {}
    for tokens_T, kinds_T, share_T in zip(inputs_NT, kind_NT, share_NT, strict=True):
        # The first word of a window may be the rest of one, and its last may be cut.
        starts = [int(at) for at in np.flatnonzero(kinds_T == start) if at > 0]
        for at in starts:
            end = at + 1
            while end < len(kinds_T) and kinds_T[end] == inside:
                end += 1
            if end < len(kinds_T):
                word = b"".join(pieces[token] for token in tokens_T[at:end]).strip()
                found.setdefault(word, []).append(float(share_T[at:end].mean()))
    often = sorted((float(np.mean(each)), len(each), word) for word, each in found.items() if len(each) >= OFTEN)
    rows = [
        {"word": word.decode("utf-8", errors="backslashreplace"), "share": share, "n": n} for share, n, word in often
    ]
    some = min(WORDS, len(rows) // 2)
    return {"at_least": OFTEN, "words": len(rows), "deep": rows[::-1][:some], "shallow": rows[:some]}
