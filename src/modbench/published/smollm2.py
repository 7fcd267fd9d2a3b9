"""SmolLM2-135M, whose name is its size."""

from __future__ import annotations

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import dense

SOURCE = Source(
    "SmolLM2 (Hugging Face 2024)",
    "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    (
        Row(
            "parameters",
            "name of the model",
            "L 30, d 576, h 9, kv 3, d_ff 1,536, V 49,152, tied (config.json)",
            Printed("135M"),
            "parameters",
            lambda: (
                dense(d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536, vocab_size=49_152, tied=True).params
            ),
            "tied embedding counted once",
        ),
    ),
)
