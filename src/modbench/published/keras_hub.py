"""Exact numbers of parameters of released checkpoints, from the metadata of Keras Hub's presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import GPT2, dense, moe

FOLDER = "keras_hub/src/models"
LLAMA: dict[str, Any] = {"d_model": 4096, "n_layers": 32, "n_heads": 32}


def gpt2(layers: int, d: int, heads: int) -> Callable[[], float]:
    """A GPT-2, with biases."""
    shape = {**GPT2, "d_model": d, "n_layers": layers, "n_heads": heads, "vocab_size": 50257}
    return lambda: dense(1024, **shape).params + _more.gpt2_biases(layers, d)


def _gpt2_row(preset: str, layers: int, d: int, heads: int, printed: str) -> Row:
    return Row(
        preset,
        f"{FOLDER}/gpt2/gpt2_presets.py, params",
        f"L {layers}, d {d}, h {heads}, T 1,024, V 50,257 (nanoGPT, transformer_sizing.ipynb, cell 2)",
        Printed(printed),
        "parameters",
        gpt2(layers, d, heads),
        "tied embedding, positions, norms with shift, and biases counted",
        "catalogue and more",
    )


def _llama_row(preset: str, file: str, config: str, printed: str, **shape: Any) -> Row:  # noqa: ANN401
    return Row(
        preset,
        f"{FOLDER}/{file}, params",
        config,
        Printed(printed),
        "parameters",
        lambda: dense(**LLAMA, **shape).params,
        "embedding and head counted, norms with scale only, no biases: our dense model as it is",
    )


def _qwen25() -> float:
    made = dense(d_model=896, n_layers=24, n_heads=14, n_kv_heads=2, d_ff=4864, vocab_size=151_936, tied=True)
    return float(made.params + _more.qkv_biases(24, 896, 128))


def _qwen3_row(preset: str, config: str, printed: str, **shape: Any) -> Row:  # noqa: ANN401
    shape |= {"n_kv_heads": 8, "head_dim": 128, "vocab_size": 151_936}
    return Row(
        preset,
        f"{FOLDER}/qwen3/qwen3_presets.py, params",
        config,
        Printed(printed),
        "parameters",
        lambda: dense(**shape).params + _more.qk_norms(shape["n_layers"], 128),
        "embedding (and head, if not tied), and norms of queries and keys counted",
        "catalogue and more",
    )


def _mixtral() -> float:
    return moe(**LLAMA, n_kv_heads=8, d_ff=14_336, vocab_size=32_000, n_experts=8, experts_top_k=2).params


SOURCE = Source(
    "Keras Hub, presets",
    "https://github.com/keras-team/keras-hub",
    (
        _gpt2_row("gpt2_base_en", 12, 768, 12, "124,439,808"),
        _gpt2_row("gpt2_medium_en", 24, 1024, 16, "354,823,168"),
        _gpt2_row("gpt2_large_en", 36, 1280, 20, "774,030,080"),
        _gpt2_row("gpt2_extra_large_en", 48, 1600, 25, "1,557,611,200"),
        _llama_row(
            "llama2_7b_en",
            "llama/llama_presets.py",
            "L 32, d 4,096, h 32, d_ff 11,008, V 32,000 (defaults of transformers 5.24, configuration_llama.py)",
            "6,738,415,616",
            d_ff=11_008,
            vocab_size=32_000,
        ),
        _llama_row(
            "llama3_8b_en",
            "llama3/llama3_presets.py",
            "L 32, d 4,096, h 32, kv 8, d_ff 14,336 (Llama 3, table 3), V 128,256 (its tokenizer; the table says 128,000)",
            "8,030,261,248",
            n_kv_heads=8,
            d_ff=14_336,
            vocab_size=128_256,
        ),
        _llama_row(
            "mistral_7b_en",
            "mistral/mistral_presets.py",
            "L 32, d 4,096, h 32, kv 8, d_ff 14,336, V 32,000 (defaults of transformers 5.24, configuration_mistral.py)",
            "7,241,732,096",
            n_kv_heads=8,
            d_ff=14_336,
            vocab_size=32_000,
        ),
        Row(
            "qwen2.5_0.5b_en",
            f"{FOLDER}/qwen/qwen_presets.py, params",
            "L 24, d 896, h 14, kv 2, d_ff 4,864, V 151,936, tied (config.json of Qwen/Qwen2.5-0.5B, in a copy)",
            Printed("494,032,768"),
            "parameters",
            _qwen25,
            "tied embedding, and biases of queries, keys and values counted",
            "catalogue and more",
        ),
        _qwen3_row(
            "qwen3_0.6b_en",
            "L 28, d 1,024, 16 heads of 128, kv 8, d_ff 3,072, V 151,936, tied (config.json of Qwen/Qwen3-0.6B, in a copy)",
            "596,049,920",
            d_model=1024,
            n_layers=28,
            n_heads=16,
            d_ff=3072,
            tied=True,
        ),
        _qwen3_row(
            "qwen3_4b_en",
            "L 36, d 2,560, 32 heads of 128, kv 8, d_ff 9,728, V 151,936, tied (config.json of Qwen/Qwen3-4B, in a copy)",
            "4,022,468,096",
            d_model=2560,
            n_layers=36,
            n_heads=32,
            d_ff=9728,
            tied=True,
        ),
        _qwen3_row(
            "qwen3_8b_en",
            "L 36, d 4,096, 32 heads of 128, kv 8, d_ff 12,288, V 151,936 (config.json of Qwen/Qwen3-8B, in a copy)",
            "8,190,735,360",
            d_model=4096,
            n_layers=36,
            n_heads=32,
            d_ff=12_288,
        ),
        Row(
            "mixtral_8_7b_en",
            f"{FOLDER}/mixtral/mixtral_presets.py, params",
            "L 32, d 4,096, h 32, kv 8, 8 experts of 14,336, V 32,000 (keras_hub/src/models/mixtral/README.md)",
            Printed("46,702,792,704"),
            "parameters",
            _mixtral,
            "embedding, head, all experts and routers counted: our MoE as it is, experts in every block",
        ),
    ),
)
