"""Our dense compared with transformers' Llama, our MoD with the package `mixture-of-depth`: `python benchmarks/llama.py`.

Ratios are the matched baseline's time over ours; above 1 ours is faster. One process on one CPU thread: intervals are of this
process. Run it again on a quiet machine before quoting a number. What cannot run here is a row without a number.

`--only llama`: equal weights, shape, loss and optimizer settings; logits are checked to be equal before anything is
timed. Tested with transformers 4.40.2 and 5.24.0.

`--only package`: mixture-of-depth 1.2.0 cannot be imported with transformers 5 (it uses names that were removed, and wraps
layers by signatures that changed). It runs unchanged with transformers 4.40.2 (and torch 2.13):

    python3.11 -m venv /tmp/matched baseline-venv
    /tmp/matched baseline-venv/bin/pip install torch transformers==4.40.2 mixture-of-depth==1.2.0 pydantic scipy nvidia-ml-py
    PYTHONPATH=src /tmp/matched baseline-venv/bin/python benchmarks/matched baselines.py

The script gives it `position_ids` of the whole batch, which it indexes by row: without them a batch above 1 raises. It routes
every second layer as we do, but does not follow the paper exactly. It loops over the batch's rows; it keeps scores *above* the
k-th, so k - 1 tokens (15 where we keep 16); and the score multiplies the residual stream too, r(x + f(x)). So only the shapes are
equal there, not weights and logits. Its capacity falls from 1 with calls in training mode and does not quite reach 0.125
(0.125875 after 1000); evaluation mode routes with the last value. Tokens that enter the blocks are counted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from interleaved import HEADER, Ratio, add_options, compare, print_row, save
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.dense import Dense
from modbench.models.mod import MoD

SHAPE = {"d_model": 256, "n_layers": 4, "vocab_size": 256}
CAPACITY = 0.125
PACKAGES = ("transformers", "mixture-of-depth")
OUTSIDE_BLOCKS = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
IN_BLOCK = {
    "norm_attention": "input_layernorm",
    "attention.out": "self_attn.o_proj",
    "norm_mlp": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}

Row = tuple[str, str, Ratio]


def named_as_llama(ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights or gradients of an untied dense model under Llama's names; the fused projection is split into three."""
    theirs = {f"{name}.weight": ours[f"{own}.weight"] for own, name in OUTSIDE_BLOCKS.items()}
    head = config.d_model // config.n_heads
    rows = [config.d_model, config.n_kv_heads * head, config.n_kv_heads * head]
    for i in range(config.n_layers):
        for own, name in IN_BLOCK.items():
            theirs[f"model.layers.{i}.{name}.weight"] = ours[f"blocks.{i}.{own}.weight"]
        parts = torch.split(ours[f"blocks.{i}.attention.qkv.weight"], rows)
        for part, weight in zip("qkv", parts, strict=True):
            theirs[f"model.layers.{i}.self_attn.{part}_proj.weight"] = weight
    return theirs


def llama(config: ModelConfig, weights: Mapping[str, Tensor] | None = None, **changes: object) -> Any:
    """transformers' `LlamaForCausalLM` of our shape, in float32 and with PyTorch's fused attention.

    Args:
        config: shape.
        weights: our weights, copied into it; None keeps its own random ones.
        changes: keys of `LlamaConfig` to change.
    """
    transformers = importlib.import_module("transformers")
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "architectures": ["LlamaForCausalLM"],  # required by the package
        "attn_implementation": "sdpa",
    }
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **changes}))
    # 4.40 sets the same attribute in another way; a fallback to slow attention would be unfair to it.
    assert model.config._attn_implementation == "sdpa"
    if weights is not None:
        model.load_state_dict(named_as_llama(weights, config))  # strict: every weight of theirs is one of ours
    return model


def logits_of(model: Any, x_BT: Tensor, **more: Tensor) -> Tensor:
    """Logits [B, T, V] of a transformers model, without a KV cache."""
    logits_BTV = model(input_ids=x_BT, use_cache=False, **more).logits
    assert isinstance(logits_BTV, Tensor)
    return logits_BTV


def tokens(b: int, t: int, vocab_size: int = 256) -> Tensor:
    """Random tokens [B, T], the same in every call."""
    return torch.randint(vocab_size, (b, t), generator=torch.Generator().manual_seed(1))


def loss(logits_BTV: Tensor, x_BT: Tensor) -> Tensor:
    """Mean cross-entropy of the next token, computed the same way for both."""
    return F.cross_entropy(logits_BTV.flatten(0, 1), x_BT.roll(-1, dims=1).flatten())


def without_gradients(forward: Callable[[], object]) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return forward()

    return call


