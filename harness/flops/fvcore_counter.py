"""fvcore's count of multiply-adds, doubled, as a third count of FLOPs; attention needs a handle of ours.

Loaded late (1.6 s, and TorchScript's warnings). It has had no release since 2022: where it cannot be imported, or its trace
fails, a reason is returned.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from modbench.harness.core.errors import in_short

# Operators that count: by our convention norms and softmax are 0, though fvcore counts some of them.
_PRODUCTS = {"linear", "matmul", "bmm", "baddbmm", "addmm", "mm", "einsum", "conv", "scaled_dot_product_attention"}


def by_fvcore(module: nn.Module, tokens_BT: Tensor) -> tuple[dict[str, int] | None, str | None]:
    """FLOPs of a forward pass by module path ("" is the whole model), or None and the reason.

    Args:
        module: on any device, meta included; a copy is traced, since a failing trace leaves hooks behind.
        tokens_BT: input; a model whose path depends on it is traced on this one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from fvcore.nn import FlopCountAnalysis

            logging.getLogger("fvcore").setLevel(logging.ERROR)  # its list of uncounted cheap operators
            with torch.no_grad():
                analysis = FlopCountAnalysis(copy.deepcopy(module).eval(), tokens_BT)
                analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
                analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
                found = analysis.by_module_and_operator()
        except Exception as error:  # noqa: BLE001  # an import or a trace may fail in any way; its message is the reason
            return None, f"fvcore failed: {type(error).__name__}: {in_short(error, 120)}"
    return {path: round(2 * sum(macs.get(name, 0) for name in _PRODUCTS)) for path, macs in found.items()}, None


def _attention(inputs: list[Any], _outputs: list[Any]) -> int:
    from fvcore.nn.jit_handles import get_shape

    (b, h, q, d), (_, _, k, _), (*_, v) = (get_shape(tensor) for tensor in inputs[:3])
    return int(b * h * q * k * (d + v))
