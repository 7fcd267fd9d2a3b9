"""Hugging Face models with some layers turned into Mixture-of-Depths: convert, save, load, generate, measure.

    from modbench.models.hf_mod import MoDForCausalLM
    model = MoDForCausalLM.from_pretrained(FOLDER)

Importing this package loads transformers (the extra `hf`) and registers the converted models with its Auto classes.
"""

from modbench.harness.core import extras

extras.load("transformers", "hf", "modbench.models.hf_mod")

from modbench.models.hf.mod_options import MoDOptions  # noqa: E402  # as above
from modbench.models.hf_mod.converting import convert, start_where_layers_do_most  # noqa: E402  # after the check
from modbench.models.hf_mod.families import FAMILIES, MoDModel  # noqa: E402  # as above
from modbench.models.hf_mod.measured import Logits, MoDForCausalLM, build  # noqa: E402  # as above

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