def train_step(module: nn.Module, forward: Callable[[], Tensor], x_BT: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(forward(), x_BT).backward()
        optimizer.step()

    return call


def against_llama(rounds: int) -> Iterable[Row]:
    """Compare dense with Llama at B = 2, T = 512: a forward pass, then a training step."""
    config = ModelConfig.model_validate({**SHAPE, "max_seq_len": 512})
    x_BT = tokens(2, 512)
    for workload in ("forward", "train step"):
        torch.manual_seed(0)
        ours = Dense(config)
        theirs = llama(config, ours.state_dict())
        training = workload == "train step"
        ours.train(training)
        theirs.train(training)
        forwards: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
            "ours": (ours, partial(ours, x_BT)),
            "theirs": (theirs, partial(logits_of, theirs, x_BT)),
        }
        torch.testing.assert_close(forwards["ours"][1](), forwards["theirs"][1](), rtol=0, atol=1e-5)
        calls = {
            variant: train_step(module, forward, x_BT) if training else without_gradients(forward)
            for variant, (module, forward) in forwards.items()
        }
        yield f"dense, {workload}", _name("transformers"), compare(calls, "theirs", rounds=rounds)["ours"]


def against_package(rounds: int) -> Iterable[Row]:
    """Compare MoD with the package at B = 8, T = 128: a forward pass, after a check that both route tokens."""
    routing = {"capacity": CAPACITY, "every": 2, "first_routed": 1}
    config = ModelConfig.model_validate({**SHAPE, **routing, "max_seq_len": 128})
    b, t = 8, 128
    k = int(CAPACITY * t)
    x_BT, position_BT = tokens(b, t), torch.arange(t).expand(b, t)
    torch.manual_seed(0)
    ours = MoD(config).eval()
    theirs = importlib.import_module("MoD").apply_mod_to_hf(llama(config))
    routed = [layer for layer in theirs.model.layers if type(layer).__name__ == "MoD"]

    def forward(rows: int = b, columns: int = t) -> Tensor:
        return logits_of(theirs, x_BT[:rows, :columns], position_ids=position_BT[:rows, :columns])

    _run_down(theirs, routed, without_gradients(lambda: forward(1, 8)), t, k)
    theirs.eval()
    calls = {"ours": without_gradients(lambda: ours(x_BT)), "theirs": without_gradients(forward)}
    # Every second block of four is routed in both; theirs drops the k-th token because its comparison is strict.
    blocks: Any = ours.blocks
    entered = _tokens_into([block.norm_attention for block in blocks], calls["ours"])
    assert entered == [b * t, b * k] * 2, entered
    entered = _tokens_into(
        [getattr(layer, "block", layer).input_layernorm for layer in theirs.model.layers], calls["theirs"]
    )
    assert entered == [b * t, b * (k - 1)] * 2, entered
    against = f"{_name('mixture-of-depth')} on {_name('transformers')}"
    yield "mod, forward", against, compare(calls, "theirs", rounds=rounds)["ours"]


def _run_down(model: nn.Module, routed: list[Any], call: Callable[[], object], t: int, k: int) -> None:
    """Call the package in training mode until its capacity has fallen to about 0.125 (0.125875 after 1000 calls)."""
    model.train()
    call()
    assert [layer.capacity for layer in routed] == [1.0, 1.0]
    for _ in range(999):
        call()
    for layer in routed:
        assert abs(layer.capacity - CAPACITY) < 1e-3, layer.capacity
        assert int(layer.capacity * t) == k, layer.capacity


def _tokens_into(modules: list[nn.Module], call: Callable[[], object]) -> list[int]:
    """How many tokens [..., D] each module received during one call."""
    seen = [0] * len(modules)

    def count(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[index] += inputs[0].shape[:-1].numel()

        return hook

    handles = [module.register_forward_pre_hook(count(i)) for i, module in enumerate(modules)]
    call()
    for handle in handles:
        handle.remove()
    return seen


def _name(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"


COMPARISONS = {"llama": against_llama, "package": against_package}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=COMPARISONS, help="one of the two comparisons; the default is both")
    add_options(parser, rounds=40)
    arguments = parser.parse_args()
    rows: list[Row] = []
    print(HEADER)
    for name in [arguments.only] if arguments.only else COMPARISONS:
        try:
            for row in COMPARISONS[name](arguments.rounds):
                rows.append(row)
                print_row(*row)
        except ImportError as error:
            reason = str(error).partition(" (/")[0]
            rows.append((name, "not measured", Ratio(reason=f"{reason}; the script's first lines say what it needs")))
            print_row(*rows[-1])
    if arguments.json:
        save(arguments.json, rows, matches={name: _version(name) for name in PACKAGES})
    return int(any(ratio.value is None for _, _, ratio in rows))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
