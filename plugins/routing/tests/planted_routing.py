"""Models whose routers follow planted rules and whose passes are worth a planted amount, and text to route."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.language_model import Decision, Observation
from modbench.harness.registry import catalogue

TEXT = ("In 1984 the clocks_42 were striking 13; \n\tdef f(x1, y): return x1 + 2.5  # naïve\n" * 60).encode()
BYTES = tuple(bytes([byte]) for byte in range(256))
VOCAB = 256


def tokens_of(train: bytes = TEXT) -> Any:
    return SimpleNamespace(train=np.frombuffer(train, dtype=np.uint8), pieces=BYTES)


def windows(n: int = 6, t: int = 48, data: bytes = TEXT) -> tuple[Tensor, Tensor]:
    ids = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    starts = np.linspace(0, len(ids) - t - 1, n).astype(int)
    rows_NT = torch.from_numpy(np.stack([ids[start : start + t + 1] for start in starts]))
    return rows_NT[:, :-1].clone(), rows_NT[:, 1:].clone()


def worth_of(x_BT: Tensor) -> Tensor:
    """What each token's pass is planted to be worth, between -1 and 1 and never 0."""
    place_BT = torch.arange(x_BT.shape[1]).expand_as(x_BT)
    return torch.sin(x_BT * 12.9898 + place_BT * 78.233) * 0.9 + 0.01


@dataclass
class Rule:
    """Which tokens a planted layer lets pass, by which score, and what its causal rule does."""

    passes: Any
    score: Any = None
    predicted: Any = None


class Planted(nn.Module):
    """A model whose routers follow planted rules, and whose passes are worth what `worth_of` says.

    Token t that passes a layer adds its worth, over the layers, to the logit of the true next token (given as `truth`)
    at its own position.
    """

    def __init__(self, rules: list[Rule], truth: dict[bytes, Tensor] | None = None, *, causal: bool = True) -> None:
        super().__init__()
        self.rules, self.truth, self.routes_causally = rules, truth or {}, causal

    def observe(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, causal: bool = False, flip_LBT: Any = None
    ) -> Observation:
        assert lengths_B is None
        if causal and not self.routes_causally:
            raise ValueError("planted: no causal router")
        logits = torch.zeros(*tokens_BT.shape, VOCAB)
        decisions = []
        for i, rule in enumerate(self.rules):
            layer = 2 * i + 1
            chosen_BT = (rule.predicted if causal and rule.predicted else rule.passes)(tokens_BT)
            if flip_LBT is not None:
                chosen_BT = chosen_BT ^ flip_LBT[layer]
            score_BT = (rule.score or worth_of)(tokens_BT)
            predicted_BT = None if causal or rule.predicted is None else rule.predicted(tokens_BT)
            decisions.append(Decision(layer, score_BT, chosen_BT, None, predicted_BT))
            for row, x_T in enumerate(tokens_BT):
                target_T = self.truth.get(x_T.numpy().tobytes())
                if target_T is not None:
                    gain_T = worth_of(x_T[None])[0] * chosen_BT[row]
                    logits[row, torch.arange(len(x_T)), target_T] += gain_T
        return Observation(logits, decisions, None)


class Noisy(Planted):
    """A model that draws random numbers when looked at."""

    def observe(self, tokens_BT: Tensor, *args: Any, **kwargs: Any) -> Observation:
        torch.rand(1)
        return super().observe(tokens_BT, *args, **kwargs)


def truth_of(inputs_NT: Tensor, targets_NT: Tensor) -> dict[bytes, Tensor]:
    return {x_T.numpy().tobytes(): y_T for x_T, y_T in zip(inputs_NT, targets_NT, strict=True)}


def digits(x_BT: Tensor) -> Tensor:
    return (x_BT >= ord("0")) & (x_BT <= ord("9"))


def every_fourth(x_BT: Tensor) -> Tensor:
    return (torch.arange(x_BT.shape[1]) % 4 == 3).expand_as(x_BT)


def by_row(x_BT: Tensor) -> Tensor:
    """As noise does that differs from row to row."""
    return torch.arange(x_BT.shape[1]) % 4 == torch.arange(len(x_BT))[:, None] % 4


def built(model: str, **changes: object) -> Any:
    torch.manual_seed(3)
    options = {"d_model": 32, "n_layers": 4, "max_seq_len": 64, **catalogue.model_options(model), **changes}
    made = catalogue.load("models", model).build(ModelConfig.model_validate(options)).eval()
    if changes.get("causal") != "none":
        made.calibrate(windows(4, 48)[0])
    return made
