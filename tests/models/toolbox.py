"""Small shapes and what several tests of models need: build one, draw tokens, make a forward context."""

from __future__ import annotations

from typing import Any

import torch
from present import of_type, present
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case
from modbench.harness.measure.passes.count import count
from modbench.harness.registry import catalogue
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.router import Router

MODELS = sorted(catalogue.entries("models"))
ROUTERS = sorted(catalogue.entries("routers"))
WITH_CAPACITY = [name for name in MODELS if "capacity" in catalogue.model_options(name)]
WITH_ROUTER = [name for name in MODELS if "router" in catalogue.model_options(name)]
GATES = [name for name in MODELS if catalogue.load("models", name).dynamic]
STATIC = [name for name in MODELS if name not in GATES]

NO_OPS: dict[str, Any] = {"capacity": 0.5, "choice": "token", "experts_top_k": 2}

# What makes routing of every kind happen at a small size: (model, options).
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("dense", {}),
    ("dense", {"n_kv_heads": 2}),
    ("dense", {"n_kv_heads": 2, "head_dim": 12}),
    ("dense", {"norm": "layer", "position": "learned", "activation": "gelu"}),
    ("mod", {"capacity": 0.5, "norm": "layer", "position": "learned"}),
    ("early_exit", {"exit_threshold": 0.09, "exit_by": "token", "position": "learned"}),
    ("dense", {"mixer": "window", "window": 5}),
    ("dense", {"mixer": "convolution"}),
    ("dense", {"mixer": "convolution", "n_kv_heads": 2, "kernel_size": 50}),
    *[("mod", {"capacity": 0.5, "causal": causal}) for causal in ("predictor", "aux_loss", "threshold")],
    *[("mod", {"capacity": 0.4, "router": router}) for router in ROUTERS if router != "learned"],
    *[("mod", {"capacity": 0.5, "granularity": part}) for part in ("attention", "mlp")],
    ("mod", {"capacity": 0.5, "mixer": "window", "window": 3, "multiplier": "sigmoid"}),
    ("mod", {"capacity": 0.5, "mixer": "convolution", "kernel_size": 4}),
    ("mod", {"capacity": 0.5, "every": 1, "first_routed": 0, "n_kv_heads": 1}),
    ("moe", {}),
    ("moe", {"choice": "token", "experts_top_k": 2, "capacity_factor": 0.5}),
    ("mode_integrated", {"capacity": 0.5, "n_no_ops": 2}),
    ("mode_integrated", {"capacity": 0.5, "choice": "token"}),
    ("mode_integrated", {**NO_OPS, "no_op": "identity", "no_op_logits": "shared", "balance": "bias"}),
    ("mode_integrated", {**NO_OPS, "no_op": "constant", "balance": "threshold"}),
    ("mode_integrated", {**NO_OPS, "no_op": "constant", "no_op_logits": "shared"}),
    ("mode_staged", {"capacity": 0.5}),
    ("mode_staged", {"capacity": 0.5, "shared_experts": 1, "expert_d_ff": 24, "head_dim": 6}),
    ("mode_staged", {"capacity": 0.5, "choice": "token", "granularity": "mlp"}),
    ("depth_branches", {}),
    ("depth_predictor", {}),
    ("depth_predictor", {"forced_depth": 2}),
    ("depth_scale", {"forced_depth": 3}),
    ("early_exit", {"exit_threshold": 0.08}),
    ("early_exit", {"exit_threshold": 0.09, "exit_by": "token"}),
]


def name_of(variant: tuple[str, dict[str, Any]]) -> str:
    """How pytest calls a variant."""
    model, options = variant
    return "-".join((model, *(f"{key}={value}" for key, value in options.items())))


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 64, "vocab_size": 50, **changes})


def build(name: str, **changes: Any) -> Decoder:
    """A model of the catalogue with its defaults, from seed 0, and thresholds that some text has set."""
    torch.manual_seed(0)
    module = of_type(
        Decoder, catalogue.load("models", name).build(config(**{**catalogue.model_options(name), **changes}))
    )
    module.calibrate(tokens(4, 48, seed=9))
    return module


def tokens(b: int = 3, t: int = 24, seed: int = 1) -> Tensor:
    return torch.randint(50, (b, t), generator=torch.Generator().manual_seed(seed))


def context(module: Decoder, t: int, lengths_B: Tensor | None = None, *, causal: bool = False) -> ForwardContext:
    return module.context(
        torch.zeros(1 if lengths_B is None else len(lengths_B), t, dtype=torch.int64), lengths_B, causal=causal
    )


def grads(module: Decoder, x_BT: Tensor) -> dict[str, Tensor]:
    """Gradients of the language-model loss alone."""
    module.zero_grad()
    logits = module(x_BT)
    F.cross_entropy(logits.flatten(0, 1), x_BT.flatten()).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def trains_and_reads_future(case: Case) -> bool | None:
    """Whether a user's model reads later tokens, once its contract was checked and a training step has moved its weights."""
    subject = Subject(case, 0)
    tokens_BT = subject.inputs(0, 1)[0]
    subject.check(tokens_BT)
    before = [weight.clone() for weight in subject.module.parameters()]
    subject.module.train()
    subject.train_step(tokens_BT)
    assert any(not torch.equal(a, b) for a, b in zip(before, subject.module.parameters(), strict=True))
    found = count(case, 0, inputs=4, parts=())
    assert found["forward"] > 0
    return present(found.notes.causality).reads_future


class One(Router):
    """A router that scores every token 1: the multiplier forced to 1."""

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:  # noqa: ARG002  # as every router
        return torch.ones(x_BTD.shape[:2])
