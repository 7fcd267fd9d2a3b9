"""Hugging Face models with some layers turned into Mixture-of-Depths: convert, save, load, generate, measure.

    from modbench.plugins.huggingface.mod import MoDForCausalLM
    model = MoDForCausalLM.from_pretrained(FOLDER)

Importing this package loads transformers (the extra `hf`) and registers the converted models with its Auto classes.
"""

from modbench.extend import optional_packages

optional_packages.load("transformers", "hf", "modbench.plugins.huggingface.mod")

from modbench.plugins.huggingface.mod.converting import convert, start_where_layers_do_most  # noqa: E402  # after the check
from modbench.plugins.huggingface.mod.families import FAMILIES, MoDModel  # noqa: E402  # as above
from modbench.plugins.huggingface.mod.measured import Logits, MoDForCausalLM, build  # noqa: E402  # as above
from modbench.plugins.huggingface.model.mod_options import MoDOptions  # noqa: E402  # as above

__all__ = [
    "FAMILIES",
    "Logits",
    "MoDForCausalLM",
    "MoDModel",
    "MoDOptions",
    "build",
    "convert",
    "start_where_layers_do_most",
]
