"""Small Hugging Face folders for tests: a Llama with a tokenizer of its own, and the text that it was learned from."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import torch

SHAPE = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# As Llama 3 and Qwen cut text; GPT-2's pattern is the default of the byte-level pre-tokenizer.
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def text() -> str:
    return Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")


def tokenizer(pattern: str | None = None, size: int = 400, learned_from: str | None = None) -> Any:
    """A byte-level tokenizer, learned from `text`, with a special token as its first id; or from another one, without."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = tokenizers.Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    first = [] if pattern is None else [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")]
    made.pre_tokenizer = pre_tokenizers.Sequence([*first, level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[] if learned_from else ["<|end|>"],
        show_progress=False,
    )
    made.train_from_iterator([learned_from or text()], trainer)
    return made


def write_llama(folder: Path, **changes: object) -> Any:
    """Save a Llama with random weights and a tokenizer; returns the model as `transformers` loads it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    shape: dict[str, Any] = {**SHAPE, **changes}
    model: Any = LlamaForCausalLM(LlamaConfig(**shape))
    for weight in model.parameters():  # the library's start is so small that every logit is near 0
        torch.nn.init.normal_(weight, std=0.2) if weight.ndim > 1 else torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return LlamaForCausalLM.from_pretrained(folder)
